"""Frames of rubber stamps that lie across a signature: rings, and rectangles that are turned.

To the segmentation network, a thin ring that touches the strokes of a signature is one of them. Its shape tells it
apart: handwriting is seldom that round, or that straight. What is printed inside is told by not being connected with
strokes outside.

Lengths are in pixels of a view of a page (:mod:`model.preprocessing.views`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.box import Box
from model.preprocessing.segmentation import Grey, Parts
from model.preprocessing.straight_lines import look_up, segments, thin_runs

Points = NDArray[np.float64]

FAINT = 24
"""Darkness from which a pixel counts as ink of a stamp: stamps are fainter than strokes."""

MIN_SIZE, MAX_SIZE = 15.0, 90.0
"""Radii of rings; sides of rectangles have up to three times as many pixels."""

SMALL, COVERED_SMALL = 22.0, 0.85
"""Radius up to which a ring may be a loop of a signature, and the least share of it that has ink."""

COVERED, BESIDE, BESIDE_TEXT = 0.65, 0.3, 0.5
"""Least share of an outline that has ink, and the most that ink takes beside it: where there is no text, and where
there is."""

SIDE_COVERED, SIDE_BESIDE = 0.45, 0.45
"""The same for one side of a rectangle."""

MAX_CIRCLES, MAX_LINES = 12, 8
"""Most circles, and most parallel lines, that are examined, the most prominent ones first."""

MIN_SEGMENT, MIN_STRAIGHT = 12.0, 90.0
"""Least length of a straight segment, and of all those of a rectangle."""

UPRIGHT = 2.0
"""Angle in degrees up to which a rectangle is not turned: it is a box of the form then."""

SAME_LINE = 3.5
"""Distance up to which parallel segments lie on one line."""

REACH = 0.09
"""How far off the ink of a frame may be at another scale, as a share of the frame's half extent."""

SIGNED_INSIDE = 0.7
"""Share of the box of a signature inside a frame from which the frame is around it."""

INSIDE, LETTER = 0.7, 0.9
"""Least share of a word of a stamp that lies inside the frame, and its largest size relative to the frame."""

MIN_LETTERS, MIN_LETTER = 3, 6
"""Least number of parts inside a frame, and their least area in pixels."""

_ANGLES = np.linspace(0.0, 2.0 * np.pi, 180, endpoint=False)
_CIRCLE: Points = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


@dataclass(frozen=True)
class Frame:
    """A closed outline.

    Attributes
    ----------
    corners : float64 (n, 2)
        x and y; those of a ring are close to one another.
    has_text : bool
        Whether the letters inside belong to the stamp. A frame around a signature is a box to sign in.
    """

    corners: Points
    has_text: bool = False

    def mapped(self, scale: float, left: float = 0.0, top: float = 0.0) -> Frame:
        """Return the frame after scaling, and then moving it."""
        return replace(self, corners=self.corners * scale + (left, top))

    def outline(self) -> tuple[Points, Points]:
        """Return points on the outline about a pixel apart, and the unit normals there: (m, 2) each."""
        sides = [(along, np.broadcast_to(normal, along.shape)) for along, normal in _sides(self.corners)]
        points, normals = zip(*sides, strict=True)
        return np.concatenate(points), np.concatenate(normals)


def find_frames(darkness: Grey, signatures: Sequence[Box]) -> list[Frame]:
    """Find the frames of stamps.

    Parameters
    ----------
    darkness : uint8 (h, w)
        255 = black.
    signatures : sequence of Box
        Where signatures may be. A frame around one is a box to sign in, and what is inside is no text.
    """
    mask = (darkness > FAINT).view(np.uint8)
    groups = [*_rings(darkness, mask), *([frame] for frame in _rectangles(darkness, mask))]
    # A single frame without text may be a loop of a stroke.
    frames = [one for group in groups if len(group) > 1 or _encloses_text(mask, group[0]) for one in group]
    if not frames:
        return []
    inside = _filled(mask, frames)
    signed = (box.clipped(mask.shape).of(inside) for box in signatures)
    has_text = all(float(part.mean()) < SIGNED_INSIDE for part in signed if part.size)
    return [replace(frame, has_text=has_text) for frame in frames]


def stamp_mask(darkness: Grey, frames: Sequence[Frame]) -> Grey:
    """Mark the ink of frames and of what is printed inside, except for strokes that cross them.

    Returns
    -------
    uint8 (h, w)
        1 where the stamps are.
    """
    mask = (darkness > FAINT).view(np.uint8)
    marked = np.zeros_like(mask)
    for frame in frames:
        _mark(mask, frame, marked)
    with_text = [frame for frame in frames if frame.has_text]
    if with_text:
        parts = _words(mask & (1 - marked), with_text)
        marked[parts.mask > 0] = 1
    return marked


