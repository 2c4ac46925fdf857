"""Decoded images to grey paper: one conversion for training files and uploads alike.

:func:`to_grey` takes whatever Pillow decoded (1-bit, palette, 16-bit, CMYK, alpha, EXIF-rotated) and returns what a
grey scanner with square pixels would have seen: (height, width) uint8, 255 = white paper. Whether it shows a usable
signature is decided in :mod:`model.preprocessing.ink`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model.errors import DataError

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""ITU-R BT.601 weights: blue ink, dark to a scanner, stays dark."""

MAX_PIXEL_ASPECT = 4.0
"""Resolution tags that differ by more are taken for wrong."""

MAX_ENLARGED_PIXELS = 8_000_000
"""An image that would be larger with square pixels is brought to the lower of its two resolutions instead."""

LIGHT_INK = 200.0
"""Mean luma, weighted by opacity, above which the strokes of a transparent image are light ink."""

BAND_PIXELS = 1 << 17  # some 2 MB as floats: they stay in the cache

_WIDE_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})


def to_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a decoded image to grey on white paper.

    Parameters
    ----------
    image : PIL.Image.Image
        Any mode. EXIF orientation is applied. Pixels that are not square by the resolution tags, as those of a
        standard fax (204 x 98 dpi), are made square. Transparency is laid on white paper; light strokes on a
        transparent ground, as signature pads export them in dark mode, are read from the alpha channel.

    Returns
    -------
    uint8 (height, width)
        255 = white.
    """
    upright = ImageOps.exif_transpose(image)
    horizontal, vertical = _resolution(image)
    if upright.size != image.size and upright.size == image.size[::-1]:
        horizontal, vertical = vertical, horizontal
    return _square(_grey(upright), horizontal, vertical)


def _grey(upright: Image.Image) -> NDArray[np.uint8]:
    if upright.mode in _WIDE_MODES:
        return _wide_to_grey(np.asarray(upright))
    if upright.mode in {"1", "L"} and "transparency" not in upright.info:
        return np.asarray(upright.convert("L"), dtype=np.uint8)
    if "A" in upright.getbands() or "a" in upright.getbands() or "transparency" in upright.info:
        return _by_bands(upright, "RGBA", _from_alpha if _is_light_on_transparent(upright) else _on_white)
    return _by_bands(upright, "RGB", _luma)


def _resolution(image: Image.Image) -> tuple[float, float]:
    """Horizontal and vertical resolution by the file's tags, in any unit; (1, 1) where they say nothing usable."""
    tags = image.info.get("dpi") or image.info.get("aspect") or image.info.get("jfif_density") or (1.0, 1.0)
    try:
        horizontal, vertical = (float(value) for value in tags)
    except (TypeError, ValueError, ZeroDivisionError):
        return 1.0, 1.0
    if not (0.0 < horizontal < np.inf and 0.0 < vertical < np.inf):
        return 1.0, 1.0
    return horizontal, vertical


def _square(grey: NDArray[np.uint8], horizontal: float, vertical: float) -> NDArray[np.uint8]:
    """Resample to square pixels where the two resolutions differ."""
    ratio = max(horizontal, vertical) / min(horizontal, vertical)
    if not 1.05 < ratio <= MAX_PIXEL_ASPECT:
        return grey
    height, width = grey.shape
    wider = vertical > horizontal  # the pixels are wider than high
    if height * width * ratio <= MAX_ENLARGED_PIXELS:
        size = (round(width * ratio), height) if wider else (width, round(height * ratio))
        return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    size = (width, max(1, round(height / ratio))) if wider else (max(1, round(width / ratio)), height)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def read_grey(path: Path, page: int = 0) -> NDArray[np.uint8]:
    """Read a trusted image file of a data set; uploads go through :mod:`app.decoding.uploads`.

    Raises
    ------
    DataError
        The file cannot be read as an image, or has no such page.
    """
    try:
        with Image.open(path) as image:
            image.seek(page)
            return to_grey(image)
    except (OSError, EOFError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error


def _by_bands(
    image: Image.Image, mode: str, convert: Callable[[NDArray[np.float32]], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Convert a band of rows at a time: a page as floats would be sixteen times the size of its grey."""
    width, height = image.size
    grey = np.empty((height, width), dtype=np.uint8)
    rows = max(1, BAND_PIXELS // max(1, width))
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        band = image.crop((0, top, width, bottom)).convert(mode)
        grey[top:bottom] = convert(np.asarray(band, dtype=np.float32))
    return grey


def _luma(rgb: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(rgb[..., :3] @ LUMA), dtype=np.uint8)


def _on_white(rgba: NDArray[np.float32]) -> NDArray[np.uint8]:
    alpha = rgba[..., 3:] / 255.0
    return _luma(rgba[..., :3] * alpha + 255.0 * (1.0 - alpha))


def _from_alpha(rgba: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(255.0 - rgba[..., 3]), dtype=np.uint8)


def _is_light_on_transparent(image: Image.Image) -> bool:
    """Whether most of the image is transparent and what is opaque is too light for paper; seen on a small copy."""
    small = image.convert("RGBA")
    small.thumbnail((256, 256), Image.Resampling.NEAREST)
    rgba = np.asarray(small, dtype=np.float32)
    opacity = rgba[..., 3] / 255.0
    if not 0.0 < float(opacity.mean()) < 0.5:
        return False
    light = float((_luma(rgba) * opacity).sum() / opacity.sum())
    return light > LIGHT_INK


def _wide_to_grey(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """16-bit, 32-bit and float samples: full scale is that of the smallest container the values fit in."""
    samples = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    samples = np.maximum(samples, 0.0)
    peak = float(samples.max(initial=0.0))
    if np.issubdtype(values.dtype, np.floating) and peak <= 1.0:
        full = 1.0
    else:
        full = next((limit for limit in (255.0, 4095.0, 65535.0) if peak <= limit), peak)
    if values.dtype == np.uint16:
        full = 65535.0  # a dark page must not be stretched to white
    return np.asarray(np.rint(np.clip(samples / full, 0.0, 1.0) * 255.0), dtype=np.uint8)
