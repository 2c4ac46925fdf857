"""The composition of batches: P identities x K genuine specimens x F forgeries.

A batch depends only on the seed and its step. Resuming is therefore exact, and so is loading in several workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from model.data.pseudo_writers import Deformation, random_deformation, random_joint
from model.errors import DataError
from model.training.distributed import Share
from model.training.recipes import SamplerSpec
from model.training.sources import Identities, Source


@dataclass(frozen=True)
class BatchRow:
    """The specimen in one row of a batch.

    Attributes
    ----------
    source : int
        Index of the source.
    identity : int
        Index of the identity within the source.
    label : int
        Index of the identity over all sources.
    number : int
        Index of the specimen among the genuine ones or the forgeries of the identity.
    forged : bool
    deformation : Deformation or None
        The deformation that makes the identity a pseudo-writer, the same object in all its rows.
    second : tuple of int or None
        Identity and number of the specimen that is joined to this one; genuine or forged as this one is.
    """

    source: int
    identity: int
    label: int
    number: int
    forged: bool
    deformation: Deformation | None = None
    second: tuple[int, int] | None = None


@dataclass(frozen=True)
class Batch:
    """``canvases (m, h, w) uint8, ink = 255; identities (n,) int64; forged (n,) bool``.

    The canvases are those of the share of one process, in the order of :meth:`model.training.distributed.Share.rows`;
    the others are those of all rows of the batch.
    """

    canvases: torch.Tensor
    identities: torch.Tensor
    forged: torch.Tensor


class IdentitySampler:
    """Draws the rows of a batch.

    Parameters
    ----------
    sources : sequence of Identities
    weights : sequence of float
        Share of each source in the identities of a batch.
    spec : SamplerSpec
    seed : int

    Raises
    ------
    DataError
        A source has no identities.
    """

    def __init__(
        self, sources: Sequence[Identities], weights: Sequence[float], spec: SamplerSpec, seed: int
    ) -> None:
        self._sources, self._spec, self._seed = sources, spec, seed
        self._sizes = [len(source.groups) for source in sources]
        self._first_label = np.concatenate([[0], np.cumsum(self._sizes)]).astype(int)
        self._shares = np.asarray(weights, dtype=np.float64) / sum(weights)
        if min(self._sizes) == 0:
            empty = sources[self._sizes.index(0)].about.name
            raise DataError(f"No signer of {empty} has two usable genuine specimens.")
        self._groups = [_identities_by_group(source.groups) for source in sources]

    @property
    def identities(self) -> int:
        """Number of identities in all sources."""
        return int(self._first_label[-1])

    def rows(self, step: int) -> list[BatchRow]:
        """Draw the rows of batch ``step``."""
        rng = np.random.default_rng([self._seed, step])
        # Systematic sampling: the shares are exact on average and deviate by less than one identity in each batch.
        points = (np.arange(self._spec.identities) + rng.random()) / self._spec.identities
        counts = np.bincount(
            np.searchsorted(np.cumsum(self._shares)[:-1], points), minlength=len(self._sources)
        )
        rows: list[BatchRow] = []
        for source, count in enumerate(counts):
            for identity in self._draw_identities(source, int(count), rng):
                rows += self._draw_specimens(source, identity, rng)
        if self._spec.pseudo_writers:
            rows = self._with_pseudo_writers(rows, np.random.default_rng([self._seed, step, 1]))
        return rows

    def _draw_identities(self, source: int, count: int, rng: np.random.Generator) -> list[int]:
        candidates = np.arange(self._sizes[source])
        groups = self._groups[source]
        if len(groups) > 1 and rng.random() < self._spec.together:
            candidates = groups[int(rng.integers(len(groups)))]
        return [int(i) for i in rng.choice(candidates, size=min(count, len(candidates)), replace=False)]

    def _draw_specimens(self, source: int, identity: int, rng: np.random.Generator) -> list[BatchRow]:
        rows = []
        for forged, maximum in ((False, self._spec.genuine), (True, self._spec.forgeries)):
            available = self._sources[source].count(identity, forged=forged)
            numbers = rng.choice(available, size=min(maximum, available), replace=False) if available else ()
            rows += [
                BatchRow(source, identity, int(self._first_label[source]) + identity, int(number), forged)
                for number in numbers
            ]
        return rows

    def _with_pseudo_writers(self, rows: list[BatchRow], rng: np.random.Generator) -> list[BatchRow]:
        deformations = {
            label: random_deformation(rng) if rng.random() < self._spec.pseudo_writers else None
            for label in dict.fromkeys(row.label for row in rows)
        }
        rows = [replace(row, deformation=deformations[row.label]) for row in rows]
        return self._joined(rows, rng) if self._spec.joined else rows

    def _joined(self, rows: list[BatchRow], rng: np.random.Generator) -> list[BatchRow]:
        """Join a second signer of the same source to some of the pseudo-writers."""
        by_label: dict[int, list[BatchRow]] = {}
        for row in rows:
            by_label.setdefault(row.label, []).append(row)
        joined: list[BatchRow] = []
        for group in by_label.values():
            first = group[0]
            if first.deformation is None or rng.random() >= self._spec.joined:
                joined += group
                continue
            other = int(rng.integers(self._sizes[first.source]))
            deformation = replace(first.deformation, joint=random_joint(rng))
            for forged in (False, True):
                part = [row for row in group if row.forged == forged]
                available = self._sources[first.source].count(other, forged=forged)
                if not available:
                    continue
                numbers = rng.choice(available, size=len(part), replace=len(part) > available)
                joined += [
                    replace(row, deformation=deformation, second=(other, int(number)))
                    for row, number in zip(part, numbers, strict=True)
                ]
        return joined


class Batches(TorchDataset[Batch]):
    """The batches of a run by step, for a ``DataLoader(batch_size=None)`` whose workers render the canvases.

    The length is the number of training steps; later steps are valid indices too.

    Parameters
    ----------
    sampler : IdentitySampler
    sources : sequence of Source
    seed : int
    steps : int
    share : Share
        The rows whose canvases are rendered.
    """

    def __init__(
        self, sampler: IdentitySampler, sources: Sequence[Source], seed: int, steps: int, share: Share
    ) -> None:
        self._sampler, self._sources, self._seed, self._steps = sampler, sources, seed, steps
        self._share = share

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        return self.batch(step, self._share)

    def batch(self, step: int, share: Share) -> Batch:
        """Return a batch with the canvases of a share of its rows. A row is the same in every share."""
        rows = self._sampler.rows(step)
        # A row that is repeated is rendered once.
        rendered, places = np.unique(share.rows(len(rows)), return_inverse=True)
        canvases = [
            self._sources[rows[index].source].draw(
                rows[index].identity,
                rows[index].number,
                np.random.default_rng([self._seed, step, int(index)]),
                forged=rows[index].forged,
                deformation=rows[index].deformation,
            )
            for index in rendered
        ]
        return Batch(
            torch.from_numpy(np.stack(canvases)[places]),
            torch.tensor([row.label for row in rows]),
            torch.tensor([row.forged for row in rows]),
        )


def _identities_by_group(groups: Sequence[str]) -> list[NDArray[np.int64]]:
    members: dict[str, list[int]] = {}
    for identity, group in enumerate(groups):
        members.setdefault(group, []).append(identity)
    return [np.array(identities, dtype=np.int64) for identities in members.values()]