def _filled(mask: Grey, frames: Sequence[Frame]) -> Grey:
    """Mark what is inside of frames, with a rim in which ink of them may be left: 1 = inside."""
    inside = np.zeros_like(mask)
    for frame in frames:
        middle = frame.corners.mean(axis=0)
        larger = middle + (1.0 + REACH) * (frame.corners - middle)
        cv2.fillPoly(inside, [np.rint(larger).astype(np.int32)], color=1)
    return inside


def _words(rest: Grey, frames: Sequence[Frame]) -> Parts:
    """Return the parts of the ink without the frames that lie inside of these, and are smaller."""
    parts = Parts.of(rest)
    counts = np.bincount(parts.labels[_filled(rest, frames) > 0], minlength=len(parts.left))
    largest = LETTER * max(float(np.ptp(frame.corners, axis=0).max()) for frame in frames)
    wide, high, areas = parts.stats[:, 2], parts.stats[:, 3], parts.stats[:, 4]
    return parts.only((counts >= INSIDE * areas) & (np.maximum(wide, high) <= largest))


def _encloses_text(mask: Grey, frame: Frame) -> bool:
    """Whether something is printed inside."""
    marked = np.zeros_like(mask)
    _mark(mask, frame, marked)
    words = _words(mask & (1 - marked), [frame])
    return int((words.left & (words.stats[:, 4] >= MIN_LETTER)).sum()) >= MIN_LETTERS


def _rings(darkness: Grey, mask: Grey) -> Iterator[list[Frame]]:
    """Find rings, those around the same centre together."""
    circles = cv2.HoughCircles(
        cv2.GaussianBlur(darkness, (0, 0), 1.0),
        cv2.HOUGH_GRADIENT_ALT,
        dp=1.5,
        minDist=8,
        param1=60,
        param2=0.4,
        minRadius=int(MIN_SIZE),
        maxRadius=int(MAX_SIZE),
    )
    for x, y, radius, *_ in () if circles is None else circles[0, :MAX_CIRCLES].astype(float).tolist():
        fitted = _fit_ring(mask, np.array([x, y]), radius)
        if fitted is not None:
            yield [_ring(*fitted), *_concentric(mask, *fitted)]


def _gap(size: float) -> float:
    """Distance from the middle of an outline at which there is paper, for a frame of this half extent."""
    return max(3.0, 1.5 + 0.06 * size)


def _ring(centre: Points, radius: float) -> Frame:
    return Frame(centre + radius * _CIRCLE[::2])


def _fit_ring(mask: Grey, near: Points, radius: float) -> tuple[Points, float] | None:
    """Move a circle to where it has most ink; return its centre and radius, or None if there is no thin ring."""
    shifts = np.arange(-2.0, 3.0)
    centres = near + np.stack(np.meshgrid(shifts, shifts), axis=-1).reshape(-1, 2)
    radii = radius + np.arange(-3.0, 3.5, 0.5)
    shares = _ring_shares(mask, centres[:, None], radii)
    best = np.unravel_index(int(shares.argmax()), shares.shape)
    centre, fitted = centres[best[0]], float(radii[best[1]])
    if shares[best] < (COVERED if fitted > SMALL else COVERED_SMALL):
        return None
    return (centre, fitted) if _is_thin_ring(mask, centre, fitted) else None


def _concentric(mask: Grey, centre: Points, radius: float) -> Iterator[Frame]:
    """Find further rings of a stamp: the next one within, and around."""
    gap = _gap(radius)
    for first, last in ((0.45 * radius, radius - gap), (radius + gap, 1.6 * radius)):
        radii = np.arange(first, last, 0.5)
        if not len(radii):
            continue
        shares = _ring_shares(mask, centre[None, None], radii)[0]
        best = int(shares.argmax())
        if shares[best] >= COVERED and _is_thin_ring(mask, centre, float(radii[best])):
            yield _ring(centre, float(radii[best]))


def _ring_shares(mask: Grey, centres: Points, radii: Points) -> Points:
    """Return the share of circles that has ink: (c, 1, 2) and (r,) to (c, r); 0 if half of it is outside."""
    inked, inside = look_up(mask, centres[..., None, :] + radii[:, None, None] * _CIRCLE)
    seen = inside.sum(axis=-1)
    return np.where(2 * seen > inside.shape[-1], inked.sum(axis=-1) / np.maximum(seen, 1), 0.0)


def _is_thin_ring(mask: Grey, centre: Points, radius: float) -> bool:
    """Whether there is paper on one side of the ring, and little ink on the other one: letters follow rings."""
    gap = _gap(radius)
    less, more = sorted(_ring_shares(mask, centre[None, None], np.array([radius - gap, radius + gap]))[0])
    return bool(less <= BESIDE and more <= BESIDE_TEXT)


