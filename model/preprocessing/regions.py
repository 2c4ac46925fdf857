"""Regions of ink in a crop around a signature, with measures by which its strokes are told from other ink.

A region is a straight line, or connected ink that the segmentation network rates alike: probable or not, in relation
to the strokes that were found on the page. How sure the network is depends on the scan: on some, it rates all of a
signature at a fifth of the usual probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.box import Box
from model.preprocessing.segmentation import Grey, Parts
from model.preprocessing.straight_lines import REACH, find_lines, thin_runs
from model.preprocessing.views import INK

Matrix = NDArray[np.float64]

FAINT = INK // 2
"""Darkness from which a pixel counts as ink of a region."""

PROBABLE, LEAST, MOST = 0.3, 8.0, 100.0
"""Share of the usual probability from which ink is probable, and bounds of that, of 255."""

MIN_LINE = 20
"""Least ink of a line, in pixels."""

MIN_IN_ROW, MAX_IN_ROW = 8, 400
"""Least ink of a region that is counted in a row, and number of these up to which they are counted."""

MEASURES = (
    "probability",
    "highest",
    "probable",
    "usual",
    "absolute",
    "area",
    "width",
    "height",
    "thickness",
    "thicker",
    "darker",
    "found",
    "inside",
    "distance",
    "narrow",
    "extent",
    "angle",
    "touching",
    "row",
    "across",
    "down",
    "part-probability",
    "part-area",
    "part-probable",
    "line",
    "edge",
    "unlikely",
)
"""Names of the measures of a region, in their order; :func:`find_regions` says what they are."""


@dataclass(frozen=True)
class Regions:
    """Regions of the ink of a crop.

    Attributes
    ----------
    labels : int32 (h, w)
        The region of each pixel, from 1; 0 is no ink.
    measures : float64 (n, len(MEASURES))
    """

    labels: NDArray[np.int32]
    measures: Matrix

    def mask(self, kept: NDArray[np.bool_]) -> Grey:
        """Mark regions: bool (n,) to uint8 (h, w), 255 in these and on a rim of one pixel."""
        marked = np.concatenate([[False], kept]).view(np.uint8)[self.labels]
        return np.asarray(cv2.dilate(marked, np.ones((3, 3), np.uint8)) * 255, np.uint8)


def find_regions(darkness: Grey, probability: Grey, strokes: Grey) -> Regions:
    """Divide the ink of a crop into regions, and measure them.

    Measures relate regions to the strokes that were found on the page: their probability, thickness, darkness and
    box. ``probability`` and ``darker`` are means, ``highest`` is a maximum; ``probable``, ``found`` and ``inside``
    are shares of the pixels. ``area``, ``width``, ``height``, ``thickness`` and ``thicker`` are logarithms.
    ``distance`` is that from the strokes found, in heights of the signature. ``narrow`` is the logarithm of the ratio
    of the variances along the principal axes. ``touching`` counts pixels beside probable ink, and ``row``
    regions of a similar height beside this one; ``part-...`` describe all ink connected with the region.

    Parameters
    ----------
    darkness, probability : uint8 (h, w)
        Of the paper to black ink, and that a pixel belongs to a signature; 255 = black, and 1.
    strokes : uint8 (h, w)
        1 where strokes of the signature were found.
    """
    ink = (darkness > FAINT).view(np.uint8)
    found = (strokes > 0) & (darkness > INK)
    usual = max(LEAST, float(np.median(probability[found]))) if found.any() else 255.0
    probable = (probability > min(MOST, max(LEAST, PROBABLE * usual))).view(np.uint8)
    labels, covered, first_unlikely = _divide(darkness, ink, probable)
    count = len(covered) - 1
    if not count:
        return Regions(labels, np.zeros((0, len(MEASURES))))
    pixels = _Pixels.of(labels)
    outline = (ink > 0) & (cv2.erode(ink, np.ones((3, 3), np.uint8)) == 0)
    thickness = 2 * pixels.areas / np.maximum(pixels.total(outline), 1) + 0.5
    found_area = max(1, int(found.sum()))
    found_thickness = 2 * found_area / max(1, int(outline[found].sum())) + 0.5
    found_darkness = max(10.0, float(np.median(darkness[found]))) if found.any() else 128.0

    box = Box.bounding((strokes > 0).view(np.uint8))
    wide, high = max(4, box.width), max(4, box.height)
    inside = np.zeros_like(ink)
    box.of(inside)[:] = 1
    distance = cv2.distanceTransform((~found).view(np.uint8), cv2.DIST_L2, 3)
    touching = (cv2.dilate(ink & probable, np.ones((3, 3), np.uint8)) > 0) & (probable == 0)
    left, top, right, bottom = pixels.sides
    major, minor, angle = pixels.axes
    part_probability, part_area, part_probable = _of_parts(ink, probability, probable, pixels.firsts)
    height, width = darkness.shape
    measures = (
        pixels.mean(probability) / usual,
        pixels.largest(probability) / usual,
        pixels.mean(probable),
        np.full(count, usual / 255),
        pixels.mean(probability) / 255,
        np.log((pixels.areas + 1) / found_area),
        np.log((right - left + 1) / high),
        np.log((bottom - top + 1) / high),
        np.log(thickness),
        np.log(thickness / found_thickness),
        pixels.mean(darkness) / found_darkness,
        pixels.mean(found),
        pixels.mean(inside),
        np.minimum(pixels.least(distance) / high, 3.0),
        np.log(minor / major),
        np.sqrt(major) / wide,
        angle,
        np.log1p(pixels.total(touching)),
        _in_row(pixels, top, bottom),
        (pixels.x_mean - box.left) / wide,
        (pixels.y_mean - box.top) / high,
        part_probability / usual,
        np.log((part_area + 1) / found_area),
        part_probable,
        covered[1:],
        (left <= 1) | (top <= 1) | (right >= width - 2) | (bottom >= height - 2),
        np.arange(1, count + 1) >= first_unlikely,
    )
    return Regions(labels, np.stack(measures, axis=1).astype(np.float64))


def _divide(darkness: Grey, ink: Grey, probable: Grey) -> tuple[NDArray[np.int32], Matrix, int]:
    """Divide ink into lines, probable regions, and others.

    Returns
    -------
    labels : int32 (h, w)
    covered : float64 (n + 1,)
        Of lines; 0 for other regions, and for no ink.
    first_unlikely : int
        The first of the regions that are not probable; they are the last ones.
    """
    labels = np.zeros(ink.shape, np.int32)
    rest = ink.copy()
    covered = [0.0]
    for line in find_lines(darkness):
        row, column = thin_runs(ink, *line.outline(), REACH)
        on_line = rest[row, column] > 0
        row, column = row[on_line], column[on_line]
        if len(row) >= MIN_LINE:
            labels[row, column] = len(covered)
            rest[row, column] = 0
            covered.append(line.covered)
    near = np.asarray(cv2.dilate(probable, np.ones((3, 3), np.uint8)), np.uint8)
    first_unlikely = len(covered)
    for layer in (rest & near, rest & (1 - near)):
        parts = Parts.of(layer)
        first_unlikely = len(covered)
        labels += np.where(parts.labels > 0, parts.labels + (first_unlikely - 1), 0)
        covered += [0.0] * (len(parts.left) - 1)
    return labels, np.array(covered), first_unlikely


@dataclass(frozen=True)
class _Pixels:
    """The pixels of regions, those of one region together.

    Attributes
    ----------
    at : int64 (pixels,)
        Places in the flattened image.
    starts : int64 (n,)
        The first pixel of each region in ``at``.
    width : int
        Of the image.
    """

    at: NDArray[np.int64]
    starts: NDArray[np.int64]
    width: int

    @classmethod
    def of(cls, labels: NDArray[np.int32]) -> _Pixels:
        flat = labels.ravel()
        at = np.flatnonzero(flat)
        region = flat[at].astype(np.int16 if flat.max() < 2**15 else np.int32)
        order = np.argsort(region, kind="stable")  # by counting, for such numbers
        starts = np.searchsorted(region[order], np.arange(1, int(flat.max()) + 1))
        return cls(at[order], starts, labels.shape[1])

    @property
    def firsts(self) -> NDArray[np.int64]:
        """Return a pixel of each region."""
        return self.at[self.starts]

    @cached_property
    def areas(self) -> Matrix:
        return np.diff(np.append(self.starts, len(self.at))).astype(np.float64)

    def total(self, layer: NDArray[Any]) -> Matrix:
        return np.add.reduceat(layer.ravel()[self.at], self.starts, dtype=np.float64)

    def mean(self, layer: NDArray[Any]) -> Matrix:
        return self.total(layer) / self.areas

    def largest(self, layer: NDArray[Any]) -> NDArray[Any]:
        return np.maximum.reduceat(layer.ravel()[self.at], self.starts)

    def least(self, layer: NDArray[Any]) -> NDArray[Any]:
        return np.minimum.reduceat(layer.ravel()[self.at], self.starts)

    @cached_property
    def _places(self) -> tuple[Matrix, Matrix]:
        y, x = np.divmod(self.at, self.width)
        return x.astype(np.float64), y.astype(np.float64)

    def _average(self, values: Matrix) -> Matrix:
        return np.add.reduceat(values, self.starts) / self.areas

    @cached_property
    def x_mean(self) -> Matrix:
        return self._average(self._places[0])

    @cached_property
    def y_mean(self) -> Matrix:
        return self._average(self._places[1])

    @property
    def sides(self) -> tuple[Matrix, Matrix, Matrix, Matrix]:
        """Return left, top, right and bottom pixels, all of them inside."""
        x, y = self._places
        lowest, highest = (ufunc.reduceat for ufunc in (np.minimum, np.maximum))
        return (
            lowest(x, self.starts),
            lowest(y, self.starts),
            highest(x, self.starts),
            highest(y, self.starts),
        )

    @property
    def axes(self) -> tuple[Matrix, Matrix, Matrix]:
        """Return the variances along the principal axes, and the angle of the longer one to a row, in [0, pi / 2]."""
        x, y = self._places
        across = self._average(x * x) - self.x_mean**2
        down = self._average(y * y) - self.y_mean**2
        both = self._average(x * y) - self.x_mean * self.y_mean
        middle, half = (across + down) / 2, np.hypot((across - down) / 2, both)
        # The variance of the points of one pixel is a twelfth.
        major, minor = np.maximum(middle + half, 1 / 12), np.maximum(middle - half, 1 / 48)
        return major, minor, np.abs(np.arctan2(2 * both, across - down)) / 2


def _of_parts(
    ink: Grey, probability: Grey, probable: Grey, pixels: NDArray[np.int64]
) -> tuple[Matrix, Matrix, Matrix]:
    """Return mean probability, area and probable share of the connected parts to which pixels belong."""
    parts = Parts.of(ink)
    inked = np.flatnonzero(ink)
    labels, count = parts.labels.ravel()[inked], len(parts.left)
    areas = np.maximum(parts.stats[:, cv2.CC_STAT_AREA].astype(np.float64), 1)
    mean, share = (
        np.bincount(labels, layer.ravel()[inked], minlength=count) / areas
        for layer in (probability, probable)
    )
    chosen = parts.labels.ravel()[pixels]
    return mean[chosen], areas[chosen], share[chosen]


def _in_row(pixels: _Pixels, top: Matrix, bottom: Matrix) -> Matrix:
    """Count the regions of a similar height beside each one: print is in rows."""
    rows = np.zeros(len(top))
    some = np.flatnonzero(pixels.areas >= MIN_IN_ROW)
    if len(some) <= MAX_IN_ROW:
        x, y, heights = pixels.x_mean[some], ((top + bottom) / 2)[some], (bottom - top + 1)[some]
        alike = np.abs(np.log(heights[:, None] / heights)) < 0.5
        level = np.abs(y[:, None] - y) < 0.5 * heights[:, None]
        close = np.abs(x[:, None] - x) < 6 * heights[:, None]
        rows[some] = (alike & level & close).sum(axis=1) - 1
    return rows
