"""Metrics compared with hand-computed values and, for the likelihood-ratio costs, with the package lir."""

import numpy as np
import pytest
from lir.data.models import LLRData
from lir.metrics import cllr as lir_cllr
from lir.metrics import cllr_min as lir_cllr_min

from model.evaluation import metrics


def test_scores_up_to_the_threshold_are_accepted() -> None:
    forged, genuine = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0, 5.0])
    assert metrics.far(forged, 2.0) == 0.5
    assert metrics.frr(genuine, 2.0) == 0.25


def test_error_curve_accepts_equal_scores_together() -> None:
    curve = metrics.error_curve(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    assert curve.threshold.tolist() == [-np.inf, 1.0, 2.0, 3.0]
    assert curve.far.tolist() == [0.0, 0.0, 0.5, 1.0]
    assert curve.frr.tolist() == [1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("genuine", "forged", "expected"),
    [
        ([1.0, 2.0], [3.0, 4.0], 0.0),
        ([3.0, 4.0], [1.0, 2.0], 1.0),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], 0.5),
        # Sorted: g g f g f f. The point (FAR, FRR) = (1/3, 1/3) is on the diagonal.
        ([1.0, 2.0, 4.0], [3.0, 5.0, 6.0], 1 / 3),
        # The tie joins the points (0, 1/2) and (1, 0) by a line, which crosses the diagonal at 1/3.
        ([1.0, 2.0], [2.0], 1 / 3),
    ],
)
def test_eer_is_where_the_curve_crosses_the_diagonal(
    genuine: list[float], forged: list[float], expected: float
) -> None:
    assert metrics.eer(np.array(genuine), np.array(forged)) == pytest.approx(expected)


def test_eer_with_weights_equals_eer_of_repeated_trials() -> None:
    rng = np.random.default_rng(0)
    genuine, forged = rng.normal(0, 1, 40), rng.normal(1, 1, 30)
    count_g, count_f = rng.integers(0, 4, 40), rng.integers(0, 4, 30)
    weighted = metrics.eer(genuine, forged, count_g.astype(float), count_f.astype(float))
    assert weighted == pytest.approx(metrics.eer(np.repeat(genuine, count_g), np.repeat(forged, count_f)))


def test_eer_without_scores_raises_value_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        metrics.eer(np.array([]), np.array([1.0]))


def test_auc_is_the_share_of_ordered_pairs_with_ties_counted_half() -> None:
    # Pairs (g, f): 1<2, 1<3, 2=2, 2<3 -> (1 + 1 + 0.5 + 1) / 4.
    assert metrics.auc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == pytest.approx(0.875)


def test_cllr_of_hand_computed_ratios() -> None:
    # LR 10 for genuine: log2(1 + 1/10); LR 1/10 for forged: log2(1 + 1/10).
    assert metrics.cllr(np.array([1.0]), np.array([-1.0])) == pytest.approx(np.log2(1.1))
    assert metrics.cllr(np.array([0.0, 0.0]), np.array([0.0])) == pytest.approx(1.0)


def test_cllr_min_of_separated_and_of_swapped_scores() -> None:
    assert metrics.cllr_min(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == pytest.approx(0.0)
    assert metrics.cllr_min(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == pytest.approx(1.0)
    # Blocks: f=0 | g=1, f=2 pooled | g=3. The pooled posterior is 1/2, so half of the trials cost one bit.
    assert metrics.cllr_min(np.array([1.0, 3.0]), np.array([0.0, 2.0])) == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(5))
def test_cllr_and_cllr_min_equal_those_of_lir(seed: int) -> None:
    rng = np.random.default_rng(seed)
    genuine, forged = rng.normal(0.6, 0.8, 150), rng.normal(-0.7, 1.1, 90)
    genuine[:20] = np.round(genuine[:20], 1)
    forged[:20] = np.round(forged[:20], 1)
    data = LLRData(
        features=np.concatenate([genuine, forged]), labels=np.repeat([1, 0], [len(genuine), len(forged)])
    )
    assert metrics.cllr(genuine, forged) == pytest.approx(lir_cllr(data), abs=1e-9)
    assert metrics.cllr_min(genuine, forged) == pytest.approx(lir_cllr_min(data), abs=1e-9)


def test_cllr_with_weights_equals_cllr_of_repeated_trials() -> None:
    rng = np.random.default_rng(3)
    genuine, forged = rng.normal(0.5, 1, 30), rng.normal(-0.5, 1, 20)
    count_g, count_f = rng.integers(0, 3, 30), rng.integers(0, 3, 20)
    for metric in (metrics.cllr, metrics.cllr_min):
        weighted = metric(genuine, forged, count_g.astype(float), count_f.astype(float))
        assert weighted == pytest.approx(metric(np.repeat(genuine, count_g), np.repeat(forged, count_f)))


def test_identification_counts_a_tie_as_an_error() -> None:
    distances = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 3.0], [1.0, 1.0, 3.0]])
    truth = np.array([0, 0, 0])
    assert metrics.identification_rate(distances, truth) == pytest.approx(1 / 3)
    assert metrics.identification_rate(distances, truth, rank=2) == 1.0


def test_bootstrap_interval_of_a_mean_agrees_with_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 100)
    estimate = metrics.bootstrap(lambda counts: float(counts @ values / counts.sum()), 100, samples=2000)
    assert estimate.value == pytest.approx(values.mean())
    standard_error = values.std() / 10.0
    assert estimate.low == pytest.approx(values.mean() - 1.96 * standard_error, abs=0.1)
    assert estimate.high == pytest.approx(values.mean() + 1.96 * standard_error, abs=0.1)


def test_calibration_points_of_true_likelihood_ratios_lie_on_the_diagonal() -> None:
    # Scores N(+-1, 1): ln LR = 2 x.
    rng = np.random.default_rng(1)
    genuine, forged = (2 * rng.normal(m, 1, 20_000) / np.log(10) for m in (1.0, -1.0))
    stated, observed = metrics.calibration_points(genuine, forged, bins=10)
    assert np.abs(stated - observed)[1:-1].max() < 0.1
