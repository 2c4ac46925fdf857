"""From distances to a decision: the signer's threshold, the decision and the strength of the evidence.

:func:`judge` turns the distances into a distance and a spread (:mod:`model.decision.set_rule`) and compares the
distance with the signer's own threshold, ``t + spread_weight * spread``, where ``t`` is the score at which the
requested share of skilled forgeries is accepted. Everything that was fitted is in
:class:`model.decision.calibration.Calibration`. Pure numpy, no torch, no files.
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
    """What the service says about a questioned signature."""

    ACCEPT = "accept"
    REVIEW = "review"
    REJECT = "reject"


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


DISTANCE_DIGITS, LLR_DIGITS = 5, 3
"""Decimals of the numbers in a verdict. Embeddings of half precision are worth no more.

They are rounded here, before they are compared, and nowhere else: what is stored, signed and answered is the same.
"""

INCONSISTENT_SPREAD = 2.0  # times the population's mean distance between two genuine signatures


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
