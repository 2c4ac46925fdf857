"""Error rates on the validation writers during training, by which the weights to release are selected.

They use all pairs of a writer's specimens and no calibration. The published figures are measured by
:mod:`model.evaluation.evaluate` on test writers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.data.masters import Masters
from model.data.packing import DEFAULT_CACHE, pack
from model.data.specimens import Dataset
from model.decision.distances import pairwise
from model.errors import DataError
from model.evaluation.metrics import eer
from model.networks.embedder import to_tensor
from model.networks.local import LocalNetwork
from model.preprocessing.ink import Canvas, fit
from model.training.recipes import Recipe
from model.training.rendering import Renderer
from model.types import Metric

Floats = NDArray[np.float64]

SET_SIZES = (5, 10)
"""Numbers of references in the figures for several references."""

NEAREST = 3
"""The mean distance to this number of nearest references counts."""

SPREAD_SHARE = 0.7
"""Share of the mean distance among the references that is subtracted, to normalise for the signer's variation."""

COMPARED_AT_ONCE = 64
"""Rows that local matching compares in one pass; it limits the memory of intermediate tables."""


@dataclass(frozen=True)
class Rates:
    """Equal error rates in [0, 1] at a common threshold for all writers; NaN if there is nothing to measure.

    Attributes
    ----------
    skilled : float
        Skilled forgeries against one reference.
    skilled_5, skilled_10 : float
        Skilled forgeries against several references (:data:`SET_SIZES`): the mean of the distances to the nearest
        :data:`NEAREST`, less :data:`SPREAD_SHARE` of the spread among the references.
    random : float
        Genuine signatures of other writers against one reference.
    """

    skilled: float
    skilled_5: float
    skilled_10: float
    random: float

    @property
    def selection_figure(self) -> float:
        """The figure by which weights are selected; smaller is better.

        It is the mean of the rates on skilled forgeries, or the rate on random forgeries if there are none.
        """
        skilled = [rate for rate in (self.skilled, self.skilled_5, self.skilled_10) if not np.isnan(rate)]
        return float(np.mean(skilled)) if skilled else self.random


