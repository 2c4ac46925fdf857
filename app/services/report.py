"""The content of a report on a verification: its record, its references, its evidence and its pictures.

Everything is a function of what is stored and of the loaded model, so the same record gives the same report. What
cannot be computed any more (an image that was deleted, a model that was replaced) is left out, with the reason.
`app.services.report_evidence` computes the evidence, `app.services.report_pictures` draws, `app.report` writes the
document.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from sqlalchemy.orm import Session

from app.decoding.pool import Picture
from app.domain.audit_chain import Entry
from app.domain.cases import Case
from app.domain.errors import CaseNotFound, FileRefused, ModelVersionMismatch, NoDifferenceMap, NotFound
from app.domain.records import QuestionedImage, Reference, ReferenceDistance, Specimens, Upload, Verification
from app.services.case_pictures import draw_signature
from app.services.context import AppContext
from app.services.differences import DifferenceMaps, compute_maps, refuse_unmapped
from app.services.report_evidence import Evidence, compute_own_distances, weigh_evidence
from app.services.report_pictures import ReportPictures, draw_pictures
from app.store import audit, cases, questioned_images, references, signers, verifications
from model.decision.calibration import Calibration
from model.networks.card import Card
from model.networks.embedder import Embedder

SOFTWARE = f"countersign {version('countersign')}"
SHOWN = 6
"""Number of references whose pictures are shown: the closest ones."""
REPORTED = ("verify", "outcome", "case-decision", "case-undo", "forgery-add", "forgery-withdraw")
"""Actions of the audit that a report lists. Views are not among them: a report must not change by being read."""


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


async def get_report(context: AppContext, tenant_id: str, verification_id: str) -> CaseReport:
    """Collect what a report states; an audit entry records the access and which images were shown.

    Raises
    ------
    VerificationNotFound, StoredDataDamaged, DataKeyMissing, Busy
    """
    stored = await context.store.read(_read, context.embedder, tenant_id, verification_id)
    entry = context.trail.entry(
        "view-report",
        record_id=verification_id,
        questioned=stored.image is not None,
        references=sorted(stored.uploads),
    )
    await context.store.write(context.trail.append, entry)
    verification = stored.verification
    maps, no_maps = await _compute_maps(context, stored)
    shown = [item.reference_id for item in _ordered(verification)[:SHOWN]]
    questioned, *drawn = await asyncio.gather(
        draw_signature(context, None if stored.image is None else stored.image.upload),
        *(draw_signature(context, stored.uploads.get(reference_id)) for reference_id in shown),
    )
    compared = await asyncio.to_thread(
        _compare, context.embedder, stored, dict(zip(shown, drawn, strict=True))
    )
    closest = [item.reference_id for item in _ordered(verification)]
    pictures = await draw_pictures(context, closest, stored.uploads, maps, questioned)
    return CaseReport(
        tenant_id=tenant_id,
        verification=verification,
        case=stored.case,
        is_signer_enrolled=stored.is_signer_enrolled,
        is_image_kept=stored.image is not None,
        keeps_images=bool(context.settings.keep_questioned_days),
        references=compared,
        count=sum(not item.is_repetition for item in compared),
        evidence=weigh_evidence(context.embedder, verification),
        calibration=context.embedder.calibration,
        calibration_id=context.embedder.calibration.identifier,
        card=context.embedder.card,
        page_network=_hash_of(context.settings.page_network),
        pictures=pictures,
        maps=maps,
        no_maps=no_maps,
        entries=stored.entries,
    )


def _read(session: Session, embedder: Embedder, tenant_id: str, verification_id: str) -> _Stored:
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
            refuse_unmapped(embedder, verification)
            specimens = references.specimens(session, tenant_id, signer_id, embedder.version)
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


async def _compute_maps(context: AppContext, stored: _Stored) -> tuple[DifferenceMaps | None, str]:
    if stored.image is None or stored.specimens is None:
        return None, stored.no_maps
    try:
        return await compute_maps(context, stored.verification, stored.image, stored.specimens), ""
    except (FileRefused, NotFound) as error:
        return None, error.code


def _compare(
    embedder: Embedder, stored: _Stored, pictures: dict[str, Picture | None]
) -> tuple[ComparedReference, ...]:
    """Describe the references, the closest first."""
    verification = stored.verification
    distinct = verification.distinct_references
    own = compute_own_distances(embedder, verification)
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


@lru_cache(maxsize=4)
def _hash_of(path: Path) -> str:
    """Describe a weights file by its folder and the SHA-256 of its bytes."""
    return f"{path.parent.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
