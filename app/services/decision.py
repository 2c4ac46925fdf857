"""From templates to a decision: distances, the signer's policy, the verdict and its warnings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import UnsupportedRate
from app.domain.records import (
    Finding,
    KnownForgeries,
    OperatingPoint,
    ReferenceDistance,
    ResultWarning,
    Signer,
    Vector,
    now,
)
from app.services.core import Core
from app.services.preparation import Signature
from app.services.warnings import make_warning
from model.decision.calibration import RATE_DIGITS
from model.decision.distances import Floats
from model.decision.known_forgery import find_forgery_limit
from model.decision.reference_set import find_copies
from model.decision.verdict import DISTANCE_DIGITS, Decision, Verdict, judge, round_down

_PUBLIC_CODES = {"suspiciously-close": "possible-copy"}
"""Warning codes of the API by those of :class:`model.decision.verdict.Verdict`, where they differ."""
NO_FORGERIES = KnownForgeries()


@dataclass(frozen=True)
class Policy:
    """The settings that choose the thresholds for one signer."""

    target_far: float
    review_far: float | None
    fixed_threshold: float | None


def resolve_policy(
    core: Core, target_far: float | None = None, fixed_threshold: float | None = None
) -> Policy:
    """Combine a signer's own policy with the service's.

    A signer's `target_far` takes precedence over the service's fixed threshold because it is the more specific
    setting.
    """
    settings = core.settings
    if fixed_threshold is None and target_far is None:
        fixed_threshold = settings.fixed_threshold
    target = settings.target_far if target_far is None else target_far
    review = settings.review_far if settings.review_far is not None and settings.review_far > target else None
    return Policy(target, review, fixed_threshold)


def resolve_band_policy(core: Core, signer: Signer, band_far: float | None) -> Policy:
    """Combine the `target_far` of an amount's band with the signer's own policy and the service's.

    The lower of both `target_far` applies: neither an amount nor a signer for whom less is allowed gets more. A
    signer's `fixed_threshold` takes precedence, as over any `target_far`.
    """
    if band_far is None or signer.fixed_threshold is not None:
        return resolve_policy(core, signer.target_far, signer.fixed_threshold)
    return resolve_policy(core, band_far if signer.target_far is None else min(band_far, signer.target_far))


def refuse_unsupported_rate(core: Core, target_far: float) -> None:
    """Raise UnsupportedRate when the calibration does not support a `target_far`."""
    low, high = core.embedder.calibration.far_range
    if not low <= target_far <= high:
        raise UnsupportedRate(
            f"target_far {target_far:g} is not supported; the calibration supports {low:.4f} to {high}."
        )


def refuse_unsupported_threshold(core: Core, threshold: float) -> None:
    """Raise UnsupportedRate when nearly any signature would be within a fixed threshold."""
    highest = core.embedder.calibration.largest_threshold
    if threshold > highest:
        raise UnsupportedRate(
            f"fixed_threshold {threshold:g} is not supported: it would accept the signatures of nearly all people. "
            f"The calibration supports up to {round_down(highest, RATE_DIGITS):g}."
        )


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
    core: Core,
    questioned: Vector,
    templates: Vector,
    policy: Policy,
    forgeries: KnownForgeries = NO_FORGERIES,
) -> Comparison:
    """Run :func:`compute_comparison` in a worker thread.

    Local matching takes milliseconds, which is too long for the event loop.
    """
    return await asyncio.to_thread(compute_comparison, core, questioned, templates, policy, forgeries)


def compute_comparison(
    core: Core,
    questioned: Vector,
    templates: Vector,
    policy: Policy,
    forgeries: KnownForgeries = NO_FORGERIES,
) -> Comparison:
    """Compare a questioned template (dimension,) with the templates (k, dimension) of one signer's references."""
    return compute_comparisons(core, questioned[None], templates, policy, forgeries)[0]


def compute_comparisons(
    core: Core,
    questioned: Vector,
    templates: Vector,
    policy: Policy,
    forgeries: KnownForgeries = NO_FORGERIES,
) -> list[Comparison]:
    """Compare each of the questioned templates (n, dimension) with the templates (k, dimension) of one signer."""
    among = core.embedder.compare_among(templates)
    distinct = distinct_references(core, among)
    distinct_among = among[np.ix_(distinct, distinct)]
    comparisons = []
    for template, to_references in zip(questioned, core.embedder.compare(questioned, templates), strict=True):
        verdict = _judge(core, to_references[distinct], distinct_among, policy)
        forgery = _match_forgery(core, template, verdict, forgeries)
        comparisons.append(Comparison(policy, verdict, to_references, among, distinct, forgeries, forgery))
    return comparisons


def _match_forgery(
    core: Core, questioned: Vector, verdict: Verdict, forgeries: KnownForgeries
) -> ForgeryMatch | None:
    if not forgeries.verification_ids:
        return None
    distances = core.embedder.compare(questioned[None], forgeries.templates)[0]
    nearest = int(distances.argmin())
    distance = round(float(distances[nearest]), DISTANCE_DIGITS)
    limit = round_down(find_forgery_limit(verdict.distance, core.embedder.calibration), DISTANCE_DIGITS)
    if distance > limit:
        return None
    return ForgeryMatch(forgeries.verification_ids[nearest], distance, limit)


def distinct_references(core: Core, among_references: Floats) -> NDArray[np.intp]:
    """Select the references that do not repeat an earlier one, by the distances among them (k, k).

    Counting a copy twice would understate the signer's variation and narrow the threshold.
    """
    copies = find_copies(among_references, core.embedder.calibration.copy_distance)
    return np.array([index for index in range(len(among_references)) if index not in copies], dtype=np.intp)


def build_finding(
    core: Core,
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
        model_version=core.model_version,
        created_at=now(),
        region=signature.quality["region"],
    )


def build_basis(
    core: Core, signature: Signature, comparison: Comparison, reference_ids: Sequence[str]
) -> dict[str, Any]:
    """Collect what a finding is based on, so that it can be explained later; JSON values only."""
    policy = comparison.policy
    basis = {
        "target_far": policy.target_far,
        "review_far": policy.review_far,
        "fixed_threshold": policy.fixed_threshold,
        "calibration": core.calibration_id,
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


async def check_specimens(core: Core, templates: Vector, count: int) -> list[SpecimenCheck]:
    """Compare each of the last `count` of a signer's templates (k, dimension) with all others."""
    among = await asyncio.to_thread(core.embedder.compare_among, templates)
    distinct = distinct_references(core, among)
    policy = resolve_policy(core)
    checks = []
    for index in range(len(templates) - count, len(templates)):
        if index not in distinct:
            checks.append(SpecimenCheck(is_outlier=False, is_copy=True))
            continue
        others = distinct[distinct != index]
        is_outlier = False
        if len(others) >= 2:
            verdict = _judge(core, among[index, others], among[np.ix_(others, others)], policy)
            is_outlier = verdict.decision is Decision.REJECT
        checks.append(SpecimenCheck(is_outlier=is_outlier, is_copy=False))
    return checks


def _judge(core: Core, to_references: Floats, among_references: Floats, policy: Policy) -> Verdict:
    return judge(
        to_references,
        among_references,
        core.embedder.calibration,
        policy.target_far,
        policy.review_far,
        policy.fixed_threshold,
    )