class ValidationSet:
    """The signatures of some writers on a network's canvas, kept in memory for repeated measurements.

    Parameters
    ----------
    name : str
    canvases : uint8 (n, height, width)
    signers : sequence of str
        Signer of each canvas.
    genuine : bool (n,)

    Raises
    ------
    DataError
        No writer has two genuine specimens.
    """

    def __init__(
        self,
        name: str,
        canvases: NDArray[np.uint8],
        signers: Sequence[str],
        genuine: NDArray[np.bool_],
    ) -> None:
        self.name = name
        self._canvases = canvases
        self._genuine = genuine
        names, self._signer = np.unique(np.array(signers), return_inverse=True)
        self._signers = len(names)
        if max(np.bincount(self._signer[self._genuine], minlength=1)) < 2:
            raise DataError(f"No writer of {name} has two genuine specimens to validate on.")

    def rates(self, network: nn.Module, metric: Metric, device: str = "cpu", batch: int = 64) -> Rates:
        """Embed all signatures and measure the error rates; the mode of the network is restored."""
        embeddings = embed_all(network, self._canvases, device, batch)
        distance = _distances(network, embeddings, metric, device)
        # The seed makes the references the same in all measurements.
        rng = np.random.default_rng(0)
        single: list[tuple[Floats, Floats]] = []
        random: list[tuple[Floats, Floats]] = []
        sets: dict[int, list[tuple[Floats, Floats]]] = {size: [] for size in SET_SIZES}
        for signer in range(self._signers):
            genuine = np.flatnonzero((self._signer == signer) & self._genuine)
            forged = np.flatnonzero((self._signer == signer) & ~self._genuine)
            others = np.flatnonzero((self._signer != signer) & self._genuine)
            within = distance[np.ix_(genuine, genuine)][np.triu_indices(len(genuine), 1)]
            single.append((within, distance[np.ix_(genuine, forged)].ravel()))
            sampled_others = others[:: max(1, len(others) // 40)]
            random.append((within, distance[np.ix_(genuine[:4], sampled_others)].ravel()))
            shuffled = rng.permutation(genuine)
            for size, scores in sets.items():
                if len(genuine) > size and len(forged):
                    references, questioned = shuffled[:size], shuffled[size:]
                    spread = distance[np.ix_(references, references)][np.triu_indices(size, 1)].mean()
                    tables = (distance[np.ix_(rows, references)] for rows in (questioned, forged))
                    near = [np.sort(table, axis=1)[:, :NEAREST].mean(axis=1) for table in tables]
                    scores.append((near[0] - SPREAD_SHARE * spread, near[1] - SPREAD_SHARE * spread))
        return Rates(
            skilled=_eer(single),
            skilled_5=_eer(sets[5]),
            skilled_10=_eer(sets[10]),
            random=_eer(random),
        )


def validation_set(dataset: Dataset, canvas: Canvas, cache: Path = DEFAULT_CACHE) -> ValidationSet:
    """Prepare the signatures of a data set. Raises DataError."""
    packed = pack(dataset, cache)
    canvases = np.stack([fit(packed.density(i), canvas) for i in range(len(packed))])
    return ValidationSet(dataset.name, canvases, packed.signers, packed.genuine)


def validation_set_of_masters(masters: Masters, recipe: Recipe) -> ValidationSet:
    """Prepare the signatures of which there are masters, one drawing of each. Raises DataError."""
    first = np.concatenate([[0], np.cumsum(masters.drawings)[:-1]])
    chosen = replace(masters, drawings=np.ones(len(first), dtype=np.int64), images=masters.images[first])
    renderer = Renderer([chosen], recipe.canvas.canvas(), recipe.augmentation, recipe.seed, "cpu")
    canvases = [renderer.render_plain(rows).numpy() for rows in torch.split(torch.arange(len(first)), 256)]
    return ValidationSet(
        masters.about.name,
        np.concatenate(canvases),
        masters.signers,
        masters.genuine,
    )


def embed_all(
    network: nn.Module, canvases: NDArray[np.uint8], device: str, batch: int = 64
) -> NDArray[np.float32]:
    """Embed ``(n, h, w) uint8`` to ``(n, dimension) float32``, in evaluation mode and without gradients."""
    training = network.training
    network.eval()
    with torch.inference_mode():
        parts = [
            network(to_tensor(canvases[i : i + batch]).to(device)).float().cpu().numpy()
            for i in range(0, len(canvases), batch)
        ]
    network.train(training)
    return np.concatenate(parts)


def _distances(network: nn.Module, embeddings: NDArray[np.float32], metric: Metric, device: str) -> Floats:
    """Compute the distances between all embeddings: ``(n, n)``."""
    if metric != "local":
        return pairwise(embeddings, metric)
    if not isinstance(network, LocalNetwork):
        raise DataError("The metric local needs the network local.")
    rows = torch.from_numpy(embeddings).to(device)
    with torch.inference_mode():
        parts = [
            network.matching.table(part, rows).clamp_min(0.0).sqrt().cpu()
            for part in torch.split(rows, COMPARED_AT_ONCE)
        ]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float64)


def _eer(scores: list[tuple[Floats, Floats]]) -> float:
    """Compute the EER from genuine and forged scores of each writer, with equal weight for every writer.

    NaN if either side is empty.
    """
    sides = []
    for side in (0, 1):
        not_empty = [pair[side] for pair in scores if len(pair[side])]
        if not not_empty:
            return float("nan")
        weights = np.concatenate([np.full(len(part), 1.0 / len(part)) for part in not_empty])
        sides.append((np.concatenate(not_empty), weights))
    (genuine_scores, genuine_weights), (forged_scores, forged_weights) = sides
    return float(eer(genuine_scores, forged_scores, genuine_weights, forged_weights))
