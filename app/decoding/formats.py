"""The formats of uploads: how they are recognized, their media types, and the limits on an upload.

This module imports no decoder, so that the service process can use it without loading one.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum

FORMAT_NAMES = "PNG, JPEG, TIFF, BMP, WebP, HEIC, AVIF or PDF"
"""The accepted formats, for the documentation of the API."""
ACCEPTED_FORMATS = f"the accepted formats are {FORMAT_NAMES.replace(' or ', ' and ')}"
"""The accepted formats, for error messages."""


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


UNLIMITED = UploadLimits(max_bytes=sys.maxsize, max_pixels=sys.maxsize)
"""For images from the store: they passed the limits of their upload, which may be lower now."""


class Format(Enum):
    """An accepted format; the value is the name by which Pillow calls it."""

    PNG = "PNG"
    JPEG = "JPEG"
    TIFF = "TIFF"
    BMP = "BMP"
    WEBP = "WEBP"
    HEIC = "HEIF"
    AVIF = "AVIF"
    PDF = "PDF"

    @property
    def media_type(self) -> str:
        """The media type (IANA)."""
        return _MEDIA_TYPES.get(self, f"image/{self.name.lower()}")

    @property
    def noun(self) -> str:
        """What a file of this format is called in a sentence."""
        return "PDF document" if self is Format.PDF else f"{self.name} image"


_MEDIA_TYPES = {Format.PDF: "application/pdf"}
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS_BEFORE_IMAGE = 1000
"""Chunks among which `acTL` is looked for; more of them are no ordinary file."""
_WEBP_ANIMATION = 0x02
"""Flag of the chunk `VP8X` of a WebP file (RFC 9649, section 2.7)."""
_MAGIC = (
    (_PNG, Format.PNG),
    (b"\xff\xd8\xff", Format.JPEG),
    (b"II*\x00", Format.TIFF),
    (b"MM\x00*", Format.TIFF),
    (b"BM", Format.BMP),
)
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_UNSUPPORTED_KINDS = (
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
_PDF_HEADER_WITHIN = 1024
"""PDF readers accept other bytes before the header, up to this many (PDF 1.7, Annex H, note 13)."""


def detect_format(data: bytes) -> Format | None:
    """Return the format of a file by its first bytes, or None when it is not an accepted one."""
    if describe_animation(data) is not None:
        return None
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            return kind
    if _is_webp(data):
        return Format.WEBP
    if data[4:8] == b"ftyp":
        return _detect_brand(data)
    if b"%PDF-" in data[:_PDF_HEADER_WITHIN] and describe_unsupported(data) is None:
        return Format.PDF
    return None


def describe_unsupported(data: bytes) -> str | None:
    """Return what a file of a known format that is not accepted is, such as "a GIF image"; None for others."""
    if (animation := describe_animation(data)) is not None:
        return animation
    for magic, kind in _UNSUPPORTED_KINDS:
        if data.startswith(magic):
            return kind
    if data[4:8] == b"ftyp":
        return "a video or an image of a kind that is not read"
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return "an SVG or XML document" if start.startswith((b"<svg", b"<?xml")) else None


def describe_animation(data: bytes) -> str | None:
    """Return what an animated PNG or WebP file is; None for others. Which of its frames is meant is not known."""
    if _is_webp(data) and data[12:16] == b"VP8X" and data[20:21] and data[20] & _WEBP_ANIMATION:
        return "an animated WebP image of several frames"
    if data.startswith(_PNG) and _count_png_frames(data) > 1:
        return "an animated PNG image of several frames"
    return None


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _count_png_frames(data: bytes) -> int:
    """Read the number of frames from the chunk `acTL`, which precedes the image data (PNG 3, section 11.3.6.1)."""
    offset = len(_PNG)
    for _ in range(_PNG_CHUNKS_BEFORE_IMAGE):
        size, name = int.from_bytes(data[offset : offset + 4], "big"), data[offset + 4 : offset + 8]
        if name == b"acTL":
            return int.from_bytes(data[offset + 8 : offset + 12], "big")
        if name in {b"IDAT", b""}:
            break
        offset += 12 + size
    return 1


def detect_media_type(data: bytes) -> str:
    """Return the media type of a file of an accepted format, by its first bytes."""
    kind = detect_format(data)
    return kind.media_type if kind else "application/octet-stream"


def _detect_brand(data: bytes) -> Format | None:
    """Tell HEIC from AVIF by the brands of the file type box (ISO/IEC 14496-12); None for videos and others."""
    size = min(int.from_bytes(data[:4], "big"), 256)
    brands = [data[8:12], *(data[offset : offset + 4] for offset in range(16, size, 4))]
    # `mif1` stands for any image in this container, whatever its compression: other brands decide first.
    if not _AVIF_BRANDS.isdisjoint(brands):
        return Format.AVIF
    return Format.HEIC if not _HEIC_BRANDS.isdisjoint(brands) else None
