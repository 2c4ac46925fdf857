"""Pages that do not lie straight: by how much their print is turned, and putting it level.

The network was trained on pages that lie straight within some degrees. On others, it takes lines to sign on for
strokes more often, and the straightest part of a signature for a line.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.segmentation import Grey
from model.preprocessing.sheet import Sheet

Points = NDArray[np.float32]

MAX_TILT, MIN_TILT = 20.0, 2.0
"""Largest and least angle in degrees that is put level; with less, a page is as good as straight."""

COARSE, FINE = 1.0, 0.25
"""Steps in degrees in which the angle is searched."""

MIN_INK = 50
"""Least ink in pixels from which the angle of its rows can be told."""

MIN_PEAK, MIN_GAIN = 8.0, 1.5
"""How many times as sharp as at most angles the rows of print must be at the right one, and as on a straight page."""

NEARLY_LEVEL = (-0.75, -0.25, 0.25, 0.75)
"""Angles in degrees at which the rows of a page that lies straight are compared with its columns."""

STEMS = np.full(3, 1 / 3)
"""By which rows and columns are smoothed then: stems of letters are sharp, too, but narrower than lines of text."""

BAND = 6
"""Rows on either side of the sharpest one that are left out to tell print from a single straight stroke."""

FULL = 0.6
"""Least share of a row that ink covers if it is a line from edge to edge."""

MIN_BESIDE = {True: 30.0, None: 4.0, False: 0.0}
"""How many times as sharp as at most angles the other rows must be: if all ink seems to belong to a signature, if
that is in doubt, and if it does not. Two strokes beneath a name have been 15 times as sharp."""


@dataclass(frozen=True)
class Rows:
    """The rows of a page, at the angle at which they are sharpest: its projection profile.

    Summed up along lines of text and straight lines, ink changes abruptly from row to row (Postl, Detection of linear
    oblique structures and skew scan in digitized documents, ICPR 1986).

    Attributes
    ----------
    degrees : float
        The angle, counter-clockwise, in [-20, 20].
    sharpness, straight : float
        Sum of the squared changes of the ink from row to row at this angle, and if the page lies straight, relative
        to those at most angles.
    beside : float
        The same at this angle, without the sharpest row.
    full : int
        Rows, apart from each other, that ink covers from one edge of the page to the other.
    """

    degrees: float
    sharpness: float
    straight: float
    beside: float
    full: int

    @classmethod
    def of(cls, ink: Grey) -> Rows | None:
        """Measure the rows of a page: (h, w) uint8, 1 = print, lines and writing. None if there is too little ink."""
        rows, columns = (places.astype(np.float32) for places in np.nonzero(ink))
        if len(rows) < MIN_INK:
            return None
        # No angle is exactly 0: pixels that are not interpolated make sharper rows there.
        coarse = np.arange(-MAX_TILT + COARSE / 2, MAX_TILT, COARSE)
        sharpness = np.array([_sharpness(_profile(rows, columns, angle)) for angle in coarse])
        fine = coarse[sharpness.argmax()] + np.arange(-2.5, 3.0) * FINE
        profiles = [_profile(rows, columns, angle) for angle in fine]
        best = int(np.argmax([_sharpness(profile) for profile in profiles]))
        usual, straight = (
            max(1.0, float(np.median(sharpness))),
            float(sharpness[np.abs(coarse) < COARSE].max()),
        )
        changes = np.square(np.diff(profiles[best]))
        beside = float(changes.sum() - np.convolve(changes, np.ones(2 * BAND + 1)).max())
        return cls(
            float(fine[best]),
            float(changes.sum()) / usual,
            straight / usual,
            beside / usual,
            _full_rows(profiles[best], ink.shape[1]),
        )

    def tilt(self, *, is_crop: bool | None) -> float | None:
        """Return the angle by which the page is turned, in degrees, counter-clockwise; None if that cannot be told.

        Parameters
        ----------
        is_crop : bool or None
            Whether all ink seems to belong to a signature, whose long strokes have sharp rows, too; None if that is
            in doubt.
        """
        is_sharp = self.sharpness >= max(MIN_PEAK, MIN_GAIN * self.straight)
        is_print = self.beside >= MIN_BESIDE[is_crop]
        return self.degrees if is_sharp and is_print and abs(self.degrees) >= MIN_TILT else None


def rows_to_columns(ink: Grey) -> float:
    """Compute how many times as sharp the rows of a page are as its columns: print has sharp rows only.

    Parameters
    ----------
    ink : uint8 (h, w)
        1 = print, lines and writing.
    """
    places = [place.astype(np.float32) for place in np.nonzero(ink)]
    if len(places[0]) < MIN_INK:
        return 1.0
    rows, columns = (
        max(_sharpness(np.convolve(_profile(along, across, angle), STEMS)) for angle in NEARLY_LEVEL)
        for along, across in (places, places[::-1])
    )
    return rows / max(1.0, columns)


def _profile(rows: Points, columns: Points, degrees: float) -> NDArray[np.float64]:
    """Count the ink of each row of a page that is turned back by an angle."""
    level = columns * np.float32(np.tan(np.radians(degrees)))
    level += rows
    level -= level.min()
    return np.bincount(level.astype(np.intp)).astype(np.float64)


def _sharpness(profile: NDArray[np.float64]) -> float:
    """Sum up the squared changes from row to row."""
    changes = np.diff(profile)
    return float(changes @ changes)


def _full_rows(profile: NDArray[np.float64], width: int) -> int:
    """Count the rows, apart from each other, that ink fills from edge to edge; a thin line may lie in two rows."""
    full = profile[:-1] + profile[1:] >= FULL * width
    return int(np.count_nonzero(full[1:] & ~full[:-1]))


def straighten(grey: Grey, degrees: float) -> Sheet:
    """Turn a page whose print is turned counter-clockwise by an angle, so that it is level.

    Parameters
    ----------
    grey : uint8 (h, w)
        255 = white.
    degrees : float
        In [-20, 20], as :meth:`Rows.tilt`.
    """
    height, width = grey.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1.0)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = (int(np.ceil(width * cosine + height * sine)), int(np.ceil(width * sine + height * cosine)))
    matrix[:, 2] += ((size[0] - width) / 2, (size[1] - height) / 2)
    paper = float(np.median(grey[::8, ::8]))
    turned = cv2.warpAffine(
        grey, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(paper,)
    )
    to_image = np.linalg.inv(np.vstack([matrix, [0.0, 0.0, 1.0]]))
    return Sheet(np.asarray(turned, np.uint8), to_image)
