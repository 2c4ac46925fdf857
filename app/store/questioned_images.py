"""Images of questioned signatures: insert, read, and delete after the configured retention period."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import and_, delete, exists, or_, select
from sqlalchemy.orm import Session

from app.domain.errors import ImageNotKept
from app.domain.records import QuestionedImage, ReferenceImage, format_region, parse_region
from app.store import verifications
from app.store.encryption import sealing
from app.store.encryption.cipher import cipher_of
from app.store.forgery_tables import KnownForgeryRow
from app.store.signer_locks import LockedSigner
from app.store.tables import QuestionedRow, VerificationRow

BATCH = 200
"""Maximum number of images that one transaction purges."""


def add(
    session: Session,
    locked: LockedSigner,
    verification_id: str,
    image: QuestionedImage,
    at: datetime,
) -> None:
    """Insert the image of a questioned signature; its verification must have been inserted before.

    Parameters
    ----------
    image : QuestionedImage
    at : datetime
        When the verification was made; the retention period starts here.
    """
    session.flush()
    place = sealing.questioned_place(locked.tenant_id, locked.signer_id, verification_id)
    sealed = cipher_of(session).seal(place, image.data)
    session.add(
        QuestionedRow(
            verification_id=verification_id,
            created_at=at,
            media_type=image.media_type,
            page=image.page,
            region=format_region(image.region),
            turned=image.turned,
            key_id=sealed.key_id,
            data=sealed.data,
        )
    )
    session.flush()


def image(session: Session, tenant_id: str, verification_id: str) -> ReferenceImage:
    """Return the image file of a questioned signature as uploaded.

    Raises
    ------
    VerificationNotFound, ImageNotKept, StoredDataDamaged, DataKeyMissing
    """
    verification = verifications.get(session, tenant_id, verification_id)
    found = get(session, tenant_id, verification_id)
    return ReferenceImage(found.data, found.media_type, verification.questioned_sha256)


def kept(session: Session, verification_ids: Collection[str]) -> set[str]:
    """Return the ids of those verifications whose image is kept; at most a few hundred are asked for."""
    query = select(QuestionedRow.verification_id).where(QuestionedRow.verification_id.in_(verification_ids))
    return set(session.scalars(query))


def read(session: Session, tenant_id: str, verification_id: str) -> QuestionedImage | None:
    """Return the image of a questioned signature to read it again; None when it is not kept.

    Raises
    ------
    VerificationNotFound, StoredDataDamaged, DataKeyMissing
    """
    verification = verifications.get(session, tenant_id, verification_id)
    row = session.get(QuestionedRow, verification_id)
    if row is None:
        return None
    place = sealing.questioned_place(tenant_id, verification.signer_id, verification_id)
    data = cipher_of(session).open(place, row.key_id, row.data)
    return QuestionedImage(data, row.media_type, row.page, parse_region(row.region), row.turned)


def get(session: Session, tenant_id: str, verification_id: str) -> QuestionedImage:
    """Return the image of a questioned signature to read it again.

    Raises
    ------
    VerificationNotFound, ImageNotKept, StoredDataDamaged, DataKeyMissing
    """
    found = read(session, tenant_id, verification_id)
    if found is None:
        raise ImageNotKept(f"The image of verification {verification_id!r} was not kept or has been deleted.")
    return found


def erase_of(session: Session, tenant_id: str, signer_id: str) -> None:
    """Delete the images of all verifications of a signer."""
    verification_ids = select(VerificationRow.verification_id).where(
        VerificationRow.tenant_id == tenant_id, VerificationRow.signer_id == signer_id
    )
    session.execute(delete(QuestionedRow).where(QuestionedRow.verification_id.in_(verification_ids)))


def purge(session: Session, before: datetime, forged_before: datetime) -> int:
    """Delete at most `BATCH` expired images; return their number, 0 if none is left.

    Parameters
    ----------
    before : datetime
        Images of verifications before this time have expired.
    forged_before : datetime
        The same for known forgeries.
    """
    is_forgery = exists().where(KnownForgeryRow.verification_id == QuestionedRow.verification_id)
    expired = session.scalars(
        select(QuestionedRow.verification_id)
        .where(
            or_(
                and_(QuestionedRow.created_at < before, ~is_forgery),
                and_(QuestionedRow.created_at < forged_before, is_forgery),
            )
        )
        .limit(BATCH)
    ).all()
    if expired:
        session.execute(delete(QuestionedRow).where(QuestionedRow.verification_id.in_(expired)))
    return len(expired)
