"""Embedding specimens for evaluation, with HOG or with the network of a weights folder.

A :class:`Features` object embeds specimens; :func:`embed_dataset` embeds a whole data set for
:mod:`model.evaluation.trials`. All features use the same isolated ink.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from model.data.specimens import Dataset, Specimen
from model.errors import DataError, UnusableSignature
from model.evaluation.trials import Compare, Gallery, gallery_from_embeddings
from model.networks.embedder import Device, Embedder
from model.preprocessing.ink import Ink, fit, isolate
from model.types import Metric

BATCH = 64


class Features(Protocol):
    """Embeddings of specimens, and the way to compare them.

    Attributes
    ----------
    name : str
        Name for tables.
    metric : {"euclidean", "cosine", "local"}
        Metric of the distance between two embeddings.
    compare : callable or None
        Computes distances (a, b) from rows (a, dimension) and (b, dimension); None if the metric suffices.
    """

    name: str
    metric: Metric
    compare: Compare | None

    def embed(self, specimens: Sequence[Specimen]) -> NDArray[np.float32]:
        """Embed specimens: (n, dimension) float32, with a row of NaN where no usable signature was found."""


class InkCache:
    """Cache of isolated ink by file, shared by all features that are measured."""

    def __init__(self) -> None:
        self._inks: dict[Path, Ink | None] = {}

    def ink(self, specimen: Specimen) -> Ink | None:
        """Return the isolated ink, or None if the specimen contains no usable signature."""
        if specimen.path is None:  # not cached: specimen keys are unique within one data set only
            return _isolate(specimen)
        if specimen.path not in self._inks:
            self._inks[specimen.path] = _isolate(specimen)
        return self._inks[specimen.path]


def _isolate(specimen: Specimen) -> Ink | None:
    try:
        return isolate(specimen.grey())
    except UnusableSignature:
        return None


class WeightsFeatures:
    """The network of a weights folder; no calibration is required."""

    def __init__(self, folder: Path, ink_cache: InkCache, name: str = "", device: Device = "auto") -> None:
        self.embedder = Embedder.load_uncalibrated(folder, device)
        self.folder = folder
        self.name = name or self.embedder.card.name
        self.metric: Metric = self.embedder.metric
        self.compare: Compare | None = self.embedder.compare if self.metric == "local" else None
        self._ink_cache = ink_cache
        self._canvas = self.embedder.card.canvas.canvas()

    def embed(self, specimens: Sequence[Specimen]) -> NDArray[np.float32]:
        """As :class:`Features`."""
        out = np.full((len(specimens), self.embedder.dimension), np.nan, dtype=np.float32)
        inks = [(i, ink) for i, s in enumerate(specimens) if (ink := self._ink_cache.ink(s)) is not None]
        for start in range(0, len(inks), BATCH):
            batch = inks[start : start + BATCH]
            canvases = np.stack([fit(ink.density, self._canvas) for _, ink in batch])
            out[[i for i, _ in batch]] = self.embedder.embed(canvases)
        return out


def embed_dataset(features: Features, dataset: Dataset) -> Gallery:
    """Embed every specimen of a data set, with a progress bar on terminals.

    Raises
    ------
    DataError
        No specimen contains a usable signature.
    """
    specimens = [
        specimen
        for signer in dataset.signers()
        for specimen in (*dataset.genuine(signer), *dataset.forgeries(signer))
    ]
    bar = tqdm(
        range(0, len(specimens), BATCH), desc=f"{features.name} on {dataset.name}", leave=False, disable=None
    )
    batches = [features.embed(specimens[start : start + BATCH]) for start in bar]
    if not any(np.isfinite(batch).all(axis=1).any() for batch in batches):
        raise DataError(f"No specimen of {dataset.name} contains a usable signature.")
    return gallery_from_embeddings(
        name=dataset.name,
        keys=[specimen.key for specimen in specimens],
        signers=[specimen.signer for specimen in specimens],
        genuine=[specimen.genuine for specimen in specimens],
        embeddings=np.concatenate(batches),
        metric=features.metric,
        compare=features.compare,
        terms=dataset.terms,
    )
