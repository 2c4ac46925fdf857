"""What a report on a verification is written from: the record, what it was based on, and what follows from it.

Everything is a function of what is stored and of the loaded model, so the same record gives the same report. What
cannot be computed any more (an image that was deleted, a model that was replaced) is left out, with the reason.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from app.decoding.pool import Picture
from app.domain.audit_chain import Entry
from app.domain.cases import Case
from app.domain.errors import CaseNotFound, FileRefused, ModelVersionMismatch, NoDifferenceMap, NotFound
from app.domain.records import QuestionedImage, Reference, ReferenceDistance, Specimens, Upload, Verification
from app.services.case_pictures import draw_signature
from app.services.core import Core
from app.services.difference_pictures import draw_differences, draw_overlay
from app.services.differences import DifferenceMaps, compute_maps, refuse_unmapped
from app.services.outcomes import read_canvas
from app.store import audit, cases, questioned_images, references, signers, verifications
from model.decision.bootstrap import Interval
from model.decision.calibration import Calibration
from model.decision.distances import Floats
from model.decision.verdict import judge
from model.networks.card import Card

SOFTWARE = f"countersign {version('countersign')}"
SHOWN = 6
"""Number of references whose pictures are shown: the closest ones."""
REPORTED = ("verify", "outcome", "case-decision", "case-undo", "forgery-add", "forgery-withdraw")
"""Actions of the audit that a report lists. Views are not among them: a report must not change by being read."""
_TOLERANCE, _LLR_TOLERANCE = 2e-4, 5e-3
"""Stored distances have five decimals, so what is computed from them again may differ by this much."""


@dataclass(frozen=True)
class ComparedReference:
    """A reference that the questioned signature was compared with.

    Attributes
    ----------
    number : int
        Counted from 1, the closest first.
    distance : float
    is_repetition : bool
        Whether it repeats another one and did not count.
    own_distance : float or None
        Its distance to the other references, by the rule that gave the distance of the questioned signature; None
        with a single reference, or without the calibration.
    stored : Reference or None
        None when it was deleted since.
    picture : Picture or None
    """

    number: int
    reference_id: str
    distance: float
    is_repetition: bool
    own_distance: float | None
    stored: Reference | None
    picture: Picture | None


@dataclass(frozen=True)
class Evidence:
    """What the calibration says of the distances; log10 likelihood ratios.

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


@dataclass(frozen=True)
class ReportPictures:
    """Pictures of the comparison, in PNG; those on the canvas of the network have its frame.

    Attributes
    ----------
    questioned : Picture or None
    overlay : bytes or None
        The questioned signature over the closest reference.
    nearest, whole, own : bytes or None
        Maps of the questioned signature to the closest reference and to all, and of the closest reference to the
        others.
    """

    questioned: Picture | None
    overlay: bytes | None
    nearest: bytes | None
    whole: bytes | None
    own: bytes | None


@dataclass(frozen=True)
class CaseReport:
    """All that a report on a verification states.

    Attributes
    ----------
    case : Case or None
        None when the verification was not left to a person.
    is_signer_enrolled : bool
    is_image_kept : bool
    count : int
        Number of references that counted.
    evidence : Evidence or None
        None when the service has another model or calibration than the verification.
    maps : DifferenceMaps or None
    no_maps : str
        Why there are no maps: ``image-not-kept`` or the code of an error; empty when there are.
    entries : tuple of Entry
        Audit entries, oldest first.
    """

    tenant_id: str
    verification: Verification
    case: Case | None
    is_signer_enrolled: bool
    is_image_kept: bool
    keeps_images: bool
    references: tuple[ComparedReference, ...]
    count: int
    evidence: Evidence | None
    calibration: Calibration
    calibration_id: str
    card: Card
    page_network: str
    pictures: ReportPictures
    maps: DifferenceMaps | None
    no_maps: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class _Stored:
    verification: Verification
    case: Case | None
    is_signer_enrolled: bool
    records: dict[str, Reference]
    uploads: dict[str, Upload]
    image: QuestionedImage | None
    specimens: Specimens | None
    no_maps: str
    entries: tuple[Entry, ...]


async def get_report(core: Core, tenant_id: str, verification_id: str) -> CaseReport:
    """Collect what a report states; an audit entry records the access and which images were shown.

    Raises
    ------
    VerificationNotFound, StoredDataDamaged, DataKeyMissing, Busy
    """
    stored = await core.store.read(_read, core, tenant_id, verification_id)
    entry = core.trail.entry(
        "view-report",
        record_id=verification_id,
        questioned=stored.image is not None,
        references=sorted(stored.uploads),
    )
    await core.store.write(core.trail.append, entry)
    verification = stored.verification
    maps, no_maps = await _compute_maps(core, stored)
    shown = [item.reference_id for item in _ordered(verification)[:SHOWN]]
    questioned, *drawn = await asyncio.gather(
        draw_signature(core, None if stored.image is None else stored.image.upload),
        *(draw_signature(core, stored.uploads.get(reference_id)) for reference_id in shown),
    )
    compared = await asyncio.to_thread(_compare, core, stored, dict(zip(shown, drawn, strict=True)))
    pictures = await _draw(core, stored, maps, questioned)
    return CaseReport(
        tenant_id=tenant_id,
        verification=verification,
        case=stored.case,
        is_signer_enrolled=stored.is_signer_enrolled,
        is_image_kept=stored.image is not None,
        keeps_images=bool(core.settings.keep_questioned_days),
        references=compared,
        count=sum(not item.is_repetition for item in compared),
        evidence=_weigh(core, verification),
        calibration=core.embedder.calibration,
        calibration_id=core.calibration_id,
        card=core.embedder.card,
        page_network=_hash_of(core.settings.page_network),
        pictures=pictures,
        maps=maps,
        no_maps=no_maps,
        entries=stored.entries,
    )


