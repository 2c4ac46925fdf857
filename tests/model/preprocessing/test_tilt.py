"""By how much print is turned."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.preprocessing.box import Box
from model.preprocessing.tilt import Rows, rows_to_columns, straighten
from model.synthetic.writer import Writer

Grey = NDArray[np.uint8]


def text() -> Grey:
    image = Image.new("L", (600, 400), 255)
    drawing = ImageDraw.Draw(image)
    words = [
        "Please",
        "return",
        "one",
        "signed",
        "copy",
        "and",
        "keep",
        "the",
        "other",
        "with",
        "your",
        "papers",
    ]
    for row in range(8):
        shift = 5 * row % len(words)
        line = " ".join(words[shift:] + words[:shift])
        drawing.text((60, 40 + 40 * row), line, fill=0, font=ImageFont.load_default(16))
    return np.array(image)


def lines() -> Grey:
    image = np.full((400, 600), 255, np.uint8)
    for row in (150, 250, 350):
        cv2.line(image, (60, row), (540, row), color=0, thickness=2)
    return image


def ink(grey: Grey) -> Grey:
    return (grey < 128).view(np.uint8)


def find_tilt(grey: Grey, *, is_crop: bool | None = False) -> float | None:
    rows = Rows.of(ink(grey))
    return None if rows is None else rows.tilt(is_crop=is_crop)


@pytest.mark.parametrize("page", [text(), lines()], ids=["text", "lines"])
@pytest.mark.parametrize("degrees", [-18.0, -6.5, -2.5, 3.0, 11.0])
def test_the_angle_of_print_is_found_and_put_right(page: Grey, degrees: float) -> None:
    askew = straighten(page, -degrees).grey
    found = find_tilt(askew)
    assert found == pytest.approx(degrees, abs=0.5)
    assert found is not None
    assert find_tilt(straighten(askew, found).grey) is None


@pytest.mark.parametrize("page", [text(), lines(), np.full((400, 600), 255, np.uint8)])
def test_a_straight_page_has_no_tilt(page: Grey) -> None:
    assert find_tilt(page) is None


@pytest.mark.parametrize("writer", range(6))
def test_a_signature_alone_has_no_tilt(writer: int) -> None:
    assert find_tilt(Writer(writer).genuine_image(0, height_px=150)) is None


def test_a_box_on_a_straightened_page_is_found_again() -> None:
    page = text()
    sheet = straighten(page, 8.0)
    place = np.zeros_like(page)
    place[200:240, 300:420] = 1
    column, row = (
        np.flatnonzero(sheet.flatten(place).any(axis=0)),
        np.flatnonzero(sheet.flatten(place).any(axis=1)),
    )
    box = sheet.box_on_sheet(sheet.box_on_image(sheet.box_on_sheet(Box(300, 200, 420, 240))))
    assert box.left <= column[0] <= column[-1] < box.right
    assert box.top <= row[0] <= row[-1] < box.bottom


def test_one_upright_line_has_no_tilt() -> None:
    page = np.full((400, 600), 255, np.uint8)
    page[:, 300] = 0
    assert find_tilt(page) is None


def test_a_stroke_beneath_a_name_is_no_print() -> None:
    crop = np.full((200, 600), 255, np.uint8)
    cv2.line(crop, (20, 190), (580, 90), color=0, thickness=3)
    assert find_tilt(crop) == pytest.approx(10.1, abs=0.5)
    assert find_tilt(crop, is_crop=True) is None
    assert find_tilt(crop, is_crop=None) is None


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_print_has_sharp_rows_and_no_sharp_columns(turns: int) -> None:
    page = cv2.resize(text(), (320, 213), interpolation=cv2.INTER_AREA)
    ratio = rows_to_columns((np.rot90(page, turns) < 217).view(np.uint8))
    assert ratio > 4 if turns % 2 == 0 else ratio < 1 / 4
