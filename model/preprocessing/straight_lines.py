"""Straight lines on a page, at any angle: lines to sign on, rulings, the squares of paper.

Lengths are in pixels of a view of a page (:mod:`model.preprocessing.views`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.segmentation import Grey

Points = NDArray[np.float64]

MIN_SEGMENT, MIN_FIRST, MIN_LENGTH = 15.0, 25.0, 60.0
"""Least length of a straight segment of a line, of its longest one, and of the line."""

SEARCH_SCALE = 0.5
"""Scale at which segments of lines are searched: takes less than half the time, and lines are long."""

COVERED = 0.45
"""Least share of a line along which there are segments."""

PARALLEL, BESIDE = 0.03, 4.5
"""Largest angle in radians between the segments of a line, and their largest distance from it: segments are found on
both edges of a line."""

MAX_LINES = 40
"""Most lines, the longest segments first."""

REACH = 3
"""How far off the ink of a line may be."""

CROSSED = 1.6
"""Where the ink across a line is so many times as thick as usual, a stroke crosses it."""


@dataclass(frozen=True)
class Line:
    """A straight line.

    Attributes
    ----------
    start, end : float64 (2,)
        x and y.
    covered : float
        Share of its length along which segments were found, in [0, 1].
    """

    start: Points
    end: Points
    covered: float

    def outline(self) -> tuple[Points, Points]:
        """Return points on the line about a pixel apart (m, 2), and its unit normal at each."""
        length = max(float(np.hypot(*(self.end - self.start))), 1.0)
        along = (self.end - self.start) / length
        points = self.start + np.arange(0.0, length + 1.0)[:, None] * along
        return points, np.broadcast_to(np.array([-along[1], along[0]]), points.shape)


def segments(darkness: Grey, scale: float = 0.8) -> Points:
    """Find straight segments (Grompone von Gioi et al., LSD, IPOL 2012): (n, 4), the x and y of both ends.

    ``scale`` is that of the copy on which they are searched; the default is the authors'.
    """
    found = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD, scale).detect(255 - darkness)[0]
    return np.zeros((0, 4)) if found is None else np.asarray(found, np.float64).reshape(-1, 4)


def find_lines(darkness: Grey) -> list[Line]:
    """Find straight lines: darkness is (h, w) uint8, 255 = black."""
    found = segments(darkness, SEARCH_SCALE)
    lengths = np.hypot(found[:, 2] - found[:, 0], found[:, 3] - found[:, 1])
    found, lengths = found[lengths >= MIN_SEGMENT], lengths[lengths >= MIN_SEGMENT]
    angles = np.arctan2(found[:, 3] - found[:, 1], found[:, 2] - found[:, 0])
    free = np.ones(len(found), bool)
    lines: list[Line] = []
    for first in np.argsort(-lengths):
        if lengths[first] < MIN_FIRST or len(lines) == MAX_LINES:
            break
        if not free[first]:
            continue
        near, centre, along = _collinear(found, lengths, angles, free, first)
        free &= ~near
        at = (np.concatenate([found[near, :2], found[near, 2:]]) - centre) @ along
        length = float(np.ptp(at))
        covered = float(lengths[near].sum()) / 2 / max(length, 1.0)
        if length >= MIN_LENGTH and covered >= COVERED:
            lines.append(Line(centre + along * at.min(), centre + along * at.max(), min(1.0, covered)))
    return lines


def _collinear(
    found: Points, lengths: Points, angles: Points, free: NDArray[np.bool_], first: int
) -> tuple[NDArray[np.bool_], Points, Points]:
    """Find the free segments on the line of one; return which, a point of the line, and its direction."""
    middles = (found[:, :2] + found[:, 2:]) / 2
    centre, angle = middles[first], float(angles[first])
    along = np.array([np.cos(angle), np.sin(angle)])
    near = np.zeros(len(found), bool)
    for _ in range(2):  # the second time, along the line that fits the segments near the first one
        off = (middles - centre) @ np.array([-along[1], along[0]])
        turn = np.abs((angles - angle + np.pi / 2) % np.pi - np.pi / 2)
        near = free & (np.abs(off) <= BESIDE) & (turn <= PARALLEL)
        near[first] = True
        if lengths[near].sum() < 2 * COVERED * MIN_LENGTH:
            break  # too little for a line; fitting one takes most of the time
        ends, weights = np.concatenate([found[near, :2], found[near, 2:]]), np.tile(lengths[near], 2)
        centre = np.average(ends, axis=0, weights=weights)
        _, axes = np.linalg.eigh(np.cov((ends - centre).T, aweights=weights))
        along = axes[:, 1]
        angle = float(np.arctan2(along[1], along[0]))
    return near, centre, along


def thin_runs(
    mask: Grey, points: Points, normals: Points, reach: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Find the ink along an outline, except for strokes that cross it.

    As staff lines are removed from scores: where the ink across an outline is thicker than usual, a stroke crosses
    it.

    Parameters
    ----------
    mask : uint8 (h, w)
        1 = ink.
    points, normals : float64 (n, 2)
        Of the outline, about a pixel apart.
    reach : int
        How far off the ink may be.

    Returns
    -------
    rows, columns : int32 (m,)
    """
    offsets = np.arange(-2 * reach, 2 * reach + 1)
    across = points[:, None] + offsets[:, None] * normals[:, None]
    inked, inside = look_up(mask, across)
    nearest = np.where(inked, np.abs(offsets), 10 * reach).argmin(axis=1)
    at = np.arange(len(points))
    has_ink = inked[at, nearest] & (np.abs(offsets[nearest]) <= reach)
    if not has_ink.any():
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    # A run ends before the first pixel without ink on either side of the nearest one.
    places = np.arange(len(offsets))
    first = np.where(~inked & (places < nearest[:, None]), places, -1).max(axis=1) + 1
    last = np.where(~inked & (places > nearest[:, None]), places, len(places)).min(axis=1) - 1
    thickness = last - first + 1
    usual = float(np.median(thickness[has_ink]))
    thin = has_ink & (thickness <= max(usual + 1.0, CROSSED * usual))
    run = thin[:, None] & (places >= first[:, None] - 1) & (places <= last[:, None] + 1) & inside
    column, row = np.rint(across[run]).astype(np.int32).T
    return row, column


def look_up(mask: Grey, points: Points) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return of points (..., 2) whether there is ink, and whether they lie in the image."""
    height, width = mask.shape
    column, row = np.rint(points[..., 0]).astype(np.int32), np.rint(points[..., 1]).astype(np.int32)
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    inked = mask[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)] > 0
    return inked & inside, inside
