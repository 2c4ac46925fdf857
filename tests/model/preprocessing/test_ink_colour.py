"""Inks of several colours: which ink the strokes of a signature are in."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.settings import PAGE_NETWORK
from model.preprocessing.box import Box
from model.preprocessing.extraction import isolate_signature, prepare_signature
from model.preprocessing.finder import SignatureFinder
from model.preprocessing.ink import Canvas, prepare
from model.preprocessing.ink_colour import Chroma, inks, other_ink
from model.preprocessing.scan import to_scan
from model.synthetic.writer import Writer

Grey = NDArray[np.uint8]
CANVAS = Canvas(64, 128, "moments", 0.8)
BLACK, BLUE, VIOLET = (30, 30, 30), (30, 50, 150), (110, 50, 150)


@pytest.fixture(scope="module")
def finder() -> SignatureFinder:
    return SignatureFinder(PAGE_NETWORK)


def coloured(grey: Grey, colour: tuple[int, int, int]) -> Grey:
    share = ((250 - np.minimum(grey, 250)) / 250.0)[..., None]
    return np.asarray(250 + share * (np.array(colour) - 250), np.uint8)


def sheet(width: int = 800, height: int = 420) -> Grey:
    return np.full((height, width), 250, np.uint8)


def signed(writer: int = 5) -> Grey:
    page, image = sheet(), Writer(writer).genuine_image(0, height_px=130)
    page[150 : 150 + image.shape[0], 330 : 330 + image.shape[1]] = image
    return page


def stamp() -> Grey:
    """An upright rectangle with words, across the signature: without its colour, it is a box of a form."""
    image = Image.fromarray(sheet())
    drawing = ImageDraw.Draw(image)
    drawing.rectangle((300, 140, 560, 260), outline=90, width=4)
    for row, words in enumerate(("RECEIVED", "14 FEB 2024", "MAIL ROOM")):
        drawing.text((330, 148 + 36 * row), words, fill=90, font=ImageFont.load_default(30))
    return np.array(image)


def text() -> Grey:
    image = Image.fromarray(sheet())
    drawing = ImageDraw.Draw(image)
    for row, words in enumerate(("We confirm the order named above", "Yours faithfully,")):
        drawing.text((80, 40 + 40 * row), words, fill=20, font=ImageFont.load_default(24))
    drawing.text((300, 320), "Jonathan Appleby, Manager", fill=20, font=ImageFont.load_default(22))
    drawing.line((280, 285, 700, 285), fill=20, width=3)
    return np.array(image)


def chroma_of(rgb: Grey) -> Chroma:
    return Chroma(*cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb))[1:])


def darkness_of(rgb: Grey) -> Grey:
    return 250 - np.minimum(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), 250)


def likeness(a: Grey, b: Grey) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize(("own", "other"), [(BLUE, BLACK), (BLACK, VIOLET), (BLUE, VIOLET), (BLACK, BLUE)])
def test_ink_of_another_colour_is_told_from_strokes(
    own: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    rgb = np.minimum(coloured(signed(), own), coloured(stamp(), other))
    marked = other_ink(darkness_of(rgb), chroma_of(rgb), (signed() < 120).view(np.uint8))
    assert marked is not None
    strokes, printed = signed() < 120, stamp() < 150
    assert marked[printed & ~strokes].mean() > 0.9
    assert marked[strokes & ~printed].mean() < 0.05


@pytest.mark.parametrize("colour", [BLACK, BLUE])
def test_one_ink_is_told_as_one(colour: tuple[int, int, int]) -> None:
    rgb = coloured(np.minimum(signed(), stamp()), colour)
    darkness, chroma = darkness_of(rgb), chroma_of(rgb)
    assert other_ink(darkness, chroma, (signed() < 120).view(np.uint8)) is None
    assert inks(darkness, chroma) == []


def test_each_ink_is_marked() -> None:
    layers = {BLACK: text(), BLUE: signed(), VIOLET: np.roll(stamp(), 250, axis=1)}
    layers[VIOLET][:, :250] = 250
    rgb = np.minimum.reduce([coloured(layer, colour) for colour, layer in layers.items()])
    marked = inks(darkness_of(rgb), chroma_of(rgb))
    assert len(marked) == 3
    for colour, layer in layers.items():
        alone = layer < 120
        for other in layers.keys() - {colour}:
            alone &= layers[other] > 200
        shares = sorted(float(ink[alone].mean()) for ink in marked)
        assert shares[-1] > 0.9, colour
        assert shares[-2] < 0.1, colour


@pytest.mark.parametrize("writer", [4, 7, 10])
@pytest.mark.parametrize(("pen", "print_colour"), [(BLUE, VIOLET), (BLACK, VIOLET), (BLUE, BLACK)])
def test_a_stamp_of_another_colour_is_left_out(
    finder: SignatureFinder, pen: tuple[int, int, int], print_colour: tuple[int, int, int], writer: int
) -> None:
    layers = (coloured(text(), BLACK), coloured(signed(writer), pen), coloured(stamp(), print_colour))
    found = prepare_signature(to_scan(Image.fromarray(np.minimum.reduce(layers))), CANVAS, finder)
    assert likeness(found.canvas, prepare(signed(writer), CANVAS).canvas) > 0.85


@pytest.mark.parametrize("writer", [4, 7, 10])
def test_a_line_that_is_crossed_by_blue_strokes_is_left_out(finder: SignatureFinder, writer: int) -> None:
    line = sheet()
    cv2.line(line, (290, 215), (700, 215), color=20, thickness=4)
    layers = (coloured(text(), BLACK), coloured(signed(writer), BLUE), coloured(line, BLACK))
    found = prepare_signature(to_scan(Image.fromarray(np.minimum.reduce(layers))), CANVAS, finder)
    assert likeness(found.canvas, prepare(signed(writer), CANVAS).canvas) > 0.9


@pytest.mark.parametrize("rim", [0, 20])
def test_ink_of_another_colour_in_a_region_is_left_out(finder: SignatureFinder, rim: int) -> None:
    layers = (coloured(text(), BLACK), coloured(signed(7), BLACK), coloured(stamp(), VIOLET))
    scan = to_scan(Image.fromarray(np.minimum.reduce(layers)))
    found = isolate_signature(scan, finder)
    assert found.quality.region is not None
    left, top, right, bottom = found.quality.region
    region = Box(left - rim, top - rim, right + rim, bottom + rim)
    again = prepare_signature(scan, CANVAS, finder, region)
    assert likeness(again.canvas, prepare(signed(7), CANVAS).canvas) > 0.85


@pytest.mark.parametrize("colour", [BLACK, BLUE, VIOLET])
def test_a_coloured_crop_of_one_ink_is_used_as_it_is(
    finder: SignatureFinder, colour: tuple[int, int, int]
) -> None:
    crop = coloured(signed(10), colour)[80:360, 260:620]
    found = prepare_signature(to_scan(Image.fromarray(crop)), CANVAS, finder)
    assert "other-marks-removed" not in found.quality.warnings
    assert likeness(found.canvas, prepare(signed(10), CANVAS).canvas) > 0.98


def test_a_ring_of_another_colour_on_a_crop_is_left_out(finder: SignatureFinder) -> None:
    stamps = sheet()
    for radius in (60, 95):
        cv2.circle(stamps, (440, 215), radius, color=90, thickness=4)
    page = np.minimum(coloured(signed(10), BLACK), coloured(stamps, VIOLET))[80:360, 260:620]
    found = prepare_signature(to_scan(Image.fromarray(page)), CANVAS, finder)
    assert "other-marks-removed" in found.quality.warnings
    assert likeness(found.canvas, prepare(signed(10), CANVAS).canvas) > 0.85


def test_only_coloured_ink_has_chroma() -> None:
    assert to_scan(Image.fromarray(signed())).chroma is None
    assert to_scan(Image.fromarray(coloured(signed(), BLACK))).chroma is None
    image = Image.fromarray(coloured(signed(), BLUE)).resize((800, 210))
    image.info["dpi"] = (204, 102)
    scan = to_scan(image)
    assert scan.chroma is not None
    assert scan.chroma.red.shape == scan.chroma.blue.shape == scan.grey.shape


def test_a_turned_page_in_colour_is_read_as_an_upright_one(finder: SignatureFinder) -> None:
    page = np.minimum.reduce([coloured(text(), BLACK), coloured(signed(7), BLUE)])
    upright = isolate_signature(to_scan(Image.fromarray(page)), finder)
    turned = isolate_signature(to_scan(Image.fromarray(np.ascontiguousarray(np.rot90(page)))), finder)
    assert "page-turned" in turned.quality.warnings
    assert np.array_equal(upright.density, turned.density)
