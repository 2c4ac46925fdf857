"""Decoding of an upload: from untrusted bytes to a grey image, or a refusal with its reason.

Cheap checks come first: size, magic bytes, the structure of the file (`app.decoding.structure`), then the dimensions
in its header. Pixels are decoded only after all checks, by Pillow's decoder for the detected format only. An
exception raised within Pillow becomes a refusal of the file; an exception of our own code is raised as it is.
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

from app.decoding.structure import no_such_page, pixel_cost, tiff_page
from app.domain.errors import (
    DamagedImage,
    EmptyUpload,
    NotAnImage,
    TooManyPixels,
    UnsupportedImage,
    UploadTooLarge,
)
from model.preprocessing.grey import to_grey

ACCEPTED_FORMATS = "the accepted formats are PNG, JPEG, TIFF, BMP and WebP"
MAX_SIDE = 30_000  # px; no scan of a page is longer
MAX_ASPECT = 200

_DECODERS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"BM", "BMP"),
)
_UNSUPPORTED_KINDS = (
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
"""Exceptions that Pillow's decoders are known to raise for corrupt input."""


@dataclass(frozen=True)
class UploadLimits:
    """Limits on the size of an upload.

    Attributes
    ----------
    max_bytes : int
    max_pixels : int
        Applies to the page that is read.
    """

    max_bytes: int
    max_pixels: int


def read_upload(data: bytes, name: str | None, limits: UploadLimits, page: int = 0) -> NDArray[np.uint8]:
    """Decode an upload.

    Parameters
    ----------
    data : bytes
    name : str or None
        File name given by the caller; used in messages only, never to detect the format.
    page : int
        Counted from 0; only TIFF can have more than one.

    Returns
    -------
    uint8 (height, width)
        Grey, 255 = white paper.

    Raises
    ------
    UploadRefused
        The subclass states the reason.
    """
    if not data:
        raise EmptyUpload("The file is empty; upload an image.")
    if len(data) > limits.max_bytes:
        raise UploadTooLarge(
            f"The file has {len(data):,} bytes; the maximum is {limits.max_bytes:,}. "
            "Crop the image or lower its resolution."
        )
    decoder = _decoder(data, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cost = pixel_cost(data, decoder)
            selected = _select_page(page, data, decoder)
            with Image.open(io.BytesIO(selected), formats=[decoder]) as image:
                _check_size(image, limits, cost)
                return to_grey(image)
    except Image.DecompressionBombError as error:
        raise TooManyPixels(
            f"The header of the image states far more than the maximum of {limits.max_pixels:,} pixels. "
            "Crop the image or lower its resolution."
        ) from error
    except _DECODER_ERRORS as error:
        if not _raised_in_pillow(error):
            raise  # a bug in our own code
        raise DamagedImage(
            f"The {decoder} image is truncated or corrupt and cannot be decoded; save or scan it again."
        ) from error


def _raised_in_pillow(error: BaseException) -> bool:
    """Whether an exception was raised within Pillow, or in a function that Pillow called."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__", "").partition(".")[0] == "PIL" for frame, _ in frames)


def _decoder(data: bytes, name: str | None) -> str:
    """Return the decoder for these bytes, by their magic number. Raises UnsupportedImage or NotAnImage."""
    for magic, decoder in _DECODERS:
        if data.startswith(magic):
            return decoder
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for magic, kind in _UNSUPPORTED_KINDS:
        if data.startswith(magic):
            raise UnsupportedImage(f"The file is {kind}; {ACCEPTED_FORMATS}.")
    if data[4:8] == b"ftyp":
        raise UnsupportedImage(f"The file is a HEIC or AVIF image or a video; {ACCEPTED_FORMATS}.")
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<svg", b"<?xml")):
        raise UnsupportedImage(f"The file is an SVG or XML document; {ACCEPTED_FORMATS}.")
    called = f" {name!r}" if name else ""
    raise NotAnImage(
        f"The file{called} is not an image: its first bytes match no image format; {ACCEPTED_FORMATS}."
    )


def _select_page(page: int, data: bytes, decoder: str) -> bytes:
    """Return the data with the requested page first. Raises NoSuchPage."""
    if decoder == "TIFF":
        return tiff_page(data, page)
    if page:
        raise no_such_page(page, 1)
    return data


def _check_size(image: Image.Image, limits: UploadLimits, cost: float) -> None:
    """Raise TooManyPixels or DamagedImage when the dimensions in the header exceed the limits."""
    width, height = image.size
    max_pixels = int(limits.max_pixels / cost)
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise TooManyPixels(
            f"The image has {width:,} x {height:,} pixels; the maximum for this kind of image is {max_pixels:,} "
            f"pixels and {MAX_SIDE:,} per side. Crop the image or lower its resolution."
        )
    if max(width, height) > MAX_ASPECT * max(1, min(width, height)):
        raise DamagedImage(
            f"The image has {width:,} x {height:,} pixels, which is not the shape of a scan; save it again."
        )


def silence_libtiff() -> None:
    """Stop libtiff from writing warnings about corrupt files to stderr, between the lines of the log."""
    folder = Path(PIL.__file__).parent.parent / "pillow.libs"
    for library in folder.glob("libtiff-*.so*"):  # bundled with Pillow's wheels for Linux
        with contextlib.suppress(OSError, AttributeError):
            loaded = ctypes.CDLL(str(library))
            loaded.TIFFSetErrorHandler(None)
            loaded.TIFFSetWarningHandler(None)
