"""Photographs of a sheet on a darker ground."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.settings import PAGE_NETWORK
from model.preprocessing.box import Box
from model.preprocessing.extraction import prepare_signature
from model.preprocessing.finder import SignatureFinder
from model.preprocessing.ink import Canvas, prepare
from model.preprocessing.scan import Scan
from model.preprocessing.sheet import find_sheet
from model.synthetic.writer import Writer
from tests.model.preprocessing.test_extraction import likeness, place

Grey = NDArray[np.uint8]
CANVAS = Canvas(64, 128, "moments", 0.8)


def signed_sheet() -> Grey:
    sheet = np.full((300, 620), 238, np.uint8)
    place(sheet, Writer(4).genuine_image(0, height_px=130), 120, 70)
    return sheet


def photograph(sheet: Grey, corners: list[list[float]], desk: Grey) -> Grey:
    """Lay the sheet with its corners, clockwise from the upper left, on a desk."""
    height, width = sheet.shape
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(flat, np.array(corners, np.float32))
    size = desk.shape[::-1]
    moved = cv2.warpPerspective(sheet, matrix, size)
    covered = cv2.warpPerspective(np.full_like(sheet, 255), matrix, size)
    return np.where(covered > 127, moved, desk).astype(np.uint8)


def dark(level: int = 60) -> Grey:
    return np.full((600, 900), level, np.uint8)


def wooden() -> Grey:
    rng = np.random.default_rng(1)
    grain = cv2.resize(rng.uniform(30, 110, (600, 12)).astype(np.float32), (900, 600))
    return grain.astype(np.uint8)


STRAIGHT = [[140.0, 150], [760, 150], [760, 450], [140, 450]]
TURNED = [[200.0, 80], [782, 292], [680, 574], [98, 362]]
IN_PERSPECTIVE = [[180.0, 170], [700, 120], [800, 470], [110, 430]]
TO_THE_EDGE = [[-30.0, 150], [590, 150], [590, 450], [-30, 450]]


@pytest.mark.parametrize("desk", [dark(), dark(130), wooden()], ids=["dark", "grey", "wooden"])
@pytest.mark.parametrize(
    "corners",
    [STRAIGHT, TURNED, IN_PERSPECTIVE, TO_THE_EDGE],
    ids=["straight", "turned", "perspective", "edge"],
)
def test_a_sheet_on_a_desk_is_put_right(corners: list[list[float]], desk: Grey) -> None:
    image = photograph(signed_sheet(), corners, desk)
    finder = SignatureFinder(PAGE_NETWORK)
    prepared = prepare_signature(Scan(image), CANVAS, finder)
    alone = prepare(signed_sheet(), CANVAS).canvas
    assert likeness(prepared.canvas, alone) > 0.7
    assert "sheet-rectified" in prepared.quality.warnings
    assert prepared.quality.region is not None
    left, top, right, bottom = prepared.quality.region
    outline = np.array(corners).clip(0)
    assert left >= outline[:, 0].min() - 5
    assert right <= outline[:, 0].max() + 5
    assert top >= outline[:, 1].min() - 5
    assert bottom <= outline[:, 1].max() + 5


def test_boxes_are_mapped_between_image_and_sheet() -> None:
    sheet = find_sheet(photograph(signed_sheet(), IN_PERSPECTIVE, dark()))
    assert sheet is not None
    box = Box(100, 50, 300, 200)
    there_and_back = sheet.box_on_sheet(sheet.box_on_image(box))
    assert there_and_back.left <= box.left
    assert there_and_back.right >= box.right
    assert abs(there_and_back.left - box.left) < 60


@pytest.mark.parametrize(
    "image",
    [
        signed_sheet(),
        255 - signed_sheet(),
        cv2.copyMakeBorder(signed_sheet(), 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=20),
        (signed_sheet() * np.linspace(0.4, 1.0, 620)[None]).astype(np.uint8),
        np.random.default_rng(0).integers(0, 255, (300, 500), dtype=np.uint8),
        np.full((200, 300), 200, np.uint8),
    ],
    ids=["scan", "inverted", "frame", "gradient", "noise", "blank"],
)
def test_what_is_no_sheet_on_a_desk_is_left_as_it_is(image: Grey) -> None:
    assert find_sheet(image) is None
