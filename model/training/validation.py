"""Error rates on the validation writers during training, by which the weights to release are selected.

They use all pairs of a writer's specimens and no calibration. The published figures are measured by
:mod:`model.evaluation.evaluate` on test writers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.data.packing import DEFAULT_CACHE, pack
from model.data.specimens import Dataset
from model.decision.distances import pairwise
from model.errors import DataError
from model.evaluation.metrics import eer
from model.networks.embedder import to_tensor
from model.preprocessing.ink import Canvas, fit
from model.types import Metric

SET_SIZE = 5
"""Number of references in the figure for several references."""

SPREAD_SHARE = 0.7
"""Share of the mean distance among the references that is subtracted, to normalise for the signer's variation."""


@dataclass(frozen=True)
class Rates:
    """Equal error rates in [0, 1] at a common threshold for all writers; NaN if there is nothing to measure.

    Attributes
    ----------
    skilled : float
        Skilled forgeries against one reference.
    skilled_set : float
        Skilled forgeries against :data:`SET_SIZE` references, less :data:`SPREAD_SHARE` of the spread among them.
    random : float
        Genuine signatures of other writers against one reference.
    """

    skilled: float
    skilled_set: float
    random: float

    @property
    def selection_figure(self) -> float:
        """The figure by which weights are selected; smaller is better.

        It is the mean of the rates on skilled forgeries, or the rate on random forgeries if there are none.
        """
        if np.isnan(self.skilled):
            return self.random
        return 0.5 * (self.skilled + (self.skilled if np.isnan(self.skilled_set) else self.skilled_set))


class ValidationSet:
    """The signatures of some writers on a network's canvas, kept in memory for repeated measurements.

    Raises
    ------
    DataError
        No writer has two genuine specimens.
    """

    def __init__(self, dataset: Dataset, canvas: Canvas, cache: Path = DEFAULT_CACHE) -> None:
        packed = pack(dataset, cache)
        self.name = dataset.name
        self._canvases = np.stack([fit(packed.density(i), canvas) for i in range(len(packed))])
        self._genuine = packed.genuine
        names, self._signer = np.unique(np.array(packed.signers), return_inverse=True)
        self._signers = len(names)
        if max(np.bincount(self._signer[self._genuine], minlength=1)) < 2:
            raise DataError(f"No writer of {dataset.name} has two genuine specimens to validate on.")

    def rates(self, network: nn.Module, metric: Metric, device: str = "cpu", batch: int = 64) -> Rates:
        """Embed all signatures and measure the error rates; the mode of the network is restored."""
        embeddings = embed_all(network, self._canvases, device, batch)
        distance = pairwise(embeddings, metric)
        genuine_scores: list[NDArray[np.float64]] = []
        skilled_scores: list[NDArray[np.float64]] = []
        random_scores: list[NDArray[np.float64]] = []
        genuine_set_scores: list[NDArray[np.float64]] = []
        skilled_set_scores: list[NDArray[np.float64]] = []
        for signer in range(self._signers):
            genuine = np.flatnonzero((self._signer == signer) & self._genuine)
            forged = np.flatnonzero((self._signer == signer) & ~self._genuine)
            others = np.flatnonzero((self._signer != signer) & self._genuine)
            within = distance[np.ix_(genuine, genuine)]
            genuine_scores.append(within[np.triu_indices(len(genuine), 1)])
            skilled_scores.append(distance[np.ix_(genuine, forged)].ravel())
            sampled_others = others[:: max(1, len(others) // 40)]
            random_scores.append(distance[np.ix_(genuine[:4], sampled_others)].ravel())
            if len(genuine) > SET_SIZE and len(forged):
                references, questioned = genuine[:SET_SIZE], genuine[SET_SIZE:]
                spread = distance[np.ix_(references, references)][np.triu_indices(SET_SIZE, 1)].mean()
                for rows, scores in ((questioned, genuine_set_scores), (forged, skilled_set_scores)):
                    scores.append(distance[np.ix_(rows, references)].mean(axis=1) - SPREAD_SHARE * spread)
        return Rates(
            skilled=_eer(genuine_scores, skilled_scores),
            skilled_set=_eer(genuine_set_scores, skilled_set_scores),
            random=_eer(genuine_scores, random_scores),
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


def _eer(genuine: list[NDArray[np.float64]], forged: list[NDArray[np.float64]]) -> float:
    """Compute the EER with equal weight for every writer; NaN if either side is empty."""
    if not any(len(part) for part in genuine) or not any(len(part) for part in forged):
        return float("nan")
    sides = []
    for parts in (genuine, forged):
        not_empty = [part for part in parts if len(part)]
        weights = np.concatenate([np.full(len(part), 1.0 / len(part)) for part in not_empty])
        sides.append((np.concatenate(not_empty), weights))
    (genuine_scores, genuine_weights), (forged_scores, forged_weights) = sides
    return float(eer(genuine_scores, forged_scores, genuine_weights, forged_weights))
