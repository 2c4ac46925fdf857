"""Which ink of a crop belongs to the signature: straight lines, regions, and the rule that rates them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.settings import PAGE_NETWORK, PERMISSIVE_PAGE_NETWORK
from model.preprocessing.regions import MEASURES, find_regions
from model.preprocessing.straight_lines import find_lines
from model.preprocessing.stroke_mask import StrokeRule

Pixels = NDArray[np.uint8]


@pytest.fixture(params=[PAGE_NETWORK, PERMISSIVE_PAGE_NETWORK], ids=["page-4", "page-1-free"])
def rule(request: pytest.FixtureRequest) -> StrokeRule:
    return StrokeRule.load(request.param.with_name("strokes.json"))


def curve(shape: tuple[int, int]) -> Pixels:
    """A wave from left to right."""
    drawn = np.zeros(shape, np.uint8)
    x = np.arange(40, shape[1] - 40)
    points = np.stack([x, shape[0] / 2 + shape[0] / 7 * np.sin(x / 14)], axis=1)
    cv2.polylines(drawn, [np.rint(points).astype(np.int32)], isClosed=False, color=255, thickness=3)
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), 0.6), np.uint8)


@pytest.mark.parametrize("degrees", [0.0, 9.0, -14.0, 90.0])
def test_a_straight_line_is_found_at_any_angle(degrees: float) -> None:
    drawn = np.zeros((220, 420), np.uint8)
    along = np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
    ends = [np.rint(np.array([210, 110]) + side * 90 * along).astype(int).tolist() for side in (-1, 1)]
    cv2.line(drawn, ends[0], ends[1], color=200, thickness=2)
    line = find_lines(drawn)[0]  # the other edge of the line may be a second one
    length = float(np.hypot(*(line.end - line.start)))
    assert 165 < length < 195
    assert abs(abs(float((line.end - line.start) @ along)) / length - 1.0) < 1e-3
    ring = cv2.circle(np.zeros_like(drawn), (210, 110), 70, color=255, thickness=3)
    assert find_lines(np.asarray(ring, np.uint8)) == [], "a curve is no line"
    assert find_lines(np.zeros((220, 420), np.uint8)) == []


@pytest.mark.parametrize("share", [1.0, 0.2], ids=["sure network", "unsure network"])
def test_strokes_that_were_found_are_kept_however_sure_the_network_is(rule: StrokeRule, share: float) -> None:
    darkness = curve((200, 420))
    strokes = (darkness > 100).view(np.uint8)
    probability = np.asarray(strokes * np.uint8(230 * share), np.uint8)
    known = strokes.copy()
    known[:, 300:] = 0  # not all of it was found on the page
    kept = rule.mask(darkness, probability, known) > 0
    assert kept[known > 0].mean() > 0.95
    if share == 1.0:
        assert kept[strokes > 0].mean() > 0.95, "the rest is kept, too, if the network is sure of it"


def test_a_line_across_the_strokes_is_left_out(rule: StrokeRule) -> None:
    darkness = curve((200, 420))
    strokes = (darkness > 100).view(np.uint8)
    line = np.zeros_like(darkness)
    cv2.line(line, (0, 160), (419, 120), color=150, thickness=2)
    probability = np.asarray(strokes * np.uint8(230), np.uint8)
    kept = rule.mask(np.maximum(darkness, line), probability, strokes) > 0
    near = cv2.dilate(strokes, np.ones((7, 7), np.uint8)) > 0
    assert kept[strokes > 0].mean() > 0.8
    assert kept[(line > 0) & ~near].mean() < 0.1


def test_security_printing_that_touches_all_strokes_is_left_out(rule: StrokeRule) -> None:
    darkness = curve((200, 420))
    strokes = (darkness > 100).view(np.uint8)
    wave = np.zeros_like(darkness)
    x = np.arange(420)
    for top in range(10, 200, 18):
        points = np.stack([x, top + 5 * np.sin(x / 9 + top)], axis=1)
        cv2.polylines(wave, [np.rint(points).astype(np.int32)], isClosed=False, color=60, thickness=1)
    probability = np.asarray(strokes * np.uint8(230) + np.uint8(4), np.uint8)
    kept = rule.mask(np.maximum(darkness, wave), probability, strokes) > 0
    near = cv2.dilate(strokes, np.ones((9, 9), np.uint8)) > 0
    assert kept[strokes > 0].mean() > 0.8
    assert kept[(wave > 0) & ~near].mean() < 0.1


def test_a_crop_without_ink_has_no_regions(rule: StrokeRule) -> None:
    empty = np.zeros((60, 90), np.uint8)
    assert find_regions(empty, empty, empty).measures.shape == (0, len(MEASURES))
    assert not rule.mask(empty, empty, empty).any()


def test_all_measures_are_finite_and_relative_to_the_signature() -> None:
    darkness = np.zeros((220, 420), np.uint8)
    cv2.circle(darkness, (210, 110), 70, color=255, thickness=3)
    strokes = (darkness > 100).view(np.uint8)
    measured = find_regions(darkness, np.asarray(strokes * np.uint8(200), np.uint8), strokes).measures
    assert np.isfinite(measured).all()
    assert len(measured) == 1
    of = dict(zip(MEASURES, measured[0], strict=True))
    for name in ("probability", "highest", "probable", "darker", "found", "inside"):
        assert of[name] == pytest.approx(1.0), name
    for name in ("height", "thicker", "distance", "row", "edge", "line"):
        assert of[name] == pytest.approx(0.0, abs=0.02), name


def test_a_rule_for_other_measures_is_refused(rule: StrokeRule, tmp_path: Path) -> None:
    rule.save(tmp_path / "strokes.json", {"strokes lost": 0.1})
    again = StrokeRule.load(tmp_path / "strokes.json")
    measures = np.random.default_rng(0).normal(size=(5, len(MEASURES)))
    assert np.allclose(again.log_odds(measures), rule.log_odds(measures), atol=0.05)
    content = json.loads((tmp_path / "strokes.json").read_text(encoding="utf-8"))
    content["measures"] = content["measures"][1:]
    (tmp_path / "strokes.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"model\.documents\.strokes"):
        StrokeRule.load(tmp_path / "strokes.json")
