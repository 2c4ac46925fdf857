"""Where training's canvases come from: packed crops, recorded trajectories, invented writers.

A source has identities, numbered from 0, each with genuine specimens and perhaps forgeries; it draws any of them
onto a canvas with a random generator that it is handed. The same generator state gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.data.augmentation import Augmentation, age_scan, augment_crop, random_affine
from model.data.packing import DEFAULT_CACHE, pack
from model.data.specimens import Dataset, Specimen
from model.errors import DataError
from model.networks.card import TrainingData
from model.preprocessing.ink import Canvas
from model.synthetic.pen import Pen, Trajectory, draw, evenly_spaced, perturb, random_pen
from model.synthetic.pool import Population, open_pool
from model.synthetic.writer import Habits
from model.types import Terms

Pixels = NDArray[np.uint8]


class Source(Protocol):
    """Identities that can be drawn."""

    @property
    def about(self) -> TrainingData:
        """For the card."""

    @property
    def groups(self) -> Sequence[str]:
        """One for each identity: identities of one group resemble each other (the same name by many)."""

    def count(self, identity: int, *, forged: bool) -> int:
        """How many different specimens an identity has."""

    def draw(self, identity: int, number: int, rng: np.random.Generator, *, forged: bool) -> Pixels:
        """Specimen ``number`` as an augmented canvas: (height, width) uint8, ink = 255."""


class CropSource:
    """Scans whose ink is isolated once and kept packed."""

    def __init__(
        self, dataset: Dataset, canvas: Canvas, augmentation: Augmentation, cache: Path = DEFAULT_CACHE
    ) -> None:
        self._packed = packed = pack(dataset, cache)
        self._canvas, self._augmentation = canvas, augmentation
        self._rows: list[tuple[list[int], list[int]]] = []
        names = []
        of: dict[str, tuple[list[int], list[int]]] = {}
        for row, (signer, genuine) in enumerate(zip(packed.signers, packed.genuine, strict=True)):
            of.setdefault(signer, ([], []))[0 if genuine else 1].append(row)
        for signer, rows in of.items():
            if len(rows[0]) >= 2:
                names.append(signer)
                self._rows.append(rows)
        self.groups = tuple(name.partition("/")[2] for name in names)
        self.about = _about(dataset, len(names), sum(len(g) + len(f) for g, f in self._rows))

    def count(self, identity: int, *, forged: bool) -> int:
        """How many scans there are."""
        return len(self._rows[identity][forged])

    def draw(self, identity: int, number: int, rng: np.random.Generator, *, forged: bool) -> Pixels:
        """One scan, augmented."""
        density = self._packed.density(self._rows[identity][forged][number])
        return augment_crop(density, self._canvas, self._augmentation, rng)


class TrajectorySource:
    """Recorded pen movements, drawn anew each time with another pen and a movement slightly perturbed."""

    def __init__(self, dataset: Dataset, canvas: Canvas, augmentation: Augmentation) -> None:
        self._canvas, self._augmentation = canvas, augmentation
        signers = [s for s in dataset.signers() if len(dataset.genuine(s)) >= 2]
        self._of = [
            (_trajectories(dataset.genuine(signer)), _trajectories(dataset.forgeries(signer)))
            for signer in signers
        ]
        self.groups = ("",) * len(signers)
        self.about = _about(dataset, len(signers), sum(len(g) + len(f) for g, f in self._of))

    def count(self, identity: int, *, forged: bool) -> int:
        """How many recordings there are."""
        return len(self._of[identity][forged])

    def draw(self, identity: int, number: int, rng: np.random.Generator, *, forged: bool) -> Pixels:
        """One recording, drawn."""
        trajectory = perturb(self._of[identity][forged][number], rng, self._augmentation.perturb)
        return draw_augmented(trajectory, random_pen(rng), self._canvas, self._augmentation, rng)


class SyntheticSource:
    """Invented writers, their specimens and their forgers.

    Parameters
    ----------
    writers, genuine, forgeries : int
        How many, and how many different specimens of each.
    forgers : int
        The forgeries of a writer are shared out among so many.
    seed : int
        Of the first writer; keep validation's apart from training's.
    habits : mapping
        Of the people: ``variation``, ``diversity``, ``error`` of :class:`model.synthetic.writer.Habits`.
    """

    def __init__(
        self,
        canvas: Canvas,
        augmentation: Augmentation,
        writers: int = 1000,
        genuine: int = 24,
        forgeries: int = 24,
        forgers: int = 4,
        seed: int = 1_000_000,
        habits: Mapping[str, float] | None = None,
    ) -> None:
        self._canvas, self._augmentation = canvas, augmentation
        self._population = Population(writers, genuine, forgeries, forgers, seed, Habits(**habits or {}))
        self._pool = open_pool(self._population)
        self.groups = ("",) * writers
        self.about = TrainingData(
            name="synthetic",
            terms="permissive",
            signers=writers,
            signatures=writers * (genuine + forgeries),
            citation="drawn by this project's sigma-lognormal synthetic writer",
        )

    def count(self, identity: int, *, forged: bool) -> int:
        """As many as the recipe says, the same for everybody."""
        del identity
        return self._population.forgeries if forged else self._population.genuine

    def draw(self, identity: int, number: int, rng: np.random.Generator, *, forged: bool) -> Pixels:
        """One specimen, drawn with a random pen."""
        trajectory = self._pool.trajectory(identity, number, forged=forged)
        return draw_augmented(trajectory, random_pen(rng), self._canvas, self._augmentation, rng)


def draw_augmented(
    trajectory: Trajectory, pen: Pen, canvas: Canvas, augmentation: Augmentation, rng: np.random.Generator
) -> Pixels:
    """A trajectory on an augmented canvas: (canvas.height, canvas.width) uint8, ink = 255."""
    affine = random_affine(rng, canvas, augmentation)
    return age_scan(draw(trajectory, pen, canvas, affine), augmentation, rng)


def source_of(
    dataset: Dataset, canvas: Canvas, augmentation: Augmentation, cache: Path = DEFAULT_CACHE
) -> Source:
    """The source for a data set: trajectories where it has them, else crops."""
    first = dataset.genuine(dataset.signers()[0])
    if first and first[0].trajectory is not None:
        return TrajectorySource(dataset, canvas, augmentation)
    return CropSource(dataset, canvas, augmentation, cache)


def _trajectories(specimens: Sequence[Specimen]) -> list[Trajectory]:
    found = []
    for specimen in specimens:
        if specimen.trajectory is None:
            raise DataError(f"{specimen.key} has no trajectory.")
        found.append(evenly_spaced(specimen.trajectory()))
    return found


def _about(dataset: Dataset, signers: int, signatures: int) -> TrainingData:
    terms: Terms = dataset.terms
    return TrainingData(
        name=dataset.name, terms=terms, signers=signers, signatures=signatures, citation=dataset.citation
    )
