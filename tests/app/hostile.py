"""Files made to hurt a reader: bombs, loops, lies in headers. Each is small to send and dear to believe."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image


def picture(array: np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deflated_zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    out = [packer.compress(bytes(min(1 << 20, count - at))) for at in range(0, count, 1 << 20)]
    return b"".join([*out, packer.flush()])


def png(width: int, height: int, depth: int, colour: int, *extra: bytes, rows: int | None = None) -> bytes:
    """A PNG of zeros; `rows` of them when the header lies."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    stride = 1 + (width * channels * depth + 7) // 8
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    body = chunk(b"IDAT", deflated_zeros(stride * (height if rows is None else rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + palette + body + chunk(b"IEND", b"")


def tiff(*pages: tuple[list[tuple[int, int, int, int]], int], tail: bytes = b"") -> bytes:
    """A little-endian TIFF of pages (entries (tag, type, count, value), offset of the next page or 0)."""
    out = bytearray(b"II*\x00" + struct.pack("<I", 8))
    for entries, following in pages:
        out += struct.pack("<H", len(entries))
        for tag, kind, count, value in sorted(entries):
            out += struct.pack("<HHII", tag, kind, count, value)
        out += struct.pack("<I", following)
    return bytes(out) + tail


def page(
    width: int, height: int, compression: int, strips: int, at: int, size: int
) -> list[tuple[int, int, int, int]]:
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 1),
        (259, 3, 1, compression),
        (262, 3, 1, 0),
        (273, 4, strips, at),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, strips, size),
    ]


def empty_pages(count: int) -> bytes:
    """A TIFF of very many pages that hold nothing but the way to the next one."""
    out = bytearray(b"II*\x00" + struct.pack("<I", 8))
    for n in range(count):
        following = 8 + (n + 1) * 6 if n + 1 < count else 0
        out += struct.pack("<HI", 0, following)
    return bytes(out)


def small_pages(count: int) -> bytes:
    out = bytearray(b"II*\x00" + struct.pack("<I", 8))
    for n in range(count):
        entries = page(32, 32, 1, 1, 8, 128)
        size = 2 + 12 * len(entries) + 4
        out += struct.pack("<H", len(entries))
        for entry in entries:
            out += struct.pack("<HHII", *entry)
        out += struct.pack("<I", 8 + (n + 1) * size if n + 1 < count else 0)
    return bytes(out)


