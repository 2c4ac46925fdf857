"""Decoded images to grey paper: one conversion for training files and uploads alike.

:func:`to_grey` takes whatever Pillow decoded (1-bit, palette, 16-bit, CMYK, alpha, EXIF-rotated) and returns what a
grey scanner would have seen: (height, width) uint8, 255 = white paper. It does not judge; :mod:`model.preprocessing.ink` does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model.errors import DataError

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""ITU-R BT.601 weights: blue ink, dark to a scanner, stays dark."""

BAND_PIXELS = 1 << 17  # some 2 MB as floats: they stay in the cache

_WIDE_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})


def to_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Convert a decoded image to grey on white paper.

    Parameters
    ----------
    image : PIL.Image.Image
        Any mode. EXIF orientation is applied; transparency is laid on white paper.

    Returns
    -------
    uint8 (height, width)
        255 = white.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _WIDE_MODES:
        return _wide_to_grey(np.asarray(upright))
    if upright.mode in {"1", "L"} and "transparency" not in upright.info:
        return np.asarray(upright.convert("L"), dtype=np.uint8)
    if "A" in upright.getbands() or "a" in upright.getbands() or "transparency" in upright.info:
        return _by_bands(upright, "RGBA", _on_white)
    return _by_bands(upright, "RGB", _luma)


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
