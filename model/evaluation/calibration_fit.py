"""Fits a :class:`model.decision.calibration.Calibration` on validation writers.

For each number of references a logistic regression tells genuine signatures from skilled forgeries by the order
statistics of the distances and the signer's spread. The weights of the statistics are bounded below by zero, so that
a larger distance can never raise the likelihood ratio, and drawn towards each other, because with two dozen writers
the data cannot tell a minimum from a median with certainty. Both classes weigh the same, and so does every writer.
The curves are kernel estimates of the distributions of the score; a curve's floor is one over the number of distinct
signatures behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, ndtr

from model.decision.calibration import FITTED_REFERENCES, Calibration, FittedOn, Parameters
from model.decision.distances import Floats
from model.decision.set_rule import STATISTICS, SetRule, statistics
from model.errors import DataError
from model.evaluation.trials import Case, Gallery, Kind, draw_cases
from model.types import Metric

EVENNESS = 0.0003  # penalty on unequal weights of the statistics, in units of the mean log loss
SPREAD_PRIOR_WEIGHT = (
    0.7  # where few writers leave the spread's weight: HOG and networks both do well with it
)
SPREAD_PENALTY = 0.0002
LEVELS = np.round(ndtr(np.linspace(-3.3, 3.3, 67)), 8)


@dataclass(frozen=True)
class _Trials:
    """Trials at one k, flattened: statistics (n, 4), spread (n,), kind (n,), writer (n,), weight (n,)."""

    statistics: Floats
    spread: Floats
    kind: NDArray[np.int8]
    weight: Floats


def fit_calibration(
    galleries: Sequence[Gallery],
    weights_sha256: str,
    metric: Metric = "euclidean",
    references: Sequence[int] = FITTED_REFERENCES,
    draws: int = 10,
    seed: int = 0,
) -> Calibration:
    """Fit set rules, likelihood ratios and operating points.

    Parameters
    ----------
    galleries : sequence of Gallery
        Validation writers, none of whom the weights were trained on. A gallery without skilled forgeries adds to
        what is known of the population's spread, and to nothing else.
    weights_sha256 : str
        Of the weights that made the distances.
    references : sequence of int
        Each k to be fitted; one that fewer than two writers have enough signatures for is left out.
    draws : int
        Draws of references for each writer.

    Raises
    ------
    DataError
        Fewer than two writers with skilled forgeries, or distances that do not tell genuine from forged at all.
    """
    forged = [gallery for gallery in galleries if not gallery.genuine.all()]
    if sum(len(np.unique(g.signers[~g.genuine])) for g in forged) < 2:
        raise DataError("A calibration needs at least two validation writers with skilled forgeries.")
    spread_mean, spread_prior = _population_spread(galleries)
    floors = _floors(forged)
    parameters = []
    for k in sorted(set(references)):
        cases = [
            case
            for gallery in forged
            for case in draw_cases(gallery, k, draws, seed)
            if np.any(case.kinds == Kind.SKILLED)
        ]
        if len({case.writer for case in cases}) >= 2:
            parameters.append(_fit_one(k, cases, spread_mean, spread_prior, floors))
    if not parameters:
        raise DataError("No validation writer has more genuine signatures than references are asked for.")
    counts = {kind: round(1.0 / floor) for kind, floor in floors.items()}
    return Calibration(
        weights_sha256=weights_sha256,
        metric=metric,
        created=datetime.now(UTC).replace(microsecond=0),
        fitted_on=FittedOn(
            datasets=tuple(gallery.name for gallery in forged),
            writers=sum(len(np.unique(g.signers[~g.genuine])) for g in forged),
            genuine=counts[Kind.GENUINE],
            skilled_forgeries=counts[Kind.SKILLED],
            random_forgeries=counts[Kind.RANDOM],
            draws=draws,
            seed=seed,
            terms="research" if any(gallery.terms == "research" for gallery in galleries) else "permissive",
        ),
        spread_mean=spread_mean,
        spread_prior=spread_prior,
        # With n signatures seen, a ratio beyond n to 1 rests on the curve's form alone.
        llr_bounds=(-float(np.log10(counts[Kind.GENUINE])), float(np.log10(counts[Kind.SKILLED]))),
        floor_skilled=max(floors[Kind.SKILLED], float(LEVELS[0])),
        floor_random=max(floors[Kind.RANDOM], float(LEVELS[0])),
        floor_genuine=max(floors[Kind.GENUINE], float(LEVELS[0])),
        copy_distance=_nearest_genuine(galleries) / 2.0,
        levels=tuple(LEVELS.tolist()),
        parameters=tuple(parameters),
    )


def _population_spread(galleries: Sequence[Gallery]) -> tuple[float, float]:
    """Mean distance between two genuine signatures of one person, and what it is worth in references.

    Empirical Bayes: a signer's own mean over few pairs has a variance of about ``within / (k - 1)`` round the true
    one, which varies between signers by ``between``; the prior then counts as ``within / between`` references.
    """
    means, variances = [], []
    for gallery in galleries:
        for signer in np.unique(gallery.signers):
            own = np.flatnonzero((gallery.signers == signer) & gallery.genuine)
            if len(own) < 3:
                continue
            pairs = gallery.between(own, own)[np.triu_indices(len(own), 1)]
            means.append(float(pairs.mean()))
            variances.append(float(pairs.var(ddof=1)))
    if len(means) < 2:
        raise DataError("A calibration needs at least two writers with three genuine signatures each.")
    between = max(float(np.var(means, ddof=1)), 1e-6 * float(np.mean(means)) ** 2)
    return float(np.mean(means)), min(float(np.mean(variances)) / between, 100.0)


def _nearest_genuine(galleries: Sequence[Gallery]) -> float:
    """The smallest distance between two genuine signatures of one person that is no copy, as far as can be told.

    Some data sets hold a few signatures that were scanned twice: the closest pair of one signer in fifty is left out.
    """
    smallest = []
    for gallery in galleries:
        for signer in np.unique(gallery.signers):
            own = np.flatnonzero((gallery.signers == signer) & gallery.genuine)
            if len(own) > 1:
                pairs = gallery.between(own, own)[np.triu_indices(len(own), 1)]
                smallest.append(float(pairs.min()))
    return float(np.quantile(smallest, 0.02))


def _floors(galleries: Sequence[Gallery]) -> dict[Kind, float]:
    """One over the number of distinct genuine signatures, skilled forgeries and pairs of people."""
    genuine = sum(int(g.genuine.sum()) for g in galleries)
    skilled = sum(int((~g.genuine).sum()) for g in galleries)
    pairs = sum(len(np.unique(g.signers)) * (len(np.unique(g.signers)) - 1) for g in galleries)
    if min(genuine, skilled, pairs) < 3:
        raise DataError("A calibration needs at least three signatures of each kind, by three people.")
    return {Kind.GENUINE: 1.0 / genuine, Kind.SKILLED: 1.0 / skilled, Kind.RANDOM: 1.0 / pairs}


def _flatten(cases: Sequence[Case], spread_rule: SetRule) -> _Trials:
    columns: list[tuple[Floats, Floats, NDArray[np.int8], Floats]] = []
    per_writer: dict[tuple[str, int], int] = {}
    for case in cases:
        for kind in Kind:
            key = (case.writer, int(kind))
            per_writer[key] = per_writer.get(key, 0) + int(np.sum(case.kinds == kind))
    for case in cases:
        weight = np.array([1.0 / per_writer[case.writer, int(kind)] for kind in case.kinds])
        spread = np.full(len(case.kinds), spread_rule.spread(case.among_references))
        columns.append((statistics(case.to_references), spread, case.kinds, weight))
    stats, spreads, kinds, weights = (np.concatenate(column) for column in zip(*columns, strict=True))
    return _Trials(stats, spreads, kinds, weights)


def _fit_one(
    k: int,
    cases: Sequence[Case],
    spread_mean: float,
    spread_prior: float,
    floors: dict[Kind, float],
) -> Parameters:
    plain = SetRule((0.0, 0.0, 1.0, 0.0), 0.0, spread_mean, spread_prior)
    trials = _flatten(cases, plain)
    steepness, spread_steepness, intercept = _logistic(trials, spread_mean)
    slope = float(steepness.sum())
    if slope < 1e-3 / spread_mean:
        raise DataError(
            f"The distances to {k} references do not tell genuine signatures from forgeries: nothing to calibrate."
        )
    w = steepness / slope
    weights = (float(w[0]), float(w[1]), float(w[2]), float(w[3]))
    spread_weight = spread_steepness / slope
    score = trials.statistics @ np.asarray(weights) - spread_weight * trials.spread
    curves = {
        kind: _quantiles(score[trials.kind == kind], trials.weight[trials.kind == kind], floors[kind])
        for kind in Kind
    }
    return Parameters(
        references=k,
        weights=weights,
        spread_weight=spread_weight,
        slope=slope,
        intercept=intercept,
        skilled=curves[Kind.SKILLED],
        random=curves[Kind.RANDOM],
        genuine=curves[Kind.GENUINE],
    )


def _logistic(trials: _Trials, scale: float) -> tuple[Floats, float, float]:
    """Steepness of each statistic (4,) >= 0, of the spread >= 0, and the intercept of ln LR = -(... + intercept)."""
    used = trials.kind != Kind.RANDOM
    x, s = trials.statistics[used] / scale, trials.spread[used] / scale
    forged = trials.kind[used] == Kind.SKILLED
    weight = trials.weight[used].copy()
    for own in (forged, ~forged):
        weight[own] *= 0.5 / weight[own].sum()
    count = len(STATISTICS)

    def loss(p: Floats) -> tuple[float, Floats]:
        a, b, c = p[:count], p[count], p[count + 1]
        against = x @ a - b * s + c  # ln odds of forged
        value = float(weight @ np.logaddexp(0.0, np.where(forged, -against, against)))
        slope = weight * (expit(against) - forged)
        uneven = a - a.mean()
        off = b - SPREAD_PRIOR_WEIGHT * a.sum()
        value += EVENNESS * float(uneven @ uneven) + SPREAD_PENALTY * float(off**2)
        of_a = x.T @ slope + 2 * EVENNESS * uneven - 2 * SPREAD_PENALTY * SPREAD_PRIOR_WEIGHT * off
        of_b = -float(s @ slope) + 2 * SPREAD_PENALTY * off
        return value, np.concatenate([of_a, [of_b, float(slope.sum())]])

    start = np.concatenate([np.full(count, 1.0), [SPREAD_PRIOR_WEIGHT * count, -1.0]])
    bounds = [(0.0, 1e3)] * (count + 1) + [(None, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000})
    a, b, c = found.x[:count], float(found.x[count]), float(found.x[count + 1])
    return np.asarray(a / scale, dtype=np.float64), b / scale, c


def _quantiles(scores: Floats, weights: Floats, floor: float) -> tuple[float, ...]:
    """Scores at :data:`LEVELS` of the kernel estimate of a distribution function.

    The bandwidth falls with the third root of the number of distinct signatures (1 / floor), the order that is best
    for a distribution function (Azzalini, Biometrika 68, 1981); it widens the tails a little, to the safe side.
    """
    weights = weights / weights.sum()
    mean = float(weights @ scores)
    deviation = max(float(np.sqrt(weights @ (scores - mean) ** 2)), 1e-6 * max(abs(mean), 1e-3))
    width = deviation * floor ** (1.0 / 3.0)
    grid = np.linspace(scores.min() - 5.0 * width, scores.max() + 5.0 * width, 600)
    share = np.array([float(weights @ ndtr((at - scores) / width)) for at in grid])
    rising = np.concatenate([[True], np.diff(share) > 1e-12])
    quantiles = np.interp(LEVELS, share[rising], grid[rising])
    # Strictly increasing, as the interpolation back from scores to shares needs.
    steps = np.maximum(np.diff(quantiles), 1e-7 * deviation)
    return tuple(np.round(quantiles[0] + np.concatenate([[0.0], np.cumsum(steps)]), 9).tolist())
