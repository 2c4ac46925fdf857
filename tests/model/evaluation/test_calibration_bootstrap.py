"""The bootstrap of a calibration: intervals of likelihood ratios, over writers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.decision.bootstrap import FILE, Bootstrap
from model.decision.calibration import Calibration
from model.errors import CalibrationMismatched, CalibrationMissing, DataError
from model.evaluation.calibration_bootstrap import resample_calibration
from model.evaluation.calibration_fit import fit_calibration
from model.evaluation.trials import Gallery, gallery_from_embeddings


def make_gallery(writers: int, seed: int = 0) -> Gallery:
    """Writers whose genuine signatures lie around a point of their own, and forgeries a little beside it."""
    rng = np.random.default_rng(seed)
    signers, genuine, rows = [], [], []
    for writer in range(writers):
        centre = rng.normal(size=8) * 3
        for n in range(14):
            signers.append(f"w{writer}")
            genuine.append(n < 8)
            rows.append(centre + rng.normal(size=8) * 0.3 + (0.0 if n < 8 else 0.35))
    keys = [str(n) for n in range(len(rows))]
    return gallery_from_embeddings("made", keys, signers, genuine, np.array(rows))


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return make_gallery(12)


@pytest.fixture(scope="module")
def calibration(gallery: Gallery) -> Calibration:
    return fit_calibration([gallery], "0" * 64, references=(1, 3), draws=2)


def test_an_interval_is_around_the_ratio_and_narrows_with_more_writers(
    gallery: Gallery, calibration: Calibration
) -> None:
    to_references, among = np.array([1.0, 1.1, 1.3]), np.full((3, 3), 1.0) - np.eye(3)
    score = float(calibration.at(3).rule.score(to_references, among))
    ratio = calibration.log_likelihood_ratio(score, 3)
    found = resample_calibration([gallery], calibration, 40).interval(to_references, among, calibration)
    assert found.low < ratio < found.high
    many = make_gallery(60)
    larger = fit_calibration([many], "0" * 64, references=(1, 3), draws=2)
    narrower = resample_calibration([many], larger, 40).interval(to_references, among, larger)
    assert narrower.high - narrower.low < found.high - found.low


def test_it_is_deterministic_and_survives_the_file(
    gallery: Gallery, calibration: Calibration, tmp_path: Path
) -> None:
    made = resample_calibration([gallery], calibration, 5)
    assert made == resample_calibration([gallery], calibration, 5)
    assert Bootstrap.load(tmp_path, calibration) is None
    made.save(tmp_path)
    assert Bootstrap.load(tmp_path, calibration) == made


def test_it_belongs_to_its_calibration(gallery: Gallery, calibration: Calibration, tmp_path: Path) -> None:
    made = resample_calibration([gallery], calibration, 5)
    made.save(tmp_path)
    other = calibration.model_copy(update={"weights_sha256": "1" * 64})
    assert Bootstrap.load(tmp_path, other) is None
    with pytest.raises(CalibrationMismatched):
        made.interval(np.array([1.0]), np.zeros((1, 1)), other)
    with pytest.raises(DataError, match="resample the same data"):
        resample_calibration([], calibration, 5)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(CalibrationMissing, match="model bootstrap"):
        Bootstrap.load(tmp_path, calibration)


def test_the_ends_are_limits_where_the_data_end(gallery: Gallery, calibration: Calibration) -> None:
    made = resample_calibration([gallery], calibration, 5)
    far = made.interval(np.array([50.0]), np.zeros((1, 1)), calibration)
    assert far.low_is_limit
    assert far.high_is_limit
    assert far.low == far.high == pytest.approx(calibration.llr_bounds[0])


def test_the_ratio_by_density_agrees_with_the_fitted_one_in_sign(calibration: Calibration) -> None:
    curves = calibration.at(3)
    near, far = curves.genuine.score(0.3), curves.skilled.score(0.7)
    assert calibration.log_likelihood_ratio_by_density(near, 3) > 0
    assert calibration.log_likelihood_ratio_by_density(far, 3) < 0
    assert calibration.log_likelihood_ratio_random(near, 3) > 0
    assert calibration.log_likelihood_ratio_random(curves.random.score(0.5), 3) < 0
    low, high = calibration.llr_bounds
    assert low <= calibration.log_likelihood_ratio_by_density(1e3, 3) <= high
