"""Images as integrators send them; each test repeats a fault that was found in practice, on synthetic signatures."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from app.decoding.formats import UploadLimits
from app.decoding.uploads import read_upload
from app.domain.errors import UnsupportedImage
from app.settings import PERMISSIVE_WEIGHTS, RELEASED_WEIGHTS
from model.decision.reference_set import find_copies
from model.networks.embedder import Embedder
from model.preprocessing.ink import prepare
from model.synthetic.writer import Writer
from tests.app.test_api import enrol, verify

Draw = Callable[..., bytes]
LIMITS = UploadLimits(max_bytes=10**7, max_pixels=10**7)


def image_of(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("L")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("dpi", [(204, 98), (204, 391), (100, 200)])
@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG"])
def test_pixels_that_are_not_square_are_made_square(draw: Draw, kind: str, dpi: tuple[int, int]) -> None:
    square = image_of(draw(1, 0))
    height = round(square.height * dpi[1] / dpi[0])
    fax = square.resize((square.width, height), Image.Resampling.BOX)
    grey = read_upload(saved(fax, kind, dpi=dpi), None, LIMITS).grey
    shape = grey.shape[1] / grey.shape[0]
    assert shape == pytest.approx(square.width / square.height, rel=0.03)


@pytest.mark.parametrize("dpi", [(72, 71), (300, 3), (0, 300)])
def test_resolution_tags_that_cannot_be_true_are_ignored(draw: Draw, dpi: tuple[int, int]) -> None:
    square = image_of(draw(1, 0))
    grey = read_upload(saved(square, "TIFF", dpi=dpi), None, LIMITS).grey
    assert grey.shape == (square.height, square.width)


def test_standard_fax_is_compared_like_the_scan_itself(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", *(draw(1, n) for n in range(3)))
    scan = image_of(draw(1, 5))
    fax = scan.resize((scan.width, scan.height // 2), Image.Resampling.BOX)
    plain = verify(client, "a", saved(scan, "PNG")).json()
    tagged = verify(client, "a", saved(fax, "TIFF", dpi=(204, 102))).json()
    untagged = verify(client, "a", saved(fax, "TIFF")).json()
    assert abs(tagged["distance"] - plain["distance"]) < abs(untagged["distance"] - plain["distance"])


@pytest.mark.parametrize("ink", [255, 230])
def test_light_ink_on_a_transparent_ground_is_read_from_the_alpha_channel(draw: Draw, ink: int) -> None:
    scan = np.asarray(image_of(draw(1, 0)))
    pixels = np.full((*scan.shape, 4), ink, np.uint8)
    pixels[..., 3] = 255 - scan
    grey = read_upload(saved(Image.fromarray(pixels, "RGBA"), "PNG"), None, LIMITS).grey
    assert np.array_equal(grey, scan)


def test_dark_ink_on_a_transparent_ground_is_laid_on_white(draw: Draw) -> None:
    scan = np.asarray(image_of(draw(1, 0)))
    pixels = np.zeros((*scan.shape, 4), np.uint8)
    pixels[..., 3] = 255 - scan
    grey = read_upload(saved(Image.fromarray(pixels, "RGBA"), "PNG"), None, LIMITS).grey
    assert np.abs(grey.astype(int) - scan).max() <= 1


@pytest.mark.parametrize(
    ("method", "name"), [(33003, "JPEG 2000"), (34712, "JPEG 2000"), (64000, "method 64000")]
)
def test_unread_tiff_compression_is_named(draw: Draw, method: int, name: str) -> None:
    data = bytearray(saved(image_of(draw(1, 0)), "TIFF"))
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, entry)[0] == 259:
            struct.pack_into("<H", data, entry + 8, method)
    with pytest.raises(UnsupportedImage, match=f"{name}, which is not supported"):
        read_upload(bytes(data), None, LIMITS)


def test_blank_first_page_points_to_the_other_pages(client: TestClient, draw: Draw) -> None:
    cover, signed = Image.new("L", (400, 200), 255), image_of(draw(1, 0))
    pages = saved(cover, "TIFF", save_all=True, append_images=[signed])
    refused = client.post("/signers/a/references", files=[("files", ("f.tif", pages))])
    assert refused.json()["code"] == "blank-image"
    assert "2 pages" in refused.json()["detail"]
    second = client.post("/signers/a/references", files=[("files", ("f.tif", pages))], data={"page": "1"})
    assert second.status_code == 201
    alone = client.post("/signers/b/references", files=[("files", ("f.png", saved(cover, "PNG")))])
    assert "pages" not in alone.json()["detail"]


def test_one_scan_saved_several_times_counts_once(client: TestClient, draw: Draw) -> None:
    scan = image_of(draw(1, 0))
    copies = [saved(scan, "BMP"), saved(scan, "JPEG", quality=95), saved(scan, "WEBP", lossless=True)]
    enrolled = enrol(client, "a", draw(1, 0), *copies).json()["references"]
    codes = [[warning["code"] for warning in reference["warnings"]] for reference in enrolled]
    assert sum("copy-of-reference" in found for found in codes) == 3
    enrol(client, "b", draw(1, 0))
    repeated, single = (verify(client, signer, draw(1, 5)).json() for signer in "ab")
    assert repeated["threshold"] == pytest.approx(single["threshold"])
    assert repeated["decision"] == single["decision"]
    found = {warning["code"] for warning in repeated["warnings"]}
    assert {"duplicate-reference", "single-reference"} <= found
    assert len(repeated["references"]) == 4


@pytest.mark.parametrize("weights", [RELEASED_WEIGHTS, PERMISSIVE_WEIGHTS])
def test_one_scan_in_other_sizes_counts_once_with_the_released_models(weights: Path) -> None:
    embedder = Embedder.load(weights, "cpu")

    def canvas(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return prepare(grey, embedder.canvas).canvas

    scans = [Writer(21).genuine_image(n, height_px=160) for n in range(3)]
    height, width = scans[0].shape
    smaller = [
        cv2.resize(scans[0], (round(width * f), round(height * f)), interpolation=cv2.INTER_AREA)
        for f in (0.8, 0.6, 0.5)
    ]
    blurred = np.asarray(cv2.GaussianBlur(scans[0], (0, 0), 1.0), np.uint8)
    among = embedder.compare_among(
        embedder.embed(np.stack([canvas(np.asarray(g, np.uint8)) for g in (*scans, *smaller, blurred)]))
    )
    assert find_copies(among, embedder.calibration.copy_distance) == {3: 0, 4: 0, 5: 0, 6: 0}


def test_a_red_stamp_is_reported(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", *(draw(1, n) for n in range(3)))
    scan = np.asarray(image_of(draw(1, 5)))
    page = np.full((scan.shape[0] + 160, scan.shape[1] + 160, 3), 255, np.uint8)
    page[80 : 80 + scan.shape[0], 80 : 80 + scan.shape[1]] = scan[..., None]
    stamped = page.copy()
    cv2.circle(stamped, (page.shape[1] - 140, page.shape[0] // 2), 60, (205, 45, 60), 4)
    stamped = np.minimum(stamped, page)
    plain, red = (verify(client, "a", saved(Image.fromarray(p), "PNG")).json() for p in (page, stamped))
    assert [warning["code"] for warning in red["warnings"]].count("red-print-removed") == 1
    assert "red-print-removed" not in {warning["code"] for warning in plain["warnings"]}
    assert red["distance"] == pytest.approx(plain["distance"], abs=0.1)
    in_pdf = verify(client, "a", saved(Image.fromarray(stamped), "PDF")).json()
    assert "red-print-removed" in {warning["code"] for warning in in_pdf["warnings"]}


def test_copies_do_not_narrow_the_threshold_of_distinct_references(client: TestClient, draw: Draw) -> None:
    originals = [draw(1, n) for n in range(3)]
    copies = [saved(image_of(data), "BMP") for data in originals]
    enrol(client, "a", *originals)
    enrol(client, "b", *originals, *copies)
    plain, repeated = (verify(client, signer, draw(1, 5)).json() for signer in "ab")
    assert repeated["threshold"] == pytest.approx(plain["threshold"])
    assert repeated["distance"] == pytest.approx(plain["distance"])


def enrol_with_threshold_for(client: TestClient, draw: Draw, questioned: bytes) -> float:
    """Enrol a signer whose threshold is a little above the distance of a signature; return the distance."""
    enrol(client, "a", *(draw(1, n) for n in range(4)))
    distance = float(verify(client, "a", questioned).json()["distance"])
    client.patch("/signers/a", json={"fixed_threshold": distance + 0.03}).raise_for_status()
    return distance


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_quarter_turn_is_put_right_and_reported(client: TestClient, draw: Draw, degrees: int) -> None:
    scan = image_of(draw(1, 5))
    upright = enrol_with_threshold_for(client, draw, draw(1, 5))
    turned = verify(client, "a", saved(scan.rotate(degrees, expand=True), "PNG")).json()
    assert turned["decision"] == "accept"
    assert turned["distance"] == pytest.approx(upright, abs=0.03)
    details = {warning["code"]: warning["detail"] for warning in turned["warnings"]}
    assert f"turned by {min(degrees, 360 - degrees)} degrees" in details["turned"]


@pytest.mark.parametrize("degrees", [-15, 12])
def test_a_slanted_scan_is_put_right_or_the_angle_is_reported(
    client: TestClient, draw: Draw, degrees: int
) -> None:
    enrol_with_threshold_for(client, draw, draw(1, 5))
    slanted = image_of(draw(1, 5)).rotate(
        degrees, expand=True, fillcolor=250, resample=Image.Resampling.BICUBIC
    )
    answer = verify(client, "a", saved(slanted, "PNG")).json()
    assert answer["decision"] == "accept" or "turned" in {warning["code"] for warning in answer["warnings"]}


def test_a_forgery_is_not_accepted_for_being_turned(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", *(draw(1, n) for n in range(4)))
    for writer in (2, 3, 6):
        scan = image_of(draw(writer, 1))
        for degrees in (0, 15, 90):
            turned = saved(scan.rotate(degrees, expand=True, fillcolor=250), "PNG")
            assert verify(client, "a", turned).json()["decision"] != "accept"
