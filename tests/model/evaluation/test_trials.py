"""The trials of the protocol, and error rates of point sets with known results."""

import numpy as np
import pytest

from model.evaluation.error_rates import NearestThree, measure, score_cases
from model.evaluation.metrics import identification_rate
from model.evaluation.trials import Gallery, Kind, draw_cases, gallery_from_embeddings, one_shot


def gallery(
    writers: int = 6, genuine: int = 8, forged: int = 4, apart: float = 100.0, forgery: float = 10.0
) -> Gallery:
    """Writers on a line at intervals of ``apart``; genuine points are within 1, forgeries at ``forgery``."""
    rows, signers, flags = [], [], []
    for writer in range(writers):
        rows += [[writer * apart + i / genuine, 0.0] for i in range(genuine)]
        rows += [[writer * apart + i / genuine, forgery] for i in range(forged)]
        signers += [f"w{writer}"] * (genuine + forged)
        flags += [True] * genuine + [False] * forged
    return gallery_from_embeddings("line", [str(i) for i in range(len(rows))], signers, flags, np.array(rows))


def test_each_remaining_genuine_signature_and_forgery_is_questioned_once() -> None:
    points = gallery()
    cases = draw_cases(points, references=3, draws=2)
    assert len(cases) == 6 * 2
    for case in cases:
        signer = case.writer.removeprefix("line:")
        of_signer = points.signers == signer
        genuine, skilled, random = (case.questioned[case.kinds == kind] for kind in Kind)
        assert set(genuine) | set(case.references) == set(np.flatnonzero(of_signer & points.genuine))
        assert not set(genuine) & set(case.references)
        assert set(skilled) == set(np.flatnonzero(of_signer & ~points.genuine))
        assert len(set(random)) == 20
        assert points.genuine[random].all()
        assert not of_signer[random].any()
        assert case.to_references == pytest.approx(points.distances(case.questioned, case.references))


def test_draws_depend_on_the_seed_only() -> None:
    first, again, other = (draw_cases(gallery(), 3, 1, seed) for seed in (0, 0, 1))
    assert all((a.references == b.references).all() for a, b in zip(first, again, strict=True))
    assert any((a.references != b.references).any() for a, b in zip(first, other, strict=True))


def test_fewer_references_are_a_subset_of_more_references() -> None:
    for few, many in zip(draw_cases(gallery(), 1, 2), draw_cases(gallery(), 5, 2), strict=True):
        assert set(few.references) <= set(many.references)


def test_signer_without_remaining_signature_is_left_out() -> None:
    assert draw_cases(gallery(genuine=5), references=5) == []


def test_two_names_of_one_writer_are_not_random_forgeries_of_each_other() -> None:
    rows = np.arange(12.0)[:, None]
    signers = ["a/one"] * 4 + ["a/two"] * 4 + ["b/one"] * 4
    points = gallery_from_embeddings("names", [str(i) for i in range(12)], signers, [True] * 12, rows)
    for case in draw_cases(points, 1, 1):
        if case.writer.startswith("names:a"):
            assert set(points.signers[case.questioned[case.kinds == Kind.RANDOM]]) == {"b/one"}


def test_images_without_signature_are_left_out_and_counted() -> None:
    rows = np.arange(8.0)[:, None]
    rows[2] = np.nan
    points = gallery_from_embeddings("gap", list("abcdefgh"), ["x"] * 4 + ["y"] * 4, [True] * 8, rows)
    assert points.refused == ("c",)
    assert len(points.keys) == 7
    assert measure(points, "f", NearestThree(), 1, draws=1, samples=10).refused == 1


def test_separable_writers_have_zero_error_rates() -> None:
    result = measure(gallery(), "points", NearestThree(), 3, draws=2, samples=20)
    assert result.eer_skilled is not None
    assert result.eer_random is not None
    assert result.eer_skilled.value == result.eer_random.value == 0.0
    assert (result.writers, result.genuine, result.skilled, result.random) == (6, 6 * 5, 6 * 4, 6 * 20)
    assert result.far_skilled is None
    assert result.cllr is None


def test_forgeries_identical_to_genuine_points_have_an_eer_of_one_half() -> None:
    result = measure(
        gallery(genuine=12, forged=12, forgery=0.0), "points", NearestThree(), 1, draws=10, samples=20
    )
    assert result.eer_skilled is not None
    assert result.eer_skilled.value == pytest.approx(0.5, abs=0.08)


def test_subtracting_the_spread_makes_scores_of_signers_comparable() -> None:
    rng = np.random.default_rng(0)
    rows, signers, flags = [], [], []
    for writer in range(30):
        width = 1.0 if writer % 2 else 5.0
        centre = np.r_[200.0 * writer, np.zeros(7)]
        rows += [centre + width * rng.normal(0, 1, 8) for _ in range(16)]
        rows += [centre + 2.4 * width * rng.normal(0, 1, 8) for _ in range(8)]
        signers += [f"w{writer:02d}"] * 24
        flags += [True] * 16 + [False] * 8
    points = gallery_from_embeddings(
        "widths", [str(i) for i in range(len(rows))], signers, flags, np.array(rows)
    )
    plain, normalised = (
        measure(points, "points", NearestThree(w), 10, draws=2, samples=20) for w in (0.0, 1.0)
    )
    assert plain.eer_skilled is not None
    assert normalised.eer_skilled is not None
    assert plain.eer_skilled.value > 0.2
    assert normalised.eer_skilled.value < 0.1
    assert plain.eer_per_signer is not None
    assert plain.eer_per_signer.value < 0.1


def test_interval_contains_the_value_and_narrows_with_more_writers() -> None:
    def width(writers: int) -> float:
        rng = np.random.default_rng(1)
        signers = np.repeat([f"w{i:03d}" for i in range(writers)], 12)
        flags = np.tile([True] * 7 + [False] * 5, writers)
        rows = np.repeat(rng.normal(0, 20, (writers, 4)), 12, axis=0) + rng.normal(0, 1, (writers * 12, 4))
        rows[~flags] += rng.normal(0, 1.5, (int((~flags).sum()), 4))
        points = gallery_from_embeddings(
            "many", [str(i) for i in range(len(rows))], signers.tolist(), flags.tolist(), rows
        )
        estimate = measure(points, "points", NearestThree(), 2, draws=1, samples=200).eer_skilled
        assert estimate is not None
        assert estimate.low <= estimate.value <= estimate.high
        return estimate.high - estimate.low

    assert width(100) < 0.6 * width(12)


def test_scored_trials_keep_the_case_of_each_score() -> None:
    cases = draw_cases(gallery(), 2, 2)
    trials = score_cases(cases, NearestThree())
    for index in (0, 17, len(trials.score) - 1):
        case, row = trials.cases[trials.case[index]], trials.index_in_case[index]
        assert trials.score[index] == pytest.approx(case.to_references[row].mean())
        assert trials.writers[trials.writer[index]] == case.writer
        assert trials.kind[index] == case.kinds[row]


def test_one_shot_classification_of_separable_writers_is_correct() -> None:
    distances, truth = one_shot(gallery(), ways=5, draws=4)
    assert distances.shape == (20, 5)
    assert identification_rate(distances, truth) == 1.0
    with pytest.raises(ValueError, match="are required"):
        one_shot(gallery(writers=3), ways=5)
