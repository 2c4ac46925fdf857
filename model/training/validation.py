"""Error rates on validation writers during training: quick, the same in every epoch, and what chooses the checkpoint.

The figures for tables come from :mod:`model.evaluation.evaluate` on test writers; these here are on all pairs of a writer's
specimens, without calibration.
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
"""References of the several-reference figure."""

SPREAD_SHARE = 0.7
"""Share of the distance among references that is taken off: what a signer's own variation is worth, roughly."""


@dataclass(frozen=True)
class Rates:
    """Equal error rates in [0, 1], one threshold for everybody; NaN where there is nothing to measure.

    Attributes
    ----------
    skilled, skilled_set : float
        Skilled forgeries against one reference, and against :data:`SET_SIZE` with the spread among them taken off.
    random : float
        Other people's genuine signatures against one reference.
    """

    skilled: float
    skilled_set: float
    random: float

    @property
    def choice(self) -> float:
        """What the best checkpoint is chosen by, smaller is better: skilled forgeries, else random ones."""
        if np.isnan(self.skilled):
            return self.random
        return 0.5 * (self.skilled + (self.skilled if np.isnan(self.skilled_set) else self.skilled_set))


class ValidationSet:
    """The signatures of some writers on a network's canvas, ready to be embedded again and again."""

    def __init__(self, dataset: Dataset, canvas: Canvas, cache: Path = DEFAULT_CACHE) -> None:
        packed = pack(dataset, cache)
        self.name = dataset.name
        self._canvases = np.stack([fit(packed.density(i), canvas) for i in range(len(packed))])
        self._genuine = packed.genuine
        names, self._signer = np.unique(np.array(packed.signers), return_inverse=True)
        self._signers = len(names)
        if max(np.bincount(self._signer[self._genuine], minlength=1)) < 2:
            raise DataError(f"Nobody in {dataset.name} has two genuine specimens to validate on.")

    def rates(self, network: nn.Module, metric: Metric, device: str = "cpu", batch: int = 64) -> Rates:
        """Embed everything and measure; the network is left in the mode it was in."""
        embeddings = embed_all(network, self._canvases, device, batch)
        d = pairwise(embeddings, metric)
        own: list[NDArray[np.float64]] = []
        skilled: list[NDArray[np.float64]] = []
        strangers: list[NDArray[np.float64]] = []
        own_set: list[NDArray[np.float64]] = []
        skilled_set: list[NDArray[np.float64]] = []
        for signer in range(self._signers):
            genuine = np.flatnonzero((self._signer == signer) & self._genuine)
            forged = np.flatnonzero((self._signer == signer) & ~self._genuine)
            others = np.flatnonzero((self._signer != signer) & self._genuine)
            within = d[np.ix_(genuine, genuine)]
            own.append(within[np.triu_indices(len(genuine), 1)])
            skilled.append(d[np.ix_(genuine, forged)].ravel())
            strangers.append(d[np.ix_(genuine[:4], others[:: max(1, len(others) // 40)])].ravel())
            if len(genuine) > SET_SIZE and len(forged):
                references = genuine[:SET_SIZE]
                among = d[np.ix_(references, references)][np.triu_indices(SET_SIZE, 1)].mean()
                own_set.append(d[np.ix_(genuine[SET_SIZE:], references)].mean(axis=1) - SPREAD_SHARE * among)
                skilled_set.append(d[np.ix_(forged, references)].mean(axis=1) - SPREAD_SHARE * among)
        return Rates(_eer(own, skilled), _eer(own_set, skilled_set), _eer(own, strangers))


def embed_all(
    network: nn.Module, canvases: NDArray[np.uint8], device: str, batch: int = 64
) -> NDArray[np.float32]:
    """``(n, h, w) uint8`` to ``(n, dimension) float32`` in batches, in evaluation mode, without gradients."""
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
    """EER with every writer weighing the same; NaN when one side is empty."""
    if not any(len(part) for part in genuine) or not any(len(part) for part in forged):
        return float("nan")
    sides = []
    for parts in (genuine, forged):
        filled = [part for part in parts if len(part)]
        weights = np.concatenate([np.full(len(part), 1.0 / len(part)) for part in filled])
        sides.append((np.concatenate(filled), weights))
    (g, gw), (f, fw) = sides
    return float(eer(g, f, gw, fw))
