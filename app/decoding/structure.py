"""Inspection of the structure of an image file before it is decoded.

Small files can be expensive to decode: a TIFF may chain a million pages, a PNG may have a million chunks, and a JPEG
may repeat the same scan a hundred thousand times. Decoders process all of them; scanners write no such files. These
functions walk the structure of a file, within milliseconds for any input, and refuse it when it has too many parts.
"""

from __future__ import annotations

import struct

from app.domain.errors import DamagedImage, NoSuchPage, UnsupportedImage

MAX_PNG_CHUNKS = 20_000  # 10 MB in IDAT chunks of 512 bytes; common encoders write 8 kB or more per chunk
MAX_JPEG_SCANS = 64
USUAL_JPEG_SCANS = 10  # written by common progressive encoders
MAX_TIFF_PAGES = 10_000
_COMPRESSION, _SHORT = 259, 3
_SUPPORTED_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 34925, 50000, 50001})
_UNSUPPORTED_COMPRESSIONS = {
    9: "JBIG",
    10: "JBIG",
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "SGI LogLuv",
    34677: "SGI LogLuv",
    34712: "JPEG 2000",
    34715: "JBIG2",
    34887: "LERC",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
"""Names of TIFF compression methods by their registered numbers (TIFF 6.0, libtiff's tiff.h)."""

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Number of channels by PNG colour type."""


def pixel_cost(data: bytes, decoder: str) -> float:
    """Return the cost of decoding one pixel of this file; 1 is that of an ordinary scan.

    Raises
    ------
    DamagedImage
        The file has too many chunks or scans.
    """
    if decoder == "PNG":
        return _png_cost(data)
    if decoder == "JPEG":
        return _jpeg_cost(data)
    return 2.0 if decoder == "WEBP" else 1.0  # libwebp decodes the frames of an animation


def _png_cost(data: bytes) -> float:
    """Return the bits per pixel relative to 32: 2 for four channels of 16 bits, at least 1."""
    offset, chunks = 8, 0
    while offset + 12 <= len(data):
        offset += 12 + int.from_bytes(data[offset : offset + 4], "big")
        chunks += 1
        if chunks > MAX_PNG_CHUNKS:
            raise DamagedImage(f"The PNG image has more than {MAX_PNG_CHUNKS:,} chunks; save it again.")
    if len(data) < 26:
        return 1.0
    depth, colour = data[24], data[25]
    return max(1.0, float(depth * _PNG_CHANNELS.get(colour, 4)) / 32.0)


def _jpeg_cost(data: bytes) -> float:
    """Return the number of scans relative to the usual one, at least 1: each scan covers the whole image.

    Scans are counted by their marker, FF DA, which does not occur within the data of a scan.
    """
    scans = data.count(b"\xff\xda")
    if scans > MAX_JPEG_SCANS:
        raise DamagedImage(f"The JPEG image has more than {MAX_JPEG_SCANS} scans; save it again.")
    return max(1.0, scans / USUAL_JPEG_SCANS)


def tiff_page(data: bytes, page: int) -> bytes:
    """Return the TIFF with `page` (counted from 0) as its first, so that the decoder need not follow the chain.

    Raises
    ------
    NoSuchPage
        The file has fewer pages.
    DamagedImage
        The header is incomplete, or the chain has more than `MAX_TIFF_PAGES` pages.
    UnsupportedImage
        The compression method of the page is not supported.
    """
    order, pages = _tiff_pages(data)
    if page >= len(pages):
        raise no_such_page(page, len(pages))
    _refuse_compression(data, order, pages[page])
    return data if page == 0 else data[:4] + struct.pack(f"{order}I", pages[page]) + data[8:]


def count_tiff_pages(data: bytes) -> int:
    """Count the pages of a TIFF."""
    return len(_tiff_pages(data)[1])


def _tiff_pages(data: bytes) -> tuple[str, list[int]]:
    """Return the byte order and the offsets of all page directories. Raises DamagedImage."""
    if len(data) < 8:
        raise DamagedImage("The TIFF image is truncated in its header; save or scan it again.")
    order = "<" if data[:2] == b"II" else ">"
    pages: dict[int, None] = {}  # an ordered set
    (offset,) = struct.unpack_from(f"{order}I", data, 4)
    while offset:
        if offset in pages or offset + 2 > len(data):
            break  # a cycle, or an offset beyond the end of the file: the pages so far are all
        pages[offset] = None
        if len(pages) > MAX_TIFF_PAGES:
            raise DamagedImage(
                f"The TIFF file has more than {MAX_TIFF_PAGES:,} pages; upload the one with the signature."
            )
        (entries,) = struct.unpack_from(f"{order}H", data, offset)
        next_pointer = offset + 2 + 12 * entries
        if next_pointer + 4 > len(data):
            break
        (offset,) = struct.unpack_from(f"{order}I", data, next_pointer)
    return order, list(pages)


def _refuse_compression(data: bytes, order: str, directory: int) -> None:
    """Raise UnsupportedImage when the decoder does not support the compression method of the page (tag 259)."""
    (entries,) = struct.unpack_from(f"{order}H", data, directory)
    for index in range(entries):
        entry = directory + 2 + 12 * index
        if entry + 12 > len(data):
            return
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if tag == _COMPRESSION and kind == _SHORT:
            (method,) = struct.unpack_from(f"{order}H", data, entry + 8)
            if method not in _SUPPORTED_COMPRESSIONS:
                name = _UNSUPPORTED_COMPRESSIONS.get(method, f"method {method}")
                raise UnsupportedImage(
                    f"The TIFF is compressed by {name}, which is not supported; save it uncompressed or with LZW, "
                    "Deflate, PackBits, JPEG or CCITT Group 3 or 4."
                )
            return


def no_such_page(page: int, pages: int) -> NoSuchPage:
    """Build the error for a page that a file of `pages` pages does not have."""
    count = "one page" if pages == 1 else f"{pages} pages"
    return NoSuchPage(f"Page {page} was requested, counted from 0, but the file has only {count}.")
