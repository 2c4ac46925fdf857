"""The measures by which parts of a page are told apart, and the rules that are fitted to them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.settings import PAGE_NETWORK, PERMISSIVE_PAGE_NETWORK
from model.documents.rules import cross_validated, fit
from model.preprocessing.box import Box
from model.preprocessing.evidence import MEASURES, Scene, compared, measure
from model.preprocessing.rules import REACH, Look, Rule, Rules, terms


def value(measures: np.ndarray, name: str) -> float:
    return float(measures[MEASURES.index(name)])


def test_a_part_is_described_by_the_network_and_by_its_shape() -> None:
    ink = np.zeros((100, 200), np.uint8)
    cv2.line(ink, (20, 20), (80, 60), 1, 3)  # probable
    cv2.rectangle(ink, (120, 70), (180, 80), 1, -1)  # improbable
    probability = np.zeros_like(ink)
    probability[:, :100] = 255
    scene = Scene.of(ink, probability)
    stroke, block = measure(scene, Box(15, 15, 90, 70)), measure(scene, Box(115, 65, 190, 90))
    assert value(stroke, "mean") == value(stroke, "likely") == value(stroke, "in-parts") == 1.0
    assert value(block, "mean") == value(block, "likely") == value(block, "mass-share") == 0.0
    assert value(stroke, "mass-share") == pytest.approx(1.0)
    assert value(stroke, "ink-share") + value(block, "ink-share") == pytest.approx(1.0)
    assert value(stroke, "height") > value(block, "height")
    assert value(stroke, "taller") > 0 > value(block, "taller") or value(block, "taller") < value(
        stroke, "taller"
    )
    assert value(stroke, "across") < 0.5 < value(block, "across")


def test_a_part_without_ink_has_no_measures() -> None:
    scene = Scene.of(np.zeros((40, 40), np.uint8), np.full((40, 40), 255, np.uint8))
    assert not measure(scene, Box(5, 5, 30, 30)).any()


def test_a_part_is_compared_with_the_others_of_its_page() -> None:
    measures = np.ones(len(MEASURES))
    assert np.array_equal(compared(measures, 30, []), measures)
    beside = compared(measures, 30, [10, 10, 60])
    assert value(beside, "others") == pytest.approx(np.log(4))
    assert value(beside, "outstanding") == pytest.approx(np.log(3))


def test_measures_far_from_those_of_the_fit_are_cut_off() -> None:
    rule = Rule(np.zeros(2), np.ones(2), np.ones(terms(np.zeros((1, 2))).shape[1]), 0.5)
    far, farther = rule.log_odds(np.array([[REACH, 1.0], [50 * REACH, 1.0]]))
    assert far == farther


def test_a_rule_is_fitted_that_separates_by_a_product_of_two_measures() -> None:
    rng = np.random.default_rng(0)
    measures = rng.normal(size=(600, 3))
    labels = measures[:, 0] * measures[:, 1] > 0
    log_odds = cross_validated(measures, labels, np.arange(600))
    assert ((log_odds > 0) == labels).mean() > 0.9
    assert ((fit(measures, labels).log_odds(measures) > 0) == labels).mean() > 0.9


def test_rules_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = terms(np.zeros((1, len(MEASURES)))).shape[1]
    rule = Rule(
        rng.normal(size=len(MEASURES)), np.ones(len(MEASURES)), np.asarray(rng.normal(size=count)), 0.25
    )
    Rules((Look(144, rule, 2.0, -1.0),), rule, 0.1, 0.2).save(tmp_path / "rules.json", {"missed": 0.01})
    read = Rules.load(tmp_path / "rules.json")
    measures = rng.normal(size=(5, len(MEASURES)))
    assert np.allclose(read.page.log_odds(measures), rule.log_odds(measures), atol=0.05)
    assert (read.looks[0].side, read.looks[0].accept, read.least, read.rival) == (144, 2.0, 0.1, 0.2)


def test_rules_of_other_measures_are_refused(tmp_path: Path) -> None:
    content = json.loads(PAGE_NETWORK.with_name("rules.json").read_text(encoding="utf-8"))
    content["measures"] = content["measures"][:-1]
    (tmp_path / "rules.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="other measures"):
        Rules.load(tmp_path / "rules.json")


@pytest.mark.parametrize("network", [PAGE_NETWORK, PERMISSIVE_PAGE_NETWORK])
def test_released_networks_have_rules_with_error_rates(network: Path) -> None:
    path = network.with_name("rules.json")
    rates = json.loads(path.read_text(encoding="utf-8"))["rates"]
    assert Rules.load(path).looks
    assert 0 < rates["signed pages with a candidate, refused"] < 0.1