def _read(session: Session, core: Core, tenant_id: str, verification_id: str) -> _Stored:
    verification = verifications.get(session, tenant_id, verification_id)
    signer_id = verification.signer_id
    try:
        case: Case | None = cases.get(session, tenant_id, verification_id)
    except CaseNotFound:
        case = None
    is_enrolled = signers.key_of(session, tenant_id, signer_id) is not None
    image = questioned_images.read(session, tenant_id, verification_id)
    ids = [item.reference_id for item in verification.finding.references]
    closest = [item.reference_id for item in _ordered(verification)[:SHOWN]]
    specimens, no_maps = None, ""
    if image is None:
        no_maps = "image-not-kept"
    else:
        try:
            refuse_unmapped(core, verification)
            specimens = references.specimens(session, tenant_id, signer_id, core.model_version)
        except (NoDifferenceMap, ModelVersionMismatch, NotFound) as error:
            no_maps = error.code
    return _Stored(
        verification,
        case,
        is_enrolled,
        references.get_many(session, tenant_id, signer_id, ids),
        references.uploads(session, tenant_id, signer_id, closest),
        image,
        specimens,
        no_maps,
        audit.of_record(session, tenant_id, verification_id, REPORTED),
    )


def _ordered(verification: Verification) -> list[ReferenceDistance]:
    """Return the references of a verification, the closest first."""
    return sorted(verification.finding.references, key=lambda item: (item.distance, item.reference_id))


async def _compute_maps(core: Core, stored: _Stored) -> tuple[DifferenceMaps | None, str]:
    if stored.image is None or stored.specimens is None:
        return None, stored.no_maps
    try:
        return await compute_maps(core, stored.verification, stored.image, stored.specimens), ""
    except (FileRefused, NotFound) as error:
        return None, error.code


def _compare(
    core: Core, stored: _Stored, pictures: dict[str, Picture | None]
) -> tuple[ComparedReference, ...]:
    """Describe the references, the closest first."""
    verification = stored.verification
    distinct = verification.distinct_references
    own = _own_distances(core, verification)
    return tuple(
        ComparedReference(
            number=number,
            reference_id=item.reference_id,
            distance=item.distance,
            is_repetition=item.reference_id not in distinct,
            own_distance=own.get(item.reference_id),
            stored=stored.records.get(item.reference_id),
            picture=pictures.get(item.reference_id),
        )
        for number, item in enumerate(_ordered(verification), 1)
    )


def _distances(verification: Verification) -> tuple[Floats, Floats]:
    """Return the stored distances to the references that counted (k,) and among them (k, k)."""
    ids = [item.reference_id for item in verification.finding.references]
    kept = [ids.index(one) for one in verification.distinct_references]
    to_references = np.array([item.distance for item in verification.finding.references], dtype=np.float64)
    among = np.array(verification.basis["among_references"], dtype=np.float64)
    return to_references[kept], among[np.ix_(kept, kept)]


def _own_distances(core: Core, verification: Verification) -> dict[str, float]:
    """Return the distance of each reference to the others; empty with one, or without the calibration."""
    ids, (_, among) = verification.distinct_references, _distances(verification)
    if len(ids) < 2 or not _is_calibrated(core, verification):
        return {}
    rule = core.embedder.calibration.at(len(ids) - 1).rule
    return {one: float(rule.distance(np.delete(among[index], index))) for index, one in enumerate(ids)}


def _is_calibrated(core: Core, verification: Verification) -> bool:
    """Whether the service has the model and the calibration that the verification was made with."""
    return (
        verification.finding.model_version == core.model_version
        and verification.basis.get("calibration") == core.calibration_id
    )


def _weigh(core: Core, verification: Verification) -> Evidence | None:
    if not _is_calibrated(core, verification):
        return None
    calibration, basis, finding = core.embedder.calibration, verification.basis, verification.finding
    to_references, among = _distances(verification)
    count = len(to_references)
    fitted = calibration.at(count)
    allowance = fitted.rule.spread_weight * float(basis["spread"])
    score = finding.distance - allowance
    again = judge(
        to_references, among, calibration, basis["target_far"], basis["review_far"], basis["fixed_threshold"]
    )
    bootstrap = core.embedder.bootstrap
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


async def _draw(
    core: Core, stored: _Stored, maps: DifferenceMaps | None, questioned: Picture | None
) -> ReportPictures:
    if maps is None:
        return ReportPictures(questioned, None, None, None, None)
    nearest = next(
        item.reference_id for item in _ordered(stored.verification) if item.reference_id in maps.reference_ids
    )
    upload = stored.uploads.get(nearest)
    try:
        reference = None if upload is None else await read_canvas(core, upload)
    except FileRefused:
        reference = None

    def draw() -> ReportPictures:
        own = None
        if maps.own is not None and reference is not None:
            own = draw_differences(maps.own[maps.reference_ids.index(nearest)], reference)
        return ReportPictures(
            questioned,
            None if reference is None else draw_overlay(maps.canvas, reference),
            draw_differences(maps.of(nearest), maps.canvas, reference),
            draw_differences(maps.mean, maps.canvas),
            own,
        )

    return await asyncio.to_thread(draw)


@lru_cache(maxsize=4)
def _hash_of(path: Path) -> str:
    """Describe a weights file by its folder and the SHA-256 of its bytes."""
    return f"{path.parent.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
