"""The set rule and the verdict: hand-computed values, and properties that hold for all inputs."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import ndtr

from model.decision.calibration import Calibration, FittedOn, Parameters, UnsupportedOperatingPoint
from model.decision.distances import distances, pairwise
from model.decision.set_rule import SetRule, statistics
from model.decision.verdict import Decision, judge, round_down

LEVELS = tuple(ndtr(np.linspace(-3, 3, 13)).tolist())


def line(mean: float, deviation: float) -> tuple[float, ...]:
    """Quantiles of a normal distribution at LEVELS."""
    return tuple((mean + deviation * np.linspace(-3, 3, 13)).tolist())


def calibration() -> Calibration:
    """One and four references: skilled N(2, 0.5), random N(4, 0.5), genuine N(1, 0.5); spread at k = 4."""
    common = {"skilled": line(2, 0.5), "random": line(4, 0.5), "genuine": line(1, 0.5)}
    return Calibration(
        weights_sha256="a" * 64,
        metric="euclidean",
        created=datetime(2025, 1, 1, tzinfo=UTC),
        fitted_on=FittedOn(
            datasets=("normal",),
            writers=10,
            genuine=200,
            skilled_forgeries=200,
            random_forgeries=90,
            draws=1,
            seed=0,
        ),
        spread_mean=1.0,
        spread_prior=1.0,
        llr_bounds=(-2.3, 2.3),
        floor_skilled=0.005,
        floor_random=0.01,
        floor_genuine=0.005,
        copy_distance=0.1,
        levels=LEVELS,
        parameters=(
            Parameters(
                references=1,
                weights=(0.0, 0.0, 1.0, 0.0),
                spread_weight=0.0,
                slope=4.0,
                intercept=-6.0,
                **common,
            ),
            Parameters(
                references=4,
                weights=(0.5, 0.0, 0.5, 0.0),
                spread_weight=1.0,
                slope=8.0,
                intercept=-4.0,
                **common,
            ),
        ),
    )


CALIBRATION = calibration()


def among(k: int, distance: float) -> np.ndarray:
    return distance * (np.ones((k, k)) - np.eye(k))


def test_euclidean_and_cosine_distances_by_hand() -> None:
    references = np.array([[3.0, 4.0], [0.0, 2.0]])
    assert distances(np.zeros(2), references, "euclidean").tolist() == [5.0, 2.0]
    assert distances(np.array([0.0, 1.0]), references, "cosine") == pytest.approx([0.2, 0.0])
    assert pairwise(references, "euclidean") == pytest.approx(np.array([[0, 13**0.5], [13**0.5, 0]]))


def test_embeddings_of_other_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        distances(np.zeros(3), np.zeros((2, 4)), "euclidean")


def test_statistics_by_hand() -> None:
    assert statistics(np.array([4.0, 1.0, 3.0, 2.0])).tolist() == [1.0, 1.5, 2.5, 2.5]
    assert statistics(np.array([7.0])).tolist() == [7.0] * 4


def test_spread_is_shrunk_to_the_population_mean_if_references_are_few() -> None:
    rule = SetRule((0.0, 0.0, 1.0, 0.0), 1.0, spread_mean=2.0, spread_prior=2.0)
    assert rule.spread(np.zeros((1, 1))) == 2.0
    assert rule.spread(among(2, 5.0)) == pytest.approx((1 * 5 + 2 * 2) / 3)
    assert rule.spread(among(5, 5.0)) == pytest.approx((4 * 5 + 2 * 2) / 6)
    assert rule.score(np.array([4.0, 4.0]), among(2, 5.0)) == pytest.approx(4.0 - 3.0)


def test_verdict_with_one_reference_by_hand() -> None:
    # Skilled N(2, 0.5): 5 % lie below 2 - 1.6449 / 2.
    verdict = judge(np.array([1.0]), np.zeros((1, 1)), CALIBRATION, target_far=0.05)
    assert verdict.threshold == pytest.approx(2 - 1.6449 / 2, abs=0.01)
    assert verdict.decision == Decision.ACCEPT
    assert verdict.log_likelihood_ratio == pytest.approx(-(4 * 1.0 - 6) / np.log(10), abs=1e-3)
    assert verdict.operating_point.far_skilled == pytest.approx(0.05, abs=1e-3)
    assert verdict.operating_point.frr == pytest.approx(1 - ndtr((verdict.threshold - 1) / 0.5), abs=0.01)
    assert verdict.operating_point.far_random == 0.01  # its floor
    assert verdict.warnings == ("single-reference",)


def test_the_threshold_depends_on_the_signer() -> None:
    tight = judge(np.full(4, 1.5), among(4, 0.5), CALIBRATION, target_far=0.05)
    loose = judge(np.full(4, 1.5), among(4, 1.5), CALIBRATION, target_far=0.05)
    # k = 4: spread (3 s + 1) / 4, so 0.625 against 1.375.
    assert loose.threshold - tight.threshold == pytest.approx(0.75)
    assert loose.log_likelihood_ratio > tight.log_likelihood_ratio
    assert loose.operating_point == tight.operating_point


def test_a_distance_between_the_thresholds_is_for_review() -> None:
    strict = judge(np.array([9.0]), np.zeros((1, 1)), CALIBRATION, 0.01, review_far=0.1)
    assert strict.decision == Decision.REJECT
    assert strict.review_threshold is not None
    assert strict.review_threshold > strict.threshold
    middle = (strict.threshold + strict.review_threshold) / 2
    assert (
        judge(np.array([middle]), np.zeros((1, 1)), CALIBRATION, 0.01, review_far=0.1).decision
        == Decision.REVIEW
    )
    assert judge(np.array([middle]), np.zeros((1, 1)), CALIBRATION, 0.01).decision == Decision.REJECT


def test_distance_at_the_threshold_is_accepted() -> None:
    threshold = judge(np.array([1.0]), np.zeros((1, 1)), CALIBRATION, 0.05).threshold
    assert judge(np.array([threshold]), np.zeros((1, 1)), CALIBRATION, 0.05).decision == Decision.ACCEPT
    beyond = threshold + 1e-5  # the next number with this many decimals
    assert judge(np.array([beyond]), np.zeros((1, 1)), CALIBRATION, 0.05).decision == Decision.REJECT


def test_a_fixed_threshold_determines_the_operating_point() -> None:
    verdict = judge(np.array([1.9]), np.zeros((1, 1)), CALIBRATION, 0.05, fixed_threshold=2.0)
    assert verdict.decision == Decision.ACCEPT
    assert verdict.operating_point.far_skilled == pytest.approx(0.5)
    low = judge(np.array([1.9]), np.zeros((1, 1)), CALIBRATION, 0.05, fixed_threshold=0.2)
    assert low.operating_point.far_skilled == 0.005
    assert "unsupported-operating-point" in low.warnings


def test_rates_that_the_data_cannot_support_are_refused() -> None:
    with pytest.raises(UnsupportedOperatingPoint, match="200 skilled forgeries"):
        judge(np.array([1.0]), np.zeros((1, 1)), CALIBRATION, target_far=0.001)


def test_suspicious_distances_cause_warnings() -> None:
    copied = judge(np.array([0.01, 1, 1, 1]), among(4, 1.0), CALIBRATION, 0.05)
    assert copied.warnings == ("suspiciously-close",)
    scattered = judge(np.ones(4), among(4, 2.5), CALIBRATION, 0.05)
    assert scattered.warnings == ("inconsistent-references",)


def test_tables_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        judge(np.ones(3), np.zeros((2, 2)), CALIBRATION, 0.05)
    with pytest.raises(ValueError, match="expected"):
        judge(np.ones(0), np.zeros((0, 0)), CALIBRATION, 0.05)


@st.composite
def sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Distances to 1 to 12 references, distances among them, growths of the former, and a seed."""
    k = draw(st.integers(1, 12))
    finite = st.floats(0, 10, allow_nan=False)
    to, growth = draw(arrays(float, k, elements=finite)), draw(arrays(float, k, elements=finite))
    points = draw(arrays(float, (k, 3), elements=finite))
    return to, pairwise(points, "euclidean"), growth, draw(st.integers(0, 2**31))


