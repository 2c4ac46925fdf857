"""Images of questioned signatures: insert, read, and delete after the configured retention period."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.domain.errors import ImageNotKept
from app.domain.records import ReferenceImage
from app.store import verifications
from app.store.encryption import sealing
from app.store.encryption.cipher import cipher_of
from app.store.signer_locks import LockedSigner
from app.store.tables import QuestionedRow, VerificationRow

BATCH = 200
"""Maximum number of images that one transaction purges."""


def add(
    session: Session,
    locked: LockedSigner,
    verification_id: str,
    data: bytes,
    media_type: str,
    at: datetime,
) -> None:
    """Insert the image of a questioned signature; its verification must have been inserted before.

    Parameters
    ----------
    data : bytes
        The image file as uploaded.
    media_type : str
    at : datetime
        When the verification was made; the retention period starts here.
    """
    session.flush()
    place = sealing.questioned_place(locked.tenant_id, locked.signer_id, verification_id)
    sealed = cipher_of(session).seal(place, data)
    session.add(
        QuestionedRow(
            verification_id=verification_id,
            created_at=at,
            media_type=media_type,
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
    row = session.get(QuestionedRow, verification_id)
    if row is None:
        raise ImageNotKept(f"The image of verification {verification_id!r} was not kept or has been deleted.")
    place = sealing.questioned_place(tenant_id, verification.signer_id, verification_id)
    data = cipher_of(session).open(place, row.key_id, row.data)
    return ReferenceImage(data, row.media_type, verification.questioned_sha256)


def kept(session: Session, verification_ids: Collection[str]) -> set[str]:
    """Return the ids of those verifications whose image is kept; at most a few hundred are asked for."""
    query = select(QuestionedRow.verification_id).where(QuestionedRow.verification_id.in_(verification_ids))
    return set(session.scalars(query))


def erase_of(session: Session, tenant_id: str, signer_id: str) -> None:
    """Delete the images of all verifications of a signer."""
    verification_ids = select(VerificationRow.verification_id).where(
        VerificationRow.tenant_id == tenant_id, VerificationRow.signer_id == signer_id
    )
    session.execute(delete(QuestionedRow).where(QuestionedRow.verification_id.in_(verification_ids)))


def purge(session: Session, before: datetime) -> int:
    """Delete at most `BATCH` images older than `before`; return their number, 0 if none is left."""
    expired = session.scalars(
        select(QuestionedRow.verification_id).where(QuestionedRow.created_at < before).limit(BATCH)
    ).all()
    if expired:
        session.execute(delete(QuestionedRow).where(QuestionedRow.verification_id.in_(expired)))
    return len(expired)
