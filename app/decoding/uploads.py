"""Bytes that somebody sent to a grey image: what they are, whether they are taken, and why not.

Everything cheap is checked first: size, magic bytes, the file's outline (`app.decoding.structure`), then the header's
dimensions; pixels are decoded only when all of that is in order, by Pillow's decoder for that one format. Whatever
Pillow raises becomes a refusal; what our own code raises does not.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import struct
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from app.decoding.structure import no_such_page, tiff_page, weight
from app.domain.errors import (
    DamagedImage,
    EmptyUpload,
    NotAnImage,
    TooManyPixels,
    UnsupportedImage,
    UploadTooLarge,
)
from model.preprocessing.grey import to_grey

ACCEPTED_FORMATS = "PNG, JPEG, TIFF, BMP and WebP are read"
MAX_SIDE = 30_000  # px; longer than any scan of a page
MAX_ASPECT = 200

_DECODERS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"BM", "BMP"),
)
_REFUSED_KINDS = (
    (b"%PDF", "a PDF document; export the page with the signature as an image"),
    (b"GIF8", "a GIF image"),
    (b"\x00\x00\x01\x00", "an icon file"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image"),
    (b"II+\x00", "a BigTIFF image"),
    (b"MM\x00+", "a BigTIFF image"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a gzip archive"),
)
# What Pillow's decoders are known to raise on broken input, besides their own OSError.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    AssertionError,
    RecursionError,
    RuntimeError,
    struct.error,
)


@dataclass(frozen=True)
class UploadLimits:
    """How large an upload may be.

    Attributes
    ----------
    max_bytes : int
    max_pixels : int
        Of the page that is read.
    """

    max_bytes: int
    max_pixels: int


def read_upload(data: bytes, name: str | None, limits: UploadLimits, page: int = 0) -> NDArray[np.uint8]:
    """Decode an upload.

    Parameters
    ----------
    data : bytes
    name : str or None
        As the caller named it; used in messages only, never to decide what it is.
    page : int
        Counted from 0; only TIFF has more than one.

    Returns
    -------
    uint8 (height, width)
        Grey, 255 = white paper.

    Raises
    ------
    UploadRefused
        The subclass says why.
    """
    if not data:
        raise EmptyUpload("The file is empty; upload the scan itself.")
    if len(data) > limits.max_bytes:
        raise UploadTooLarge(
            f"The file has {len(data):,} bytes, more than the {limits.max_bytes:,} that are taken; "
            "upload a crop or a smaller resolution."
        )
    decoder = _decoder(data, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cost = weight(data, decoder)
            turned = _turned_to(page, data, decoder)
            with Image.open(io.BytesIO(turned), formats=[decoder]) as image:
                _check_size(image, limits, cost)
                return to_grey(image)
    except Image.DecompressionBombError as error:
        raise TooManyPixels(
            f"The image claims to have far more than the {limits.max_pixels:,} pixels that are decoded; "
            "upload a crop or a smaller resolution."
        ) from error
    except _DECODER_ERRORS as error:
        if not _by_pillow(error):
            raise  # a fault of our own code, not of the file
        raise DamagedImage(
            f"The {decoder} image breaks off or is broken and cannot be decoded; save or scan it again."
        ) from error


def _by_pillow(error: BaseException) -> bool:
    """Whether an error was raised inside of Pillow, or by what it called."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__", "").partition(".")[0] == "PIL" for frame, _ in frames)


def _decoder(data: bytes, name: str | None) -> str:
    """Which decoder reads these bytes, by what they begin with; raises when none does."""
    for magic, decoder in _DECODERS:
        if data.startswith(magic):
            return decoder
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for magic, kind in _REFUSED_KINDS:
        if data.startswith(magic):
            raise UnsupportedImage(f"The file is {kind}; {ACCEPTED_FORMATS}.")
    if data[4:8] == b"ftyp":
        raise UnsupportedImage(f"The file is a HEIC or AVIF image or a film; {ACCEPTED_FORMATS}.")
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml")):
        raise UnsupportedImage(f"The file is an SVG or XML document; {ACCEPTED_FORMATS}.")
    called = f" though it is named {name!r}" if name else ""
    raise NotAnImage(
        f"The file is not an image{called}: its first bytes are those of no image format; {ACCEPTED_FORMATS}."
    )


def _turned_to(page: int, data: bytes, decoder: str) -> bytes:
    """The data with the wanted page first; only TIFF has more than one."""
    if decoder == "TIFF":
        return tiff_page(data, page)
    if page:
        raise no_such_page(page, 1)
    return data


def _check_size(image: Image.Image, limits: UploadLimits, cost: float) -> None:
    """Refuse by the header what would be too much to decode."""
    width, height = image.size
    most = int(limits.max_pixels / cost)
    if width * height > most or max(width, height) > MAX_SIDE:
        raise TooManyPixels(
            f"The image has {width:,} x {height:,} pixels, more than the {most:,} that are decoded of its kind; "
            "upload a crop or a smaller resolution."
        )
    if max(width, height) > MAX_ASPECT * max(1, min(width, height)):
        raise DamagedImage(
            f"The image has {width:,} x {height:,} pixels, the shape of no scan; save it again."
        )


def hush_libtiff() -> None:
    """Keep libtiff from writing to stderr by itself: a broken upload would put lines of no form into the log."""
    folder = Path(PIL.__file__).parent.parent / "pillow.libs"
    for library in folder.glob("libtiff-*.so*"):  # where Pillow's wheels for Linux carry it
        with contextlib.suppress(OSError, AttributeError):
            loaded = ctypes.CDLL(str(library))
            loaded.TIFFSetErrorHandler(None)
            loaded.TIFFSetWarningHandler(None)