@settings(deadline=None, max_examples=200)
@given(sets())
def test_a_larger_distance_never_raises_the_likelihood_ratio(
    case: tuple[np.ndarray, np.ndarray, np.ndarray, int],
) -> None:
    to, inner, growth, _ = case
    near, far = judge(to, inner, CALIBRATION, 0.05), judge(to + growth, inner, CALIBRATION, 0.05)
    assert far.log_likelihood_ratio <= near.log_likelihood_ratio + 1e-12
    assert far.distance >= near.distance - 1e-12
    assert far.threshold == near.threshold


@settings(deadline=None, max_examples=200)
@given(sets())
def test_the_order_of_references_changes_nothing(
    case: tuple[np.ndarray, np.ndarray, np.ndarray, int],
) -> None:
    to, inner, _, seed = case
    order = np.random.default_rng(seed).permutation(len(to))
    one = judge(to, inner, CALIBRATION, 0.05, 0.2)
    other = judge(to[order], inner[np.ix_(order, order)], CALIBRATION, 0.05, 0.2)
    assert other.distance == pytest.approx(one.distance)
    assert other.threshold == pytest.approx(one.threshold)
    assert other.log_likelihood_ratio == pytest.approx(one.log_likelihood_ratio)
    assert other.warnings == one.warnings


