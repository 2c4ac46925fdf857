"""A line to sign on: long, thin and straight, from one end of the ink to the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import UnusableSignature
from model.preprocessing.ink import Located, locate_ink
from model.preprocessing.segmentation import Grey
from model.preprocessing.tilt import straighten

LENGTH = 0.9
"""Least length of a printed line, as a share of the width of all ink. Signatures have shorter straight strokes."""

COVERED = 0.85
"""Least share of the columns of a line that have ink of it: strokes that cross it hide parts."""

BENT = 0.003
"""Largest deviation from a straight line, as a share of its length. Strokes underneath a name are less straight."""

SLOPE = 0.06
"""Largest rise of a line, as a share of its length."""

THICKNESS = 0.03
"""Largest thickness of a line, as a share of its length."""

GAP = 40
"""Gaps between the dots of a line have at most this part of the width of all ink."""

RUN = 12
"""A line consists of horizontal runs of at least this part of the width of all ink."""


def without_signature_line(grey: Grey, located: Located | None) -> tuple[Grey, Located | None]:
    """Paint over a line to sign on, and locate the rest of the ink.

    On its own, such a line is too little for the network to tell the image from a crop of a signature.

    Parameters
    ----------
    grey : uint8 (h, w)
    located : Located or None
        What :func:`locate` returned for it.
    """
    line = None if located is None or located.inverted else find_signature_line(located.mask)
    return (grey, located) if located is None or line is None else painted(grey, located, line)


def painted(grey: Grey, located: Located, line: Grey) -> tuple[Grey, Located]:
    """Paint over a line, marked by 1 at the resolution of ``located``, and locate the rest of the ink."""
    size = grey.shape[::-1]
    covered = cv2.resize(cv2.dilate(line, np.ones((3, 1), np.uint8)), size, interpolation=cv2.INTER_NEAREST)
    ground = cv2.resize(located.ground, size, interpolation=cv2.INTER_LINEAR)
    without = np.where(covered > 0, ground, grey)
    rest = locate(without)
    # Nothing but a line: the error is about the image as it is.
    return (grey, located) if rest is None else (without, replace(rest, ruled=True))


def find_signature_line(mask: Grey) -> Grey | None:
    """Find a line that is printed below or through a signature: (h, w) uint8, 1 = ink.

    Lines that extend from one edge of the image to the other are found by
    :func:`model.preprocessing.segmentation.rulings`; these may end within it.

    Returns
    -------
    uint8 (h, w) or None
        1 where the line is and no stroke crosses it; None if there is no line.
    """
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(columns):
        return None
    width = int(columns[-1] - columns[0] + 1)
    # The gaps of a dotted line are closed to find it.
    gap = np.ones((1, max(3, width // GAP)), np.uint8)
    for ink in (mask, cv2.morphologyEx(mask, cv2.MORPH_CLOSE, gap)):
        fitted = _find_line(np.asarray(ink, np.uint8), width)
        if fitted is not None:
            return _without_crossings(mask, fitted)
    return None


def has_leaning_line(mask: Grey, degrees: float) -> bool:
    """Whether there is a line to sign on once ink that is turned counter-clockwise by an angle is level.

    Parameters
    ----------
    mask : uint8 (h, w)
        1 = ink.
    degrees : float
        In [-20, 20].
    """
    level = straighten(np.where(mask > 0, np.uint8(0), np.uint8(255)), degrees).grey
    return find_signature_line((level < 128).view(np.uint8)) is not None


@dataclass(frozen=True)
class _Line:
    """A line in pixels: its left end, length, the height of its middle there, its slope and its thickness."""

    left: int
    length: int
    top: float
    slope: float
    thickness: float


def _find_line(ink: Grey, width: int) -> _Line | None:
    """Find a line almost as long as all ink is wide."""
    runs = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((1, max(9, width // RUN)), np.uint8))
    if np.count_nonzero(runs.any(axis=0)) < COVERED * LENGTH * width:
        return None  # too few to be a line; most signatures end here
    # The runs of a sloping line touch only at their ends.
    touching = cv2.dilate(runs, np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(touching, connectivity=8)
    for index in range(1, len(stats)):
        left, top, wide, high = stats[index, :4].tolist()
        if wide >= LENGTH * width:
            inside = np.s_[top : top + high, left : left + wide]
            line = _fit_line((labels[inside] == index) & (runs[inside] > 0), left, top)
            if line is not None:
                return line
    return None


def _fit_line(part: NDArray[np.bool_], left: int, top: int) -> _Line | None:
    """Fit a line to the pixels of a part (h, w); None if they are not thin, straight and nearly horizontal."""
    height, length = part.shape
    counts = part.sum(axis=0)
    inked = np.flatnonzero(counts)
    if len(inked) < COVERED * length:
        return None
    thickness = float(np.median(counts[inked]))
    thin = np.flatnonzero((counts > 0) & (counts <= thickness + 1))  # elsewhere, strokes lie on it
    middle = (part * np.arange(height)[:, None]).sum(axis=0)[thin] / counts[thin]
    slope, start = np.polyfit(thin, middle, 1)
    off = np.sort(np.abs(middle - (start + slope * thin)))
    # A tenth may be off: there, strokes follow the line.
    deviation = float(np.sqrt(np.mean(np.square(off[: int(0.9 * len(off)) + 1]))))
    if deviation > max(0.6, BENT * length) or abs(slope) > SLOPE or thickness > max(3.0, THICKNESS * length):
        return None
    return _Line(left, length, top + float(start), float(slope), thickness)


def _without_crossings(mask: Grey, line: _Line) -> Grey:
    """Mark the ink near a line, except for strokes that cross it."""
    band = np.zeros_like(mask)
    reach = round(line.thickness) + 2
    last = line.left + line.length
    cv2.line(
        band,
        (line.left - 2, round(line.top)),
        (last + 1, round(line.top + line.slope * line.length)),
        color=1,
        thickness=reach,
    )
    crossing = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((reach + 2, 1), np.uint8))
    beside = cv2.dilate(crossing, np.ones((1, 3), np.uint8)) == 0
    return np.where(beside, band & mask, 0).astype(np.uint8)


def locate(grey: Grey) -> Located | None:
    """Locate the ink of an image; None if there is none or it cannot be told from paper."""
    try:
        return locate_ink(grey)
    except UnusableSignature:
        return None
