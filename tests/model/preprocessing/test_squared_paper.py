"""Squared paper: its lines are found, and taken off the strokes that cross them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.preprocessing.ink import locate_ink
from model.preprocessing.squared_paper import find_squares, may_be_squared, without_squares
from model.preprocessing.tilt import Rows, straighten
from model.synthetic.writer import Writer

Grey = NDArray[np.uint8]


def squares(height: int = 300, width: int = 640, distance: int = 40, thickness: int = 1) -> Grey:
    page = np.full((height, width), 250, np.uint8)
    for row in range(distance // 2, height, distance):
        cv2.line(page, (0, row), (width, row), color=150, thickness=thickness)
    for column in range(distance // 2, width, distance):
        cv2.line(page, (column, 0), (column, height), color=150, thickness=thickness)
    return page


def signed(page: Grey, writer: int) -> tuple[Grey, NDArray[np.bool_]]:
    """Sign in the middle; return the page, and where the strokes are."""
    signature = Writer(writer).genuine_image(0, height_px=140)
    top, left = (page.shape[0] - signature.shape[0]) // 2, (page.shape[1] - signature.shape[1]) // 2
    alone = np.full_like(page, 255)
    alone[top : top + signature.shape[0], left : left + signature.shape[1]] = signature
    return np.minimum(page, alone), alone < 150


@pytest.mark.parametrize("degrees", [0.0, 1.2, -1.7])
@pytest.mark.parametrize("thickness", [1, 2])
def test_lines_are_taken_off_the_strokes_that_cross_them(degrees: float, thickness: int) -> None:
    page, strokes = signed(squares(thickness=thickness), writer=5)
    page = straighten(page, -degrees).grey
    strokes = straighten(strokes.view(np.uint8) * np.uint8(255), -degrees).grey > 128
    located = locate_ink(page)
    rows = Rows.of((located.darkness > 38).view(np.uint8))
    assert rows is not None
    assert may_be_squared(rows)
    left, _ = without_squares(page, located, rows.degrees)
    dark = left < 200
    near = cv2.dilate(strokes.view(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert (dark & ~near).sum() < 0.03 * ((page < 200) & ~near).sum()
    assert (dark & strokes).sum() > 0.9 * strokes.sum()


@pytest.mark.parametrize("change", ["lined", "oblong", "table", "signature"])
def test_other_lines_are_left_as_they_are(change: str) -> None:
    page = np.full((300, 640), 250, np.uint8)
    for row in range(20, 300, 40):
        cv2.line(page, (0, row), (640, row), color=150, thickness=1)
    if change in ("oblong", "table"):
        columns = range(50, 640, 100) if change == "oblong" else (20, 240, 600)
        for column in columns:
            cv2.line(page, (column, 0), (column, 300), color=150, thickness=1)
    if change == "signature":
        page, _ = signed(np.full_like(page, 250), writer=5)
    assert find_squares(255 - page, 0.0) is None
