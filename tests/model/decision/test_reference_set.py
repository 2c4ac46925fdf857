"""Descriptions of sets of references: copies, variation, two variants, outliers."""

import numpy as np
import pytest

from model.decision.reference_set import describe_references, find_copies
from tests.model.decision.test_verdict import CALIBRATION

USUAL = CALIBRATION.spread_mean


def among(points: list[float]) -> np.ndarray:
    """Distances among points of a line."""
    return np.abs(np.subtract.outer(points, points))


def alike(count: int, distance: float) -> np.ndarray:
    return distance * (np.ones((count, count)) - np.eye(count))


def test_a_copy_is_named_with_the_reference_that_it_repeats_and_does_not_count() -> None:
    table = alike(4, USUAL)
    table[1, 3] = table[3, 1] = 0.0
    assert find_copies(table, CALIBRATION.copy_distance) == {3: 1}
    described = describe_references(table, CALIBRATION)
    assert described.distinct.tolist() == [0, 1, 2]
    assert described.spread == pytest.approx(USUAL)


@pytest.mark.parametrize(
    ("count", "spread", "variation"),
    [
        (2, 0.1, "unknown"),
        (3, 0.7, "little"),
        (3, 1.0, "usual"),
        (5, 1.3, "much"),
    ],
)
def test_variation_is_judged_against_the_population_from_three_references(
    count: int, spread: float, variation: str
) -> None:
    assert describe_references(alike(count, spread * USUAL), CALIBRATION).variation == variation


def test_two_groups_are_variants_and_their_members_no_outliers() -> None:
    table = alike(5, USUAL)
    table[:3, 3:] = table[3:, :3] = 3 * USUAL
    described = describe_references(table, CALIBRATION)
    assert described.variants == ((0, 1, 2), (3, 4))
    assert described.outliers == ()


def test_one_group_has_no_variants() -> None:
    assert describe_references(alike(6, USUAL), CALIBRATION).variants == ()
    assert describe_references(alike(3, USUAL), CALIBRATION).variants == ()


def test_a_reference_far_from_all_others_is_an_outlier_and_no_variant() -> None:
    table = alike(5, USUAL)
    table[4, :4] = table[:4, 4] = 4 * USUAL
    described = describe_references(table, CALIBRATION)
    assert described.outliers == (4,)
    assert described.variants == ()


def test_no_reference_and_one_reference_have_no_findings() -> None:
    for count in (0, 1):
        described = describe_references(alike(count, 1.0), CALIBRATION)
        assert (described.spread, described.variation, described.outliers) == (None, "unknown", ())
