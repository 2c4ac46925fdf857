"""Templates of questioned signatures: insert, look up, and delete after the configured retention period."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from app.domain.records import Vector
from app.store.encryption import sealing
from app.store.forgery_tables import KnownForgeryRow, QuestionedTemplateRow
from app.store.signer_locks import LockedSigner

BATCH = 200
"""Maximum number of templates that one transaction purges."""


def add(
    session: Session,
    locked: LockedSigner,
    verification_id: str,
    model_version: str,
    template: Vector,
    at: datetime,
) -> None:
    """Insert the template of a questioned signature; its verification must have been inserted before.

    Parameters
    ----------
    at : datetime
        When the verification was made; the retention period starts here.
    """
    session.flush()
    place = sealing.questioned_template_place(locked.tenant_id, locked.key, verification_id, model_version)
    sealed = sealing.seal_template(session, place, template)
    session.add(
        QuestionedTemplateRow(
            verification_id=verification_id,
            model_version=model_version,
            signer_key=locked.key,
            created_at=at,
            key_id=sealed.key_id,
            vector=sealed.data,
        )
    )
    session.flush()


def models_of(session: Session, verification_id: str, signer_key: str) -> list[str]:
    """Return the versions of the models of which a template of the questioned signature is kept."""
    return list(
        session.scalars(
            select(QuestionedTemplateRow.model_version).where(
                QuestionedTemplateRow.verification_id == verification_id,
                QuestionedTemplateRow.signer_key == signer_key,
            )
        )
    )


def purge(session: Session, before: datetime) -> int:
    """Delete at most `BATCH` templates older than `before`; return their number, 0 if none is left.

    Those of known forgeries are kept until the forgery is withdrawn or its signer erased.
    """
    expired = session.execute(
        select(QuestionedTemplateRow.verification_id, QuestionedTemplateRow.model_version)
        .where(QuestionedTemplateRow.created_at < before, ~_is_known_forgery())
        .limit(BATCH)
    ).all()
    return _delete(session, [tuple(row) for row in expired])


def drop_others(session: Session, model_version: str) -> int:
    """Delete at most `BATCH` templates of other models; return their number, 0 if none is left.

    A known forgery keeps the template of another model while it has none of this one.
    """
    newer = aliased(QuestionedTemplateRow)
    is_moved = exists().where(
        newer.verification_id == QuestionedTemplateRow.verification_id, newer.model_version == model_version
    )
    others = session.execute(
        select(QuestionedTemplateRow.verification_id, QuestionedTemplateRow.model_version)
        .where(QuestionedTemplateRow.model_version != model_version, or_(~_is_known_forgery(), is_moved))
        .limit(BATCH)
    ).all()
    return _delete(session, [tuple(row) for row in others])


def _delete(session: Session, identities: Sequence[tuple[str, ...]]) -> int:
    if identities:
        identity = tuple_(QuestionedTemplateRow.verification_id, QuestionedTemplateRow.model_version)
        session.execute(delete(QuestionedTemplateRow).where(identity.in_(identities)))
    return len(identities)


def _is_known_forgery() -> ColumnElement[bool]:
    return exists().where(KnownForgeryRow.verification_id == QuestionedTemplateRow.verification_id)
