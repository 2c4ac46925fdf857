"""Frames of stamps: found by their shape, and taken off the strokes that they touch."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.settings import PAGE_NETWORK
from model.preprocessing.box import Box
from model.preprocessing.extraction import prepare_signature
from model.preprocessing.finder import SignatureFinder
from model.preprocessing.ink import Canvas
from model.preprocessing.scan import Scan
from model.preprocessing.stamps import Frame, find_frames, stamp_mask
from model.preprocessing.tilt import straighten
from model.preprocessing.views import darkness_of
from model.synthetic.writer import Writer
from tests.model.preprocessing.test_extraction import likeness, place, sheet, signature, typed

Grey = NDArray[np.uint8]
CANVAS = Canvas(64, 128, "moments", 0.8)


@pytest.fixture(scope="module")
def finder() -> SignatureFinder:
    return SignatureFinder(PAGE_NETWORK)


def ring(page: Grey, x: int, y: int, radius: int = 60) -> None:
    for part in (1.0, 0.7):
        cv2.circle(page, (x, y), round(radius * part), 60, 2, cv2.LINE_AA)
    typed(page, x - round(0.5 * radius), y - 10, "PAID", 16)


def rectangle(page: Grey, x: int, y: int, wide: int = 150, degrees: float = 17.0) -> None:
    stamp = sheet(2 * wide, 2 * wide)
    cv2.rectangle(stamp, (wide // 2, wide - 30), (wide + wide // 2, wide + 30), 60, 2)
    typed(stamp, wide // 2 + 14, wide - 12, "RECEIVED 2024", 16)
    turned = cv2.warpAffine(
        stamp, cv2.getRotationMatrix2D((wide, wide), degrees, 1.0), stamp.shape[::-1], borderValue=250
    )
    place(page, np.asarray(turned, np.uint8), x - wide, y - wide)


STAMPS = {"ring": ring, "rectangle": rectangle}


@pytest.mark.parametrize("kind", STAMPS)
def test_a_stamp_across_the_end_of_a_signature_is_left_out(finder: SignatureFinder, kind: str) -> None:
    alike = []
    for writer in range(4, 13):
        clean = sheet(1100, 700)
        for row in range(3):
            typed(clean, 80, 60 + 36 * row, "We confirm that the amount named below was paid to you")
        typed(clean, 80, 200, "Yours faithfully,")
        at = place(clean, signature(writer), 200, 300)
        stamped = clean.copy()
        STAMPS[kind](stamped, at.right + 30, at.top + 40)
        expected = prepare_signature(Scan(clean), CANVAS, finder).canvas
        alike.append(likeness(prepare_signature(Scan(stamped), CANVAS, finder).canvas, expected))
    assert np.median(alike) > 0.8


@pytest.mark.parametrize("kind", STAMPS)
def test_a_frame_is_found_and_what_crosses_it_is_kept(kind: str) -> None:
    page = sheet(420, 300)
    STAMPS[kind](page, 260, 150)
    stamp = darkness_of(page)
    cv2.line(page, (20, 150), (400, 190), 30, 4, cv2.LINE_AA)
    darkness = darkness_of(page)
    frames = find_frames(darkness, [Box(20, 140, 400, 200)])
    assert frames
    marked = stamp_mask(darkness, [Frame(frame.corners, has_text=True) for frame in frames])
    stroke = darkness.copy()
    stroke[stamp > 0] = 0
    assert (marked[stroke > 128] == 0).mean() > 0.97
    assert (marked[(stamp > 128) & (stroke == 0)] > 0).mean() > 0.7


def test_a_signature_in_a_turned_box_is_kept(finder: SignatureFinder) -> None:
    page = sheet(900, 500)
    at = place(page, signature(5), 250, 200)
    clean = page.copy()
    corners = cv2.boxPoints((((at.left + at.right) / 2, (at.top + at.bottom) / 2), (at.width + 60, 170), 4.0))
    cv2.polylines(page, [np.rint(corners).astype(np.int32)], isClosed=True, color=60, thickness=2)
    darkness = darkness_of(cv2.resize(page, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    frames = find_frames(darkness, [at.scaled(0.5)])
    assert not any(frame.has_text for frame in frames)
    found = prepare_signature(Scan(page), CANVAS, finder)
    assert "page-straightened" in found.quality.warnings
    level = straighten(clean, -4.0).grey
    assert likeness(found.canvas, prepare_signature(Scan(level), CANVAS, finder).canvas) > 0.9


def test_strokes_of_signatures_are_no_frames() -> None:
    found = 0
    for writer in range(60):
        image = Writer(writer).genuine_image(0, height_px=90)
        darkness = darkness_of(image)
        found += bool(find_frames(darkness, [Box.around(darkness)]))
    assert found <= 1
