"""Pictures of a case for a clerk: the questioned signature, the closest references, and the page."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.decoding.pool import PagePicture, Picture
from app.domain.cases import Case
from app.domain.errors import FileRefused
from app.domain.records import ReferenceDistance, Upload, Verification
from app.services.context import AppContext
from app.services.signature_pictures import draw, draw_page
from app.store import cases, questioned_images, references

MAX_REFERENCES = 8
"""Number of references that are shown: those that are closest to the questioned signature."""


@dataclass(frozen=True)
class ReferencePicture:
    """A reference with its distance; `picture` is None when it was deleted or cannot be read."""

    reference: ReferenceDistance
    picture: Picture | None


@dataclass(frozen=True)
class CasePictures:
    """The pictures of a case.

    Attributes
    ----------
    questioned : Picture or None
        None when the image was not kept, was deleted, or cannot be read.
    references : tuple of ReferencePicture
        The closest first.
    """

    case: Case
    questioned: Picture | None
    references: tuple[ReferencePicture, ...]


async def get_case_pictures(context: AppContext, tenant_id: str, case_id: str) -> CasePictures:
    """Draw the signatures of a case; an audit entry records which images were shown. Raises CaseNotFound."""
    case, questioned, uploads = await context.store.read(_read, tenant_id, case_id)
    closest = _closest(case.verification)
    shown = [reference.reference_id for reference in closest if reference.reference_id in uploads]
    if questioned is not None or shown:
        entry = context.trail.entry(
            "view-image", record_id=case_id, questioned=questioned is not None, references=shown
        )
        await context.store.write(context.trail.append, entry)
    picture, *others = await asyncio.gather(
        draw_signature(context, questioned),
        *(draw_signature(context, uploads.get(reference.reference_id)) for reference in closest),
    )
    pairs = zip(closest, others, strict=True)
    return CasePictures(case, picture, tuple(ReferencePicture(*pair) for pair in pairs))


async def get_case_page(context: AppContext, tenant_id: str, case_id: str) -> PagePicture:
    """Draw the page with the questioned signature; an audit entry records it.

    Raises
    ------
    CaseNotFound, ImageNotKept, FileRefused
    """
    entry = context.trail.entry("view-image", record_id=case_id)

    def view(session: Session) -> Upload:
        verification = cases.get(session, tenant_id, case_id).verification
        upload = _questioned_upload(session, tenant_id, verification)
        context.trail.append(session, entry)
        return upload

    return await draw_page(context, await context.store.write(view))


def _read(session: Session, tenant_id: str, case_id: str) -> tuple[Case, Upload | None, dict[str, Upload]]:
    case = cases.get(session, tenant_id, case_id)
    verification = case.verification
    questioned = _questioned_upload(session, tenant_id, verification) if case.is_image_kept else None
    ids = [reference.reference_id for reference in _closest(verification)]
    return case, questioned, references.uploads(session, tenant_id, verification.signer_id, ids)


def _questioned_upload(session: Session, tenant_id: str, verification: Verification) -> Upload:
    return questioned_images.get(session, tenant_id, verification.verification_id).upload


def _closest(verification: Verification) -> list[ReferenceDistance]:
    return sorted(verification.finding.references, key=lambda reference: reference.distance)[:MAX_REFERENCES]


async def draw_signature(context: AppContext, upload: Upload | None) -> Picture | None:
    """Draw an upload; None when there is none, or its file is not accepted any more."""
    if upload is None:
        return None
    try:
        return await draw(context, upload)
    except FileRefused:
        return None
