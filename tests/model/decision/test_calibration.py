"""Calibrations: fitting on trials with known distributions, saving, loading and refusing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.decision.calibration import FILE, Calibration
from model.errors import CalibrationMismatched, CalibrationMissing, DataError, WeightsError
from model.evaluation import metrics
from model.evaluation.calibration_fit import fit_calibration
from model.evaluation.error_rates import ServiceRule, measure
from model.evaluation.trials import Gallery, Kind, draw_cases, gallery_from_embeddings

SHA = "0" * 64


def make_gallery(
    seed: int,
    writers: int = 25,
    genuine: int = 14,
    forged: int = 12,
    shift: float = 2.2,
    name: str = "points",
) -> Gallery:
    """Writers as clusters in 8 dimensions with different spreads; forgeries are about ``shift`` times as far out."""
    rng = np.random.default_rng(seed)
    rows, signers, flags = [], [], []
    for writer in range(writers):
        centre, width = rng.normal(0, 6, 8), rng.uniform(0.6, 1.6)
        rows += [centre + width * rng.normal(0, 1, 8) for _ in range(genuine)]
        rows += [centre + width * shift * rng.normal(0, 1.3, 8) for _ in range(forged)]
        signers += [f"w{writer:02d}"] * (genuine + forged)
        flags += [True] * genuine + [False] * forged
    keys = [f"{name}-{i}" for i in range(len(rows))]
    return gallery_from_embeddings(name, keys, signers, flags, np.array(rows))


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return fit_calibration([make_gallery(0, writers=60)], SHA, draws=3)


def test_fitted_rules_are_monotone_in_the_distances(calibration: Calibration) -> None:
    assert [p.references for p in calibration.parameters] == [1, 2, 3, 5, 10]
    for parameters in calibration.parameters:
        assert min(parameters.weights) >= 0
        assert sum(parameters.weights) == pytest.approx(1)
        assert parameters.slope > 0
        assert parameters.spread_weight >= 0


def test_the_spread_of_the_signer_is_used_with_enough_references(calibration: Calibration) -> None:
    # The spreads differ by a factor of almost three, so ignoring them would increase the error rates.
    assert calibration.at(10).rule.spread_weight > 0.3


def test_scans_that_occur_twice_in_one_set_do_not_lower_the_copy_distance() -> None:
    sets = [make_gallery(seed, writers=20, name=f"set {seed}") for seed in range(3)]
    last = make_gallery(3, writers=20, name="last")
    twins = {}
    for writer in range(0, 20, 4):
        first, second = np.flatnonzero((last.signers == f"w{writer:02d}") & last.genuine)[:2]
        twins |= {int(first): int(second), int(second): int(first)}

    def distances(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
        is_twin = np.array([[twins.get(int(a)) == int(b) for b in other] for a in one])
        return np.where(is_twin, 0.001, last.distances(one, other))

    copied = replace(last, distances=distances)
    without, with_copies = (
        fit_calibration([*sets, one], SHA, references=(3,), draws=1).copy_distance for one in (last, copied)
    )
    assert with_copies == pytest.approx(without, rel=0.2)
    assert with_copies > 0.1


def test_stated_rates_hold_for_other_writers(calibration: Calibration) -> None:
    other = make_gallery(1, writers=80)
    for k in (1, 4, 10):
        result = measure(other, "points", ServiceRule(calibration, target_far=0.05), k, draws=3, samples=20)
        assert result.far_skilled is not None
        assert 0.02 < result.far_skilled.value < 0.09
        expected = calibration.operating_point(calibration.threshold(0.05, k), k)
        assert result.frr is not None
        assert result.frr.value == pytest.approx(expected.frr, abs=0.12)


def test_stated_likelihood_ratios_hold_for_other_writers(calibration: Calibration) -> None:
    other = make_gallery(2, writers=80)
    for k in (1, 2, 4, 10):
        result = measure(other, "points", ServiceRule(calibration), k, draws=3, samples=20)
        assert result.cllr is not None
        assert result.cllr_min is not None
        assert 0 <= result.cllr.value - result.cllr_min.value < 0.1


def test_more_references_give_fewer_errors(calibration: Calibration) -> None:
    other = make_gallery(3, writers=60)
    rates = []
    for k in (1, 5, 10):
        estimate = measure(other, "points", ServiceRule(calibration), k, draws=3, samples=20).eer_skilled
        assert estimate is not None
        rates.append(estimate.value)
    assert rates[0] > rates[1] > rates[2]


def test_threshold_and_rates_are_each_others_inverse(calibration: Calibration) -> None:
    for k in (1, 2, 3, 4, 7, 10, 30):
        for target in (0.01, 0.02, 0.05, 0.1, 0.3):
            score = calibration.threshold(target, k)
            assert calibration.operating_point(score, k).far_skilled == pytest.approx(target, rel=1e-6)


def test_empirical_far_at_a_fitted_threshold_is_the_stated_one(calibration: Calibration) -> None:
    for parameters in calibration.parameters:
        k, rule = parameters.references, calibration.at(parameters.references).rule
        scores = np.concatenate(
            [
                rule.score(case.to_references, case.among_references)[case.kinds == Kind.SKILLED]
                for case in draw_cases(make_gallery(0, writers=60), k, 3)
            ]
        )
        assert metrics.far(scores, calibration.threshold(0.1, k)) == pytest.approx(0.1, abs=0.025)


def test_stated_rates_are_limited_by_the_number_of_signatures(calibration: Calibration) -> None:
    seen = calibration.fitted_on.skilled_forgeries
    assert seen == 60 * 12
    point = calibration.operating_point(-1e6, 5)
    assert point.far_skilled == pytest.approx(1 / seen)
    assert point.far_random == pytest.approx(
        calibration.levels[0]
    )  # the end of the curve, above 1 / (60 * 59)
    assert calibration.far_range[0] == pytest.approx(1 / seen)


def test_stated_likelihood_ratios_are_limited_by_the_number_of_signatures(calibration: Calibration) -> None:
    assert calibration.log_likelihood_ratio(-1e6, 5) == pytest.approx(np.log10(60 * 12))
    assert calibration.log_likelihood_ratio(1e6, 5) == pytest.approx(-np.log10(60 * 14))


def test_more_than_ten_references_use_the_values_of_ten(calibration: Calibration) -> None:
    assert calibration.at(50).rule == calibration.at(10).rule
    assert calibration.threshold(0.05, 50) == calibration.threshold(0.05, 10)


def test_fitting_twice_gives_the_same() -> None:
    one, other = (fit_calibration([make_gallery(5, writers=8)], SHA, draws=2) for _ in range(2))
    assert one.model_copy(update={"created": other.created}) == other


def test_numbers_of_references_that_no_writer_has_are_skipped() -> None:
    fitted = fit_calibration([make_gallery(6, writers=8, genuine=5)], SHA, draws=2)
    assert [p.references for p in fitted.parameters] == [1, 2, 3]


def test_fitting_without_forgeries_or_on_noise_is_refused() -> None:
    with pytest.raises(DataError, match="forgeries"):
        fit_calibration([make_gallery(7, forged=0)], SHA)
    rng = np.random.default_rng(0)
    signers = np.repeat([f"w{i}" for i in range(6)], 16)
    flags = np.tile([True] * 8 + [False] * 8, 6)
    table = rng.uniform(1, 2, (96, 96))
    table = np.where(
        flags[:, None] & flags[None], table + 1, table
    )  # forgeries nearer than genuine signatures
    backwards = Gallery(
        "backwards", tuple(map(str, range(96))), signers, flags, lambda a, b: table[np.ix_(a, b)]
    )
    with pytest.raises(DataError, match="do not tell"):
        fit_calibration([backwards], SHA, draws=2)


def test_saved_calibration_is_read_back(calibration: Calibration, tmp_path: Path) -> None:
    calibration.save(tmp_path)
    read = Calibration.load(tmp_path, SHA)
    assert read == calibration
    assert read.identifier == calibration.identifier


def test_missing_calibration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationMissing, match="calibrate"):
        Calibration.load(tmp_path, SHA)


def test_calibration_of_other_weights_is_refused(calibration: Calibration, tmp_path: Path) -> None:
    calibration.save(tmp_path)
    with pytest.raises(CalibrationMismatched, match="belongs to the weights 000000000000"):
        Calibration.load(tmp_path, "1" * 64)


@pytest.mark.parametrize(
    "damage", ["truncated", "negative weight", "falling curve", "unknown field", "not text"]
)
def test_damaged_calibration_is_refused(calibration: Calibration, tmp_path: Path, damage: str) -> None:
    path = calibration.save(tmp_path)
    content = json.loads(path.read_text())
    if damage == "negative weight":
        content["parameters"][0]["weights"] = [-1.0, 1.0, 1.0, 0.0]
    elif damage == "falling curve":
        content["parameters"][0]["skilled"].reverse()
    elif damage == "unknown field":
        content["surprise"] = 1
    text = json.dumps(content)
    path.write_text(text[: len(text) // 2] if damage == "truncated" else text)
    if damage == "not text":
        path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(WeightsError, match=FILE):
        Calibration.load(tmp_path, SHA)
