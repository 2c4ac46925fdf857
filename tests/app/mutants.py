"""An endless, seeded supply of broken requests: images and multipart bodies that were once in order."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, TiffImagePlugin

Rng = np.random.Generator
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
BOUNDARY = b"boundary-of-the-form"


@dataclass(frozen=True)
class Request:
    """A request to send: what it is, where to, and its bytes."""

    what: str
    path: str
    content_type: str
    body: bytes


def scribble(seed: int, height: int = 90, width: int = 200) -> Image.Image:
    """A few strokes on paper: small, so that many are read in a second."""
    rng = np.random.default_rng(seed)
    page = np.full((height, width), 255, np.uint8)
    along = np.linspace(0, 2 * np.pi, 1500)
    waves = rng.uniform(1, 6, 3)
    x = (width * (0.1 + 0.8 * along / 6.3)).astype(int)
    y = (height * (0.5 + 0.3 * np.sin(waves[0] * along) * np.cos(waves[1] * along + waves[2]))).astype(int)
    for dy in (0, 1, 2):
        page[np.clip(y + dy, 0, height - 1), x] = 20
    return Image.fromarray(page)


@cache
def sound_images() -> tuple[tuple[str, bytes], ...]:
    """Images in order, of every kind that is read and most of its dialects."""
    grey = scribble(1)
    bitonal = grey.convert("1")
    made: list[tuple[str, bytes]] = []

    def add(name: str, image: Image.Image, kind: str, **options: object) -> None:
        out = io.BytesIO()
        image.save(out, kind, **options)
        made.append((name, out.getvalue()))

    for mode in ("L", "RGB", "RGBA", "1", "P", "I;16"):
        add(
            f"png {mode}",
            grey.convert("I").point(lambda v: v * 257).convert(mode)
            if mode == "I;16"
            else grey.convert(mode),
            "PNG",
        )
    add("png with texts", grey, "PNG", dpi=(300, 300), exif=Image.Exif().tobytes())
    for mode in ("L", "RGB", "CMYK"):
        add(f"jpeg {mode}", grey.convert(mode), "JPEG")
    add("jpeg progressive", grey, "JPEG", progressive=True, optimize=True)
    for compression in ("raw", "group4", "group3", "tiff_ccitt", "packbits"):
        add(f"tiff {compression}", bitonal, "TIFF", compression=compression)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg"):
        add(f"tiff {compression}", grey, "TIFF", compression=compression)
    add("tiff in strips", grey.convert("RGB"), "TIFF", tiffinfo={TiffImagePlugin.ROWSPERSTRIP: 8})
    add(
        "tiff of three pages",
        bitonal,
        "TIFF",
        compression="group4",
        save_all=True,
        append_images=[bitonal, bitonal],
    )
    for mode in ("L", "RGB", "1", "P"):
        add(f"bmp {mode}", grey.convert(mode), "BMP")
    for options in ({"lossless": True}, {"quality": 60}, {"lossless": True, "exif": Image.Exif().tobytes()}):
        add("webp", grey.convert("RGB"), "WEBP", **options)
    return tuple(made)


def flip(data: bytearray, rng: Rng) -> bytearray:
    for at in rng.integers(0, len(data), rng.integers(1, 12)):
        data[at] ^= 1 << rng.integers(0, 8)
    return data


def scatter(data: bytearray, rng: Rng) -> bytearray:
    for at in rng.integers(0, len(data), rng.integers(1, 12)):
        data[at] = rng.integers(0, 256)
    return data


def head(data: bytearray, rng: Rng) -> bytearray:
    """Spoil the first bytes, where the header is."""
    for at in rng.integers(0, min(len(data), 96), rng.integers(1, 5)):
        data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(0, 256))))
    return data


def extreme(data: bytearray, rng: Rng) -> bytearray:
    """Write a number at the edge of its range somewhere, mostly near one end."""
    reach = len(data) if rng.random() < 0.4 else min(len(data), 200)
    at = int(rng.integers(0, reach))
    if rng.random() < 0.3:
        at = len(data) - 1 - at  # a TIFF's directory is often last
    form = rng.choice((">I", "<I", ">H", "<H", "B"))
    size = struct.calcsize(form)
    value = int(rng.choice(EXTREMES)) & ((1 << (8 * size)) - 1)
    data[at : at + size] = struct.pack(form, value)
    return data


def cut(data: bytearray, rng: Rng) -> bytearray:
    return data[: rng.integers(0, len(data))]


def drop(data: bytearray, rng: Rng) -> bytearray:
    at = int(rng.integers(0, len(data)))
    del data[at : at + int(rng.integers(1, 64))]
    return data


def repeat(data: bytearray, rng: Rng) -> bytearray:
    at, size = int(rng.integers(0, len(data))), int(rng.integers(1, 64))
    data[at:at] = data[at : at + size] * int(rng.integers(1, 20))
    return data


def blot(data: bytearray, rng: Rng) -> bytearray:
    at, size = int(rng.integers(0, len(data))), int(rng.integers(1, 200))
    data[at : at + size] = bytes([int(rng.choice((0, 0xFF, 0x20)))]) * size
    return data


def swap(data: bytearray, rng: Rng) -> bytearray:
    """The head of this file on the body of another."""
    _, other = sound_images()[rng.integers(0, len(sound_images()))]
    at = int(rng.integers(2, 64))
    return data[:at] + bytearray(other[at:])


MUTATIONS: tuple[Callable[[bytearray, Rng], bytearray], ...] = (
    flip,
    scatter,
    head,
    extreme,
    extreme,
    cut,
    drop,
    repeat,
    blot,
    swap,
)


def mutated(data: bytes, rng: Rng) -> tuple[str, bytes]:
    """The data after one to three mutations, and their names."""
    names = []
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        if not out:
            break
        change = MUTATIONS[rng.integers(0, len(MUTATIONS))]
        names.append(change.__name__)
        out = change(out, rng)
    return "+".join(names), bytes(out)


def part(name: str, content: bytes, filename: str | None = None, extra: bytes = b"") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"' + (
        f'; filename="{filename}"' if filename else ""
    )
    return b"--" + BOUNDARY + b"\r\n" + disposition.encode() + b"\r\n" + extra + b"\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY.decode()}"


def with_image(rng: Rng) -> Request:
    """A mutated image in a sound form, to any of the calls that take one."""
    kind, data = sound_images()[rng.integers(0, len(sound_images()))]
    how, image = mutated(data, rng)
    page = part("page", str(rng.choice((0, 0, 0, 1, 2, 9999))).encode())
    where = rng.integers(0, 4)
    if where == 0:
        sound = sound_images()[0][1]
        body = form(part("references", sound, "r.png"), part("signature", image, "q"))
        return Request(f"{kind}: {how}", "/compare", CONTENT_TYPE, body)
    if where == 1:
        return Request(
            f"{kind}: {how}",
            f"/signers/m{rng.integers(0, 50)}/references",
            CONTENT_TYPE,
            form(part("files", image, "f"), page),
        )
    if where == 2:
        return Request(f"{kind}: {how}", "/identify", CONTENT_TYPE, form(part("signature", image, "q"), page))
    return Request(
        f"{kind}: {how}",
        "/verify",
        CONTENT_TYPE,
        form(part("signer_id", b"a"), part("signature", image, "q"), page),
    )


def with_form(rng: Rng) -> Request:
    """A sound image in a mutated form."""
    _, image = sound_images()[rng.integers(0, len(sound_images()))]
    sound = form(part("signer_id", b"a"), part("signature", image, "q.png", b"Content-Type: image/png\r\n"))
    edges = sound.index(image), sound.index(image) + len(image)
    # Mutate around the image, where the form is.
    how_front, front = mutated(sound[: edges[0]], rng)
    how_back, back = mutated(sound[edges[1] :], rng) if rng.random() < 0.5 else ("", sound[edges[1] :])
    content_type = CONTENT_TYPE
    if rng.random() < 0.2:
        content_type = bytes(scatter(bytearray(content_type.encode()), rng)).decode("latin-1")
    return Request(f"form: {how_front} {how_back}", "/verify", content_type, front + image + back)


def crowds(rng: Rng) -> Request:
    """Forms of very many or very odd parts."""
    image = sound_images()[0][1]
    count = int(rng.choice((50, 900, 1001, 3000)))
    names = rng.choice(("page", "x", "signature", "signer_id", ""), count)
    kind = int(rng.integers(0, 6))
    body = {
        0: lambda: form(*[part(str(n), b"1") for n in names]),
        1: lambda: form(*[part("signature", b"", f"{n}") for n in range(count)]),
        2: lambda: form(
            part("signer_id", b"a" * int(rng.choice((128, 129, 100_000, 1_100_000)))),
            part("signature", image, "q"),
        ),
        3: lambda: form(part("signature", image, "q" * int(rng.choice((300, 5000, 100_000))))),
        4: lambda: form(
            part("signature", image, "q", b"X-Odd: " + b"y" * int(rng.choice((100, 5000, 200_000))) + b"\r\n")
        ),
        5: lambda: form(part("signature", image, "q", b"".join(b"X-%d: y\r\n" % n for n in range(count)))),
    }[kind]()
    return Request(f"crowd {kind} of {count}", "/verify", CONTENT_TYPE, body)


def requests(seed: int) -> Iterator[Request]:
    """Broken requests without end; the same for the same seed."""
    rng = np.random.default_rng(seed)
    while True:
        dice = rng.random()
        if dice < 0.80:
            yield with_image(rng)
        elif dice < 0.99:
            yield with_form(rng)
        else:
            yield crowds(rng)
