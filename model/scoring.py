"""From distances to a decision: the rule over a set of references, the signer's threshold, the strength of evidence.

Pure numpy, no torch, no files. A questioned signature has a distance to each of a signer's k references; the
references have distances among themselves. :class:`SetRule` turns both into

- ``distance``, a weighted mean of order statistics of the k distances (weights >= 0, sum 1),
- ``spread``, how far apart this signer's own genuine signatures lie,
- ``score = distance - spread_weight * spread``, comparable between signers.

:func:`judge` compares ``distance`` with the signer's own threshold, ``t + spread_weight * spread``, where ``t`` is
the score at which the demanded share of skilled forgeries is accepted. Everything that was fitted stands in
:class:`model.calibration.Calibration`. No weight is negative: a larger distance never raises the likelihood ratio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from model.calibration import Calibration
    from model.card import Metric

Floats = NDArray[np.float64]

STATISTICS = ("minimum", "nearest_two", "mean", "median")
"""What is taken of the distances to k references, in the order of :attr:`SetRule.weights`."""


class Decision(StrEnum):
    """What the service says about a questioned signature."""

    ACCEPT = "accept"
    REVIEW = "review"
    REJECT = "reject"


@dataclass(frozen=True)
class SetRule:
    """How distances to k references become one number.

    Attributes
    ----------
    weights : tuple of four floats
        Weights of :data:`STATISTICS`, each >= 0, sum 1.
    spread_weight : float
        How much of the signer's spread is subtracted, >= 0.
    spread_mean : float
        Mean distance between two genuine signatures of one person in the population.
    spread_prior : float
        The population mean counts as much as this many references beyond the first, >= 0.
    """

    weights: tuple[float, float, float, float]
    spread_weight: float
    spread_mean: float
    spread_prior: float

    def distance(self, to_references: Floats) -> Floats:
        """Distances to the references (..., k) to one distance for each questioned signature (...)."""
        return np.asarray(statistics(to_references) @ np.asarray(self.weights), dtype=np.float64)

    def spread(self, among_references: Floats) -> float:
        """The signer's spread from the distances among the references (k, k), shrunk to the population's mean.

        One reference says nothing of it: the population's mean stands in. With k references the mean distance among
        them counts (k - 1) times, the population's mean ``spread_prior`` times.
        """
        own = len(among_references) - 1
        if own < 1:
            return self.spread_mean
        observed = mean_among(among_references)
        return (own * observed + self.spread_prior * self.spread_mean) / (own + self.spread_prior)

    def score(self, to_references: Floats, among_references: Floats) -> Floats:
        """Distances (..., k) and (k, k) to scores (...): the smaller, the more like this signer."""
        return self.distance(to_references) - self.spread_weight * self.spread(among_references)


@dataclass(frozen=True)
class OperatingPoint:
    """Error rates in [0, 1] at the applied threshold, on people the model never saw.

    Attributes
    ----------
    far_skilled : float
        Share of skilled forgeries accepted.
    far_random : float
        Share of other people's signatures accepted.
    frr : float
        Share of genuine signatures not accepted.
    """

    far_skilled: float
    far_random: float
    frr: float

    def rounded(self) -> OperatingPoint:
        """The same to the digits that are shown."""
        return OperatingPoint(
            round(self.far_skilled, RATE_DIGITS),
            round(self.far_random, RATE_DIGITS),
            round(self.frr, RATE_DIGITS),
        )


@dataclass(frozen=True)
class Verdict:
    """What the distances say.

    Attributes
    ----------
    decision : Decision
        ACCEPT when ``distance <= threshold``, REVIEW when at most ``review_threshold``, else REJECT.
    distance, threshold : float
        In the units of the embedding's metric; the threshold is this signer's.
    review_threshold : float or None
        None when there is no band for review.
    log_likelihood_ratio : float
        log10 of P(distances | genuine) / P(distances | skilled forgery); positive speaks for genuine.
    operating_point : OperatingPoint
        At ``threshold`` and this number of references.
    spread : float
        The signer's shrunk spread that the threshold took into account.
    warnings : tuple of str
        ``single-reference``: the signer's own variation is unknown; ``inconsistent-references``: they differ so much
        among themselves that the threshold is wide; ``suspiciously-close``: closer to a reference than two signatures
        by one hand were ever seen, as a copy or tracing would be; ``unsupported-operating-point``: the fixed
        threshold lies where fewer errors were seen than the stated rates need.
    """

    decision: Decision
    distance: float
    threshold: float
    review_threshold: float | None
    log_likelihood_ratio: float
    operating_point: OperatingPoint
    spread: float
    warnings: tuple[str, ...] = ()


DISTANCE_DIGITS, LLR_DIGITS, RATE_DIGITS = 5, 3, 4
"""Decimals of the numbers in a verdict. Embeddings of half precision are worth no more.