@settings(deadline=None)
@given(st.data(), st.integers(-30, 30), st.sampled_from([0.05, 0.2]))
def test_the_rounded_numbers_of_a_verdict_imply_its_decision(
    data: st.DataObject, off: int, review: float
) -> None:
    """Even if the distance is very close to a threshold, and after serialisation to JSON."""
    threshold = CALIBRATION.threshold(data.draw(st.sampled_from([0.05, review])), 1)
    to_references = np.array([threshold + off * 3e-7])
    verdict = judge(to_references, np.zeros((1, 1)), CALIBRATION, 0.05, review if review > 0.05 else None)
    sent = json.loads(json.dumps(asdict(verdict)))
    said = Decision.ACCEPT if sent["distance"] <= sent["threshold"] else Decision.REJECT
    if said is Decision.REJECT and sent["review_threshold"] is not None:
        said = Decision.REVIEW if sent["distance"] <= sent["review_threshold"] else Decision.REJECT
    assert sent["decision"] == said
    numbers = [
        sent[name] for name in ("distance", "threshold", "review_threshold", "log_likelihood_ratio", "spread")
    ]
    for number in (*numbers, *sent["operating_point"].values()):
        assert number is None or len(repr(number).partition(".")[2]) <= 5


@settings(deadline=None)
@given(
    st.integers(20, 400),
    st.sampled_from([1, 4]),
    st.floats(0.01, 3.0),
)
def test_the_stated_rate_is_never_above_the_requested_one(
    thousandths: int, references: int, apart: float
) -> None:
    """Rounding a threshold must not accept more forgeries than the policy allows."""
    among = np.full((references, references), apart)
    np.fill_diagonal(among, 0.0)
    target = thousandths / 1000
    verdict = judge(np.full(references, 1.0), among, CALIBRATION, target)
    assert verdict.operating_point.far_skilled <= target


@settings(deadline=None)
@given(st.floats(-1e3, 1e3), st.integers(0, 6))
def test_rounding_down_decreases_a_value_by_less_than_one_decimal(value: float, digits: int) -> None:
    rounded = round_down(value, digits)
    assert value - 1.001 * 10.0**-digits <= rounded <= value + 1e-12
    assert rounded == round(rounded, digits)
