"""Decoding of an upload: from untrusted bytes to a grey image, or a refusal with its reason.

Cheap checks come first: size, magic bytes, the structure of the file (`app.decoding.structure`), then the dimensions
in its header. Pixels are decoded only after all checks: a page of a PDF document by PDFium (`app.decoding.pdf`), an
image by Pillow's decoder for the detected format only. An exception raised within these libraries becomes a refusal
of the file; an exception of our own code is raised as it is. The service process must not import this module, which
loads the decoders.
"""

from __future__ import annotations

import io
import struct
import traceback
import warnings

from pi_heif import register_heif_opener
from PIL import AvifImagePlugin, Image, features

from app.decoding.formats import (
    ACCEPTED_FORMATS,
    Format,
    UploadLimits,
    describe_unsupported,
    detect_format,
)
from app.decoding.pdf import count_pdf_pages, render_page
from app.decoding.structure import count_tiff_pages, no_such_page, pixel_cost, tiff_page
from app.domain.errors import (
    DamagedImage,
    EmptyUpload,
    NotAnImage,
    TooManyPixels,
    UnsupportedImage,
    UploadTooLarge,
)
from model.preprocessing.scan import Scan, to_scan

MAX_SIDE = 30_000  # px; no scan of a page is longer
MAX_ASPECT = 200

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
"""Exceptions that the decoders are known to raise for corrupt input."""
_LIBRARIES = frozenset({"PIL", "pi_heif", "pypdfium2"})
"""Packages whose exceptions mean that the file is damaged."""

register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # as everywhere in a worker process: the others use the other cores


def read_upload(data: bytes, name: str | None, limits: UploadLimits, page: int = 0) -> Scan:
    """Decode an upload.

    Parameters
    ----------
    data : bytes
    name : str or None
        File name given by the caller; used in messages only, never to detect the format.
    page : int
        Counted from 0; only TIFF and PDF can have more than one.

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
    kind = _check_format(data, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind is Format.PDF:
                return to_scan(render_page(data, page, limits.max_pixels, MAX_SIDE, MAX_ASPECT))
            cost = pixel_cost(data, kind.value)
            selected = _select_page(page, data, kind)
            with Image.open(io.BytesIO(selected), formats=[kind.value]) as image:
                _check_size(image, limits, cost)
                return to_scan(image)
    except Image.DecompressionBombError as error:
        raise TooManyPixels(
            f"The header of the image states far more than the maximum of {limits.max_pixels:,} pixels. "
            "Crop the image or lower its resolution."
        ) from error
    except _DECODER_ERRORS as error:
        if not _raised_in_library(error):
            raise  # a bug in our own code
        raise DamagedImage(
            f"The {kind.noun} is truncated or corrupt and cannot be decoded; save or scan it again."
        ) from error


def count_pages(data: bytes) -> int:
    """Count the pages of a file that :func:`read_upload` has accepted; only TIFF and PDF can have more than one."""
    kind = detect_format(data)
    if kind is Format.PDF:
        return count_pdf_pages(data)
    return count_tiff_pages(data) if kind is Format.TIFF else 1


def _raised_in_library(error: BaseException) -> bool:
    """Whether an exception was raised within a decoding library, or in a function that one called."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES for frame, _ in frames)


def _check_format(data: bytes, name: str | None) -> Format:
    """Return the format of the file. Raises UnsupportedImage or NotAnImage."""
    kind = detect_format(data)
    if kind is Format.AVIF and not features.check("avif"):
        raise UnsupportedImage("This installation cannot read AVIF images; save the image as PNG or JPEG.")
    if kind is not None:
        return kind
    unsupported = describe_unsupported(data)
    if unsupported is not None:
        raise UnsupportedImage(f"The file is {unsupported}; {ACCEPTED_FORMATS}.")
    called = f" {name!r}" if name else ""
    raise NotAnImage(
        f"The file{called} is not an image: its first bytes match no image format; {ACCEPTED_FORMATS}."
    )


def _select_page(page: int, data: bytes, kind: Format) -> bytes:
    """Return the data with the requested page first. Raises NoSuchPage."""
    if kind is Format.TIFF:
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
