"""The decision on a questioned signature, with the signer's threshold and the likelihood ratio.

:func:`judge` computes one distance and the signer's spread (:mod:`model.decision.set_rule`) and compares the distance
with the threshold of the signer, ``t + spread_weight * spread``, where ``t`` is the score at which the requested
share of skilled forgeries is accepted. All fitted parameters are in :class:`model.decision.calibration.Calibration`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from model.decision.calibration import Calibration, OperatingPoint
from model.decision.distances import Floats
from model.decision.set_rule import mean_among


class Decision(StrEnum):
    """Decision on a questioned signature."""

    ACCEPT = "accept"
    REVIEW = "review"
    REJECT = "reject"


@dataclass(frozen=True)
class Verdict:
    """Result of the comparison of a questioned signature with the references of a signer.

    Attributes
    ----------
    decision : Decision
        ACCEPT if ``distance <= threshold``, REVIEW if ``distance <= review_threshold``, otherwise REJECT.
    distance, threshold : float
        In units of the embedding's metric. The threshold depends on the signer.
    review_threshold : float or None
        None if no review band was requested.
    log_likelihood_ratio : float
        log10(P(distances | genuine) / P(distances | skilled forgery)); positive values support genuine.
    operating_point : OperatingPoint
        Error rates at ``threshold`` for this number of references.
    spread : float
        The estimated spread of the signer, from which the threshold was computed.
    warnings : tuple of str
        ``single-reference``: the variation of the signer is unknown. ``inconsistent-references``: the references
        differ so much that the threshold is unusually large. ``suspiciously-close``: the distance to a reference is
        smaller than between genuine signatures, which suggests a copy or a tracing.
        ``unsupported-operating-point``: at the fixed threshold, the calibration data are insufficient to estimate
        the error rates.
    """

    decision: Decision
    distance: float
    threshold: float
    review_threshold: float | None
    log_likelihood_ratio: float
    operating_point: OperatingPoint
    spread: float
    warnings: tuple[str, ...] = ()


DISTANCE_DIGITS, LLR_DIGITS = 5, 3
"""Decimals of the distances and of the likelihood ratio in a verdict; half-precision embeddings justify no more.

Values are rounded here only, before the comparison, so that stored values, audit entries and responses agree.
"""

INCONSISTENT_SPREAD = 2.0  # multiple of the population mean of the distance between two genuine signatures


def judge(
    to_references: Floats,
    among_references: Floats,
    calibration: Calibration,
    target_far: float,
    review_far: float | None = None,
    fixed_threshold: float | None = None,
) -> Verdict:
    """Decide on a questioned signature, given its distances to the references of a signer.

    Parameters
    ----------
    to_references : (k,) float64
        Distances of the questioned signature to the references, k >= 1.
    among_references : (k, k) float64
        Distances among the references.
    calibration : Calibration
        Calibration of the same weights.
    target_far : float
        Share of skilled forgeries that is accepted; determines the threshold.
    review_far : float, optional
        A larger share, whose threshold is the upper limit of the decision REVIEW.
    fixed_threshold : float, optional
        A distance that replaces the threshold determined by ``target_far``. The operating point is then computed
        from this threshold and the spread of the signer.

    Raises
    ------
    UnsupportedOperatingPoint
        ``target_far`` or ``review_far`` is outside of :attr:`Calibration.far_range`.
    ValueError
        There is no reference, or the shapes do not match.
    """
    to_references = np.asarray(to_references, dtype=np.float64)
    among_references = np.asarray(among_references, dtype=np.float64)
    count = len(to_references)
    if count < 1 or to_references.ndim != 1 or among_references.shape != (count, count):
        raise ValueError(
            f"expected (k,) and (k, k) with k >= 1, got {to_references.shape} and {among_references.shape}"
        )
    fitted = calibration.at(count)
    # Values are rounded before the comparison, so that the rounded values in the verdict imply its decision.
    # Thresholds are rounded down, because rounding up would accept more forgeries than requested.
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
    """Round down to a number of decimals; exact except for the last bit of the float."""
    return round(math.floor(value * 10.0**digits) / 10.0**digits, digits)
