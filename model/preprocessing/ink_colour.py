"""The colours of inks: a signature in blue is told from black print, and from a violet stamp, by its colour.

The colour of an ink is its chroma relative to its darkness, which does not depend on how much of a pixel it covers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.box import Box
from model.preprocessing.segmentation import Grey

Pixels = NDArray[np.uint8]
Colours = NDArray[np.float32]

NEUTRAL = 128
"""Chroma of grey."""

INKED = 60
"""Darkness from which the colour of a pixel can be told, of 255."""

MIN_PIXELS = 60
"""Least ink of a colour, in pixels."""

MIN_DIFFERENCE, DEVIATIONS = 0.12, 3.0
"""Least difference of two inks, and how many times as large as that of most strokes it must be."""

MIN_SHARE = 0.03
"""Least share of all ink that has another colour."""

CROSSING = np.ones((5, 5), np.uint8)
"""Within this distance, strokes go on beneath print that lies across them."""

BESIDE = 0.7
"""Share of an ink beside others from which it is not an ink of its own."""

HUES, MAX_HUES, SAME_HUE = 24, 2, 0.4
"""Parts of the circle of hues that are counted, most hues, and the angle in radians up to which a hue is the same."""

HALF_WAY = 0.5
"""Where between the colours of two inks a pixel belongs to the other one: 0 = this ink, 1 = the other."""


@dataclass(frozen=True)
class Chroma:
    """The chroma of an image: Cr and Cb of ITU-R BT.601.

    Attributes
    ----------
    red, blue : uint8 (h, w)
        128 = grey.
    """

    red: Pixels
    blue: Pixels

    def through(self, change: Callable[[Pixels], Pixels]) -> Chroma:
        """Apply a change of the geometry to both."""
        return Chroma(change(self.red), change(self.blue))

    def of(self, box: Box) -> Chroma:
        """Cut a box out."""
        return Chroma(box.of(self.red), box.of(self.blue))

    def colours(self, darkness: Grey) -> Colours:
        """Compute the colour of each pixel: chroma relative to darkness, without that of the paper.

        Parameters
        ----------
        darkness : uint8 (h, w)
            255 = black; chroma is brought to its size.

        Returns
        -------
        float32 (h, w, 2)
            About 0 for black ink, and up to 0.5 for coloured ones; without meaning where there is no ink.
        """
        size = darkness.shape[::-1]
        is_paper = darkness < darkness.mean()
        amount = cv2.blur(darkness.astype(np.float32), (3, 3)) + 1.0
        planes = []
        for plane in (self.red, self.blue):
            small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32)
            small -= float(np.median(small[is_paper])) if is_paper.any() else NEUTRAL
            planes.append(cv2.blur(small, (3, 3)) / amount)
        return np.stack(planes, axis=2)


def other_ink(darkness: Grey, chroma: Chroma, strokes: Grey) -> Grey | None:
    """Mark the ink that has another colour than strokes.

    Parameters
    ----------
    darkness : uint8 (h, w)
        255 = black.
    chroma : Chroma
        Of the same part of the page, at any resolution.
    strokes : uint8 (h, w)
        1 where there are strokes, most of them of one ink.

    Returns
    -------
    uint8 (h, w) or None
        1 = other ink; None if all ink is of one colour.
    """
    ink, colours = darkness > INKED, chroma.colours(darkness)
    known = ink & (strokes > 0)
    if np.count_nonzero(known) < MIN_PIXELS:
        return None
    own = np.median(colours[known], axis=0)
    distance = np.linalg.norm(colours - own, axis=2)
    least = max(MIN_DIFFERENCE, DEVIATIONS * float(np.median(distance[known])))
    other = ink & (distance > least)
    if np.count_nonzero(other) < max(MIN_PIXELS, MIN_SHARE * np.count_nonzero(ink)):
        return None
    nearer = _nearer(colours, own, np.median(colours[other], axis=0))
    # Where print lies across a stroke, the stroke goes on beneath it.
    strokes_joined = cv2.morphologyEx((ink & (nearer == 0)).view(np.uint8), cv2.MORPH_CLOSE, CROSSING)
    return nearer & (1 - np.asarray(strokes_joined, np.uint8))


def inks(darkness: Grey, chroma: Chroma) -> list[Grey]:
    """Mark the ink of each colour: black, and up to two others.

    Parameters
    ----------
    darkness : uint8 (h, w)
    chroma : Chroma
        As for :func:`other_ink`.

    Returns
    -------
    list of uint8 (h, w)
        1 = ink of the colour; empty if all ink is of one colour.
    """
    colours = chroma.colours(darkness)
    pixels = colours[darkness > INKED]
    coloured = pixels[np.linalg.norm(pixels, axis=1) > MIN_DIFFERENCE]
    least = max(MIN_PIXELS, MIN_SHARE * len(pixels))
    centres = [np.zeros(2, np.float32)] if len(pixels) - len(coloured) >= least else []
    centres += _hues(coloured, least)
    if len(centres) < 2:
        return []
    nearest = np.argmin([np.square(colours - centre).sum(axis=2) for centre in centres], axis=0)
    return [((nearest == index) & (darkness > 0)).view(np.uint8) for index in range(len(centres))]


def separate_inks(darkness: Grey, chroma: Chroma) -> list[Grey]:
    """Mark the ink of each colour as :func:`inks`, with the strokes that go on beneath others.

    Empty if the colours lie beside each other everywhere: the edges and the middle of the same strokes.
    """
    inked = (darkness > INKED).view(np.uint8)
    closed = (cv2.morphologyEx(ink, cv2.MORPH_CLOSE, CROSSING) for ink in inks(darkness, chroma))
    strokes = [np.asarray(ink, np.uint8) & inked for ink in closed]
    for index, one in enumerate(strokes):
        others = [ink for other, ink in enumerate(strokes) if other != index]
        near = cv2.dilate(np.maximum.reduce(others), CROSSING)
        if np.count_nonzero(np.logical_and(one, near)) > BESIDE * np.count_nonzero(one):
            return []
    return strokes


def _hues(coloured: Colours, least: float) -> list[Colours]:
    """Return the colours of the two most frequent hues of ink, of which there is so much at least."""
    centres: list[Colours] = []
    angles = np.arctan2(coloured[:, 1], coloured[:, 0])
    while len(centres) < MAX_HUES and len(coloured) >= least:
        counts, edges = np.histogram(angles, HUES, (-np.pi, np.pi))
        peak = int(np.argmax(2 * counts + np.roll(counts, 1) + np.roll(counts, -1)))
        off = np.abs((angles - (edges[peak] + np.pi / HUES) + np.pi) % (2 * np.pi) - np.pi)
        near = off <= SAME_HUE
        if np.count_nonzero(near) < least:
            break
        centres.append(np.median(coloured[near], axis=0))
        coloured, angles = coloured[~near], angles[~near]
    return centres


def _nearer(colours: Colours, own: Colours, other: Colours) -> Grey:
    """Mark the pixels whose colour is nearer to another ink's than to an ink's own."""
    way = other - own
    return np.asarray((colours - own) @ way > HALF_WAY * (way @ way), np.uint8)
