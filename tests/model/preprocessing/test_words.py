"""First and last name that are written apart are one signature; two people's signatures remain two."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.settings import PAGE_NETWORK
from model.preprocessing.box import Box
from model.preprocessing.candidates import Candidate, Candidates
from model.preprocessing.evidence import MEASURES, Scene
from model.preprocessing.extraction import prepare_signature
from model.preprocessing.finder import SignatureFinder
from model.preprocessing.ink import Canvas
from model.preprocessing.scan import Scan
from model.preprocessing.views import View
from model.preprocessing.words import MAX_TRIED, Rated, join_words
from model.synthetic.writer import Writer

Grey = NDArray[np.uint8]
CANVAS = Canvas(64, 128, "moments", 0.8)
LEAST = -1.0
HEIGHT = 100
"""Of the words on the pages, in pixels."""


def view(boxes: Sequence[Box], darkness: Sequence[int] = ()) -> Candidates:
    """Return a view in which boxes are filled with probable ink."""
    dark = np.zeros((120, 900), np.uint8)
    for box, value in zip(boxes, darkness or [200] * len(boxes), strict=True):
        box.of(dark)[:] = value
    ink = (dark > 0).astype(np.uint8)
    return Candidates(View(dark, 1.0, Box.around(dark)), Scene.of(ink, ink * np.uint8(250)), (), 0.0)


def rated(box: Box, log_odds: float) -> Rated:
    return Rated(Candidate(box, box.width * box.height, np.zeros(len(MEASURES))), log_odds)


class Rating:
    """Rates two candidates as one with given log-odds, and counts."""

    def __init__(self, log_odds: float) -> None:
        self.log_odds, self.calls = log_odds, 0

    def __call__(self, first: Rated, second: Rated) -> Rated:
        self.calls += 1
        return rated(Box.enclosing((first.box, second.box)), self.log_odds)


FIRST, SECOND = Box(10, 30, 150, 90), Box(200, 34, 300, 84)


def test_two_words_on_a_line_are_joined() -> None:
    seen = view([FIRST, SECOND])
    (whole,) = join_words([rated(FIRST, 3.0), rated(SECOND, LEAST - 1)], seen, LEAST, Rating(2.0))
    assert whole.box == Box.enclosing((FIRST, SECOND))
    assert whole.log_odds == 3.0, "not less certain than the word alone"


def test_three_words_are_joined() -> None:
    boxes = [FIRST, SECOND, Box(350, 30, 500, 86)]
    (whole,) = join_words([rated(box, 1.0) for box in boxes], view(boxes), LEAST, Rating(2.0))
    assert whole.box == Box.enclosing(boxes)


@pytest.mark.parametrize(
    ("second", "what"),
    [
        (Box(240, 34, 340, 84), "far away"),
        (Box(200, 70, 300, 120), "on another line"),
        (Box(200, 60, 280, 80), "as low as a date"),
    ],
)
def test_what_does_not_lie_as_words_do_is_not_joined(second: Box, what: str) -> None:
    rating = Rating(9.0)
    parts = [rated(FIRST, 3.0), rated(second, 0.0)]
    assert join_words(parts, view([FIRST, second]), LEAST, rating) == parts, what
    assert rating.calls == 0


def test_another_pen_is_another_person() -> None:
    parts = [rated(FIRST, 3.0), rated(SECOND, 0.0)]
    assert join_words(parts, view([FIRST, SECOND], [200, 150]), LEAST, Rating(9.0)) == parts


def test_fields_divided_by_a_rule_are_not_joined() -> None:
    seen = view([FIRST, SECOND])
    cv2.line(seen.view.darkness, (174, 10), (176, 110), 200, 2)
    parts = [rated(FIRST, 3.0), rated(SECOND, 0.0)]
    assert join_words(parts, seen, LEAST, Rating(9.0)) == parts


def test_words_that_are_no_signature_together_remain_two() -> None:
    parts = [rated(FIRST, 3.0), rated(SECOND, 2.0)]
    rating = Rating(0.0)
    assert join_words(parts, view([FIRST, SECOND]), LEAST, rating) == parts
    assert rating.calls == 1, "they are rated once"


@pytest.mark.parametrize("log_odds", [(LEAST - 0.1, LEAST - 0.1), (3.0, LEAST - 3)])
def test_what_is_improbable_is_not_joined(log_odds: tuple[float, float]) -> None:
    parts = [rated(FIRST, log_odds[0]), rated(SECOND, log_odds[1])]
    assert join_words(parts, view([FIRST, SECOND]), LEAST, Rating(9.0)) == parts


def test_a_line_of_handwriting_costs_little() -> None:
    boxes = [Box(10 + 44 * n, 30, 40 + 44 * n, 60) for n in range(20)]
    rating = Rating(-9.0)
    join_words([rated(box, 2.0) for box in boxes], view(boxes), LEAST, rating)
    assert rating.calls == MAX_TRIED


# Whole pages


@pytest.fixture(scope="module")
def finder() -> SignatureFinder:
    return SignatureFinder(PAGE_NETWORK)


def word(writer: int, height: int = HEIGHT) -> Grey:
    return Writer(writer).genuine_image(0, height_px=height)


def form() -> Grey:
    """A page with lines of print and a line to sign on."""
    page = np.full((700, 1400), 250, np.uint8)
    for row in range(5):
        text = "We confirm that the amount named below was paid to the account of"
        cv2.putText(page, text, (80, 80 + 40 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 30, 2, cv2.LINE_AA)
    return page


def place(page: Grey, image: Grey, left: int, bottom: int) -> Box:
    height, width = image.shape
    part = page[bottom - height : bottom, left : left + width]
    np.minimum(part, image, out=part)
    ink = Box.bounding((image < 128).view(np.uint8))
    return ink.moved(left, bottom - height)


@pytest.mark.parametrize("writers", [(8, 9), (10, 11), (16, 17), (18, 19)])
def test_the_words_of_a_signature_are_compared_together(
    finder: SignatureFinder, writers: tuple[int, int]
) -> None:
    page = form()
    first = place(page, word(writers[0]), 100, 500)
    second = place(page, word(writers[1]), first.right + 80, 500)
    (found,) = finder.find(page)
    assert found.box.overlap(Box.enclosing((first, second))) > 0.8
    region = prepare_signature(Scan(page), CANVAS, finder).quality.region
    assert region is not None
    assert Box(*region).contains(Box.enclosing((first, second)))


@pytest.mark.parametrize("writers", [(8, 9), (10, 11), (16, 17), (18, 19)])
def test_signatures_of_two_people_remain_two(finder: SignatureFinder, writers: tuple[int, int]) -> None:
    page = form()
    boxes = [place(page, word(writer), left, 500) for writer, left in zip(writers, (100, 800), strict=True)]
    for box in boxes:
        cv2.line(page, (box.left - 20, 500), (box.left + 480, 500), 60, 2)
    found = sorted(finder.find(page), key=lambda one: one.box.left)
    assert len(found) == 2
    assert all(one.box.overlap(box) > 0.6 for one, box in zip(found, boxes, strict=True))


@pytest.mark.parametrize("writer", [4, 6, 11, 14])
def test_a_date_beside_a_signature_is_not_joined(finder: SignatureFinder, writer: int) -> None:
    page = form()
    cv2.putText(page, "12.4.2023", (100, 500), cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, 1.2, 30, 2, cv2.LINE_AA)
    box = place(page, word(writer), 360, 500)
    found = finder.extract(finder.search(finder.look_at(page))).found[0]
    assert found.box.overlap(box) > 0.7
