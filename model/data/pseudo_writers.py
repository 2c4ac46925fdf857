"""Pseudo-writers: all specimens of a real writer, genuine and forged, changed in shape in one and the same way.

A few hundred real writers are soon learned by heart. Mirroring, stretching, shearing and bending all specimens of a
writer by one smooth deformation gives signatures of a shape that the network has not seen, while what makes a forgery
differ from a genuine signature, and genuine signatures from each other, is kept. In person re-identification and
few-shot learning a mirrored or turned class serves as a new class in the same way (Gidaris et al., "Boosting few-shot
visual learning with self-supervision", ICCV 2019; Zhu et al., "Prototype augmentation", CVPR 2021).

A pseudo-writer can also be made of two writers (:class:`Joint`): the first on the left, the second on the right.

Positions are relative to the centroid of the ink and in units of its spread, so that the deformation acts on the same
part of each specimen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.ink import ink_moments
from model.synthetic.pen import Trajectory, pen_moments

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

WAVES = 6
WAVELENGTHS = (2.5, 8.0)
"""Shortest and longest, in units of the spread of the ink; a signature is some 5 wide and 2.5 high."""

GRID = 24
"""Columns and rows at which the deformation of an image is computed; it is interpolated between them."""


@dataclass(frozen=True)
class Joint:
    """Joins the signatures of two writers: each is scaled by ``scale`` and its centroid moved to its offset.

    Attributes
    ----------
    scale : float
    offsets : two pairs of float
        x and y of the first and of the second signature, in units of their spread.
    """

    scale: float
    offsets: tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Deformation:
    """Maps positions u (n, 2), relative to the centroid in units of the spread, to ``linear @ (u + bend(u))``.

    Attributes
    ----------
    linear : float64 (2, 2)
        Mirroring, stretching and shear.
    waves : float64 (waves, 2)
        Wave vectors of the bend.
    phases : float64 (waves,)
    amplitudes : float64 (waves, 2)
    joint : Joint or None
        Two signatures are joined before they are deformed.
    """

    linear: Floats
    waves: Floats
    phases: Floats
    amplitudes: Floats
    joint: Joint | None = None

    def bend(self, positions: Floats) -> Floats:
        """Compute the displacement at each position: (n, 2) to (n, 2)."""
        return np.asarray(np.sin(positions @ self.waves.T + self.phases) @ self.amplitudes)


def random_deformation(rng: np.random.Generator) -> Deformation:
    """Draw a deformation: mirrored or not in each direction, aspect changed by up to 40 %, slanted and bent."""
    mirror = rng.choice([-1.0, 1.0], size=2)
    aspect = math.exp(rng.uniform(-0.35, 0.35) / 2.0)
    shear = rng.uniform(-0.4, 0.4)
    shortest, longest = np.log(WAVELENGTHS)
    lengths = np.exp(rng.uniform(shortest, longest, size=WAVES))
    angles = rng.uniform(0.0, 2.0 * math.pi, size=WAVES)
    waves = (2.0 * math.pi / lengths)[:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    # Shorter waves bend less, so that strokes are never folded over each other.
    strength = rng.uniform(0.03, 0.08) * lengths / math.sqrt(WAVES)
    return Deformation(
        linear=np.diag(mirror) @ np.array([[aspect, shear], [0.0, 1.0 / aspect]]),
        waves=waves,
        phases=rng.uniform(0.0, 2.0 * math.pi, size=WAVES),
        amplitudes=strength[:, None] * rng.normal(size=(WAVES, 2)),
    )


def random_joint(rng: np.random.Generator) -> Joint:
    """Draw a joint: two signatures beside each other, from overlapping to just apart."""
    reach, drop = rng.uniform(1.2, 2.1), rng.uniform(-0.4, 0.4)
    return Joint(scale=float(rng.uniform(0.5, 0.7)), offsets=((-reach, -drop), (reach, drop)))


def deform_trajectory(trajectory: Trajectory, deformation: Deformation) -> Trajectory:
    """Deform a recorded movement; times, pressure and pen lifts stay."""
    centre, sigma = pen_moments(trajectory)
    unit = math.sqrt(max(float(sigma[0] * sigma[1]), 1e-12))
    positions = (trajectory.xy - centre) / unit
    moved = (positions + deformation.bend(positions)) @ deformation.linear.T
    return replace(trajectory, xy=moved * unit + centre)


def deform_ink(density: Pixels, deformation: Deformation) -> Pixels:
    """Deform isolated ink: (h, w) uint8 to (h', w') uint8, 0 = paper, large enough for the deformed writing.

    The bend is applied in the opposite direction as in :func:`deform_trajectory`, which is as random.
    """
    height, width = density.shape
    x, y, sigma_x, sigma_y = ink_moments(density)
    unit = math.sqrt(max(1.0, sigma_x) * max(1.0, sigma_y))
    corners = np.array([[0.0, 0.0], [width, 0.0], [0.0, height], [width, height]]) - (x, y)
    reach = corners @ deformation.linear.T
    rim = 0.25 * unit
    low, high = reach.min(axis=0) - rim, reach.max(axis=0) + rim
    columns, rows = (np.linspace(low[axis], high[axis], GRID) for axis in (0, 1))
    targets = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2) / unit
    sources = targets @ np.linalg.inv(deformation.linear).T
    sources = (sources + deformation.bend(sources)) * unit + (x, y)
    size = (math.ceil(high[0] - low[0]), math.ceil(high[1] - low[1]))
    maps = [
        cv2.resize(
            sources[:, axis].reshape(GRID, GRID).astype(np.float32), size, interpolation=cv2.INTER_LINEAR
        )
        for axis in (0, 1)
    ]
    return np.asarray(
        cv2.remap(density, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), dtype=np.uint8
    )
