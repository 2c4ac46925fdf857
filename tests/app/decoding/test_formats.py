"""HEIC and AVIF images, and the table of formats."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from app.decoding import uploads
from app.decoding.formats import Format, UploadLimits, describe_unsupported, detect_format, detect_media_type
from app.decoding.pool import DecoderPool
from app.decoding.uploads import count_pages, read_upload
from app.domain.errors import DamagedImage, TooExpensive, TooManyPixels, UnsupportedImage
from model.preprocessing.ink import Canvas
from tests.app.decoding import documents
from tests.app.decoding.heic import BLOCK, heic
from tests.app.test_api import enrol, verify

Draw = Callable[..., bytes]
LIMITS = UploadLimits(max_bytes=10**8, max_pixels=4 * 10**7)


def samples(height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width)).astype(np.uint8)


def encoded(array: NDArray[np.uint8], kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind, **options)
    return out.getvalue()


def padded(draw: Draw, *arguments: int) -> NDArray[np.uint8]:
    """Return a signature on paper whose sides are multiples of the block of HEIC."""
    grey = np.asarray(Image.open(io.BytesIO(draw(*arguments))).convert("L"))
    height, width = (-side % BLOCK for side in grey.shape)
    return np.pad(grey, ((0, height), (0, width)), constant_values=255)


def test_heic_is_decoded_exactly() -> None:
    grey = samples()
    assert np.array_equal(read_upload(heic(grey), None, LIMITS).grey, grey)
    assert count_pages(heic(grey)) == 1


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_of_a_heic_is_applied(turns: int) -> None:
    grey = samples()
    assert np.array_equal(read_upload(heic(grey, turns=turns), None, LIMITS).grey, np.rot90(grey, turns))


def test_avif_is_decoded(draw: Draw) -> None:
    grey = padded(draw, 1, 0)
    decoded = read_upload(encoded(grey, "AVIF", quality=100), None, LIMITS).grey
    assert np.abs(decoded.astype(int) - grey).mean() < 3


def animated(kind: str, frames: int) -> bytes:
    pictures = [Image.fromarray(samples() // (n + 1)) for n in range(frames)]
    out = io.BytesIO()
    pictures[0].save(out, kind, save_all=True, append_images=pictures[1:], duration=100)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_refused_as_an_animated_gif_is(client: TestClient, kind: str) -> None:
    content = animated(kind, 2)
    assert Image.open(io.BytesIO(content)).n_frames == 2
    assert detect_format(content) is None
    answer = client.post("/extract", files={"document": content})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-image")
    assert "an animated" in answer.json()["detail"]
    assert detect_format(animated(kind, 1)) is Format[kind]
    assert detect_format(content[:40]) in {None, Format[kind]}, "a truncated file is not read beyond its end"


def test_avif_is_refused_where_pillow_lacks_its_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads.features, "check", lambda feature: feature != "avif")
    with pytest.raises(UnsupportedImage, match="cannot read AVIF"):
        read_upload(encoded(samples(), "AVIF"), None, LIMITS)


@pytest.mark.parametrize(
    "make",
    [lambda: heic(samples(), size=(6400, 6400)), lambda: encoded(np.zeros((200, 300), np.uint8), "AVIF")],
    ids=["heic", "avif"],
)
def test_size_is_checked_before_pixels_are_decoded(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], bytes]
) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(uploads, "to_scan", decoded)
    with pytest.raises(TooManyPixels):
        read_upload(make(), None, UploadLimits(10**6, 50_000))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100],
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"hvcC", b"hvcX"),
        lambda data: data.replace(b"pitm", b"free"),
        lambda _: heic(samples(), size=(6000, 6000)),
        lambda _: heic(samples(), size=(32, 32)),
    ],
    ids=[
        "no items",
        "truncated",
        "no configuration",
        "no primary image",
        "too few samples",
        "too many samples",
    ],
)
def test_damaged_heic_is_refused(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DamagedImage, match="HEIC image is truncated or corrupt"):
        read_upload(damage(heic(samples())), None, LIMITS)


def test_heic_that_takes_too_much_memory_is_refused(draw: Draw) -> None:
    decoders = DecoderPool(1, patience_s=60, memory_mb=128)
    canvas = Canvas(64, 128, "moments", 0.8)
    with pytest.raises(
        (TooExpensive, DamagedImage)
    ):  # libheif reports some failed allocations as corrupt data
        decoders.read(heic(np.full((3008, 4000), 255, np.uint8)), None, 0, LIMITS, canvas)
    assert decoders.read(draw(1, 0), None, 0, LIMITS, canvas).prepared.canvas.any()
    decoders.close()


def test_photo_of_a_phone_is_read_within_the_memory_of_a_worker(draw: Draw) -> None:
    photo = np.full((3008, 4000), 255, np.uint8)
    grey = padded(draw, 1, 0)
    photo[: grey.shape[0], : grey.shape[1]] = grey
    decoders = DecoderPool(1, patience_s=60, memory_mb=512)
    assert decoders.read(heic(photo), None, 0, LIMITS, Canvas(64, 128, "moments", 0.8)).prepared.canvas.any()
    decoders.close()


@pytest.mark.parametrize(
    ("data", "kind", "media_type"),
    [
        (lambda: encoded(samples(), "PNG"), Format.PNG, "image/png"),
        (lambda: encoded(samples(), "JPEG"), Format.JPEG, "image/jpeg"),
        (lambda: encoded(samples(), "TIFF"), Format.TIFF, "image/tiff"),
        (lambda: encoded(samples(), "BMP"), Format.BMP, "image/bmp"),
        (lambda: encoded(samples(), "WEBP"), Format.WEBP, "image/webp"),
        (lambda: encoded(samples(), "AVIF"), Format.AVIF, "image/avif"),
        (lambda: heic(samples()), Format.HEIC, "image/heic"),
        (documents.page, Format.PDF, "application/pdf"),
        (lambda: b"RIFF\0\0\0\0WAVEfmt ", None, "application/octet-stream"),
        (lambda: b"PK\x03\x04" + documents.page(), None, "application/octet-stream"),
        (lambda: b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", None, "application/octet-stream"),
    ],
)
def test_format_and_media_type(data: Callable[[], bytes], kind: Format | None, media_type: str) -> None:
    assert detect_format(data()) is kind
    assert detect_media_type(data()) == media_type


def test_image_of_avif_with_a_general_brand_is_avif() -> None:
    assert detect_format(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif") is Format.AVIF
    assert detect_format(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic") is Format.HEIC


def test_video_is_named() -> None:
    video = b"\0\0\0\x18ftypmp42\0\0\0\0isommp42"
    assert "video" in (describe_unsupported(video) or "")
    with pytest.raises(UnsupportedImage, match="HEIC, AVIF and PDF"):
        read_upload(video, None, LIMITS)


@pytest.mark.parametrize("kind", ["HEIC", "AVIF"])
def test_photo_is_verified_and_served_as_it_was_sent(client: TestClient, draw: Draw, kind: str) -> None:
    def photo(n: int) -> bytes:
        grey = padded(draw, 1, n)
        return heic(grey) if kind == "HEIC" else encoded(grey, "AVIF", quality=95)

    (reference,) = enrol(client, "a", photo(0)).json()["references"]
    assert reference["media_type"] == f"image/{kind.lower()}"
    image = client.get(f"/signers/a/references/{reference['reference_id']}/image")
    assert (image.content, image.headers["content-type"]) == (photo(0), f"image/{kind.lower()}")
    assert verify(client, "a", photo(3)).status_code == 200