def progressive_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG that sends the same scan over and over: every one is decoded over the whole image."""
    data = picture(np.full((side, side), 255, np.uint8), "JPEG", progressive=True, quality=50)
    starts = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    last = data[starts[-1] : data.rindex(b"\xff\xd9")]
    return data[: data.rindex(b"\xff\xd9")] + last * scans + b"\xff\xd9"


def webp_canvas(width: int, height: int) -> bytes:
    """A WebP whose canvas is huge and whose frame is not there."""
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x10\x00\x00\x00"
    body += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body += b"VP8 " + struct.pack("<I", 10) + bytes(10)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_many_frames(frames: int) -> bytes:
    out = io.BytesIO()
    pictures = [Image.new("L", (400, 400), 255 - n % 2) for n in range(frames)]
    pictures[0].save(out, "WEBP", save_all=True, append_images=pictures[1:], duration=1, lossless=True)
    return out.getvalue()


def bmp(
    width: int, height: int, bits: int, compression: int, colours: int, data: bytes, offset: int = 54
) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, offset) + head + data


def noise(count: int) -> bytes:
    return np.random.default_rng(3).bytes(count)


def jpeg() -> bytes:
    return picture(np.full((200, 300), 255, np.uint8), "JPEG")


def lying_jpeg(width: int, height: int) -> bytes:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def deflate_tiff() -> bytes:
    packed = deflated_zeros(100 << 20)
    return tiff((page(64, 64, 8, 1, 130, len(packed)), 0), tail=packed)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "png that claims more than anybody has": lambda: png(60_000, 60_000, 8, 0, rows=1),
    "png one pixel below the limit": lambda: png(6_300, 6_300, 8, 0),
    "png of four 16-bit channels at the limit": lambda: png(6_300, 6_300, 16, 6),
    "png with a palette at the limit": lambda: png(6_300, 6_300, 8, 3),
    "png of one bit at the limit": lambda: png(6_300, 6_300, 1, 0),
    "png that is all width": lambda: png(29_999, 1, 8, 0),
    "png with more pixels than its header says": lambda: png(64, 64, 8, 0, rows=200_000),
    "png with a text bomb": lambda: png(64, 64, 8, 0, chunk(b"zTXt", b"a\0\0" + deflated_zeros(100 << 20))),
    "png with a profile bomb": lambda: png(
        64, 64, 8, 0, chunk(b"iCCP", b"a\0\0" + deflated_zeros(100 << 20))
    ),
    "png with ten thousand texts": lambda: png(
        64, 64, 8, 0, *[chunk(b"tEXt", b"k%d\0v" % n) for n in range(10_000)]
    ),
    "png with a million empty chunks": lambda: png(64, 64, 8, 0, *[chunk(b"aaAa", b"")] * 800_000),
    "animated png without frames": lambda: png(64, 64, 8, 0, chunk(b"acTL", struct.pack(">II", 2**31, 0))),
    "tiff of a million empty pages": lambda: empty_pages(1_700_000),
    "tiff of fifty thousand small pages": lambda: small_pages(50_000),
    "tiff whose page follows itself": lambda: tiff((page(100, 100, 1, 1, 8, 1250), 8), tail=bytes(2000)),
    "tiff of two pages in a circle": lambda: tiff(
        (page(99, 99, 1, 1, 8, 1250), 122), (page(99, 99, 1, 1, 8, 9), 8)
    ),
    "tiff of four billion strips": lambda: tiff(
        (page(1000, 1000, 1, 2**32 - 1, 200, 200), 0), tail=bytes(9000)
    ),
    "tiff of a million strips": lambda: tiff(
        (page(1000, 1000, 1, 10**6, 130, 130), 0), tail=bytes(4 * 10**6)
    ),
    "tiff g4 of noise": lambda: tiff((page(2000, 2000, 4, 1, 130, 90_000), 0), tail=noise(90_000)),
    "tiff g4 of nothing": lambda: tiff((page(6000, 6000, 4, 1, 130, 8), 0), tail=bytes(8)),
    "tiff g3 of noise": lambda: tiff((page(2000, 2000, 3, 1, 130, 90_000), 0), tail=noise(90_000)),
    "tiff with a deflate bomb": deflate_tiff,
    "tiff lzw of noise": lambda: tiff((page(4000, 4000, 5, 1, 130, 90_000), 0), tail=noise(90_000)),
    "tiff jpeg of noise": lambda: tiff((page(4000, 4000, 7, 1, 130, 90_000), 0), tail=noise(90_000)),
    "tiff of strange compression": lambda: tiff((page(400, 400, 34_925, 1, 130, 900), 0), tail=noise(900)),
    "tiff with a huge strip": lambda: tiff((page(6000, 6000, 1, 1, 130, 2**32 - 1), 0), tail=bytes(5000)),
    "tiff with a tag that counts to the sky": lambda: tiff(
        ([*page(64, 64, 1, 1, 8, 512), (270, 2, 2**31, 8)], 0), tail=bytes(600)
    ),
    "jpeg of a thousand scans": lambda: progressive_scans(1500, 1000),
    "jpeg of twenty scans at the limit": lambda: progressive_scans(6000, 20),
    "jpeg with a lying size": lambda: lying_jpeg(65_000, 65_000),
    "jpeg with many comments": lambda: b"\xff\xd8" + b"\xff\xfe\xff\xff" + bytes(65_533) + jpeg()[2:],
    "webp of a huge canvas": lambda: webp_canvas(16_383, 16_383),
    "webp of a canvas beyond webp": lambda: webp_canvas(2**24, 2**24),
    "webp of many frames": lambda: webp_many_frames(300),
    "webp at the limit": lambda: picture(
        np.full((6_000, 6_000), 255, np.uint8), "WEBP", lossless=True, quality=0, method=0
    ),
    "bmp upside down and huge": lambda: bmp(2**31 - 1, -(2**31), 24, 0, 0, b""),
    "bmp of negative width": lambda: bmp(-100, 100, 24, 0, 0, bytes(30_000)),
    "bmp with four billion colours": lambda: bmp(100, 100, 8, 0, 2**32 - 1, bytes(20_000)),
    "bmp with a run-length bomb": lambda: bmp(6_000, 6_000, 8, 1, 0, b"\xff\x00" * 140_000, 1078),
    "bmp whose runs jump about": lambda: bmp(6_000, 6_000, 8, 1, 0, b"\x00\x02\xff\xff" * 100_000, 1078),
    "bmp without pixels": lambda: bmp(0, 0, 24, 0, 0, b""),
    "bmp of no depth": lambda: bmp(100, 100, 0, 0, 0, bytes(30_000)),
}
