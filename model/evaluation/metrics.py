"""Error rates, likelihood-ratio costs and identification rates, with bootstrap intervals over writers.

Scores are distances: smaller values are more genuine, and a signature is accepted if ``score <= threshold``. Names
follow the practice of forensic handwriting examination: FAR is the share of forgeries that are accepted, FRR the
share of genuine signatures that are not. ISO/IEC 19795-1 calls them FMR and FNMR; the FAR on skilled forgeries is an
attack metric in the sense of ISO/IEC 30107-3. Weights count the occurrences of a trial in a bootstrap sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A measured value and its confidence interval, 95 % by default."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ErrorCurve:
    """FAR and FRR (n,) at each ``threshold`` (n,). Thresholds increase from -inf, FAR increases and FRR decreases."""

    threshold: Floats
    far: Floats
    frr: Floats


def far(forged: Floats, threshold: float, weights: Floats | None = None) -> float:
    """Compute the share of forgeries that are accepted at a threshold."""
    return float(np.average(np.asarray(forged) <= threshold, weights=weights))


def frr(genuine: Floats, threshold: float, weights: Floats | None = None) -> float:
    """Compute the share of genuine signatures that are not accepted at a threshold."""
    return float(np.average(np.asarray(genuine) > threshold, weights=weights))


def error_curve(
    genuine: Floats,
    forged: Floats,
    genuine_weights: Floats | None = None,
    forged_weights: Floats | None = None,
) -> ErrorCurve:
    """Compute the points of a DET plot: both error rates at every threshold where one of them changes.

    Raises
    ------
    ValueError
        There are no genuine or no forged scores.
    """
    genuine, forged = np.asarray(genuine, dtype=np.float64), np.asarray(forged, dtype=np.float64)
    if not genuine.size or not forged.size:
        raise ValueError("error rates need at least one genuine and one forged score")
    g = np.ones_like(genuine) if genuine_weights is None else np.asarray(genuine_weights, dtype=np.float64)
    f = np.ones_like(forged) if forged_weights is None else np.asarray(forged_weights, dtype=np.float64)
    scores = np.concatenate([genuine, forged])
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    accepted_genuine = np.cumsum(np.concatenate([g, np.zeros_like(f)])[order])
    accepted_forged = np.cumsum(np.concatenate([np.zeros_like(g), f])[order])
    # Equal scores are accepted together, so only the last of a tie is a point of the curve.
    last = np.append(ordered[1:] != ordered[:-1], True)
    return ErrorCurve(
        threshold=np.concatenate([[-np.inf], ordered[last]]),
        far=np.concatenate([[0.0], accepted_forged[last] / f.sum()]),
        frr=np.concatenate([[1.0], 1.0 - accepted_genuine[last] / g.sum()]),
    )


def eer(
    genuine: Floats,
    forged: Floats,
    genuine_weights: Floats | None = None,
    forged_weights: Floats | None = None,
) -> float:
    """Compute the equal error rate: where the line through the empirical (FAR, FRR) points crosses FAR = FRR.

    The points themselves are joined, not their convex hull, which would give somewhat smaller values.
    """
    curve = error_curve(genuine, forged, genuine_weights, forged_weights)
    gap = curve.frr - curve.far
    after = int(np.argmax(gap <= 0))
    before = after - 1
    fraction = gap[before] / (gap[before] - gap[after])
    return float(curve.far[before] + fraction * (curve.far[after] - curve.far[before]))


def auc(genuine: Floats, forged: Floats) -> float:
    """Compute the probability that a genuine score is smaller than a forged one; ties count half, chance is 0.5."""
    curve = error_curve(genuine, forged)
    return float(np.trapezoid(1.0 - curve.frr, curve.far))


def cllr(
    genuine: Floats,
    forged: Floats,
    genuine_weights: Floats | None = None,
    forged_weights: Floats | None = None,
) -> float:
    """Compute the log-likelihood-ratio cost of log10 likelihood ratios (positive: genuine).

    0 is perfect; 1 is the cost of ratios without information.

    Brümmer and du Preez, "Application-independent evaluation of speaker detection", Computer Speech and Language
    20 (2006).
    """
    ln_10 = np.log(10.0)
    genuine_cost = np.average(np.logaddexp(0.0, -ln_10 * np.asarray(genuine)), weights=genuine_weights)
    forged_cost = np.average(np.logaddexp(0.0, ln_10 * np.asarray(forged)), weights=forged_weights)
    return float((genuine_cost + forged_cost) / 2.0 / np.log(2.0))


def cllr_min(
    genuine: Floats,
    forged: Floats,
    genuine_weights: Floats | None = None,
    forged_weights: Floats | None = None,
) -> float:
    """Compute Cllr after the best monotone recalibration: the cost of imperfect discrimination alone.

    Parameters
    ----------
    genuine, forged : (n,), (m,)
        Log-likelihood ratios of any base and calibration, or negated distances; larger values are more genuine.
    """
    values = np.concatenate([np.asarray(genuine, dtype=np.float64), np.asarray(forged, dtype=np.float64)])
    g = np.ones(len(genuine)) if genuine_weights is None else np.asarray(genuine_weights, dtype=np.float64)
    f = np.ones(len(forged)) if forged_weights is None else np.asarray(forged_weights, dtype=np.float64)
    # Each class has half of the weight, so the pooled share of genuine trials is the posterior at even prior odds.
    g, f = g / g.sum() / 2.0, f / f.sum() / 2.0
    label = np.concatenate([np.ones(len(g)), np.zeros(len(f))])
    weight = np.concatenate([g, f])
    fitted = _pool_adjacent_violators(values, label, weight)
    probability = np.where(label > 0, fitted, 1.0 - fitted)
    used = weight > 0
    return float(weight[used] @ -np.log2(probability[used]))


def identification_rate(distances: Floats, truth: NDArray[np.intp], rank: int = 1) -> float:
    """Compute the share of questioned signatures whose signer is among the ``rank`` nearest.

    Parameters
    ----------
    distances : (n, signers) float64
        Distance of each questioned signature to each signer.
    truth : (n,) int
        Column of the true signer. Another signer at the same distance counts as nearer.
    """
    true_distance = distances[np.arange(len(distances)), truth][:, None]
    others_before = np.sum(distances <= true_distance, axis=1) - 1
    return float(np.mean(others_before < rank))


def bootstrap(
    statistic: Callable[[Floats], float],
    writers: int,
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Compute a statistic and its percentile interval over writers resampled with replacement.

    Writers are resampled instead of signatures, because the signatures of one writer are not independent.

    Parameters
    ----------
    statistic : callable
        Maps the number of occurrences of each writer, (writers,) float64, to the value; NaN if the sample has none.
    writers : int
        Number of writers, at least 1.
    samples : int
        Number of bootstrap samples.
    level : float
        Coverage of the interval.
    """
    rng = np.random.default_rng(seed)
    value = statistic(np.ones(writers))
    counts = rng.multinomial(writers, np.full(writers, 1.0 / writers), size=samples)
    values = [statistic(row.astype(np.float64)) for row in counts]
    tail = (1.0 - level) / 2.0
    low, high = np.nanquantile(values, [tail, 1.0 - tail])
    return Estimate(value, float(low), float(high))


