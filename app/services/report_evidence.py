"""The evidence in a report: what the calibration says about the stored distances of a verification. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.domain.records import Verification
from model.decision.bootstrap import Interval
from model.decision.distances import Floats
from model.decision.verdict import judge
from model.networks.embedder import Embedder

_TOLERANCE, _LLR_TOLERANCE = 2e-4, 5e-3
"""Stored distances have five decimals, so what is computed from them again may differ by this much."""


@dataclass(frozen=True)
class Evidence:
    """What the calibration says about the distances; ratios are log10 likelihood ratios.

    Attributes
    ----------
    interval : Interval or None
        Of the recorded ratio, over the writers of the calibration; None when the weights have no bootstrap.
    by_density : float
        The recorded ratio, computed from the densities of the calibration instead of its fitted curve.
    against_random : float
        Ratio of a genuine signature to a random forgery.
    genuine_farther, skilled_nearer, random_nearer : float
        Shares in [0, 1] of signatures of the calibration.
    is_reproduced : bool
        Whether distance, threshold and ratio follow from the stored distances by the loaded calibration.
    allowance : float
        What the spread of the signer adds to a threshold: distance minus score.
    """

    interval: Interval | None
    by_density: float
    against_random: float
    genuine_farther: float
    skilled_nearer: float
    random_nearer: float
    is_reproduced: bool
    allowance: float


def _distances(verification: Verification) -> tuple[Floats, Floats]:
    """Return the stored distances to the references that counted (k,) and among them (k, k)."""
    ids = [item.reference_id for item in verification.finding.references]
    kept = [ids.index(one) for one in verification.distinct_references]
    to_references = np.array([item.distance for item in verification.finding.references], dtype=np.float64)
    among = np.array(verification.basis["among_references"], dtype=np.float64)
    return to_references[kept], among[np.ix_(kept, kept)]


def compute_own_distances(embedder: Embedder, verification: Verification) -> dict[str, float]:
    """Return the distance of each reference to the others; empty with one, or without the calibration."""
    ids, (_, among) = verification.distinct_references, _distances(verification)
    if len(ids) < 2 or not _is_calibrated(embedder, verification):
        return {}
    rule = embedder.calibration.at(len(ids) - 1).rule
    return {one: float(rule.distance(np.delete(among[index], index))) for index, one in enumerate(ids)}


def _is_calibrated(embedder: Embedder, verification: Verification) -> bool:
    """Whether the service has the model and the calibration that the verification was made with."""
    return (
        verification.finding.model_version == embedder.version
        and verification.basis.get("calibration") == embedder.calibration.identifier
    )


def weigh_evidence(embedder: Embedder, verification: Verification) -> Evidence | None:
    """Compute the evidence from the stored distances; None without the model and calibration of the verification."""
    if not _is_calibrated(embedder, verification):
        return None
    calibration, basis, finding = embedder.calibration, verification.basis, verification.finding
    to_references, among = _distances(verification)
    count = len(to_references)
    fitted = calibration.at(count)
    allowance = fitted.rule.spread_weight * float(basis["spread"])
    score = finding.distance - allowance
    again = judge(
        to_references, among, calibration, basis["target_far"], basis["review_far"], basis["fixed_threshold"]
    )
    bootstrap = embedder.bootstrap
    return Evidence(
        interval=None if bootstrap is None else bootstrap.interval(to_references, among, calibration),
        by_density=calibration.log_likelihood_ratio_by_density(score, count),
        against_random=calibration.log_likelihood_ratio_random(score, count),
        genuine_farther=1.0 - fitted.genuine.share(score),
        skilled_nearer=fitted.skilled.share(score),
        random_nearer=fitted.random.share(score),
        is_reproduced=abs(again.distance - finding.distance) <= _TOLERANCE
        and abs(again.threshold - finding.threshold) <= _TOLERANCE
        and abs(again.log_likelihood_ratio - finding.log_likelihood_ratio) <= _LLR_TOLERANCE,
        allowance=allowance,
    )
