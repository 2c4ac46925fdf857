"""What an image file is made of, looked at before a decoder believes it: parts that are cheap to send, dear to read.

Decoders follow their format wherever it leads: a TIFF may chain a million pages, a PNG a million chunks, a JPEG may
send the same scan a hundred thousand times over. No scanner does, so a file that does is refused by walking its
outline, in milliseconds, however it is made.
"""

from __future__ import annotations

import struct

from app.domain.errors import DamagedImage, NoSuchPage, UnsupportedImage

MAX_PNG_CHUNKS = 20_000  # 10 MB in IDAT chunks of 512 bytes; usual are 8 kB and more
MAX_JPEG_SCANS = 64
USUAL_JPEG_SCANS = 10  # of progressive encoders
MAX_TIFF_PAGES = 10_000
_COMPRESSION, _SHORT = 259, 3
_READ_COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 34925, 50000, 50001})
_OTHER_COMPRESSIONS = {
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
"""TIFF compression methods, by the registered numbers (TIFF 6.0, libtiff's tiff.h)."""

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def weight(data: bytes, decoder: str) -> float:
    """What a pixel of this file costs to decode, 1 = as much as one of a usual scan.

    Raises
    ------
    DamagedImage
        The file has more parts than any scan.
    """
    if decoder == "PNG":
        return _png_weight(data)
    if decoder == "JPEG":
        return _jpeg_weight(data)
    return 2.0 if decoder == "WEBP" else 1.0  # its decoder goes through frames of an animation


def _png_weight(data: bytes) -> float:
    """Samples of 16 bits in four channels weigh twice the usual 8."""
    at, chunks = 8, 0
    while at + 12 <= len(data):
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        chunks += 1
        if chunks > MAX_PNG_CHUNKS:
            raise DamagedImage(f"The PNG image has more than {MAX_PNG_CHUNKS:,} chunks; save it again.")
    if len(data) < 26:
        return 1.0
    depth, colour = data[24], data[25]
    return max(1.0, float(depth * _PNG_CHANNELS.get(colour, 4)) / 32.0)


def _jpeg_weight(data: bytes) -> float:
    """Each scan of a progressive image is decoded over all of it; within scans 0xFF never stands before 0xDA."""
    scans = data.count(b"\xff\xda")
    if scans > MAX_JPEG_SCANS:
        raise DamagedImage(f"The JPEG image has more than {MAX_JPEG_SCANS} scans; save it again.")
    return max(1.0, scans / USUAL_JPEG_SCANS)


def tiff_page(data: bytes, page: int) -> bytes:
    """The TIFF with `page` (counted from 0) as its first, so that the decoder does not follow the chain of pages.

    Raises
    ------
    NoSuchPage
        There are fewer.
    DamagedImage
        The chain of pages is broken or longer than that of any scan.
    UnsupportedImage
        The page is compressed by a method that is not read.
    """
    order, pages = _tiff_pages(data)
    if page >= len(pages):
        raise no_such_page(page, len(pages))
    _refuse_compression(data, order, pages[page])
    return data if page == 0 else data[:4] + struct.pack(f"{order}I", pages[page]) + data[8:]


def count_pages(data: bytes) -> int:
    """How many pages a file has; only TIFF has more than one."""
    if data[:4] not in {b"II*\x00", b"MM\x00*"}:
        return 1
    return len(_tiff_pages(data)[1])


def _tiff_pages(data: bytes) -> tuple[str, list[int]]:
    """Byte order and the offsets of all page directories; raises DamagedImage."""
    if len(data) < 8:
        raise DamagedImage("The TIFF image breaks off in its header; save or scan it again.")
    order = "<" if data[:2] == b"II" else ">"
    pages: dict[int, None] = {}  # in order, and quick to look up
    (offset,) = struct.unpack_from(f"{order}I", data, 4)
    while offset:
        if offset in pages or offset + 2 > len(data):
            break  # a cycle, or an offset beyond the file: the pages so far are all there are
        pages[offset] = None
        if len(pages) > MAX_TIFF_PAGES:
            raise DamagedImage(
                f"The TIFF file has more than {MAX_TIFF_PAGES:,} pages; upload the one with the signature."
            )
        (entries,) = struct.unpack_from(f"{order}H", data, offset)
        following = offset + 2 + 12 * entries
        if following + 4 > len(data):
            break
        (offset,) = struct.unpack_from(f"{order}I", data, following)
    return order, list(pages)


def _refuse_compression(data: bytes, order: str, directory: int) -> None:
    """Raise UnsupportedImage where the page's compression (tag 259) is none that the decoder reads."""
    (entries,) = struct.unpack_from(f"{order}H", data, directory)
    for index in range(entries):
        entry = directory + 2 + 12 * index
        if entry + 12 > len(data):
            return
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if tag == _COMPRESSION and kind == _SHORT:
            (method,) = struct.unpack_from(f"{order}H", data, entry + 8)
            if method not in _READ_COMPRESSIONS:
                name = _OTHER_COMPRESSIONS.get(method, f"method {method}")
                raise UnsupportedImage(
                    f"The TIFF is compressed by {name}, which is not read; save it uncompressed or with LZW, "
                    "Deflate, PackBits, JPEG or CCITT Group 3 or 4."
                )
            return


def no_such_page(page: int, pages: int) -> NoSuchPage:
    """The refusal of a page that a file of `pages` pages does not have."""
    has = "one page" if pages == 1 else f"{pages} pages"
    return NoSuchPage(f"Page {page} was asked for, counted from 0, and the file has {has}.")
