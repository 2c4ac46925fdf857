"""Squared paper: where its lines are, and taking them off the strokes that cross them.

The segmentation network takes short pieces of lines between strokes for strokes. Where lines are is known better from
the page as a whole: they run from edge to edge, in equal distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.ink import Located
from model.preprocessing.segmentation import Grey
from model.preprocessing.signature_line import painted
from model.preprocessing.straight_lines import thin_runs
from model.preprocessing.tilt import Rows

LINE_INK = 25
"""Darkness from which a pixel may belong to a line: those of squared paper are pale."""

ANGLES = np.arange(-0.3, 0.31, 0.1)
"""Angles in degrees at which lines are searched, beside that of the sharpest rows."""

COVERED = 0.75
"""Least share of the page that a line crosses."""

BESIDE = 4
"""Distance in pixels from a line at which less than half as much is inked."""

MIN_LINES = 3
"""Least number of parallel lines."""

MAX_SLOPE = 2.4
"""Largest angle of a page in degrees; others are put level before."""

UNEVEN, EVEN = 0.12, 0.75
"""Largest deviation of a distance between lines from a multiple of the usual one, as a share of that, and the least
share of the distances that deviate no more."""

OBLONG = 1.3
"""Largest ratio of the distances in the two directions."""

REACH = 3
"""How far off the ink of a line may be, in pixels."""


def may_be_squared(rows: Rows) -> bool:
    """Whether a page may be squared, by its rows."""
    return rows.full >= MIN_LINES and abs(rows.degrees) <= MAX_SLOPE


def without_squares(grey: Grey, located: Located, degrees: float) -> tuple[Grey, Located]:
    """Paint over the lines of squared paper, and locate the rest of the ink.

    Parameters
    ----------
    grey : uint8 (h, w)
    located : Located
        The ink of ``grey``.
    degrees : float
        Of its rows, as :attr:`Rows.degrees`.
    """
    lines = None if located.inverted else find_squares(located.darkness, degrees)
    return (grey, located) if lines is None else painted(grey, located, lines)


def find_squares(darkness: Grey, degrees: float) -> Grey | None:
    """Mark the lines of squared paper, except where strokes cross them.

    Parameters
    ----------
    darkness : uint8 (h, w)
        Relative to the paper; 255 = black.
    degrees : float
        The angle of rows, counter-clockwise.

    Returns
    -------
    uint8 (h, w) or None
        1 where a line is; None if the paper is not squared.
    """
    ink = (darkness > LINE_INK).view(np.uint8)
    level = _Lines.of(ink, np.tan(np.radians(ANGLES - degrees)))
    upright = _Lines.of(ink.T, np.tan(np.radians(ANGLES + degrees)))
    if level is None or upright is None:
        return None
    if not 1 / OBLONG <= level.distance / upright.distance <= OBLONG:
        return None
    marked = level.marked(ink) | upright.marked(ink.T).T
    return marked | _knots(ink & ~marked, level.drawn(ink.shape), upright.drawn(ink.T.shape).T)


def _knots(rest: Grey, level: Grey, upright: Grey) -> Grey:
    """Mark what is left where two lines cross, unless it is joined to a stroke."""
    size = 2 * REACH + 1
    crossings = level & upright
    count, labels, stats, _ = cv2.connectedComponentsWithStats(rest, connectivity=8)
    small = (stats[:, cv2.CC_STAT_WIDTH] <= size) & (stats[:, cv2.CC_STAT_HEIGHT] <= size)
    at_crossing = np.bincount(labels[crossings > 0], minlength=count) >= stats[:, cv2.CC_STAT_AREA]
    is_knot = small & at_crossing
    is_knot[0] = False
    return np.asarray(is_knot[labels], np.uint8)


@dataclass(frozen=True)
class _Lines:
    """Parallel lines that are nearly level: the rows in which they begin, their slope, and their usual distance."""

    rows: NDArray[np.float64]
    slope: float
    distance: float

    @classmethod
    def of(cls, ink: Grey, slopes: NDArray[np.float64]) -> _Lines | None:
        """Find lines from edge to edge in equal distances, at one of some slopes; None if there are too few."""
        width = ink.shape[1]
        rows, columns = np.nonzero(ink)
        profiles = [_profile(rows, columns, slope, ink.shape) for slope in slopes]
        best = int(np.argmax([np.square(np.diff(profile)).sum() for profile in profiles]))
        covered = profiles[best] / width
        # A thin line lies in two rows.
        both = covered + np.maximum(np.r_[covered[1:], 0], np.r_[0, covered[:-1]])
        is_top = both >= np.maximum(np.r_[both[1:], 0], np.r_[0, both[:-1]])
        beside = np.maximum(np.roll(both, BESIDE), np.roll(both, -BESIDE))
        at = np.flatnonzero((both >= COVERED) & is_top & (beside < both / 2))
        at = at[np.diff(at, prepend=-BESIDE - 1) > BESIDE]
        if len(at) < MIN_LINES:
            return None
        gaps = np.diff(at).astype(np.float64)
        distance = float(np.median(gaps))
        off = np.abs(gaps / distance - np.maximum(1.0, np.rint(gaps / distance)))
        if float(np.mean(off <= UNEVEN)) < EVEN:
            return None
        slope = float(slopes[best])
        return cls(at - width * max(0.0, slope), slope, distance)

    def marked(self, ink: Grey) -> Grey:
        """Mark the ink of the lines: (h, w) uint8 to the same."""
        marked = np.zeros_like(ink)
        column = np.arange(ink.shape[1], dtype=np.float64)
        normals = np.tile(np.array([-self.slope, 1.0]) / np.hypot(self.slope, 1.0), (len(column), 1))
        for row in self.rows:
            marked[thin_runs(ink, np.stack([column, row + self.slope * column], axis=1), normals, REACH)] = 1
        return marked

    def drawn(self, shape: tuple[int, ...]) -> Grey:
        """Draw the lines, as wide as their ink may be off: uint8 (h, w), 1 = line."""
        canvas = np.zeros(shape, np.uint8)
        last = shape[1] - 1
        for row in self.rows:
            ends = (0, round(row)), (last, round(row + self.slope * last))
            cv2.line(canvas, *ends, color=1, thickness=2 * REACH + 1)
        return canvas


def _profile(
    rows: NDArray[np.intp], columns: NDArray[np.intp], slope: float, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Count the ink along lines of a slope; one that begins in row r has the place r + width * max(0, slope)."""
    height, width = shape
    level = np.rint(rows - slope * columns + width * max(0.0, slope)).astype(np.intp)
    size = height + int(np.ceil(width * abs(slope))) + 2
    return np.bincount(level, minlength=size).astype(np.float64)