def calibration_points(genuine: Floats, forged: Floats, bins: int = 12) -> tuple[Floats, Floats]:
    """Compute stated and observed log10 LR, each (bins,).

    The bins are quantiles of the stated LR. The observed LR of a bin is the share of genuine trials in it divided by
    the share of forged trials; half a trial is added to each side, so that bins without one kind stay finite.
    """
    stated = np.concatenate([genuine, forged])
    edges = np.unique(np.quantile(stated, np.linspace(0.0, 1.0, bins + 1)))
    bin_g = np.clip(np.searchsorted(edges, genuine, side="right") - 1, 0, len(edges) - 2)
    bin_f = np.clip(np.searchsorted(edges, forged, side="right") - 1, 0, len(edges) - 2)
    means, observed = [], []
    for i in range(len(edges) - 1):
        in_bin = np.concatenate([genuine[bin_g == i], forged[bin_f == i]])
        if not in_bin.size:
            continue
        share_g = (np.sum(bin_g == i) + 0.5) / (len(genuine) + 1.0)
        share_f = (np.sum(bin_f == i) + 0.5) / (len(forged) + 1.0)
        means.append(float(in_bin.mean()))
        observed.append(float(np.log10(share_g / share_f)))
    return np.asarray(means), np.asarray(observed)


def posterior(llr: Floats) -> Floats:
    """Convert log10 likelihood ratios to the probability of genuine at even prior odds."""
    return np.asarray(expit(np.log(10.0) * np.asarray(llr)), dtype=np.float64)


def _pool_adjacent_violators(values: Floats, label: Floats, weight: Floats) -> Floats:
    """Fit ``label`` by isotonic regression on ``values`` and return the fitted values; equal values are pooled."""
    unique, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place, weights=weight, minlength=len(unique))
    total = np.bincount(place, weights=weight * label, minlength=len(unique))
    blocks: list[tuple[float, float, int]] = []  # mass, labelled mass, number of unique values
    for m, t in zip(mass.tolist(), total.tolist(), strict=True):
        block = (m, t, 1)
        # Pool while the previous block is not below this one: t1 / m1 >= t2 / m2, without dividing by zero.
        while blocks and blocks[-1][1] * block[0] >= block[1] * blocks[-1][0]:
            m0, t0, n0 = blocks.pop()
            block = (m0 + block[0], t0 + block[1], n0 + block[2])
        blocks.append(block)
    fitted = np.repeat(
        [t / m if m > 0 else 0.5 for m, t, _ in blocks], np.array([n for _, _, n in blocks], dtype=np.intp)
    )
    return np.asarray(np.clip(fitted, 0.0, 1.0)[place], dtype=np.float64)
