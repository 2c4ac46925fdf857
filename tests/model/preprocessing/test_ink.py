"""Ink isolation: what it removes, what it preserves, and which images it refuses."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.errors import BlankImage, OnlyALine, TooLittleInk, TooMuchInk, TooSmall, UnusableSignature
from model.preprocessing.ink import Canvas, Ink, fit, isolate
from model.synthetic.writer import Writer

CANVAS = Canvas(64, 128, "moments", 0.8)
Grey = NDArray[np.uint8]


@pytest.fixture(scope="module")
def page() -> Grey:
    """A signature on a larger sheet of paper."""
    signature = Writer(4).genuine_image(0, height_px=150)
    sheet = np.full((600, 900), 250, np.uint8)
    height, width = signature.shape
    sheet[200 : 200 + height, 150 : 150 + width] = np.minimum(
        sheet[200 : 200 + height, 150 : 150 + width], signature
    )
    return sheet


def difference(a: Ink, b: Ink) -> float:
    """Return the mean absolute difference on the canvas, relative to the mean ink of ``a``."""
    one, two = (fit(ink.density, CANVAS).astype(float) for ink in (a, b))
    return float(np.abs(one - two).mean() / one.mean())


def random_forgery(page: Grey) -> float:
    """Return the difference to the signature of another writer."""
    return difference(isolate(page), isolate(Writer(9).genuine_image(0)))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(
            lambda g: (g * np.linspace(0.55, 1.0, g.shape[1])[None]).astype(np.uint8), id="uneven light"
        ),
        pytest.param(lambda g: 255 - g, id="light on dark"),
        pytest.param(lambda g: (250 - (250.0 - g) * 0.3).astype(np.uint8), id="faint"),
        pytest.param(lambda g: (g * 0.7).astype(np.uint8), id="grey paper"),
        pytest.param(
            lambda g: np.clip(g + np.random.default_rng(0).normal(0, 5, g.shape), 0, 255).astype(np.uint8),
            id="noise",
        ),
        pytest.param(lambda g: cv2.imdecode(cv2.imencode(".jpg", g, [1, 45])[1], 0), id="jpeg"),
        pytest.param(lambda g: np.pad(g, 150, constant_values=250), id="larger sheet"),
    ],
)
def test_paper_and_lighting_do_not_affect_the_ink(page: Grey, spoil) -> None:  # type: ignore[no-untyped-def]
    assert difference(
        isolate(page), isolate(np.asarray(spoil(page), dtype=np.uint8))
    ) < 0.35 * random_forgery(page)


@pytest.mark.parametrize("scale", [0.6, 0.8, 1.25, 1.6])
def test_the_resolution_of_the_scan_does_not_affect_the_ink(page: Grey, scale: float) -> None:
    other = cv2.resize(page, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    assert difference(isolate(page), isolate(np.asarray(other))) < 0.35 * random_forgery(page)


@pytest.mark.parametrize("slant", [0.0, 0.012, -0.02])
def test_a_ruled_line_is_removed_with_a_warning(page: Grey, slant: float) -> None:
    ruled = page.copy()
    cv2.line(ruled, (0, 330), (899, round(330 + 899 * slant)), 90, 2)
    ink = isolate(ruled)
    assert "ruled-line-removed" in ink.quality.warnings
    assert difference(isolate(page), ink) < 0.5 * random_forgery(page)


def test_a_printed_box_is_removed(page: Grey) -> None:
    boxed = page.copy()
    cv2.rectangle(boxed, (20, 60), (880, 560), 60, 3)
    assert difference(isolate(page), isolate(boxed)) < 0.35 * random_forgery(page)


def test_a_straight_stroke_in_a_tight_crop_is_not_removed() -> None:
    crop = np.full((80, 300), 255, np.uint8)
    cv2.line(crop, (2, 60), (297, 58), 0, 3)
    cv2.line(crop, (5, 10), (280, 50), 0, 3)
    assert "ruled-line-removed" not in isolate(crop).quality.warnings


def test_ink_is_cropped_and_normalised(page: Grey) -> None:
    ink = isolate(page)
    assert ink.density.dtype == np.uint8
    assert ink.density.max() == 255
    assert max(ink.density.shape) <= 400
    assert ink.density[:, 0].max() < 128
    assert 0.5 < ink.quality.contrast <= 1.0
    assert ink.quality.height_px == pytest.approx(150, abs=12)


def test_quality_warnings(page: Grey) -> None:
    tiny = cv2.resize(page[180:400, 130:900], None, fx=0.1, fy=0.1, interpolation=cv2.INTER_AREA)
    assert "low-resolution" in isolate(np.asarray(tiny)).quality.warnings
    assert "inverted" in isolate(255 - page).quality.warnings
    assert "low-contrast" in isolate((250 - (250.0 - page) * 0.2).astype(np.uint8)).quality.warnings


def blank() -> Grey:
    return np.full((400, 600), 255, np.uint8)


def speck() -> Grey:
    return np.asarray(cv2.circle(blank(), (300, 200), 4, 0, -1))


def line(a: tuple[int, int], b: tuple[int, int]) -> Grey:
    return np.asarray(cv2.line(blank(), a, b, 0, 3))


@pytest.mark.parametrize(
    ("grey", "error"),
    [
        pytest.param(blank(), BlankImage, id="white"),
        pytest.param(np.zeros((300, 300), np.uint8), BlankImage, id="black"),
        pytest.param((blank() * np.linspace(0.6, 1, 600)[None]).astype(np.uint8), BlankImage, id="shaded"),
        pytest.param(speck(), TooLittleInk, id="speck"),
        pytest.param(line((0, 200), (599, 200)), OnlyALine, id="ruled line"),
        pytest.param(line((50, 300), (500, 100)), OnlyALine, id="slanted line"),
        pytest.param(line((300, 20), (300, 380)), OnlyALine, id="upright line"),
        pytest.param(np.full((8, 200), 255, np.uint8), TooSmall, id="eight rows"),
    ],
)
def test_each_kind_of_unusable_image_has_its_own_error(grey: Grey, error: type[UnusableSignature]) -> None:
    with pytest.raises(error) as caught:
        isolate(grey)
    assert caught.value.code == error.code
    assert str(caught.value).endswith(".")


def test_an_image_that_is_mostly_dark_is_refused() -> None:
    rng = np.random.default_rng(0)
    stripes = np.where((np.arange(400) // 6 % 2)[:, None] > 0, 30, 240) + rng.integers(0, 9, (400, 400))
    with pytest.raises((TooMuchInk, BlankImage)):
        isolate(stripes.astype(np.uint8))


@pytest.mark.parametrize("method", ["box", "moments"])
def test_fit_keeps_the_aspect_and_centres(method: str) -> None:
    density = np.zeros((120, 200), np.uint8)
    density[30:90, 10:190] = 255
    canvas = fit(density, Canvas(64, 128, method, 0.8))  # type: ignore[arg-type]
    assert canvas.shape == (64, 128)
    rows, columns = np.flatnonzero(canvas.max(axis=1) > 100), np.flatnonzero(canvas.max(axis=0) > 100)
    assert np.ptp(columns) / max(1, np.ptp(rows)) == pytest.approx(3, rel=0.1)
    assert rows.mean() == pytest.approx(31.5, abs=1.0)
    assert columns.mean() == pytest.approx(63.5, abs=1.5)


def test_isolation_is_deterministic(page: Grey) -> None:
    assert np.array_equal(isolate(page).density, isolate(page.copy()).density)
