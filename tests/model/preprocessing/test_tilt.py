"""By how much print is turned."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.preprocessing.box import Box
from model.preprocessing.tilt import find_tilt, straighten
from model.synthetic.writer import Writer

Grey = NDArray[np.uint8]


def text() -> Grey:
    image = Image.new("L", (600, 400), 255)
    drawing = ImageDraw.Draw(image)
    for row in range(8):
        drawing.text(
            (60, 40 + 40 * row), "Please return one signed copy", fill=0, font=ImageFont.load_default(22)
        )
    return np.array(image)


def lines() -> Grey:
    image = np.full((400, 600), 255, np.uint8)
    for row in (150, 250, 350):
        cv2.line(image, (60, row), (540, row), color=0, thickness=2)
    return image


def ink(grey: Grey) -> Grey:
    return (grey < 128).view(np.uint8)


@pytest.mark.parametrize("page", [text(), lines()], ids=["text", "lines"])
@pytest.mark.parametrize("degrees", [-18.0, -6.5, -2.5, 3.0, 11.0])
def test_the_angle_of_print_is_found_and_put_right(page: Grey, degrees: float) -> None:
    askew = straighten(page, -degrees).grey
    found = find_tilt(ink(askew))
    assert found == pytest.approx(degrees, abs=0.5)
    assert found is not None
    assert find_tilt(ink(straighten(askew, found).grey)) is None


@pytest.mark.parametrize("page", [text(), lines(), np.full((400, 600), 255, np.uint8)])
def test_a_straight_page_has_no_tilt(page: Grey) -> None:
    assert find_tilt(ink(page)) is None


@pytest.mark.parametrize("writer", range(6))
def test_a_signature_alone_has_no_tilt(writer: int) -> None:
    assert find_tilt(ink(Writer(writer).genuine_image(0, height_px=150))) is None


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
