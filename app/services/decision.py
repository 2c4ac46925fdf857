"""From templates to a decision: distances, the verdict by a policy, known forgeries and warnings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.records import (
    Finding,
    KnownForgeries,
    OperatingPoint,
    ReferenceDistance,
    ResultWarning,
    Vector,
    now,
)
from app.services.policy import Policy
from app.services.preparation import Signature
from app.services.warnings import make_warning
from model.decision.calibration import Calibration
from model.decision.distances import Floats
from model.decision.known_forgery import find_forgery_limit
from model.decision.reference_set import find_copies
from model.decision.verdict import DISTANCE_DIGITS, Decision, Verdict, judge, round_down
from model.networks.embedder import Embedder

_PUBLIC_CODES = {"suspiciously-close": "possible-copy"}
"""Warning codes of the API by those of :class:`model.decision.verdict.Verdict`, where they differ."""
NO_FORGERIES = KnownForgeries()


@dataclass(frozen=True)
class ForgeryMatch:
    """The known forgery that a questioned signature resembles.

    Attributes
    ----------
    verification_id : str
    distance : float
    limit : float
        Largest distance at which a signature resembles it.
    """

    verification_id: str
    distance: float
    limit: float


@dataclass(frozen=True)
class Comparison:
    """A questioned signature compared with the references and the known forgeries of one signer.

    Attributes
    ----------
    policy : Policy
    verdict : Verdict
        Computed from the distinct references only.
    to_references : (k,) float64
    among_references : (k, k) float64
    distinct : (d,) int
        Indices of the references that do not repeat an earlier one.
    forgeries : KnownForgeries
    forgery : ForgeryMatch or None
        The nearest known forgery, if the signature resembles it.
    """

    policy: Policy
    verdict: Verdict
    to_references: Floats
    among_references: Floats
    distinct: NDArray[np.intp]
    forgeries: KnownForgeries
    forgery: ForgeryMatch | None

    @property
    def decision(self) -> Decision:
        """The decision of the verdict, or REVIEW when the signature resembles a known forgery."""
        return self.verdict.decision if self.forgery is None else Decision.REVIEW

    @property
    def has_duplicates(self) -> bool:
        """Whether a reference repeats an earlier one."""
        return len(self.distinct) < len(self.to_references)


async def compare_questioned(
    embedder: Embedder,
    questioned: Vector,
    templates: Vector,
    policy: Policy,
    forgeries: KnownForgeries = NO_FORGERIES,
) -> Comparison:
    """Run :func:`compute_comparison` in a worker thread.

    Local matching takes milliseconds, which is too long for the event loop.
    """
    return await asyncio.to_thread(compute_comparison, embedder, questioned, templates, policy, forgeries)


def compute_comparison(
    embedder: Embedder,
    questioned: Vector,
    templates: Vector,
    policy: Policy,
    forgeries: KnownForgeries = NO_FORGERIES,
) -> Comparison:
    """Compare a questioned template (dimension,) with the templates (k, dimension) of one signer's references."""
    return compute_comparisons(embedder, questioned[None], templates, policy, forgeries)[0]


def compute_comparisons(
    embedder: Embedder,
    questioned: Vector,
    templates: Vector,
    policy: Policy,
    forgeries: KnownForgeries = NO_FORGERIES,
) -> list[Comparison]:
    """Compare each of the questioned templates (n, dimension) with the templates (k, dimension) of one signer."""
    among = embedder.compare_among(templates)
    distinct = distinct_references(embedder.calibration, among)
    distinct_among = among[np.ix_(distinct, distinct)]
    comparisons = []
    for template, to_references in zip(questioned, embedder.compare(questioned, templates), strict=True):
        verdict = _judge(embedder.calibration, to_references[distinct], distinct_among, policy)
        forgery = _match_forgery(embedder, template, verdict, forgeries)
        comparisons.append(Comparison(policy, verdict, to_references, among, distinct, forgeries, forgery))
    return comparisons


def _match_forgery(
    embedder: Embedder, questioned: Vector, verdict: Verdict, forgeries: KnownForgeries
) -> ForgeryMatch | None:
    if not forgeries.verification_ids:
        return None
    distances = embedder.compare(questioned[None], forgeries.templates)[0]
    nearest = int(distances.argmin())
    distance = round(float(distances[nearest]), DISTANCE_DIGITS)
    limit = round_down(find_forgery_limit(verdict.distance, embedder.calibration), DISTANCE_DIGITS)
    if distance > limit:
        return None
    return ForgeryMatch(forgeries.verification_ids[nearest], distance, limit)


def distinct_references(calibration: Calibration, among_references: Floats) -> NDArray[np.intp]:
    """Select the references that do not repeat an earlier one, by the distances among them (k, k).

    Counting a copy twice would understate the signer's variation and narrow the threshold.
    """
    copies = find_copies(among_references, calibration.copy_distance)
    return np.array([index for index in range(len(among_references)) if index not in copies], dtype=np.intp)


