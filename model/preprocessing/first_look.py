"""A first look at a page before it is searched: how it lies, and whether all of its ink belongs to one signature."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import cv2
import numpy as np

from model.preprocessing.candidates import measure_crop
from model.preprocessing.dark_edge import has_dark_edge
from model.preprocessing.evidence import MEASURES
from model.preprocessing.ink import Located
from model.preprocessing.ink_colour import Chroma, separate_inks
from model.preprocessing.rules import Rules
from model.preprocessing.segmentation import Grey, shrink
from model.preprocessing.segmenter import Segmenter
from model.preprocessing.signature_line import has_leaning_line, locate, without_signature_line
from model.preprocessing.squared_paper import may_be_squared, without_squares
from model.preprocessing.tilt import Rows, rows_to_columns
from model.preprocessing.views import INK

ROWS_SIDE = 320
"""Long side in pixels of the copy on which it is measured how a page lies."""

MORE_ROWS = 4.0
"""How many times as sharp as its columns the rows of a page are that lies level, and the other way round."""

MIN_WEAKEST = 0.4
"""Least probability of the weakest connected part of a crop, relative to the mean: that of print is lower."""

WEAKEST = MEASURES.index("weakest")


@dataclass(frozen=True)
class Page:
    """A page before it is searched.

    Attributes
    ----------
    grey : uint8 (h, w)
        Without the lines of squared paper and the line to sign on.
    located : Located or None
        Where its ink is, if that is known.
    chroma : Chroma or None
        None if there is no coloured ink.
    small : uint8 (h', w') or None
        1 where its ink was before lines were left out, on a copy whose long side has :data:`ROWS_SIDE` pixels.
    rows : Rows or None
        Of that copy.
    is_crop : bool or None
        Whether all ink belongs to one signature; None if that remains in doubt.
    line_tilt : float or None
        Degrees, counter-clockwise, by which a straight line leans that may be one to sign on, or a stroke.
    keep : uint8 (h", w") or None
        Of a crop in several inks, 255 where that of the signature is.
    """

    grey: Grey
    located: Located | None
    chroma: Chroma | None
    small: Grey | None
    rows: Rows | None
    is_crop: bool | None
    line_tilt: float | None = None
    keep: Grey | None = None

    @property
    def tilt(self) -> float | None:
        """Degrees, counter-clockwise, by which its print is turned; None if it lies straight (:class:`Rows`)."""
        return None if self.rows is None else self.rows.tilt(is_crop=self.is_crop)

    @cached_property
    def lies(self) -> Literal["level", "sideways"] | None:
        """How its print lies, but not whether it is upside down; None if it has too little to tell."""
        if self.is_crop or self.small is None:
            return None
        ratio = rows_to_columns(self.small)
        return "level" if ratio >= MORE_ROWS else "sideways" if ratio <= 1 / MORE_ROWS else None


class FirstLook:
    """Looks at pages before they are searched. Not thread-safe.

    Attributes
    ----------
    segmenter : Segmenter
    rules : Rules
        Their ``looks`` tell crops of a signature from pages.
    """

    def __init__(self, segmenter: Segmenter, rules: Rules) -> None:
        self.segmenter, self.rules = segmenter, rules

    def look_at(self, grey: Grey, chroma: Chroma | None = None) -> Page:
        """Look at a page before it is searched: (h, w) uint8, 255 = white, and its chroma if it has coloured ink."""
        located = locate(grey)
        small = None if located is None else _small_ink(located)
        rows = None if small is None else Rows.of(small)
        if located is not None and rows is not None and may_be_squared(rows):
            grey, located = without_squares(grey, located, rows.degrees)
        line_tilt = None if rows is None else rows.tilt(is_crop=False)
        if located is None or line_tilt is None or not has_leaning_line(located.mask, line_tilt):
            line_tilt = None
        grey, located = without_signature_line(grey, located)
        is_crop, keep = self._is_crop(located), None
        if is_crop and located is not None and chroma is not None:
            keep = self._signature_ink(located, chroma)
        return Page(grey, located, chroma, small, rows, is_crop, line_tilt, keep)

    def _is_crop(self, located: Located | None) -> bool | None:
        """Whether all ink belongs to one signature; None if that remains in doubt."""
        if located is None:
            return None
        if has_dark_edge(located):
            return False
        for look_rule in self.rules.looks:
            measures = measure_crop(self.segmenter, located, look_rule.side)
            log_odds = float(look_rule.rule.log_odds(measures[None])[0])
            if log_odds < look_rule.reject:
                return False
            if log_odds >= look_rule.accept and measures[WEAKEST] >= MIN_WEAKEST:
                return True
        return None

    def _signature_ink(self, located: Located, chroma: Chroma) -> Grey | None:
        """Mark the ink of a crop that is the most probable signature by itself; None if there is only one ink."""
        first = self.rules.looks[0]

        def probable(ink: Grey) -> float:
            alone = replace(located, darkness=located.darkness * ink, mask=located.mask * ink)
            if not alone.mask.any():
                return -math.inf
            measures = measure_crop(self.segmenter, alone, first.side)
            return float(first.rule.log_odds(measures[None])[0])

        separate = separate_inks(located.darkness, chroma)
        if not separate:
            return None
        best = max(separate, key=probable)
        return np.asarray(cv2.dilate(best, np.ones((3, 3), np.uint8)) * 255, np.uint8)


def _small_ink(located: Located) -> Grey:
    small, _ = shrink(located.darkness, ROWS_SIDE)
    return (small > INK).view(np.uint8)
