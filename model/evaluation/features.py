"""From specimens to numbers: one door for HOG, the article's network, SigNet and ours.

A :class:`Features` turns specimens into embeddings; :func:`gallery` runs it over a data set and hands the result to
:mod:`model.evaluation.trials`. Ink is isolated by the same code for all of them, once for each specimen.
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
from model.evaluation.trials import Compare, Gallery, embedded
from model.networks.embedder import Device, Embedder
from model.preprocessing.ink import Ink, fit, isolate
from model.types import Metric

BATCH = 64


class Features(Protocol):
    """What can be compared under the protocol.

    Attributes
    ----------
    name : str
        For tables.
    metric : {"euclidean", "cosine", "local"}
        How two rows are compared.
    compare : callable or None
        Rows (a, dimension) and (b, dimension) to distances (a, b), where the metric does not say it all.
    """

    name: str
    metric: Metric
    compare: Compare | None

    def embed(self, specimens: Sequence[Specimen]) -> NDArray[np.float32]:
        """(n, dimension) float32; a row of NaN where no usable signature was found."""


class InkCache:
    """Isolates the ink of each file once, however many models look at it."""

    def __init__(self) -> None:
        self._inks: dict[Path, Ink | None] = {}

    def ink(self, specimen: Specimen) -> Ink | None:
        """The isolated ink, or None when the specimen holds no usable signature."""
        if specimen.path is None:  # keys are unique within one data set only
            return _isolated(specimen)
        if specimen.path not in self._inks:
            self._inks[specimen.path] = _isolated(specimen)
        return self._inks[specimen.path]


def _isolated(specimen: Specimen) -> Ink | None:
    try:
        return isolate(specimen.grey())
    except UnusableSignature:
        return None


class WeightsFeatures:
    """A trained network: a weights folder, with or without calibration."""

    def __init__(self, folder: Path, shelf: InkCache, name: str = "", device: Device = "auto") -> None:
        self.embedder = Embedder.load_uncalibrated(folder, device)
        self.folder = folder
        self.name = name or self.embedder.card.name
        self.metric: Metric = self.embedder.metric
        self.compare: Compare | None = self.embedder.compare if self.metric == "local" else None
        self._shelf = shelf
        self._canvas = self.embedder.card.canvas.canvas()

    def embed(self, specimens: Sequence[Specimen]) -> NDArray[np.float32]:
        """As :class:`Features`."""
        out = np.full((len(specimens), self.embedder.dimension), np.nan, dtype=np.float32)
        inks = [(i, ink) for i, s in enumerate(specimens) if (ink := self._shelf.ink(s)) is not None]
        for at in range(0, len(inks), BATCH):
            batch = inks[at : at + BATCH]
            canvases = np.stack([fit(ink.density, self._canvas) for _, ink in batch])
            out[[i for i, _ in batch]] = self.embedder.embed(canvases)
        return out


def gallery(features: Features, dataset: Dataset) -> Gallery:
    """Embed every specimen of a data set; a progress bar runs on a terminal.

    Raises
    ------
    DataError
        No specimen holds a usable signature.
    """
    specimens = [
        specimen
        for signer in dataset.signers()
        for specimen in (*dataset.genuine(signer), *dataset.forgeries(signer))
    ]
    bar = tqdm(
        range(0, len(specimens), BATCH), desc=f"{features.name} on {dataset.name}", leave=False, disable=None
    )
    rows = [features.embed(specimens[at : at + BATCH]) for at in bar]
    if not any(np.isfinite(part).all(axis=1).any() for part in rows):
        raise DataError(f"No specimen of {dataset.name} holds a usable signature.")
    return embedded(
        name=dataset.name,
        keys=[specimen.key for specimen in specimens],
        signers=[specimen.signer for specimen in specimens],
        genuine=[specimen.genuine for specimen in specimens],
        embeddings=np.concatenate(rows),
        metric=features.metric,
        compare=features.compare,
        terms=dataset.terms,
    )
