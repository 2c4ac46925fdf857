"""Difference maps: where a questioned signature differs from references, as multiples of what is usual.

A network that compares signatures cell by cell (:mod:`model.networks.matching`) says what each cell contributes to a
squared distance. A map that is scaled to its own maximum would show "differences" for a genuine signature as well as
for a forgery. The unit of a map is therefore what a cell contributes on average between two genuine signatures of the
signer: the square of the signer's spread (:class:`model.decision.set_rule.SetRule`: the mean distance among the
references, averaged with that of the population), divided by the number of cells. The mean of a map over its cells is
then the squared distance in units of the squared spread, and a map of a genuine signature has a mean of about 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from model.decision.distances import Floats

LEVELS = (2.0, 4.0, 8.0)
"""Multiples of the usual contribution that a legend names. Below the first one, nothing is marked."""


def relative_differences(contributions: Floats, spread: float) -> Floats:
    """Express contributions in units of the usual contribution of a cell.

    Parameters
    ----------
    contributions : (..., 2, rows, columns) float64
        As returned by :meth:`model.networks.embedder.Embedder.contributions`: of the cells of both signatures.
    spread : float
        Usual distance between two genuine signatures of the signer, > 0.

    Returns
    -------
    (..., rows, columns) float64
        Sum of both directions in multiples of ``spread**2 / (rows * columns)``, >= 0; zeros for the same signature.

    Raises
    ------
    ValueError
        The spread is not positive.
    """
    if not spread > 0:
        raise ValueError(f"the spread must be positive, got {spread}")
    rows, columns = contributions.shape[-2:]
    return np.asarray(contributions.sum(axis=-3) * (rows * columns / spread**2), dtype=np.float64)


def mean_differences(maps: Floats) -> Floats:
    """Average the maps to all references of a set: (k, rows, columns) to (rows, columns), k >= 1."""
    return np.asarray(maps.mean(axis=0), dtype=np.float64)


def leave_one_out(maps: Floats) -> Floats:
    """Compute the map of each reference against the others.

    Parameters
    ----------
    maps : (k, k, rows, columns) float64
        ``maps[i, j]`` is the map of reference i against reference j; k >= 2.

    Returns
    -------
    (k, rows, columns) float64
    """
    count = len(maps)
    own = maps[np.arange(count), np.arange(count)]
    return np.asarray((maps.sum(axis=1) - own) / (count - 1), dtype=np.float64)


def count_beyond(maps: Floats, level: float) -> NDArray[np.intp]:
    """Count the cells of each map (..., rows, columns) that exceed a multiple of the usual: (...) int."""
    return np.asarray((maps > level).sum(axis=(-2, -1)), dtype=np.intp)


def upsample(cells: Floats, height: int, width: int) -> Floats:
    """Spread a map over the pixels of a canvas, smoothly and without new extremes.

    Each cell is a cubic B-spline centred on the middle of its pixels (Unser, "Splines: a perfect fit for signal and
    image processing", IEEE Signal Processing Magazine 16, 1999). Unlike an interpolation, this never overshoots.

    Parameters
    ----------
    cells : (rows, columns) float64
    height, width : int
        Size of the canvas in pixels.

    Returns
    -------
    (height, width) float64
        Between the smallest and the largest cell.
    """
    rows, columns = cells.shape
    return np.asarray(_weights(height, rows) @ cells @ _weights(width, columns).T, dtype=np.float64)


def _weights(pixels: int, cells: int) -> Floats:
    """Return the share of each cell in each pixel: (pixels, cells) float64, rows sum to 1."""
    place = (np.arange(pixels) + 0.5) * cells / pixels - 0.5
    distance = np.abs(place[:, None] - np.arange(cells)[None, :])
    inner = 2.0 / 3.0 - distance**2 * (1.0 - distance / 2.0)
    outer = np.maximum(2.0 - distance, 0.0) ** 3 / 6.0
    weights = np.where(distance < 1.0, inner, outer)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


_ANCHORS = ((255, 255, 255), (254, 224, 139), (244, 137, 62), (166, 30, 92))
"""Colours at no mark, and at the three of :data:`LEVELS`: ever darker, so that they do not depend on hue."""


def colours(multiples: Floats) -> NDArray[np.uint8]:
    """Colour multiples of the usual contribution, on a scale that does not depend on the map.

    Up to half of the first of :data:`LEVELS` the colour is white. From there it gets darker with the logarithm, up to
    the last level, so that the order can be seen without telling hues apart.

    Parameters
    ----------
    multiples : (...) float64

    Returns
    -------
    (..., 3) uint8
        Red, green and blue.
    """
    stops = [math.log2(LEVELS[0]) - 1.0, *(math.log2(level) for level in LEVELS)]
    place = np.log2(np.maximum(multiples, 2.0 ** stops[0]))
    channels = [np.interp(place, stops, [anchor[channel] for anchor in _ANCHORS]) for channel in range(3)]
    return np.asarray(np.round(np.stack(channels, axis=-1)), dtype=np.uint8)
