"""Decoded uploads: grey, and what is printed in red told apart from the rest.

Stamps, seals and forms in drop-out ink are often red. In the red channel they are pale, while black and blue ink
stays dark: document scanners suppress such forms in this way. Some people sign in red, though, so both parts are
kept, and :func:`model.preprocessing.extraction.suppress_red_print` decides which of them the signature is in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model.preprocessing.grey import BAND_PIXELS, to_grey
from model.preprocessing.ink_colour import Chroma

Pixels = NDArray[np.uint8]

MIN_RED, MAX_RED = 0.0005, 0.15
"""Least share of red pixels of an image with red print, and the most: with more, it is an object and no print."""

RED, REDDISH = 50, 15
"""Red minus the larger of green and blue, of 255: of ink that is red for certain, and of the edges of its strokes."""

COLOURED = 20
"""Difference of chroma from that of most of an image from which a pixel is of another colour."""

NEAR_RED = np.ones((5, 5), np.uint8)
"""Around red ink, reddish pixels are red ink, too."""

RESIDUE = 0.3
"""Part of its excess by which red ink is made lighter than it is in the red channel, in which it is not white."""

SAMPLE = 4
"""Every so many pixels in each direction are looked at, to pass over images without red print."""

_COLOUR_MODES = frozenset({"RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "P"})


@dataclass(frozen=True)
class Scan:
    """A decoded image.

    Attributes
    ----------
    grey : uint8 (h, w)
        All of it, 255 = white paper.
    without_red, only_red : uint8 (h, w) or None
        What is left without red ink, and red ink alone on white; None if there is no red print.
    chroma : Chroma or None
        None if there is no coloured ink.
    """

    grey: Pixels
    without_red: Pixels | None = None
    only_red: Pixels | None = None
    chroma: Chroma | None = None

    def through(self, change: Callable[[Pixels], Pixels]) -> Scan:
        """Apply a change of the geometry to each of the images."""
        without, only = (None if part is None else change(part) for part in (self.without_red, self.only_red))
        chroma = None if self.chroma is None else self.chroma.through(change)
        return Scan(change(self.grey), without, only, chroma)


def to_scan(image: Image.Image) -> Scan:
    """Convert a decoded image of any mode, as :func:`model.preprocessing.grey.to_grey` does."""
    grey = to_grey(image)
    if image.mode not in _COLOUR_MODES or "transparency" in image.info:
        return Scan(grey)
    size = (max(1, image.width // SAMPLE), max(1, image.height // SAMPLE))
    sample = image.resize(size, Image.Resampling.NEAREST)
    is_coloured, has_red = _is_coloured(_chroma(sample)), _has_red_print(_excess(sample)[0])
    if not is_coloured and not has_red:
        return Scan(grey)
    upright = ImageOps.exif_transpose(image)
    chroma = _chroma(upright).through(partial(_fitted, shape=grey.shape)) if is_coloured else None
    if not has_red:
        return Scan(grey, chroma=chroma)
    excess, red = (_fitted(part, grey.shape) for part in _excess(upright))
    return replace(separate_red(grey, red, excess), chroma=chroma)


def _fitted(part: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Bring a layer to the shape of the grey image, which differs if pixels were not square."""
    if part.shape == shape:
        return part
    return np.asarray(cv2.resize(part, shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def separate_red(grey: Pixels, red: Pixels, excess: Pixels) -> Scan:
    """Separate red ink from the rest.

    Parameters
    ----------
    grey, red : uint8 (h, w)
        Luma and red channel.
    excess : uint8 (h, w)
        Red minus the larger of green and blue; 0 where it is not larger.
    """
    if not _has_red_print(excess):
        return Scan(grey)
    near = cv2.dilate((excess > RED).view(np.uint8), NEAR_RED)
    share = cv2.LUT(excess, _SHARES) * near
    lift = cv2.addWeighted(cv2.subtract(red, grey), 1.0, excess, RESIDUE, 0.0)
    without = cv2.add(grey, cv2.multiply(lift, share, scale=1 / 255))
    only = cv2.bitwise_not(cv2.multiply(cv2.bitwise_not(grey), share, scale=1 / 255))
    return Scan(grey, np.asarray(without, np.uint8), np.asarray(only, np.uint8))


_SHARES = np.clip((np.arange(256) - REDDISH) * 255.0 / (RED - REDDISH), 0, 255).astype(np.uint8)
"""For each excess, how much of a pixel near red ink is red ink, of 255."""


def _has_red_print(excess: Pixels) -> bool:
    return MIN_RED <= float((excess > RED).mean()) <= MAX_RED


def _is_coloured(chroma: Chroma) -> bool:
    """Whether enough of an image differs in colour from most of it."""
    far = np.zeros(chroma.red.shape, bool)
    for plane in (chroma.red, chroma.blue):
        far |= np.abs(plane.astype(np.int16) - int(np.median(plane))) > COLOURED
    return float(far.mean()) >= MIN_RED


def _chroma(image: Image.Image) -> Chroma:
    """Return the chroma of an image of any colour mode, some rows at a time."""
    width, height = image.size
    planes = np.empty((height, width), np.uint8), np.empty((height, width), np.uint8)
    rows = max(1, BAND_PIXELS // max(1, width))
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        band = np.asarray(image.crop((0, top, width, bottom)).convert("RGB"))
        planes[0][top:bottom], planes[1][top:bottom] = cv2.split(cv2.cvtColor(band, cv2.COLOR_RGB2YCrCb))[1:]
    return Chroma(*planes)


def _excess(image: Image.Image) -> tuple[Pixels, Pixels]:
    """Return red minus the larger of green and blue, and the red channel: uint8 (h, w), some rows at a time."""
    width, height = image.size
    excess, red = np.empty((height, width), np.uint8), np.empty((height, width), np.uint8)
    rows = max(1, BAND_PIXELS // max(1, width))
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        band = np.asarray(image.crop((0, top, width, bottom)).convert("RGB"))
        red[top:bottom] = band[..., 0]
        excess[top:bottom] = cv2.subtract(
            np.ascontiguousarray(band[..., 0]), cv2.max(band[..., 1].copy(), band[..., 2].copy())
        )
    return excess, red
