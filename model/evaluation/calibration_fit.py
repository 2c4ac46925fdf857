"""Fitting a :class:`model.decision.calibration.Calibration` on validation writers.

For each number of references, a logistic regression separates genuine signatures from skilled forgeries by the order
statistics of the distances and the signer's spread. The weights of the statistics are bounded below by zero, so that
a larger distance never raises the likelihood ratio. A penalty draws them towards each other, because two dozen
writers are too few to decide between a minimum and a median. Both classes have equal weight, and within a class all
writers have equal weight.

The curves are kernel estimates of the distributions of the score. The floor of a curve is one over the number of
distinct signatures that it was estimated from.
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

EVENNESS_PENALTY = 0.0003
"""Penalty on unequal weights of the statistics, in units of the mean log loss."""

SPREAD_PRIOR_WEIGHT = 0.7
"""Weight of the spread in the absence of evidence; it works well for HOG and for the networks."""

SPREAD_PENALTY = 0.0002
"""Penalty on deviations from :data:`SPREAD_PRIOR_WEIGHT`, in units of the mean log loss."""

LEVELS = np.round(ndtr(np.linspace(-3.3, 3.3, 67)), 8)
"""Levels of the distribution functions at which the curves are stored."""


@dataclass(frozen=True)
class Rule:
    """A fitted rule: the fields of :class:`model.decision.calibration.Parameters` without the curves."""

    weights: tuple[float, float, float, float]
    spread_weight: float
    slope: float
    intercept: float


@dataclass(frozen=True)
class Trials:
    """All trials with k references: statistics (n, 4), spread (n,), kind (n,), weight (n,), writer (n,)."""

    statistics: Floats
    spread: Floats
    kind: NDArray[np.int8]
    weight: Floats
    writer: NDArray[np.str_]


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
        Validation writers that the weights were not trained on. Galleries without skilled forgeries contribute to
        the population's spread and the copy distance only.
    weights_sha256 : str
        SHA-256 of the weights that the distances were computed with.
    metric : {"euclidean", "cosine", "local"}
        Metric of the distances.
    references : sequence of int
        Each k to fit. A k for which fewer than two writers have enough signatures is left out.
    draws : int
        Draws of references for each writer.
    seed : int
        Seed of the draws.

    Raises
    ------
    DataError
        There are fewer than two writers with skilled forgeries, too few signatures, or distances that do not
        separate genuine signatures from forgeries.
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
        raise DataError(
            "Fewer than two validation writers have more genuine signatures than the references to fit."
        )
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
        # With n observed signatures, a ratio beyond n to 1 would be an extrapolation of the curve.
        llr_bounds=(-float(np.log10(counts[Kind.GENUINE])), float(np.log10(counts[Kind.SKILLED]))),
        floor_skilled=max(floors[Kind.SKILLED], float(LEVELS[0])),
        floor_random=max(floors[Kind.RANDOM], float(LEVELS[0])),
        floor_genuine=max(floors[Kind.GENUINE], float(LEVELS[0])),
        copy_distance=_nearest_genuine(galleries) / 2.0,
        levels=tuple(LEVELS.tolist()),
        parameters=tuple(parameters),
    )


def _population_spread(galleries: Sequence[Gallery]) -> tuple[float, float]:
    """Estimate the mean distance between genuine signatures of one writer, and its weight in references.

    Empirical Bayes: a writer's mean over the pairs of k references deviates from the writer's true mean with a
    variance of about ``within / (k - 1)``. The true means vary between writers with the variance ``between``. The
    population mean therefore has the weight of ``within / between`` references.
    """
    means, variances = [], []
    for gallery in galleries:
        for signer in np.unique(gallery.signers):
            genuine = np.flatnonzero((gallery.signers == signer) & gallery.genuine)
            if len(genuine) < 3:
                continue
            pairs = gallery.distances(genuine, genuine)[np.triu_indices(len(genuine), 1)]
            means.append(float(pairs.mean()))
            variances.append(float(pairs.var(ddof=1)))
    if len(means) < 2:
        raise DataError("A calibration needs at least two writers with three genuine signatures each.")
    between = max(float(np.var(means, ddof=1)), 1e-6 * float(np.mean(means)) ** 2)
    return float(np.mean(means)), min(float(np.mean(variances)) / between, 100.0)


def _nearest_genuine(galleries: Sequence[Gallery]) -> float:
    """Estimate the smallest distance between two different genuine signatures of one writer.

    Some data sets contain signatures that were scanned twice: in BHSig260's Hindi part, of one writer in ten. The
    estimate is therefore the median over the sets of the 2 % quantile of the smallest distances of their writers.
    """
    quantiles = []
    for gallery in galleries:
        smallest = []
        for signer in np.unique(gallery.signers):
            genuine = np.flatnonzero((gallery.signers == signer) & gallery.genuine)
            if len(genuine) > 1:
                pairs = gallery.distances(genuine, genuine)[np.triu_indices(len(genuine), 1)]
                smallest.append(float(pairs.min()))
        if smallest:
            quantiles.append(float(np.quantile(smallest, 0.02)))
    return float(np.median(quantiles))


def _floors(galleries: Sequence[Gallery]) -> dict[Kind, float]:
    """Return one over the number of distinct genuine signatures, skilled forgeries and pairs of writers."""
    genuine = sum(int(g.genuine.sum()) for g in galleries)
    skilled = sum(int((~g.genuine).sum()) for g in galleries)
    pairs = sum(len(np.unique(g.signers)) * (len(np.unique(g.signers)) - 1) for g in galleries)
    if min(genuine, skilled, pairs) < 3:
        raise DataError(
            "A calibration needs at least three genuine signatures, three skilled forgeries "
            "and three pairs of writers."
        )
    return {Kind.GENUINE: 1.0 / genuine, Kind.SKILLED: 1.0 / skilled, Kind.RANDOM: 1.0 / pairs}


def flatten_trials(cases: Sequence[Case], spread_mean: float, spread_prior: float) -> Trials:
    """Concatenate the trials of all cases; the weights of a writer sum to 1 within each kind."""
    spread_rule = SetRule((0.0, 0.0, 1.0, 0.0), 0.0, spread_mean, spread_prior)
    rows: list[tuple[Floats, Floats, NDArray[np.int8], Floats, NDArray[np.str_]]] = []
    counts: dict[tuple[str, int], int] = {}
    for case in cases:
        for kind in Kind:
            key = (case.writer, int(kind))
            counts[key] = counts.get(key, 0) + int(np.sum(case.kinds == kind))
    for case in cases:
        weight = np.array([1.0 / counts[case.writer, int(kind)] for kind in case.kinds])
        spread = np.full(len(case.kinds), spread_rule.spread(case.among_references))
        writer = np.full(len(case.kinds), case.writer)
        rows.append((statistics(case.to_references), spread, case.kinds, weight, writer))
    stats, spreads, kinds, weights, writers = (np.concatenate(column) for column in zip(*rows, strict=True))
    return Trials(stats, spreads, kinds, weights, writers)


def _fit_one(
    k: int,
    cases: Sequence[Case],
    spread_mean: float,
    spread_prior: float,
    floors: dict[Kind, float],
) -> Parameters:
    """Fit the rule and the curves for k references."""
    trials = flatten_trials(cases, spread_mean, spread_prior)
    rule = fit_rule(k, trials, spread_mean)
    score = trials.statistics @ np.asarray(rule.weights) - rule.spread_weight * trials.spread
    curves = {
        kind: _quantiles(score[trials.kind == kind], trials.weight[trials.kind == kind], floors[kind])
        for kind in Kind
    }
    return Parameters(
        references=k,
        weights=rule.weights,
        spread_weight=rule.spread_weight,
        slope=rule.slope,
        intercept=rule.intercept,
        skilled=curves[Kind.SKILLED],
        random=curves[Kind.RANDOM],
        genuine=curves[Kind.GENUINE],
    )


def fit_rule(k: int, trials: Trials, spread_mean: float) -> Rule:
    """Fit the rule for k references on weighted trials.

    Raises
    ------
    DataError
        The distances do not separate genuine signatures from forgeries.
    """
    steepness, spread_steepness, intercept = _logistic(trials, spread_mean)
    slope = float(steepness.sum())
    if slope < 1e-3 / spread_mean:
        raise DataError(
            f"The distances to {k} references do not tell genuine signatures from forgeries; "
            "no calibration can be fitted."
        )
    w = steepness / slope
    weights = (float(w[0]), float(w[1]), float(w[2]), float(w[3]))
    return Rule(weights, spread_steepness / slope, slope, intercept)


def _logistic(trials: Trials, scale: float) -> tuple[Floats, float, float]:
    """Fit ``-ln LR = statistics @ steepness - spread_steepness * spread + intercept``.

    Returns
    -------
    steepness : (4,) float64
        Of each statistic, >= 0.
    spread_steepness : float
        >= 0.
    intercept : float
    """
    used = trials.kind != Kind.RANDOM
    x, s = trials.statistics[used] / scale, trials.spread[used] / scale
    forged = trials.kind[used] == Kind.SKILLED
    weight = trials.weight[used].copy()
    for members in (forged, ~forged):
        weight[members] *= 0.5 / weight[members].sum()
    count = len(STATISTICS)

    def loss(p: Floats) -> tuple[float, Floats]:
        a, b, c = p[:count], p[count], p[count + 1]
        log_odds = x @ a - b * s + c  # of forged against genuine
        value = float(weight @ np.logaddexp(0.0, np.where(forged, -log_odds, log_odds)))
        residual = weight * (expit(log_odds) - forged)
        unevenness = a - a.mean()
        deviation = b - SPREAD_PRIOR_WEIGHT * a.sum()
        value += EVENNESS_PENALTY * float(unevenness @ unevenness) + SPREAD_PENALTY * float(deviation**2)
        gradient_a = (
            x.T @ residual
            + 2 * EVENNESS_PENALTY * unevenness
            - 2 * SPREAD_PENALTY * SPREAD_PRIOR_WEIGHT * deviation
        )
        gradient_b = -float(s @ residual) + 2 * SPREAD_PENALTY * deviation
        return value, np.concatenate([gradient_a, [gradient_b, float(residual.sum())]])

    start = np.concatenate([np.full(count, 1.0), [SPREAD_PRIOR_WEIGHT * count, -1.0]])
    bounds = [(0.0, 1e3)] * (count + 1) + [(None, None)]
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000})
    a, b, c = result.x[:count], float(result.x[count]), float(result.x[count + 1])
    return np.asarray(a / scale, dtype=np.float64), b / scale, c


def _quantiles(scores: Floats, weights: Floats, floor: float) -> tuple[float, ...]:
    """Return the quantiles at :data:`LEVELS` of the kernel estimate of the distribution of the scores.

    The bandwidth is proportional to the inverse third root of the number of distinct signatures (1 / floor), the
    optimal order for a distribution function (Azzalini, Biometrika 68, 1981). Smoothing widens the tails slightly,
    which is conservative.
    """
    weights = weights / weights.sum()
    mean = float(weights @ scores)
    deviation = max(float(np.sqrt(weights @ (scores - mean) ** 2)), 1e-6 * max(abs(mean), 1e-3))
    width = deviation * floor ** (1.0 / 3.0)
    grid = np.linspace(scores.min() - 5.0 * width, scores.max() + 5.0 * width, 600)
    share = np.array([float(weights @ ndtr((point - scores) / width)) for point in grid])
    increasing = np.concatenate([[True], np.diff(share) > 1e-12])
    quantiles = np.interp(LEVELS, share[increasing], grid[increasing])
    # The interpolation from scores back to shares requires strictly increasing quantiles.
    steps = np.maximum(np.diff(quantiles), 1e-7 * deviation)
    return tuple(np.round(quantiles[0] + np.concatenate([[0.0], np.cumsum(steps)]), 9).tolist())
