"""Finding the signature on a page: what is kept, what is left out, what is refused."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.settings import PAGE_NETWORK
from model.errors import BadRegion, NoSignature, SeveralSignatures, UnusableSignature
from model.preprocessing.box import Box
from model.preprocessing.candidates import Candidate, Candidates
from model.preprocessing.evidence import MEASURES
from model.preprocessing.extraction import (
    extract_signatures,
    isolate_signature,
    isolate_signatures,
    prepare_signature,
    suppress_red_print,
)
from model.preprocessing.finder import SignatureFinder
from model.preprocessing.first_look import Page
from model.preprocessing.ink import Canvas, fit, isolate, locate_ink, prepare
from model.preprocessing.scan import Scan, to_scan
from model.preprocessing.search import RIM
from model.preprocessing.signature_line import find_signature_line, has_leaning_line
from model.preprocessing.tilt import straighten
from model.preprocessing.turning import turn
from model.preprocessing.words import Rated
from model.synthetic.writer import Writer

Grey = NDArray[np.uint8]
CANVAS = Canvas(64, 128, "moments", 0.8)


@pytest.fixture(scope="module")
def finder() -> SignatureFinder:
    return SignatureFinder(PAGE_NETWORK)


def signature(writer: int = 4, height: int = 110) -> Grey:
    return Writer(writer).genuine_image(0, height_px=height)


def sheet(width: int = 1000, height: int = 700) -> Grey:
    return np.full((height, width), 250, np.uint8)


def place(page: Grey, image: Grey, left: int, top: int) -> Box:
    height, width = image.shape
    part = page[top : top + height, left : left + width]
    np.minimum(part, image, out=part)
    return Box(left, top, left + width, top + height)


def typed(page: Grey, left: int, top: int, text: str, size: int = 24) -> None:
    image = Image.fromarray(page)
    ImageDraw.Draw(image).text((left, top), text, fill=20, font=ImageFont.load_default(size))
    page[:] = np.asarray(image)


def turn_page(page: Grey, degrees: float) -> Grey:
    return np.asarray(255 - turn(255 - page, degrees), np.uint8)


PARAGRAPH = (
    "We confirm that the amount named below was paid",
    "to the account of the beneficiary on the date of this",
    "letter. Please return one signed copy to the address",
    "above and keep the other one with your papers.",
)


def letter(*, signed: bool, writer: int = 4) -> Grey:
    page = sheet()
    for row, line in enumerate(PARAGRAPH):
        typed(page, 80, 60 + 40 * row, line)
    typed(page, 80, 260, "Yours faithfully,")
    if signed:
        place(page, signature(writer), 100, 320)
    typed(page, 80, 480, "Jonathan Appleby, Manager")
    return page


def likeness(a: Grey, b: Grey) -> float:
    """Correlation of two canvases."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("writer", range(12))
def test_a_crop_of_a_signature_alone_is_used_as_it_is(finder: SignatureFinder, writer: int) -> None:
    grey = signature(writer)
    automatic, whole = prepare_signature(Scan(grey), CANVAS, finder), prepare(grey, CANVAS)
    assert np.array_equal(automatic.canvas, whole.canvas)
    assert automatic.quality == whole.quality


@pytest.mark.parametrize("gap", [90, 140])
def test_a_crop_of_a_signature_of_two_words_is_used_as_it_is(finder: SignatureFinder, gap: int) -> None:
    first, second = signature(11), signature(12)
    crop = sheet(first.shape[1] + gap + second.shape[1] + 40, 220)
    place(crop, first, 20, 20)
    place(crop, second, 20 + first.shape[1] + gap, 20)
    assert len(finder.find(crop)) == 2, "they are found apart"
    automatic = prepare_signature(Scan(crop), CANVAS, finder)
    assert automatic.quality.region is None
    assert np.array_equal(automatic.canvas, prepare(crop, CANVAS).canvas)


