"""The quality of a signer's references: how they vary, the error rate to expect, and what to add or remove."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from app.domain.records import Specimens
from app.services.context import AppContext
from app.services.policy import resolve_policy
from app.settings import Settings
from app.store import references
from model.decision.calibration import RATE_DIGITS, Calibration
from model.decision.distances import Floats
from model.decision.reference_set import ReferenceSet, Variation, describe_references
from model.decision.verdict import DISTANCE_DIGITS
from model.networks.embedder import Embedder

RECOMMENDED = 5
"""References beyond which the error rates fall little (``docs/accuracy.md``)."""
PER_VARIANT = 3
"""Recommended number of references of each variant: with fewer, the other variant decides."""


@dataclass(frozen=True)
class QualityFinding:
    """A finding about a set of references.

    Attributes
    ----------
    code : str
    detail : str
        What was found.
    advice : str
        What to do.
    reference_ids : tuple of str
        The references that it concerns; empty: all.
    """

    code: str
    detail: str
    advice: str
    reference_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReferenceQuality:
    """One reference in its set.

    Attributes
    ----------
    reference_id : str
    copy_of : str or None
        The earlier reference that it repeats.
    distance_to_others : float or None
        Mean distance to the other distinct references; None when it repeats one, or there is no other.
    """

    reference_id: str
    copy_of: str | None
    distance_to_others: float | None


@dataclass(frozen=True)
class SignerQuality:
    """The quality of the references of a signer.

    Attributes
    ----------
    signer_id : str
    distinct : int
        Number of references that do not repeat another one.
    spread : float or None
        Mean distance among them.
    usual_spread : float
        The mean of the population.
    variation : {"unknown", "little", "usual", "much"}
    variants : tuple of tuples of str
        Reference ids of two groups that are clearly apart, or empty.
    frr, frr_recommended : float or None
        FRR at the signer's `target_far` with the present number of references, and with :data:`RECOMMENDED`;
        None when there is a fixed threshold, or no reference.
    """

    signer_id: str
    distinct: int
    spread: float | None
    usual_spread: float
    variation: Variation
    variants: tuple[tuple[str, ...], ...]
    frr: float | None
    frr_recommended: float | None
    references: tuple[ReferenceQuality, ...]
    findings: tuple[QualityFinding, ...]
    model_version: str


async def describe_quality(context: AppContext, tenant_id: str, signer_id: str) -> SignerQuality:
    """Describe the references of a signer from their stored templates.

    Raises
    ------
    SignerNotFound, ModelVersionMismatch, StoredDataDamaged, DataKeyMissing
    """
    specimens = await context.store.read(references.specimens, tenant_id, signer_id, context.model_version)
    return await asyncio.to_thread(_describe, context.embedder, context.settings, specimens)


def _describe(embedder: Embedder, settings: Settings, specimens: Specimens) -> SignerQuality:
    ids = specimens.reference_ids
    calibration = embedder.calibration
    among = embedder.compare_among(specimens.templates)
    described = describe_references(among, calibration)
    policy = resolve_policy(settings, specimens.signer.target_far, specimens.signer.fixed_threshold)
    count = len(described.distinct)
    is_fixed = policy.fixed_threshold is not None
    frr = None if is_fixed or not count else _frr(calibration, policy.target_far, count)
    recommended = None if is_fixed else _frr(calibration, policy.target_far, RECOMMENDED)
    return SignerQuality(
        signer_id=specimens.signer.signer_id,
        distinct=count,
        spread=None if described.spread is None else round(described.spread, DISTANCE_DIGITS),
        usual_spread=round(calibration.spread_mean, DISTANCE_DIGITS),
        variation=described.variation,
        variants=tuple(_named(ids, group) for group in described.variants),
        frr=frr,
        frr_recommended=recommended,
        references=tuple(_reference(ids, index, among, described) for index in range(len(ids))),
        findings=tuple(_findings(settings.min_references, specimens, described, frr, recommended)),
        model_version=embedder.version,
    )


def _frr(calibration: Calibration, target_far: float, count: int) -> float:
    point = calibration.operating_point(calibration.threshold(target_far, count), count)
    return round(point.frr, RATE_DIGITS)


def _reference(ids: tuple[str, ...], index: int, among: Floats, described: ReferenceSet) -> ReferenceQuality:
    copied = described.copies.get(index)
    others = described.distinct[described.distinct != index]
    return ReferenceQuality(
        ids[index],
        None if copied is None else ids[copied],
        None if copied is not None or not len(others) else _mean_distance(among[index, others]),
    )


def _mean_distance(distances: Floats) -> float:
    return round(float(distances.mean()), DISTANCE_DIGITS)


def _named(ids: tuple[str, ...], indices: Iterable[int]) -> tuple[str, ...]:
    return tuple(ids[index] for index in indices)


def _findings(
    minimum: int,
    specimens: Specimens,
    described: ReferenceSet,
    frr: float | None,
    recommended: float | None,
) -> Iterable[QualityFinding]:
    """Yield the findings, the most serious first."""
    ids, count = specimens.reference_ids, len(described.distinct)
    if described.outliers:
        yield QualityFinding(
            "unlike-other-references",
            f"{_references(len(described.outliers))} unlike all others of the signer.",
            "Check whether it is the signer's, and erase it if it is not. If the signer writes this way too, enrol "
            "more signatures of this kind.",
            _named(ids, described.outliers),
        )
    if described.variants:
        sizes = " and ".join(str(len(group)) for group in described.variants)
        yield QualityFinding(
            "two-variants",
            f"The references form two groups, of {sizes}, that are clearly apart: two ways to sign, such as full "
            "name and initials, or signatures of two people.",
            f"If both are the signer's, enrol at least {PER_VARIANT} of each, or better each way as a signer of its "
            "own. If not, erase the group that is not the signer's.",
            _named(ids, described.variants[1]),
        )
    if described.copies:
        yield QualityFinding(
            "duplicate-reference",
            f"{_references(len(described.copies))} the same scan as an earlier one and counts for nothing."
            if len(described.copies) == 1
            else f"{len(described.copies)} references are the same scans as earlier ones and count for nothing.",
            "Erase the copies and enrol other signatures of the signer.",
            _named(ids, described.copies),
        )
    if count < RECOMMENDED:
        yield QualityFinding(
            "few-references", _count_detail(count, frr, recommended), _count_advice(minimum, count)
        )
    if described.variation == "much":
        yield QualityFinding(
            "much-variation",
            "The references vary more than those of most signers, so the threshold is wide and more forgeries pass.",
            "Check that all of them are the signer's. If they are, enrol more of them, or set a lower `target_far` "
            "for this signer.",
        )
    if described.variation == "little":
        yield QualityFinding(
            "little-variation",
            "The references vary less than those of most signers, so the threshold is narrow and signatures of "
            "another day may be rejected.",
            "Were they written in one sitting, or traced? Enrol signatures of other days.",
        )
    distinct_files = {specimens.sha256[index] for index in described.distinct}
    if count > 1 and len(distinct_files) == 1:
        yield QualityFinding(
            "one-sheet",
            "All references come from one image, so they were probably written in one sitting.",
            "Enrol signatures of other days as well.",
        )
    if any(specimens.warned):
        yield QualityFinding(
            "low-quality-reference",
            "The scans of some references have quality warnings.",
            "List the references to see them, and replace these scans by better ones.",
            tuple(reference for reference, warned in zip(ids, specimens.warned, strict=True) if warned),
        )


def _references(count: int) -> str:
    return "One reference is" if count == 1 else f"{count} references are"


def _count_detail(count: int, frr: float | None, recommended: float | None) -> str:
    seen = "There is no reference" if count == 0 else f"There are {count} different references"
    if count == 1:
        seen = "There is only one reference"
    if frr is None or recommended is None:
        return f"{seen}."
    return (
        f"{seen}. By the calibration, {100 * frr:.0f} of 100 genuine signatures are not accepted; with "
        f"{RECOMMENDED} references it would be {100 * recommended:.0f}."
    )


def _count_advice(minimum: int, count: int) -> str:
    missing = RECOMMENDED - count
    advice = f"Enrol {missing} more {'signature' if missing == 1 else 'signatures'} of the signer, of different days."
    if count < minimum:
        return f"{advice} Verification needs at least {minimum}."
    return advice