def _rectangles(darkness: Grey, mask: Grey) -> list[Frame]:
    found: list[tuple[float, Frame]] = []
    turn, rows, columns = _parallels(darkness)
    for (top, bottom), (left, right) in product(combinations(rows, 2), combinations(columns, 2)):
        if MIN_SIZE <= bottom - top <= 2 * MAX_SIZE and MIN_SIZE <= right - left <= 3 * MAX_SIZE:
            corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) @ turn
            share = _rectangle_share(mask, corners)
            if share >= COVERED:
                found.append((share, Frame(corners)))
    kept: list[Frame] = []
    for _, frame in sorted(found, key=lambda one: -one[0]):
        if not any(_overlap(frame, other) for other in kept):
            kept.append(frame)
    return kept


def _overlap(one: Frame, other: Frame) -> bool:
    area, _ = cv2.intersectConvexConvex(one.corners.astype(np.float32), other.corners.astype(np.float32))
    return area > 0.0


def _parallels(darkness: Grey) -> tuple[Points, list[float], list[float]]:
    """Find straight lines at right angles to one another.

    Returns
    -------
    turn : float64 (2, 2)
        From the page to axes along the lines; transposed, back to it.
    rows, columns : list of float
        Where the lines cross the other axis; empty if there are too few.
    """
    none: tuple[Points, list[float], list[float]] = np.eye(2), [], []
    start, end = np.split(segments(darkness), 2, axis=1)
    length = np.hypot(*(end - start).T)
    angle = np.degrees(np.arctan2(*(end - start).T[::-1]))
    tilt = (angle + 45.0) % 90.0 - 45.0
    usable = (length >= MIN_SEGMENT) & (np.abs(tilt) >= UPRIGHT)
    if float(length[usable].sum()) < MIN_STRAIGHT:
        return none
    counts = np.bincount((tilt[usable] + 45.0).astype(int), length[usable], minlength=91)
    peak = int(np.convolve(counts, [1.0, 1.0, 1.0], "same").argmax())
    near = usable & (np.abs(tilt - (peak - 44.5)) <= UPRIGHT)
    if float(length[near].sum()) < MIN_STRAIGHT:
        return none
    radians = np.radians(np.average(tilt[near], weights=length[near]))
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    middle, length = ((start + end) / 2 @ turn.T)[near], length[near]
    is_row = np.abs((angle[near] - np.degrees(radians) + 90.0) % 180.0 - 90.0) < 45.0
    return turn, _lines(middle[is_row, 1], length[is_row]), _lines(middle[~is_row, 0], length[~is_row])


def _lines(at: Points, length: Points) -> list[float]:
    """Join segments that lie on one line; return the positions of the longest lines, in order."""
    if not len(at):
        return []
    order = np.argsort(at)
    groups = np.split(order, np.flatnonzero(np.diff(at[order]) > SAME_LINE) + 1)
    lines = [(float(length[one].sum()), float(np.average(at[one], weights=length[one]))) for one in groups]
    return sorted(position for _, position in sorted(lines, reverse=True)[:MAX_LINES])


def _rectangle_share(mask: Grey, corners: Points) -> float:
    """Return the share of a rectangle's outline that has ink; 0 unless three sides are thin lines."""
    gap = _gap(float(np.ptp(corners, axis=0).min()) / 2)
    covered, seen, sides = 0, 0, 0
    for along, normal in _sides(corners):
        inked, inside = look_up(mask, along + np.array([-1.0, 0.0, 1.0])[:, None, None] * normal)
        count = int(inside[1].sum())
        if count < 0.3 * len(along):
            continue
        beside, _ = look_up(mask, along + np.array([-gap, gap])[:, None, None] * normal)
        on_it = int((inked.any(axis=0) & inside[1]).sum())
        if on_it < SIDE_COVERED * count or int(beside.sum(axis=1).min()) > SIDE_BESIDE * count:
            return 0.0
        covered, seen, sides = covered + on_it, seen + count, sides + 1
    return covered / seen if sides >= 3 else 0.0


def _sides(corners: Points) -> Iterator[tuple[Points, Points]]:
    """Yield, for each side of a polygon, points about a pixel apart (m, 2) and its unit normal (2,)."""
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        length = max(float(np.hypot(*(end - start))), 1e-6)
        along = start + np.arange(0.0, length)[:, None] / length * (end - start)
        yield along, np.array([end[1] - start[1], start[0] - end[0]]) / length


def _mark(mask: Grey, frame: Frame, marked: Grey) -> None:
    """Mark the runs of ink across an outline that are no thicker than usual."""
    reach = max(3, round(REACH * float(np.ptp(frame.corners, axis=0).min()) / 2))
    marked[thin_runs(mask, *frame.outline(), reach)] = 1