def test_a_crop_is_not_used_as_it_is_if_only_a_part_of_its_ink_is_the_signature(
    finder: SignatureFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = signature(11)
    crop = sheet(image.shape[1] + 420, image.shape[0] + 60)
    written = place(crop, image, 20, 30)
    cv2.putText(crop, "12/03/26", (image.shape[1] + 110, 110), cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, 1.6, 60, 3)
    search = finder.search(replace(finder.look_at(crop), is_crop=None))
    whole, alone, date = (
        Candidate(search.seen.view.from_image(box), 500, np.zeros(len(MEASURES)))
        for box in (Box.around(crop), written, Box(written.right, 0, crop.shape[1], crop.shape[0]))
    )
    odds = {whole.box: 1.8, alone.box: 3.0, date.box: -4.0}
    monkeypatch.setattr(finder, "_rated", lambda *some: [Rated(one, odds[one.box]) for one in some])

    def extracted_with(*parts: Candidate) -> Box | None:
        seen = replace(search.seen, candidates=(replace(whole, parts=parts),), unlikely=0.2)
        return finder.extract(replace(search, seen=seen)).box

    assert extracted_with() is None
    cut = extracted_with(alone, date)
    assert cut is not None
    assert cut.overlap(written) > 0.6


def line_through(page: Grey, kind: str, left: int, right: int, top: int) -> None:
    if kind == "dotted":
        for x in range(left, right, 10):
            cv2.ellipse(page, (x, top), (2, 1), 0, 0, 360, 40, -1)
    else:
        rise, darkness, thickness = {"grey": (0, 90, 2), "black": (0, 0, 3), "sloping": (12, 40, 2)}[kind]
        cv2.line(page, (left, top), (right, top + rise), darkness, thickness, cv2.LINE_AA)


@pytest.mark.parametrize("kind", ["grey", "black", "sloping", "dotted"])
def test_the_line_to_sign_on_is_left_out_of_a_crop(finder: SignatureFinder, kind: str) -> None:
    alike, warned = [], 0
    for writer in range(8):
        image = signature(writer)
        clean = sheet(image.shape[1] + 260, image.shape[0] + 120)
        place(clean, image, 130, 60)
        lined = clean.copy()
        line_through(lined, kind, 30, lined.shape[1] - 30, 60 + round(0.72 * image.shape[0]))
        expected = prepare_signature(Scan(clean), CANVAS, finder).canvas
        found = prepare_signature(Scan(lined), CANVAS, finder)
        warned += bool({"ruled-line-removed", "other-marks-removed"} & set(found.quality.warnings))
        alike.append(likeness(found.canvas, expected))
        with_line = likeness(prepare(lined, CANVAS).canvas, expected)
        assert alike[-1] > min(with_line + 0.1, 0.98)
    assert np.median(alike) > 0.8  # strokes that lie on the line are lost
    assert warned >= 7


def test_a_stroke_underneath_a_name_is_no_line_to_sign_on() -> None:
    image = signature(4)
    page = sheet(image.shape[1] + 60, image.shape[0] + 90)
    place(page, image, 30, 20)
    assert find_signature_line(locate_ink(page).mask) is None
    x = np.linspace(20, page.shape[1] - 20, 60)
    for bend in (0, 5):
        underlined = page.copy()
        y = image.shape[0] + 45 + bend * np.sin(x / 60)
        points = np.stack([x, y], 1).round().astype(np.int32)
        cv2.polylines(underlined, [points], isClosed=False, color=30, thickness=3)
        assert (find_signature_line(locate_ink(underlined).mask) is None) == bool(bend)


@pytest.mark.parametrize("degrees", [-12.0, 0.0, 5.0, 10.0, 15.0])
def test_a_line_to_sign_on_with_a_caption_is_no_signature(finder: SignatureFinder, degrees: float) -> None:
    page = sheet(700, 300)
    line_through(page, "black", 70, 620, 160)
    cv2.putText(page, "Signature", (110, 195), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 40, 2, cv2.LINE_AA)
    matrix = cv2.getRotationMatrix2D((350, 150), degrees, 1.0)
    turned = np.asarray(cv2.warpAffine(page, matrix, (700, 300), borderValue=(255,)), np.uint8)
    with pytest.raises(NoSignature):
        prepare_signature(Scan(turned), CANVAS, finder)


@pytest.mark.parametrize("degrees", [-10.0, 7.0])
def test_a_line_to_sign_on_that_leans_is_told_from_a_signature(degrees: float) -> None:
    def turned(page: Grey) -> Grey:
        return straighten(page, degrees).grey  # by the opposite angle

    image = signature(4)
    page = sheet(image.shape[1] + 60, image.shape[0] + 90)
    place(page, image, 30, 20)
    assert not has_leaning_line(locate_ink(turned(page)).mask, -degrees)
    line_through(page, "black", 20, page.shape[1] - 20, image.shape[0] + 30)
    assert has_leaning_line(locate_ink(turned(page)).mask, -degrees)


@pytest.mark.parametrize("strength", [0.3, 0.2])
def test_a_faint_signature_is_found(finder: SignatureFinder, strength: float) -> None:
    faint = 255.0 - strength * (255.0 - letter(signed=True))
    found = finder.find(faint.astype(np.uint8))
    assert [one.box.overlap(finder.find(letter(signed=True))[0].box) > 0.8 for one in found] == [True]


def test_the_signature_of_a_letter_is_found_where_it_is(finder: SignatureFinder) -> None:
    page = letter(signed=True)
    found = finder.find(page)
    assert len(found) == 1
    assert found[0].box.overlap(Box(115, 335, 100 + signature().shape[1] - 15, 320 + 110 + 20)) > 0.4
    assert found[0].confidence > 0.6


def test_print_around_a_signature_is_left_out(finder: SignatureFinder) -> None:
    alone = prepare(signature(), CANVAS).canvas
    extracted = prepare_signature(Scan(letter(signed=True)), CANVAS, finder)
    with_print = prepare(letter(signed=True), CANVAS).canvas
    assert likeness(alone, extracted.canvas) > 0.8
    assert likeness(alone, with_print) < 0.5
    assert "other-marks-removed" in extracted.quality.warnings
    assert extracted.quality.region is not None


@pytest.mark.parametrize("below", ["Jonathan Appleby", "Account holder", "17/03/2026"])
@pytest.mark.parametrize("writer", [2, 5, 7])
def test_a_printed_name_under_a_signature_is_left_out(
    finder: SignatureFinder, below: str, writer: int
) -> None:
    image = signature(writer)
    page = sheet(image.shape[1] + 60, 230)
    place(page, image, 20, 10)
    cv2.line(page, (15, 175), (page.shape[1] - 20, 175), 40, 2)
    typed(page, 40, 185, below)
    alone = prepare(signature(writer), CANVAS).canvas
    assert likeness(alone, prepare_signature(Scan(page), CANVAS, finder).canvas) > 0.85


def unsigned_pages() -> dict[str, Callable[[], Grey]]:
    def text() -> Grey:
        return letter(signed=False)

    def line() -> Grey:
        page = sheet(500, 150)
        cv2.line(page, (40, 90), (460, 90), 30, 2)
        typed(page, 45, 98, "Signature of account holder", 18)
        return page

    def bars() -> Grey:
        page = sheet(420, 160)
        widths = np.random.default_rng(0).integers(2, 9, 60)
        for index, x in enumerate(np.cumsum(widths)[:-1]):
            if index % 2:
                page[30:130, 30 + x : 30 + x + widths[index + 1]] = 10
        return page

    def block() -> Grey:
        page = sheet(420, 160)
        page[40:120, 60:300] = 15
        return page

    return {"text": text, "line": line, "bars": bars, "block": block}


@pytest.mark.parametrize("kind", list(unsigned_pages()))
def test_a_page_without_a_signature_is_refused(finder: SignatureFinder, kind: str) -> None:
    with pytest.raises(UnusableSignature):
        prepare_signature(Scan(unsigned_pages()[kind]()), CANVAS, finder)


def test_a_page_of_print_is_refused_as_without_a_signature(finder: SignatureFinder) -> None:
    with pytest.raises(NoSignature, match="no handwritten signature"):
        prepare_signature(Scan(letter(signed=False)), CANVAS, finder)


def test_which_of_two_signatures_is_meant_is_not_guessed(finder: SignatureFinder) -> None:
    page = letter(signed=True)
    place(page, signature(7), 600, 320)
    with pytest.raises(SeveralSignatures, match="2 signatures") as refused:
        prepare_signature(Scan(page), CANVAS, finder)
    regions = [Box(*region) for region in refused.value.regions]
    for region, one in zip(regions, finder.find(page), strict=True):
        assert ",".join(map(str, region.as_tuple())) in str(refused.value)
        assert region.contains(one.box), "strokes may end beside what was found"
        assert region.overlap(one.box) > 0.4
    left = min(regions, key=lambda region: region.left)
    chosen = prepare_signature(Scan(page), CANVAS, finder, left)
    assert likeness(chosen.canvas, prepare(signature(4), CANVAS).canvas) > 0.9


def test_the_regions_of_several_signatures_are_those_of_the_photograph(finder: SignatureFinder) -> None:
    page = letter(signed=True)
    place(page, signature(7), 600, 320)
    desk = np.full((1000, 1400), 60, np.uint8)
    desk[150:850, 200:1200] = page
    with pytest.raises(SeveralSignatures) as refused:
        prepare_signature(Scan(desk), CANVAS, finder)
    on_page = [Box(*region).moved(-200, -150) for region in refused.value.regions]
    with pytest.raises(SeveralSignatures) as scanned:
        prepare_signature(Scan(page), CANVAS, finder)
    expected = [Box(*region) for region in scanned.value.regions]
    assert all(box.overlap(other) > 0.8 for box, other in zip(on_page, expected, strict=True))


def test_strokes_found_on_a_page_lie_on_the_ink_of_the_crop(finder: SignatureFinder) -> None:
    page = sheet(700, 420)
    image = signature(2, 120)
    place(page, image, 90, 60)
    typed(page, 90, 60 + image.shape[0] + 6, "Signature of account holder")
    (cut,) = finder.cuts(page, RIM)
    crop = cut.box.of(page)
    strokes = cv2.resize(cut.strokes, crop.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    assert cut.box.top < 60 - 10, "the crop extends beyond the ink of the page, where it was not searched"
    ink = cv2.dilate((crop < 128).astype(np.uint8), np.ones((3, 3), np.uint8))
    assert ink[strokes].mean() > 0.9


def test_all_ink_is_compared_when_the_caller_asks_for_it(finder: SignatureFinder) -> None:
    page = letter(signed=False)
    whole = prepare_signature(Scan(page), CANVAS, finder, "whole")
    assert np.array_equal(whole.canvas, prepare(page, CANVAS).canvas)
    assert whole.quality.region is None


@pytest.mark.parametrize("box", [Box(2000, 10, 2100, 90), Box(990, 0, 2000, 500), Box(0, 690, 900, 2000)])
def test_a_region_outside_the_image_is_refused(finder: SignatureFinder, box: Box) -> None:
    with pytest.raises(BadRegion, match="1000 x 700"):
        prepare_signature(Scan(sheet()), CANVAS, finder, box)


def test_all_signatures_of_a_page_are_extracted_alone(finder: SignatureFinder) -> None:
    page = letter(signed=True)
    place(page, signature(7), 600, 320)
    extracted = extract_signatures(Scan(page), finder).found
    assert len(extracted) == 2
    for found, ink in extracted:
        writer = 4 if found.box.left < 500 else 7
        alone = prepare(signature(writer), CANVAS).canvas
        again = prepare(255 - ink.density, CANVAS).canvas
        assert likeness(alone, again) > 0.75


@pytest.mark.parametrize("writer", range(6))
def test_what_is_listed_for_a_crop_is_what_is_compared(finder: SignatureFinder, writer: int) -> None:
    image = signature(writer)
    crop = sheet(image.shape[1] + 120, image.shape[0] + 80)
    place(crop, image, 60, 40)
    line_through(crop, "black", 10, crop.shape[1] - 10, 40 + round(0.72 * image.shape[0]))
    compared = isolate_signature(Scan(crop), finder)
    ((found, ink),) = extract_signatures(Scan(crop), finder).found
    assert np.array_equal(ink.density, compared.density)
    if compared.quality.region is not None:
        assert found.box.as_tuple() == compared.quality.region
        return
    again = isolate_signature(Scan(crop), finder, found.box)
    assert np.array_equal(again.density, compared.density), "also if the region is sent"


def test_the_region_that_is_listed_is_the_one_that_is_compared(finder: SignatureFinder) -> None:
    for writer in range(6):
        page = letter(signed=True, writer=writer)
        found = extract_signatures(Scan(page), finder).found
        assert [one.box.as_tuple() for one, _ in found] == [
            isolate_signature(Scan(page), finder).quality.region
        ]


def test_a_region_that_shows_nothing_but_a_signature_is_used_as_it_is(finder: SignatureFinder) -> None:
    page = sheet()
    box = place(page, signature(5), 300, 200)
    ink = isolate_signature(Scan(page), finder, box.grown(8))
    assert np.array_equal(ink.density, isolate(box.grown(8).of(page)).density)
    assert "other-marks-removed" not in ink.quality.warnings
    assert ink.quality.region == box.grown(8).as_tuple()


def test_halves_of_a_page_are_searched_if_nothing_is_found_on_all_of_it(
    finder: SignatureFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = np.asarray(cv2.resize(letter(signed=True), None, fx=2, fy=2), np.uint8)
    (expected,) = finder.find(page)
    candidates = finder.networks.candidates

    def of_halves_only(grey: Grey, around: Box, **how: Any) -> Candidates:
        is_half = around.width < 0.6 * page.shape[1]
        return candidates(grey if is_half else np.full_like(grey, 255), around, **how)

    monkeypatch.setattr(finder.networks, "candidates", of_halves_only)
    (found,) = finder.find(page)
    assert found.box.overlap(expected.box) > 0.7


def test_a_large_page_is_searched_on_a_small_copy(finder: SignatureFinder) -> None:
    page = cv2.resize(letter(signed=True), None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    found = finder.find(page)
    assert len(found) == 1
    assert found[0].box.overlap(finder.find(letter(signed=True))[0].box.scaled(5)) > 0.7


@pytest.mark.parametrize("strip", [60, 150, 250])
def test_a_desk_beside_the_sheet_is_left_out(finder: SignatureFinder, strip: int) -> None:
    image = signature(height=220)
    page = np.full((image.shape[0] + 300, image.shape[1] + 500 + strip), 215, np.uint8)
    place(page, image, strip + 300, 150)
    cv2.fillPoly(page, [np.array([(0, 0), (strip, 0), (strip + 60, page.shape[0]), (0, page.shape[0])])], 45)
    extracted = prepare_signature(Scan(page), CANVAS, finder)
    assert likeness(extracted.canvas, prepare(image, CANVAS).canvas) > 0.8


def scrawl(page: Grey) -> None:
    """Sign with one long stroke."""
    at = np.linspace(0.0, 1.0, 300)
    x = 90 + 600 * at + 60 * np.sin(19 * at)
    y = 140 + 50 * np.sin(11 * at) * np.cos(5 * at)
    line = np.round(np.stack([x, y], axis=1) * 8).astype(np.int32)
    cv2.polylines(page, [line], isClosed=False, color=25, thickness=5, lineType=cv2.LINE_AA, shift=3)


def with_security_printing(page: Grey, brightness: int) -> Grey:
    """Print two sets of wavy lines all over a page."""
    rows, columns = np.indices(page.shape)
    lines = np.minimum(
        np.mod(rows + 4 * np.sin(columns / 11) + 2 * np.sin(columns / 37), 8),
        np.mod(rows - 5 * np.sin(columns / 13 + 1) + 2 * np.sin(columns / 29), 11),
    )
    return np.where(lines < 1.2, np.minimum(page, brightness), page).astype(np.uint8)


@pytest.mark.parametrize("brightness", [210, 195, 180])
def test_security_printing_behind_a_crop_is_left_out(finder: SignatureFinder, brightness: int) -> None:
    crop = sheet(804, 278)
    scrawl(crop)
    clean, printed = prepare(crop, CANVAS).canvas, with_security_printing(crop, brightness)
    assert likeness(prepare_signature(Scan(printed), CANVAS, finder).canvas, clean) > 0.9
    found = extract_signatures(Scan(printed), finder).found
    assert len(found) == 1
    assert likeness(fit(found[0][1].density, CANVAS), clean) > 0.5


def coloured(page: Grey, ink: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Print what is dark on a grey page in a colour."""
    share = (255 - page.astype(np.float32))[..., None] / 255
    return np.asarray(255 - share * (255 - np.array(ink, np.float32)), np.uint8)


def round_stamp(page: Grey, x: int, y: int, radius: int) -> None:
    for part in (1.0, 0.75):
        cv2.circle(page, (x, y), round(radius * part), 60, 4)
    typed(page, x - round(0.55 * radius), y - 14, "RECEIVED", 22)


RED, BLUE = (200, 40, 55), (35, 50, 140)


def test_a_red_stamp_across_a_signature_is_left_out(finder: SignatureFinder) -> None:
    signed, stamps = sheet(900, 420), sheet(900, 420)
    at = place(signed, signature(5), 200, 140)
    round_stamp(stamps, at.right - 40, at.top + 50, 90)
    scan = to_scan(Image.fromarray(np.minimum(coloured(signed, BLUE), coloured(stamps, RED))))
    found = prepare_signature(scan, CANVAS, finder)
    assert "red-print-removed" in found.quality.warnings
    assert likeness(found.canvas, prepare(signed, CANVAS).canvas) > 0.9


def test_a_red_stamp_is_left_out_of_a_photographed_sheet(finder: SignatureFinder) -> None:
    page, stamps = letter(signed=True), sheet()
    round_stamp(stamps, 300, 400, 90)
    photograph = np.full((1000, 1400, 3), 60, np.uint8)
    photograph[150:850, 200:1200] = np.minimum(coloured(page, BLUE), coloured(stamps, RED))
    found = prepare_signature(to_scan(Image.fromarray(photograph)), CANVAS, finder)
    assert {"sheet-rectified", "red-print-removed"} <= set(found.quality.warnings)
    assert likeness(found.canvas, prepare_signature(Scan(page), CANVAS, finder).canvas) > 0.9


def test_a_signature_in_red_is_kept(finder: SignatureFinder) -> None:
    for writer in (4, 5, 6):
        page = letter(signed=False)
        red = sheet()
        place(red, signature(writer), 100, 320)
        scan = to_scan(Image.fromarray(np.minimum(coloured(page, (20, 20, 20)), coloured(red, RED))))
        assert scan.only_red is not None
        grey, suppressed = suppress_red_print(scan, finder)
        assert not suppressed
        assert np.array_equal(grey, scan.grey)


@pytest.mark.parametrize("ink", [(20, 20, 20), BLUE, (60, 45, 30)])
def test_a_page_without_red_ink_has_no_red_print(ink: tuple[int, int, int]) -> None:
    scan = to_scan(Image.fromarray(coloured(letter(signed=True), ink)))
    assert scan.without_red is None
    assert scan.only_red is None


def test_a_red_object_is_no_red_print() -> None:
    page = coloured(letter(signed=True), (20, 20, 20))
    page[:, :400] = (190, 60, 50)
    assert to_scan(Image.fromarray(page)).only_red is None


def test_red_print_is_separated_where_pixels_are_not_square() -> None:
    page = sheet(600, 200)
    place(page, signature(5), 40, 40)
    image = Image.fromarray(coloured(page, RED)).resize((600, 100))
    image.info["dpi"] = (204, 102)
    scan = to_scan(image)
    assert scan.only_red is not None
    assert scan.only_red.shape == scan.grey.shape == (200, 600)
    assert (scan.only_red < 128).sum() == pytest.approx((scan.grey < 128).sum(), rel=0.1)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_page_is_put_upright(finder: SignatureFinder, turns: int) -> None:
    page = letter(signed=True, writer=7)
    upright = prepare_signature(Scan(page), CANVAS, finder)
    turned = np.ascontiguousarray(np.rot90(page, turns))
    found = prepare_signature(Scan(turned), CANVAS, finder)
    assert "page-turned" in found.quality.warnings
    assert np.array_equal(found.canvas, upright.canvas)
    assert found.quality.region is not None
    assert upright.quality.region is not None
    shown, expected = (
        Box(*prepared.quality.region).of(image)
        for prepared, image in ((found, turned), (upright, page))
        if prepared.quality.region is not None
    )
    assert np.array_equal(np.rot90(shown, -turns), expected)
    signatures = extract_signatures(Scan(turned), finder)
    assert signatures.turned == 360 - 90 * turns
    ((one, ink),) = signatures.found
    assert one.box.as_tuple() == found.quality.region
    assert likeness(fit(ink.density, CANVAS), upright.canvas) > 0.99
    again = prepare_signature(Scan(turned), CANVAS, finder, one.box)
    assert "page-turned" in again.quality.warnings
    assert likeness(again.canvas, upright.canvas) > 0.95


@pytest.mark.parametrize("degrees", [-14.0, -7.0, 4.0, 10.0])
def test_a_page_that_does_not_lie_straight_is_put_straight(finder: SignatureFinder, degrees: float) -> None:
    page = letter(signed=True, writer=7)
    cv2.line(page, (90, 440), (420, 440), color=60, thickness=2)
    straight = prepare_signature(Scan(page), CANVAS, finder)
    askew = Scan(turn_page(page, degrees))
    found = prepare_signature(askew, CANVAS, finder)
    assert "page-straightened" in found.quality.warnings
    assert "page-straightened" not in straight.quality.warnings
    assert likeness(found.canvas, straight.canvas) > 0.85
    ((one, ink),) = extract_signatures(askew, finder).found
    assert one.box.as_tuple() == found.quality.region
    assert likeness(fit(ink.density, CANVAS), found.canvas) > 0.99
    again = prepare_signature(askew, CANVAS, finder, one.box)
    assert np.array_equal(again.canvas, found.canvas), "a stated region is cut out as without a region"
    left, top, right, bottom = one.box.as_tuple()
    near = prepare_signature(askew, CANVAS, finder, Box(left - 25, top - 15, right + 25, bottom + 15))
    assert "page-straightened" in near.quality.warnings


def test_a_tilted_crop_without_print_is_used_as_it_is(finder: SignatureFinder) -> None:
    crop = turn_page(signature(5), 9.0)
    quality = prepare_signature(Scan(crop), CANVAS, finder).quality
    assert "page-straightened" not in quality.warnings
    assert quality.region is None


def test_all_signatures_of_a_turned_page_are_isolated_as_they_are_extracted(finder: SignatureFinder) -> None:
    page = letter(signed=True, writer=5)
    place(page, signature(7), 600, 320)
    turned = Scan(np.ascontiguousarray(np.rot90(page)))
    isolated, extracted = isolate_signatures(turned, finder), extract_signatures(turned, finder)
    assert extracted.turned == 270
    assert len(isolated) == 2
    for ink, (found, same) in zip(isolated, extracted.found, strict=True):
        assert np.array_equal(ink.density, same.density)
        assert ink.quality.region == found.box.as_tuple()
        assert {"other-marks-removed", "page-turned"} <= set(ink.quality.warnings)
        again = isolate_signature(turned, finder, found.box)
        assert likeness(fit(again.density, CANVAS), fit(ink.density, CANVAS)) > 0.9


def test_one_signature_of_a_turned_page_is_isolated_as_by_itself(finder: SignatureFinder) -> None:
    turned = Scan(np.ascontiguousarray(np.rot90(letter(signed=True, writer=5))))
    (ink,) = isolate_signatures(turned, finder)
    expected = isolate_signature(turned, finder)
    assert np.array_equal(ink.density, expected.density)
    assert ink.quality == expected.quality


def test_no_page_is_searched_twice(finder: SignatureFinder, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[bytes] = []
    search = finder.search

    def noted(page: Page, **options: Any) -> Any:
        searched.append(page.grey.tobytes())
        return search(page, **options)

    monkeypatch.setattr(finder, "search", noted)
    stamps = sheet()
    round_stamp(stamps, 300, 600, 60)
    pages = (np.minimum(coloured(letter(signed=True, writer=5), BLUE), coloured(stamps, RED)),)
    for page in (*pages, np.rot90(letter(signed=True, writer=5)), letter(signed=False)):
        scan = to_scan(Image.fromarray(np.ascontiguousarray(page)))
        for read in (isolate_signature, isolate_signatures, extract_signatures):
            searched.clear()
            with suppress(NoSignature):
                read(scan, finder)
            assert searched
            assert len(set(searched)) == len(searched)


def test_an_uncertain_signature_is_reported(finder: SignatureFinder) -> None:
    warned = []
    for writer in range(12):
        page = sheet(1000, 500)
        place(page, signature(writer, height=70), 120, 200)
        typed(page, 120, 330, "Name: 4711 Jonathan", 40)
        try:
            quality = prepare_signature(Scan(page), CANVAS, finder).quality
        except UnusableSignature:
            continue
        found = finder.find(page)
        if quality.region is not None and found:
            assert ("uncertain-region" in quality.warnings) == (found[0].confidence < 0.7)
            warned.append(found[0].confidence < 0.7)
    assert any(warned)
    assert not all(warned)


@pytest.mark.parametrize("region", ["auto", Box(80, 300, 400, 460)])
def test_no_page_stays_in_memory(finder: SignatureFinder, region: Literal["auto"] | Box) -> None:
    page = letter(signed=True, writer=5)
    kept = weakref.ref(page)
    gc.collect()
    gc.disable()
    try:
        isolate_signature(Scan(page), finder, region)
        del page
        assert kept() is None, "a cycle of references would keep it until the next collection"
    finally:
        gc.enable()
