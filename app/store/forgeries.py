"""Known forgeries of a signer: insert, list, withdraw, and read with their templates for a comparison.

A known forgery is a verification that was found to be forged. Its template is in `questioned_templates`, and its
image, where it is kept, in `questioned_images`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Row, and_, delete, exists, select
from sqlalchemy.orm import Session

from app.domain.records import KnownForgeries, KnownForgery, Page
from app.store import signers
from app.store.encryption import sealing
from app.store.forgery_tables import KnownForgeryRow, QuestionedTemplateRow
from app.store.signer_locks import LockedSigner
from app.store.tables import QuestionedRow, SignerRow, VerificationRow


@dataclass(frozen=True)
class LackingForgery:
    """A known forgery without a template of the model in use."""

    tenant_id: str
    signer_id: str
    signer_key: str
    verification_id: str


def add(session: Session, locked: LockedSigner, verification_id: str, at: datetime) -> bool:
    """Make a verification of an exclusively locked signer a known forgery; False when it is one already."""
    if is_known(session, verification_id):
        return False
    session.add(KnownForgeryRow(verification_id=verification_id, signer_key=locked.key, created_at=at))
    session.flush()
    return True


def is_known(session: Session, verification_id: str) -> bool:
    """Whether a verification is a known forgery."""
    found = select(KnownForgeryRow.verification_id).where(KnownForgeryRow.verification_id == verification_id)
    return session.scalar(found) is not None


def withdraw(session: Session, locked: LockedSigner, verification_id: str) -> bool:
    """Remove a verification of a locked signer from the known forgeries; return False when it is not one.

    Its template is deleted with the next purge once its retention period has ended.
    """
    deletion = delete(KnownForgeryRow).where(
        KnownForgeryRow.verification_id == verification_id, KnownForgeryRow.signer_key == locked.key
    )
    return session.scalar(deletion.returning(KnownForgeryRow.verification_id)) is not None


def page(
    session: Session, tenant_id: str, signer_id: str, model_version: str, limit: int, after: str | None
) -> Page[KnownForgery]:
    """Return one page of a signer's known forgeries, newest verification first. Raises SignerNotFound.

    Parameters
    ----------
    model_version : str
        A forgery counts as compared when it has a template of this model.
    after : str or None
        The last verification id of the previous page.
    """
    signer = signers.get(session, tenant_id, signer_id)
    has_template = exists().where(
        QuestionedTemplateRow.verification_id == KnownForgeryRow.verification_id,
        QuestionedTemplateRow.model_version == model_version,
    )
    has_image = exists().where(QuestionedRow.verification_id == KnownForgeryRow.verification_id)
    query = (
        select(
            KnownForgeryRow.verification_id,
            KnownForgeryRow.created_at,
            VerificationRow.created_at.label("verified_at"),
            VerificationRow.decision,
            VerificationRow.outcome,
            has_template.label("is_compared"),
            has_image.label("has_image"),
        )
        .join(VerificationRow, VerificationRow.verification_id == KnownForgeryRow.verification_id)
        .where(KnownForgeryRow.signer_key == signer.key)
        .order_by(KnownForgeryRow.verification_id.desc())
        .limit(limit + 1)
    )
    if after is not None:
        query = query.where(KnownForgeryRow.verification_id < after)
    rows = session.execute(query).all()
    items = tuple(KnownForgery(*row) for row in rows[:limit])
    return Page(items, items[-1].verification_id if len(rows) > limit else None)


def of_signer(session: Session, tenant_id: str, signer_key: str, model_version: str) -> KnownForgeries:
    """Return the known forgeries of a signer with their templates of one model.

    Raises
    ------
    StoredDataDamaged, DataKeyMissing
        A template does not decrypt.
    """
    return of_signers(session, tenant_id, [signer_key], model_version).get(signer_key, KnownForgeries())


def of_signers(
    session: Session, tenant_id: str, signer_keys: Sequence[str], model_version: str
) -> dict[str, KnownForgeries]:
    """Like :func:`of_signer`, for several signers; those without known forgeries are left out."""
    query: Any = (
        select(
            KnownForgeryRow.signer_key,
            KnownForgeryRow.verification_id,
            QuestionedTemplateRow.key_id,
            QuestionedTemplateRow.vector,
        )
        .outerjoin(
            QuestionedTemplateRow,
            and_(
                QuestionedTemplateRow.verification_id == KnownForgeryRow.verification_id,
                QuestionedTemplateRow.model_version == model_version,
            ),
        )
        .where(KnownForgeryRow.signer_key.in_(signer_keys))
        .order_by(KnownForgeryRow.verification_id)
    )
    rows: dict[str, list[Row[Any]]] = {}
    for row in session.execute(query):
        rows.setdefault(row.signer_key, []).append(row)
    return {key: _open(session, tenant_id, key, model_version, found) for key, found in rows.items()}


def lacking(session: Session, model_version: str, after: str, limit: int) -> list[LackingForgery]:
    """Return known forgeries without a template of this model, of all tenants, ordered by verification id."""
    has_template = exists().where(
        QuestionedTemplateRow.verification_id == KnownForgeryRow.verification_id,
        QuestionedTemplateRow.model_version == model_version,
    )
    rows = session.execute(
        select(SignerRow.tenant_id, SignerRow.signer_id, SignerRow.key, KnownForgeryRow.verification_id)
        .join(SignerRow, SignerRow.key == KnownForgeryRow.signer_key)
        .where(KnownForgeryRow.verification_id > after, ~has_template)
        .order_by(KnownForgeryRow.verification_id)
        .limit(limit)
    )
    return [LackingForgery(*row) for row in rows]


def _open(
    session: Session, tenant_id: str, signer_key: str, model_version: str, rows: Iterable[Row[Any]]
) -> KnownForgeries:
    ids, templates, skipped = [], [], 0
    for row in rows:
        if row.vector is None:
            skipped += 1
            continue
        place = sealing.questioned_template_place(tenant_id, signer_key, row.verification_id, model_version)
        ids.append(row.verification_id)
        templates.append(sealing.open_template_at(session, place, row.key_id, row.vector))
    stacked = np.stack(templates) if templates else np.zeros((0, 0), np.float32)
    return KnownForgeries(tuple(ids), stacked, skipped)
