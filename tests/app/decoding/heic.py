"""HEIC images written by hand: the library that decodes them has no encoder.

The samples are stored uncompressed: each coding tree block is a slice of its own, with one coding unit in PCM mode
(ITU-T H.265, 7.3.8.7), so that there is no prediction and no transform, and no context adapts.
"""

from __future__ import annotations

import re
import struct

import numpy as np
from numpy.typing import NDArray

BLOCK = 32  # luma samples: the largest block in PCM mode
_PROFILE = 3  # Main Still Picture
_COMPATIBILITY = 1 << (31 - _PROFILE)
_LEVEL = 186
# The last nine bits that the arithmetic encoder writes for the bins 'part_mode' and 'pcm_flag' at the begin of a
# slice, and for 'end_of_slice_segment_flag' after the samples (9.3.4.5).
_PCM_BINS, _END_BINS = 0b100001101, 0b111111101


class Bits:
    """Bits, the most significant first, with the codes of H.265."""

    def __init__(self) -> None:
        self._text = ""

    def u(self, count: int, *values: int) -> Bits:
        for value in values:
            self._text += f"{value:0{count}b}" if count else ""
        return self

    def ue(self, *values: int) -> Bits:
        for value in values:
            code = f"{value + 1:b}"
            self._text += "0" * (len(code) - 1) + code
        return self

    def aligned(self) -> bytes:
        """Return the bits, with zeros up to the next byte."""
        text = self._text + "0" * (-len(self._text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")

    def trailing(self) -> bytes:
        """Return the bits, with a one and zeros up to the next byte."""
        return self.u(1, 1).aligned()


def heic(grey: NDArray[np.uint8], *, size: tuple[int, int] | None = None, turns: int = 0) -> bytes:
    """Return a HEIC image of grey samples, whose sides are multiples of 32.

    Parameters
    ----------
    grey : uint8 (height, width)
    size : (int, int), optional
        Width and height that the container states; by default those of the samples.
    turns : int
        Quarter turns, anticlockwise, that a reader has to apply.
    """
    height, width = grey.shape
    sets = ((32, _video_set()), (33, _sequence_set(width, height)), (34, _picture_set()))
    columns, rows = width // BLOCK, height // BLOCK
    units = []
    for number in range(columns * rows):
        top, left = number // columns * BLOCK, number % columns * BLOCK
        block = grey[top : top + BLOCK, left : left + BLOCK]
        unit = _nal(19, _slice(number, (columns * rows - 1).bit_length(), block))
        units.append(struct.pack(">I", len(unit)) + unit)
    return _container(b"".join(units), _configuration(sets), size or (width, height), turns)


def _profile(bits: Bits) -> Bits:
    bits.u(2, 0).u(1, 0).u(5, _PROFILE).u(32, _COMPATIBILITY)
    return bits.u(4, 0b1001).u(44, 0).u(8, _LEVEL)


def _video_set() -> bytes:
    bits = Bits().u(4, 0).u(2, 3).u(6, 0).u(3, 0).u(1, 1).u(16, 0xFFFF)
    return _profile(bits).u(1, 1).ue(0, 0, 0).u(6, 0).ue(0).u(2, 0).trailing()


def _sequence_set(width: int, height: int) -> bytes:
    bits = _profile(Bits().u(4, 0).u(3, 0).u(1, 1)).ue(0, 1, width, height)
    bits.u(1, 0).ue(0, 0, 0).u(1, 1).ue(0, 0, 0)
    bits.ue(2, 0, 0, 3, 0, 0)  # coding blocks of 32 x 32, transforms of 4 x 4 to 32 x 32
    bits.u(1, 0, 0, 0, 1).u(4, 7, 7).ue(2, 0).u(1, 1)  # PCM: 8 bits, blocks of 32 x 32, no loop filter
    return bits.ue(0).u(1, 0, 0, 0, 0, 0).trailing()


def _picture_set() -> bytes:
    bits = Bits().ue(0, 0).u(1, 0, 0).u(3, 0).u(1, 0, 0).ue(0, 0, 0).u(1, 0, 0, 0).ue(0, 0)
    bits.u(1, 0, 0, 0, 0, 0, 0)
    return bits.u(1, 0, 1, 0, 1).u(1, 0, 0).ue(0).u(1, 0, 0).trailing()


def _slice(number: int, address_bits: int, block: NDArray[np.uint8]) -> bytes:
    bits = Bits().u(1, int(number == 0), 0).ue(0)
    if number:
        bits.u(address_bits, number)
    header = bits.ue(2, 0).trailing()
    chroma = bytes([128]) * (BLOCK * BLOCK // 2)
    return (
        header
        + Bits().u(9, _PCM_BINS).aligned()
        + block.tobytes()
        + chroma
        + Bits().u(9, _END_BINS).aligned()
    )


def _nal(kind: int, payload: bytes) -> bytes:
    """Return a NAL unit, with the bytes that prevent start codes in it."""
    return bytes([kind << 1, 1]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", payload)


def _configuration(sets: tuple[tuple[int, bytes], ...]) -> bytes:
    """Return the decoder configuration (ISO/IEC 14496-15, 8.3.3)."""
    out = struct.pack(">BBI6sB", 1, _PROFILE, _COMPATIBILITY, b"\x90" + bytes(5), _LEVEL)
    out += struct.pack(">HBBBBHBB", 0xF000, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0x0F, len(sets))
    for kind, payload in sets:
        unit = _nal(kind, payload)
        out += struct.pack(">BHH", 0x80 | kind, 1, len(unit)) + unit
    return out


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _container(data: bytes, configuration: bytes, size: tuple[int, int], turns: int) -> bytes:
    """Return a file with one image item (ISO/IEC 23008-12)."""
    full = bytes(4)
    properties = [
        _box(b"hvcC", configuration),
        _box(b"ispe", full, struct.pack(">II", *size)),
        _box(b"colr", b"nclx", struct.pack(">HHHB", 1, 13, 6, 0x80)),
        _box(b"irot", bytes([turns])),
    ]
    uses = struct.pack(">IHB4B", 1, 1, 4, 0x81, 2, 3, 0x84)
    kind = _box(b"ftyp", b"heic", full, b"mif1heic")

    def meta(offset: int) -> bytes:
        return _box(
            b"meta",
            full,
            _box(b"hdlr", full, full, b"pict", bytes(13)),
            _box(b"pitm", full, struct.pack(">H", 1)),
            _box(b"iloc", full, struct.pack(">HHHHHII", 0x4400, 1, 1, 0, 1, offset, len(data))),
            _box(b"iinf", full, struct.pack(">H", 1), _box(b"infe", b"\x02\0\0\0", b"\0\x01\0\0hvc1\0")),
            _box(b"iprp", _box(b"ipco", *properties), _box(b"ipma", full, uses)),
        )

    start = len(kind) + len(meta(0)) + 8
    return kind + meta(start) + _box(b"mdat", data)
