"""Decoded uploads: grey, and what is printed in red told apart from the rest.

Stamps, seals and forms in drop-out ink are often red. In the red channel they are pale, while black and blue ink
stays dark: document scanners suppress such forms in this way. Some people sign in red, though, so both parts are
kept, and :func:`model.preprocessing.extraction.suppress_red_print` decides which of them the signature is in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model.preprocessing.grey import BAND_PIXELS, to_grey

Pixels = NDArray[np.uint8]

MIN_RED, MAX_RED = 0.0005, 0.15
"""Least share of red pixels of an image with red print, and the most: with more, it is an object and no print."""

RED, REDDISH = 50, 15
"""Red minus the larger of green and blue, of 255: of ink that is red for certain, and of the edges of its strokes."""

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
    """

    grey: Pixels
    without_red: Pixels | None = None
    only_red: Pixels | None = None

    def through(self, change: Callable[[Pixels], Pixels]) -> Scan:
        """Apply a change to each of the images."""
        if self.without_red is None or self.only_red is None:
            return Scan(change(self.grey))
        return Scan(change(self.grey), change(self.without_red), change(self.only_red))


def to_scan(image: Image.Image) -> Scan:
    """Convert a decoded image of any mode, as :func:`model.preprocessing.grey.to_grey` does."""
    grey = to_grey(image)
    if image.mode not in _COLOUR_MODES or "transparency" in image.info:
        return Scan(grey)
    size = (max(1, image.width // SAMPLE), max(1, image.height // SAMPLE))
    sample, _ = _excess(image.resize(size, Image.Resampling.NEAREST))
    if not _has_red_print(sample):
        return Scan(grey)
    excess, red = _excess(ImageOps.exif_transpose(image))
    if excess.shape != grey.shape:  # its pixels were not square
        excess, red = (
            np.asarray(cv2.resize(part, grey.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
            for part in (excess, red)
        )
    return separate_red(grey, red, excess)


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