They are rounded here, before they are compared, and nowhere else: what is stored, signed and answered is the same.
"""

INCONSISTENT_SPREAD = 2.0  # times the population's mean distance between two genuine signatures


def distances(
    questioned: NDArray[np.floating], references: NDArray[np.floating], metric: Metric = "euclidean"
) -> Floats:
    """Distances between embeddings: (d,) and (k, d) to (k,), or (n, d) and (k, d) to (n, k).

    Euclidean, or one minus the cosine, in [0, 2]. Both grow with difference.

    Raises
    ------
    ValueError
        The dimensions differ, or the metric is ``local``, which needs the network:
        :meth:`model.embedder.Embedder.compare`.
    """
    if metric == "local":
        raise ValueError("local matching needs the network it was trained with")
    a = np.atleast_2d(np.asarray(questioned, dtype=np.float64))
    b = np.atleast_2d(np.asarray(references, dtype=np.float64))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"embeddings of {a.shape[1]} and {b.shape[1]} dimensions cannot be compared")
    if metric == "cosine":
        table = 1.0 - np.clip(_unit(a) @ _unit(b).T, -1.0, 1.0)
    else:
        # Differences, not the expanded square: that one loses half the digits where distances are small. One
        # row at a time keeps the memory at (k, d).
        table = np.stack([np.sqrt(np.square(row - b).sum(axis=1)) for row in a])
    return np.asarray(table[0] if np.ndim(questioned) == 1 else table, dtype=np.float64)


def pairwise(references: NDArray[np.floating], metric: Metric = "euclidean") -> Floats:
    """Distances among references: (k, d) to (k, k), symmetric, zeros on the diagonal."""
    table = distances(np.atleast_2d(references), references, metric)
    np.fill_diagonal(table, 0.0)
    return table


def statistics(to_references: Floats) -> Floats:
    """Distances to k references (..., k) to their order :data:`STATISTICS` (..., 4)."""
    ordered = np.sort(np.asarray(to_references, dtype=np.float64), axis=-1)
    return np.stack(
        [ordered[..., 0], ordered[..., :2].mean(axis=-1), ordered.mean(axis=-1), np.median(ordered, axis=-1)],
        axis=-1,
    )


def mean_among(among_references: Floats) -> float:
    """Mean of the off-diagonal distances (k, k), k >= 2."""
    count = len(among_references)
    return float(np.sum(among_references) - np.trace(among_references)) / (count * (count - 1))


def judge(
    to_references: Floats,
    among_references: Floats,
    calibration: Calibration,
    target_far: float,
    review_far: float | None = None,
    fixed_threshold: float | None = None,
) -> Verdict:
    """Judge one questioned signature against the references of one signer.

    Parameters
    ----------
    to_references : (k,) float64
        Distances of the questioned signature to the references, k >= 1.
    among_references : (k, k) float64
        Distances among the references.
    calibration : Calibration
        Fitted on the distances of the same weights.
    target_far : float
        Share of skilled forgeries that may be accepted; it chooses the threshold.
    review_far : float, optional
        A larger share; up to its threshold the decision is REVIEW.
    fixed_threshold : float, optional
        A distance that replaces the threshold chosen by ``target_far``; the operating point is then the one that
        this signer's references give it.

    Raises
    ------
    UnsupportedOperatingPoint
        ``target_far`` or ``review_far`` lies outside what the calibration's data support.
    ValueError
        No references, or tables that do not belong together.
    """
    to_references = np.asarray(to_references, dtype=np.float64)
    among_references = np.asarray(among_references, dtype=np.float64)
    count = len(to_references)
    if count < 1 or to_references.ndim != 1 or among_references.shape != (count, count):
        raise ValueError(
            f"expected (k,) and (k, k) with k >= 1, got {to_references.shape} and {among_references.shape}"
        )
    fitted = calibration.at(count)
    # Rounded before they are compared: whoever compares the numbers of a verdict comes to its decision. Thresholds
    # are rounded down, or the share of forgeries accepted there would be more than was asked for.
    distance = round(float(fitted.rule.distance(to_references)), DISTANCE_DIGITS)
    spread = fitted.rule.spread(among_references)
    allowance = fitted.rule.spread_weight * spread

    threshold = fixed_threshold
    if threshold is None:
        threshold = round_down(calibration.threshold(target_far, count) + allowance, DISTANCE_DIGITS)
    review_threshold = None
    if review_far is not None:
        allowed = calibration.threshold(review_far, count) + allowance
        review_threshold = max(threshold, round_down(allowed, DISTANCE_DIGITS))

    if distance <= threshold:
        decision = Decision.ACCEPT
    elif review_threshold is not None and distance <= review_threshold:
        decision = Decision.REVIEW
    else:
        decision = Decision.REJECT

    applied = threshold - allowance
    warnings = []
    if count == 1:
        warnings.append("single-reference")
    elif mean_among(among_references) > INCONSISTENT_SPREAD * calibration.spread_mean:
        warnings.append("inconsistent-references")
    if float(to_references.min()) < calibration.copy_distance:
        warnings.append("suspiciously-close")
    if fixed_threshold is not None and not calibration.supports(applied, count):
        warnings.append("unsupported-operating-point")
    return Verdict(
        decision=decision,
        distance=distance,
        threshold=threshold,
        review_threshold=review_threshold,
        log_likelihood_ratio=round(calibration.log_likelihood_ratio(distance - allowance, count), LLR_DIGITS),
        operating_point=calibration.operating_point(applied, count).rounded(),
        spread=round(spread, DISTANCE_DIGITS),
        warnings=tuple(warnings),
    )


def round_down(value: float, digits: int) -> float:
    """The largest number of so many decimals that is not above `value`, but for the last bit of a float."""
    return round(math.floor(value * 10.0**digits) / 10.0**digits, digits)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float64).tiny), dtype=np.float64)
