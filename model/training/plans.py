"""What the batches of a run contain: drawn by the loader's processes, rendered by :mod:`model.training.rendering`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset as TorchDataset

from model.data.masters import Masters
from model.data.pseudo_writers import WAVES, Deformation
from model.networks.card import TrainingData
from model.training.samplers import BatchRow, IdentitySampler


class MasterSource:
    """The identities of a data set, with the indices of their master images.

    Parameters
    ----------
    masters : Masters
    first : int
        Index of the first image of ``masters`` among the images of all sources.
    """

    def __init__(self, masters: Masters, first: int) -> None:
        starts = first + np.concatenate([[0], np.cumsum(masters.drawings)[:-1]])
        by_signer: dict[str, tuple[list[int], list[int]]] = {}
        for row, (signer, genuine) in enumerate(zip(masters.signers, masters.genuine, strict=True)):
            by_signer.setdefault(signer, ([], []))[0 if genuine else 1].append(row)
        usable = {signer: rows for signer, rows in by_signer.items() if len(rows[0]) >= 2}
        self._rows = list(usable.values())  # genuine, forged
        self._starts, self._drawings = starts, masters.drawings
        self.groups = tuple(signer.partition("/")[2] for signer in usable)
        self.about: TrainingData = masters.about.model_copy(
            update={
                "signers": len(usable),
                "signatures": sum(len(genuine) + len(forged) for genuine, forged in self._rows),
            }
        )

    def count(self, identity: int, *, forged: bool) -> int:
        """Return the number of specimens."""
        return len(self._rows[identity][forged])

    def image(self, identity: int, number: int, rng: np.random.Generator, *, forged: bool) -> int:
        """Return the index of a drawing of a specimen."""
        row = self._rows[identity][forged][number]
        return int(self._starts[row] + rng.integers(self._drawings[row]))


@dataclass(frozen=True)
class Plan:
    """What a batch contains: the images of each row, its deformation, and its label.

    Attributes
    ----------
    step : int
        The batch's number; augmentations are drawn from a generator that it seeds.
    images : int64 (n, 2)
        Indices of the master and of the one that is joined to it, which is the same if there is none.
    joined : int64 (m,)
        The rows with a second image.
    joint : float32 (n, 5)
        Scale and offsets (x, y, x, y) of the two images.
    inverse : float32 (n, 2, 2)
        Inverse of the deformation's linear part.
    waves, amplitudes : float32 (n, waves, 2)
    phases : float32 (n, waves)
    identities : int64 (n,)
    forged : bool (n,)
    """

    step: int
    images: torch.Tensor
    joined: torch.Tensor
    joint: torch.Tensor
    inverse: torch.Tensor
    waves: torch.Tensor
    phases: torch.Tensor
    amplitudes: torch.Tensor
    identities: torch.Tensor
    forged: torch.Tensor

    def to(self, device: str) -> Plan:
        """Return the plan with its tensors on a device."""
        tensors = (getattr(self, field.name) for field in fields(self)[1:])
        return Plan(self.step, *(tensor.to(device, non_blocking=True) for tensor in tensors))

    def of(self, rows: torch.Tensor) -> Plan:
        """Return the plan of some rows: int64 (m,)."""
        joined = torch.zeros(len(self.images), dtype=torch.bool, device=self.joined.device)
        joined[self.joined] = True
        tensors = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        chosen = {name: tensor[rows] for name, tensor in tensors.items() if name != "joined"}
        return Plan(self.step, joined=torch.nonzero(joined[rows]).flatten(), **chosen)


class Plans(TorchDataset[Plan]):
    """The plans of a run's batches by step."""

    def __init__(
        self, sampler: IdentitySampler, sources: Sequence[MasterSource], seed: int, steps: int
    ) -> None:
        self._sampler, self._sources, self._seed, self._steps = sampler, sources, seed, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Plan:
        rows = self._sampler.rows(step)
        rng = np.random.default_rng([self._seed, step, 2])
        columns = [_deformation_arrays(row.deformation) for row in rows]
        joint, inverse, waves, phases, amplitudes = (
            torch.from_numpy(np.stack(arrays)) for arrays in zip(*columns, strict=True)
        )
        return Plan(
            step,
            torch.tensor([self._images(row, rng) for row in rows]),
            torch.tensor(
                [index for index, row in enumerate(rows) if row.second is not None], dtype=torch.int64
            ),
            joint,
            inverse,
            waves,
            phases,
            amplitudes,
            torch.tensor([row.label for row in rows]),
            torch.tensor([row.forged for row in rows]),
        )

    def _images(self, row: BatchRow, rng: np.random.Generator) -> tuple[int, int]:
        source = self._sources[row.source]
        first = source.image(row.identity, row.number, rng, forged=row.forged)
        if row.second is None:
            return first, first
        return first, source.image(*row.second, rng, forged=row.forged)


def _deformation_arrays(deformation: Deformation | None) -> tuple[NDArray[np.float32], ...]:
    """The columns of a :class:`Plan` for one row: joint, inverse, waves, phases and amplitudes."""
    joint = np.array([1.0, 0.0, 0.0, 0.0, 0.0], dtype=np.float32)
    if deformation is None:
        flat = np.zeros((WAVES, 2), dtype=np.float32)
        return joint, np.eye(2, dtype=np.float32), flat, np.zeros(WAVES, dtype=np.float32), flat
    if deformation.joint is not None:
        joint = np.array([deformation.joint.scale, *np.ravel(deformation.joint.offsets)], dtype=np.float32)
    return (
        joint,
        np.linalg.inv(deformation.linear).astype(np.float32),
        deformation.waves.astype(np.float32),
        deformation.phases.astype(np.float32),
        deformation.amplitudes.astype(np.float32),
    )