def build_finding(
    model_version: str,
    signature: Signature,
    comparison: Comparison,
    reference_ids: Sequence[str],
    warnings: Sequence[ResultWarning] = (),
) -> Finding:
    """Build the finding; `warnings` are appended to those of the questioned image and of the verdict."""
    verdict = comparison.verdict
    point = verdict.operating_point
    all_warnings = [
        *signature.warnings,
        *(make_warning(_PUBLIC_CODES.get(code, code)) for code in verdict.warnings),
        *warnings,
    ]
    if comparison.has_duplicates:
        all_warnings.append(make_warning("duplicate-reference"))
    if comparison.forgery is not None:
        all_warnings.append(_forgery_warning(comparison.forgery, verdict.decision))
    if comparison.forgeries.skipped:
        all_warnings.append(make_warning("known-forgeries-skipped"))
    return Finding(
        decision=comparison.decision.value,
        distance=verdict.distance,
        threshold=verdict.threshold,
        review_threshold=verdict.review_threshold,
        log_likelihood_ratio=verdict.log_likelihood_ratio,
        operating_point=OperatingPoint(point.far_skilled, point.far_random, point.frr),
        references=tuple(
            ReferenceDistance(reference_id, round(float(distance), DISTANCE_DIGITS))
            for reference_id, distance in zip(reference_ids, comparison.to_references, strict=True)
        ),
        warnings=tuple(all_warnings),
        model_version=model_version,
        created_at=now(),
        region=signature.quality["region"],
    )


def build_basis(
    calibration_id: str, signature: Signature, comparison: Comparison, reference_ids: Sequence[str]
) -> dict[str, Any]:
    """Collect what a finding is based on, so that it can be explained later; JSON values only."""
    policy = comparison.policy
    basis = {
        "target_far": policy.target_far,
        "review_far": policy.review_far,
        "fixed_threshold": policy.fixed_threshold,
        "calibration": calibration_id,
        "spread": comparison.verdict.spread,
        "among_references": [
            [round(float(distance), DISTANCE_DIGITS) for distance in row]
            for row in comparison.among_references
        ],
        "quality": signature.quality,
    }
    if comparison.has_duplicates:
        basis["distinct_references"] = [reference_ids[index] for index in comparison.distinct]
    forgeries, forgery = comparison.forgeries, comparison.forgery
    if forgeries.verification_ids or forgeries.skipped:
        basis["known_forgeries"] = {
            "compared": len(forgeries.verification_ids),
            "skipped": forgeries.skipped,
            "resembled": None if forgery is None else asdict(forgery),
            "decision_by_distance": comparison.verdict.decision.value,
        }
    return basis


def _forgery_warning(forgery: ForgeryMatch, by_distance: Decision) -> ResultWarning:
    return ResultWarning(
        "resembles-known-forgery",
        f"The questioned signature resembles the one of verification {forgery.verification_id}, which was found to "
        f"be forged: its distance to that one is {forgery.distance:g}, and up to {forgery.limit:g} counts as "
        f"resembling. The decision by the distance to the references would be `{by_distance.value}`; a person has to "
        "decide. An administrator can withdraw a known forgery that was recorded by mistake.",
    )


@dataclass(frozen=True)
class SpecimenCheck:
    """The result of comparing a new reference with the signer's other references.

    Attributes
    ----------
    is_outlier : bool
        Whether it would be rejected as a questioned signature; False with fewer than two other references.
    is_copy : bool
        Whether it repeats an earlier reference: the same scan.
    """

    is_outlier: bool
    is_copy: bool


async def check_specimens(
    embedder: Embedder, templates: Vector, count: int, policy: Policy
) -> list[SpecimenCheck]:
    """Compare each of the last `count` of a signer's templates (k, dimension) with all others."""
    among = await asyncio.to_thread(embedder.compare_among, templates)
    distinct = distinct_references(embedder.calibration, among)
    checks = []
    for index in range(len(templates) - count, len(templates)):
        if index not in distinct:
            checks.append(SpecimenCheck(is_outlier=False, is_copy=True))
            continue
        others = distinct[distinct != index]
        is_outlier = False
        if len(others) >= 2:
            verdict = _judge(
                embedder.calibration, among[index, others], among[np.ix_(others, others)], policy
            )
            is_outlier = verdict.decision is Decision.REJECT
        checks.append(SpecimenCheck(is_outlier=is_outlier, is_copy=False))
    return checks


def _judge(
    calibration: Calibration, to_references: Floats, among_references: Floats, policy: Policy
) -> Verdict:
    return judge(
        to_references,
        among_references,
        calibration,
        policy.target_far,
        policy.review_far,
        policy.fixed_threshold,
    )
