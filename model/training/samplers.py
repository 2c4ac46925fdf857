"""Which signatures make up a batch: P identities x K genuine x F forgeries, the same for the same seed and step.

A batch depends on the seed and its step's number alone. That makes resuming exact, and workers interchangeable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from model.errors import DataError
from model.training.recipes import SamplerSpec
from model.training.sources import Source


@dataclass(frozen=True)
class Pick:
    """One row of a batch: ``label`` counts identities over all sources."""

    source: int
    identity: int
    label: int
    number: int
    forged: bool


@dataclass(frozen=True)
class Batch:
    """``canvases (n, h, w) uint8, ink = 255; identities (n,) int64; forged (n,) bool``."""

    canvases: torch.Tensor
    identities: torch.Tensor
    forged: torch.Tensor


class IdentitySampler:
    """Draws the rows of a batch.

    Parameters
    ----------
    sources : sequence of Source
    weights : sequence of float
        Each source's share of the identities in a batch.
    """

    def __init__(
        self, sources: Sequence[Source], weights: Sequence[float], spec: SamplerSpec, seed: int
    ) -> None:
        self._sources, self._spec, self._seed = sources, spec, seed
        self._sizes = [len(source.groups) for source in sources]
        self._first = np.concatenate([[0], np.cumsum(self._sizes)]).astype(int)
        self._share = np.asarray(weights, dtype=np.float64) / sum(weights)
        if min(self._sizes) == 0:
            empty = sources[self._sizes.index(0)].about.name
            raise DataError(f"{empty} has nobody with two usable genuine specimens.")
        self._members = [_members(source.groups) for source in sources]

    @property
    def identities(self) -> int:
        """How many there are in all sources."""
        return int(self._first[-1])

    def plan(self, step: int) -> list[Pick]:
        """The rows of batch ``step``."""
        rng = np.random.default_rng([self._seed, step])
        # Systematic sampling: shares are met exactly on average and nearly in every batch.
        points = (np.arange(self._spec.identities) + rng.random()) / self._spec.identities
        chosen = np.bincount(
            np.searchsorted(np.cumsum(self._share)[:-1], points), minlength=len(self._sources)
        )
        picks: list[Pick] = []
        for index, wanted in enumerate(chosen):
            for identity in self._people(index, int(wanted), rng):
                picks += self._rows(index, identity, rng)
        return picks

    def _people(self, index: int, wanted: int, rng: np.random.Generator) -> list[int]:
        everybody = np.arange(self._sizes[index])
        groups = self._members[index]
        if len(groups) > 1 and rng.random() < self._spec.together:
            everybody = groups[int(rng.integers(len(groups)))]
        return [int(i) for i in rng.choice(everybody, size=min(wanted, len(everybody)), replace=False)]

    def _rows(self, index: int, identity: int, rng: np.random.Generator) -> list[Pick]:
        rows = []
        for forged, wanted in ((False, self._spec.genuine), (True, self._spec.forgeries)):
            count = self._sources[index].count(identity, forged=forged)
            numbers = rng.choice(count, size=min(wanted, count), replace=False) if count else ()
            rows += [
                Pick(index, identity, int(self._first[index]) + identity, int(number), forged)
                for number in numbers
            ]
        return rows


class Batches(TorchDataset[Batch]):
    """Batches by step, for a ``DataLoader(batch_size=None)``; drawing happens in its workers."""

    def __init__(self, sampler: IdentitySampler, sources: Sequence[Source], seed: int, steps: int) -> None:
        self._sampler, self._sources, self._seed, self._steps = sampler, sources, seed, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        picks = self._sampler.plan(step)
        canvases = [
            self._sources[pick.source].draw(
                pick.identity,
                pick.number,
                np.random.default_rng([self._seed, step, row]),
                forged=pick.forged,
            )
            for row, pick in enumerate(picks)
        ]
        return Batch(
            torch.from_numpy(np.stack(canvases)),
            torch.tensor([pick.label for pick in picks]),
            torch.tensor([pick.forged for pick in picks]),
        )


def _members(groups: Sequence[str]) -> list[NDArray[np.int64]]:
    names: dict[str, list[int]] = {}
    for identity, group in enumerate(groups):
        names.setdefault(group, []).append(identity)
    return [np.array(ids, dtype=np.int64) for ids in names.values()]
