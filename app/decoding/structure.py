"""What an image file is made of, looked at before a decoder believes it: parts that are cheap to send, dear to read.

Decoders follow their format wherever it leads: a TIFF may chain a million pages, a PNG a million chunks, a JPEG may
send the same scan a hundred thousand times over. No scanner does, so a file that does is refused by walking its
outline, in milliseconds, however it is made.
"""

from __future__ import annotations

import struct

from app.domain.errors import DamagedImage, NoSuchPage

MAX_PNG_CHUNKS = 20_000  # 10 MB in IDAT chunks of 512 bytes; usual are 8 kB and more
MAX_JPEG_SCANS = 64
USUAL_JPEG_SCANS = 10  # of progressive encoders
MAX_TIFF_PAGES = 10_000
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
    """The TIFF with `page` (counted from 0) as its first, so that no decoder has to go there by itself.

    Raises
    ------
    NoSuchPage
        There are fewer.
    DamagedImage
        The chain of pages is broken or longer than any scan's.
    """
    if len(data) < 8:
        raise DamagedImage("The TIFF image breaks off in its header; save or scan it again.")
    order = "<" if data[:2] == b"II" else ">"
    seen: set[int] = set()
    wanted = None
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    while at:
        if at in seen or at + 2 > len(data):
            break  # a circle, or a way out of the file: the pages so far are what there is
        if len(seen) == page:
            wanted = at
        seen.add(at)
        if len(seen) > MAX_TIFF_PAGES:
            raise DamagedImage(
                f"The TIFF file has more than {MAX_TIFF_PAGES:,} pages; upload the one that counts."
            )
        (entries,) = struct.unpack_from(f"{order}H", data, at)
        following = at + 2 + 12 * entries
        if following + 4 > len(data):
            break
        (at,) = struct.unpack_from(f"{order}I", data, following)
    if wanted is None:
        raise no_such_page(page, len(seen))
    return data if page == 0 else data[:4] + struct.pack(f"{order}I", wanted) + data[8:]


def no_such_page(page: int, pages: int) -> NoSuchPage:
    """The refusal of a page that a file of `pages` pages does not have."""
    has = "one page" if pages == 1 else f"{pages} pages"
    return NoSuchPage(f"Page {page} was asked for, counted from 0, and the file has {has}.")
