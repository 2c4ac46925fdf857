"""Questioned signatures that may become references of their signer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.domain.records import Page, Verification
from app.store import signers, verifications
from app.store.forgery_tables import KnownForgeryRow
from app.store.proposal_tables import DeclinedProposalRow
from app.store.signer_locks import LockedSigner
from app.store.tables import QuestionedRow, ReferenceRow, VerificationRow


def page(
    session: Session, tenant_id: str, signer_id: str, limit: int, after: str | None
) -> Page[Verification]:
    """Return one page of a signer's verifications whose signatures may become references, newest first.

    They are recorded as genuine, are not known forgeries, were compared without being turned, and were not
    declined. Their images are kept and are not references yet.

    Parameters
    ----------
    after : str or None
        The last verification id of the previous page.

    Raises
    ------
    SignerNotFound
    """
    signer = signers.get(session, tenant_id, signer_id)
    is_reference = exists().where(
        ReferenceRow.signer_key == signer.key, ReferenceRow.sha256 == VerificationRow.questioned_sha256
    )
    is_forgery = exists().where(KnownForgeryRow.verification_id == VerificationRow.verification_id)
    query = (
        select(VerificationRow.verification_id)
        .join(QuestionedRow, QuestionedRow.verification_id == VerificationRow.verification_id)
        .where(
            VerificationRow.tenant_id == tenant_id,
            VerificationRow.signer_id == signer_id,
            VerificationRow.outcome == "genuine",
            QuestionedRow.turned == 0,
            ~is_reference,
            ~is_forgery,
            ~exists().where(DeclinedProposalRow.verification_id == VerificationRow.verification_id),
        )
        .order_by(VerificationRow.verification_id.desc())
        .limit(limit + 1)
    )
    if after is not None:
        query = query.where(VerificationRow.verification_id < after)
    ids = list(session.scalars(query))
    found = verifications.get_many(session, ids[:limit])
    return Page(tuple(found[one] for one in ids[:limit]), ids[limit - 1] if len(ids) > limit else None)


def decline(session: Session, locked: LockedSigner, verification_id: str, at: datetime) -> bool:
    """Stop proposing a verification of an exclusively locked signer; False if it is not theirs or was declined."""
    of_signer = select(VerificationRow.verification_id).where(
        VerificationRow.tenant_id == locked.tenant_id,
        VerificationRow.signer_id == locked.signer_id,
        VerificationRow.verification_id == verification_id,
    )
    if session.scalar(of_signer) is None or is_declined(session, verification_id):
        return False
    session.add(DeclinedProposalRow(verification_id=verification_id, declined_at=at))
    session.flush()
    return True


def is_declined(session: Session, verification_id: str) -> bool:
    """Whether a person does not want a questioned signature as a reference."""
    return session.get(DeclinedProposalRow, verification_id) is not None
