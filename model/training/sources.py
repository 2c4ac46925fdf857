"""Sources of training canvases: packed crops, recorded trajectories and synthetic writers.

A source has identities, numbered from 0, each with genuine specimens and possibly forgeries. It renders a specimen
on a canvas with random augmentation; the same state of the random generator gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.data.augmentation import Augmentation, age_scan, augment_crop, random_affine
from model.data.packing import DEFAULT_CACHE, pack
from model.data.pseudo_writers import Deformation, deform_ink, deform_trajectory
from model.data.specimens import Dataset, Specimen
from model.data.synthetic_population import synthetic_data
from model.errors import DataError
from model.networks.card import TrainingData
from model.preprocessing.ink import Canvas
from model.synthetic.pen import Pen, Trajectory, draw, evenly_spaced, perturb, random_pen
from model.synthetic.pool import Population, open_pool
from model.types import Terms

Pixels = NDArray[np.uint8]


class Identities(Protocol):
    """Identities with their specimens, numbered from 0."""

    @property
    def about(self) -> TrainingData:
        """The entry of this source on the card of the weights."""

    @property
    def groups(self) -> Sequence[str]:
        """The group of each identity; a group is the same name written by several writers."""

    def count(self, identity: int, *, forged: bool) -> int:
        """Return the number of genuine specimens or of forgeries of an identity."""


class Source(Identities, Protocol):
    """Identities whose specimens can be rendered."""

    def draw(
        self,
        identity: int,
        number: int,
        rng: np.random.Generator,
        *,
        forged: bool,
        deformation: Deformation | None = None,
    ) -> Pixels:
        """Render specimen ``number`` as an augmented canvas: (height, width) uint8, ink = 255."""


class CropSource:
    """Scans, with the isolated ink read from the packed cache."""

    def __init__(
        self, dataset: Dataset, canvas: Canvas, augmentation: Augmentation, cache: Path = DEFAULT_CACHE
    ) -> None:
        self._packed = packed = pack(dataset, cache)
        self._canvas, self._augmentation = canvas, augmentation
        self._rows: list[tuple[list[int], list[int]]] = []  # genuine, forged
        signers = []
        rows_by_signer: dict[str, tuple[list[int], list[int]]] = {}
        for row, (signer, genuine) in enumerate(zip(packed.signers, packed.genuine, strict=True)):
            rows_by_signer.setdefault(signer, ([], []))[0 if genuine else 1].append(row)
        for signer, rows in rows_by_signer.items():
            if len(rows[0]) >= 2:
                signers.append(signer)
                self._rows.append(rows)
        self.groups = tuple(signer.partition("/")[2] for signer in signers)
        self.about = _about(dataset, len(signers), sum(len(g) + len(f) for g, f in self._rows))

    def count(self, identity: int, *, forged: bool) -> int:
        """Return the number of scans."""
        return len(self._rows[identity][forged])

    def draw(
        self,
        identity: int,
        number: int,
        rng: np.random.Generator,
        *,
        forged: bool,
        deformation: Deformation | None = None,
    ) -> Pixels:
        """Render one scan, augmented."""
        density = self._packed.density(self._rows[identity][forged][number])
        if deformation is not None:
            density = deform_ink(density, deformation)
        return augment_crop(density, self._canvas, self._augmentation, rng)


class TrajectorySource:
    """Recorded pen movements, rendered each time with a random pen and a slightly perturbed movement."""

    def __init__(self, dataset: Dataset, canvas: Canvas, augmentation: Augmentation) -> None:
        self._canvas, self._augmentation = canvas, augmentation
        signers = [s for s in dataset.signers() if len(dataset.genuine(s)) >= 2]
        self._trajectories = [  # genuine, forged
            (_trajectories(dataset.genuine(signer)), _trajectories(dataset.forgeries(signer)))
            for signer in signers
        ]
        self.groups = ("",) * len(signers)
        self.about = _about(dataset, len(signers), sum(len(g) + len(f) for g, f in self._trajectories))

    def count(self, identity: int, *, forged: bool) -> int:
        """Return the number of recordings."""
        return len(self._trajectories[identity][forged])

    def draw(
        self,
        identity: int,
        number: int,
        rng: np.random.Generator,
        *,
        forged: bool,
        deformation: Deformation | None = None,
    ) -> Pixels:
        """Render one recording, augmented."""
        trajectory = perturb(self._trajectories[identity][forged][number], rng, self._augmentation.perturb)
        if deformation is not None:
            trajectory = deform_trajectory(trajectory, deformation)
        return draw_augmented(trajectory, random_pen(rng), self._canvas, self._augmentation, rng)


class SyntheticSource:
    """Synthetic writers with genuine specimens and skilled forgeries.

    Parameters
    ----------
    population : Population
        From :func:`model.data.synthetic_population.recipe_population`.
    """

    def __init__(self, canvas: Canvas, augmentation: Augmentation, population: Population) -> None:
        self._canvas, self._augmentation = canvas, augmentation
        self._population = population
        self._pool = open_pool(population)
        self.groups = ("",) * population.writers
        self.about = synthetic_data(population)

    def count(self, identity: int, *, forged: bool) -> int:
        """Return the number of specimens in the recipe, which is the same for all writers."""
        del identity
        return self._population.forgeries if forged else self._population.genuine

    def draw(
        self,
        identity: int,
        number: int,
        rng: np.random.Generator,
        *,
        forged: bool,
        deformation: Deformation | None = None,
    ) -> Pixels:
        """Render one specimen with a random pen, augmented."""
        trajectory = self._pool.trajectory(identity, number, forged=forged)
        if deformation is not None:
            trajectory = deform_trajectory(trajectory, deformation)
        return draw_augmented(trajectory, random_pen(rng), self._canvas, self._augmentation, rng)


def draw_augmented(
    trajectory: Trajectory, pen: Pen, canvas: Canvas, augmentation: Augmentation, rng: np.random.Generator
) -> Pixels:
    """Render a trajectory on an augmented canvas: (canvas.height, canvas.width) uint8, ink = 255."""
    affine = random_affine(rng, canvas, augmentation)
    return age_scan(draw(trajectory, pen, canvas, affine), augmentation, rng)


def source_of(
    dataset: Dataset, canvas: Canvas, augmentation: Augmentation, cache: Path = DEFAULT_CACHE
) -> Source:
    """Open the source for a data set: trajectories if it has them, otherwise crops."""
    first = dataset.genuine(dataset.signers()[0])
    if first and first[0].trajectory is not None:
        return TrajectorySource(dataset, canvas, augmentation)
    return CropSource(dataset, canvas, augmentation, cache)


def _trajectories(specimens: Sequence[Specimen]) -> list[Trajectory]:
    trajectories = []
    for specimen in specimens:
        if specimen.trajectory is None:
            raise DataError(f"{specimen.key} has no trajectory.")
        trajectories.append(evenly_spaced(specimen.trajectory()))
    return trajectories


def _about(dataset: Dataset, signers: int, signatures: int) -> TrainingData:
    terms: Terms = dataset.terms
    return TrainingData(
        name=dataset.name, terms=terms, signers=signers, signatures=signatures, citation=dataset.citation
    )
