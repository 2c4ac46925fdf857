"""Templates of several models for the same references: find missing ones, add them, delete those of other models.

Each function is one step of `app.services.reembed`, in a short transaction that may run concurrently with the
service. The remaining work is derived from the rows themselves, so an interrupted job continues where it stopped.
Locks are acquired in the same order as by an enrolment, which prevents deadlocks: signer, references, change counter
of the tenant, head of the audit chain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import ColumnElement, Exists, and_, delete, exists, func, select, update
from sqlalchemy.orm import Session

from app.domain.errors import DataKeyMissing, SignerErased, StoredDataDamaged
from app.domain.records import UploadRegion, Vector, parse_region
from app.store import change_counters, signer_locks
from app.store.encryption import sealing
from app.store.encryption.cipher import cipher_of
from app.store.encryption.sealing import StoredTemplate
from app.store.tables import ImageRow, ReferenceRow, SignerRow, TemplateRow


@dataclass(frozen=True)
class Owner:
    """The signer whose templates are processed.

    Attributes
    ----------
    key : str
        The internal key.
    tenant_id, signer_id : str
    """

    key: str
    tenant_id: str
    signer_id: str


@dataclass(frozen=True)
class PendingReference:
    """A reference whose template is missing or damaged.

    Attributes
    ----------
    reference_id : str
    size : int
        Bytes of its image file.
    page : int
        Page of the image file, counted from 0.
    """

    reference_id: str
    size: int
    page: int
    region: UploadRegion


Paged = Callable[[Session, str, str, int], list[Owner]]
"""Lists one page of signers: (session, model version, key of the previous page's last signer, page size)."""


def count_lacking(session: Session, model_version: str) -> int:
    """Count the references without a template of this model."""
    lacking = select(func.count()).select_from(ReferenceRow).where(~_has_template(model_version))
    return session.scalar(lacking) or 0


def any_lacking(session: Session, model_version: str) -> bool:
    """Whether any reference has no template of this model."""
    found = session.scalar(select(ReferenceRow.reference_id).where(~_has_template(model_version)).limit(1))
    return found is not None


def count_by_model(session: Session) -> dict[str, int]:
    """Count the templates by model version."""
    counted = select(TemplateRow.model_version, func.count()).group_by(TemplateRow.model_version)
    return {row[0]: row[1] for row in session.execute(counted)}


def owners_lacking(session: Session, model_version: str, after: str, limit: int) -> list[Owner]:
    """Return signers who have a reference without a template of this model, ordered by key."""
    lacking = exists().where(ReferenceRow.signer_key == SignerRow.key, ~_has_template(model_version))
    return _owners(session, lacking, after, limit)


def owners_with_others(session: Session, model_version: str, after: str, limit: int) -> list[Owner]:
    """Return signers who have a template of another model, ordered by key."""
    other = exists().where(
        ReferenceRow.signer_key == SignerRow.key,
        TemplateRow.reference_id == ReferenceRow.reference_id,
        TemplateRow.model_version != model_version,
    )
    return _owners(session, other, after, limit)


def lacking_of(session: Session, owner: Owner, model_version: str) -> list[PendingReference]:
    """Return the references of a signer that have no template of this model."""
    rows = session.execute(
        select(ReferenceRow.reference_id, ReferenceRow.size, ReferenceRow.page, ReferenceRow.region)
        .where(ReferenceRow.signer_key == owner.key, ~_has_template(model_version))
        .order_by(ReferenceRow.reference_id)
    )
    return [PendingReference(row.reference_id, row.size, row.page, parse_region(row.region)) for row in rows]


def damaged_after(
    session: Session, model_version: str, dimension: int, after: str, limit: int
) -> tuple[list[tuple[Owner, PendingReference]], int, str | None]:
    """Check the next templates of this model, ordered by reference id.

    A template whose key is not configured does not count as damaged, because adding the key makes it readable.

    Returns
    -------
    damaged : list of (Owner, PendingReference)
    checked : int
        Number of checked templates, at most `limit`.
    last : str or None
        The last reference id, to be passed as `after`; None if no template is left.
    """
    rows = session.execute(
        select(
            SignerRow.key,
            SignerRow.tenant_id,
            SignerRow.signer_id,
            ReferenceRow.reference_id,
            ReferenceRow.size,
            ReferenceRow.page,
            ReferenceRow.region,
            TemplateRow.key_id,
            TemplateRow.vector,
        )
        .join(ReferenceRow, ReferenceRow.reference_id == TemplateRow.reference_id)
        .join(SignerRow, SignerRow.key == ReferenceRow.signer_key)
        .where(TemplateRow.model_version == model_version, TemplateRow.reference_id > after)
        .order_by(TemplateRow.reference_id)
        .limit(limit)
    ).all()
    damaged = []
    for row in rows:
        owner = Owner(row.key, row.tenant_id, row.signer_id)
        stored = StoredTemplate(row.reference_id, row.key_id, row.vector)
        if _is_damaged(session, owner, model_version, dimension, stored):
            damaged.append(
                (owner, PendingReference(row.reference_id, row.size, row.page, parse_region(row.region)))
            )
    return damaged, len(rows), rows[-1].reference_id if rows else None


def image_of(session: Session, owner: Owner, reference_id: str) -> bytes | None:
    """Return the image file of a reference as uploaded; None if it no longer exists.

    Raises
    ------
    StoredDataDamaged, DataKeyMissing
    """
    row = session.execute(
        select(ImageRow.key_id, ImageRow.data).where(ImageRow.reference_id == reference_id)
    ).one_or_none()
    if row is None:
        return None
    return sealing.open_image(session, owner.tenant_id, owner.key, reference_id, row.key_id, row.data)


def has_reference(session: Session, reference_id: str) -> bool:
    """Whether a reference still exists."""
    return session.get(ReferenceRow, reference_id) is not None


def add(session: Session, owner: Owner, model_version: str, new_templates: Mapping[str, Vector]) -> list[str]:
    """Insert templates by reference id; return the references that got one.

    References that were erased in the meantime are skipped, and so are those with an undamaged template of this
    model. Damaged templates are replaced.
    """
    try:
        signer_locks.lock_exclusively(session, owner.tenant_id, owner.signer_id, owner.key)
    except SignerErased:
        return []
    remaining = session.scalars(
        select(ReferenceRow.reference_id)
        .where(ReferenceRow.signer_key == owner.key, ReferenceRow.reference_id.in_(new_templates))
        .order_by(ReferenceRow.reference_id)
        .with_for_update()
    ).all()
    present = session.execute(
        select(TemplateRow.reference_id, TemplateRow.key_id, TemplateRow.vector).where(
            TemplateRow.reference_id.in_(remaining), TemplateRow.model_version == model_version
        )
    ).all()
    existing = {row.reference_id: StoredTemplate(row.reference_id, row.key_id, row.vector) for row in present}
    added = []
    for reference_id in remaining:
        template = new_templates[reference_id]
        if (stored := existing.get(reference_id)) is not None:
            if not _is_damaged(session, owner, model_version, len(template), stored):
                continue
            session.execute(delete(TemplateRow).where(_is_template(reference_id, model_version)))
            cipher_of(session).forget(
                sealing.template_place(owner.tenant_id, owner.key, reference_id, model_version)
            )
        session.add(
            sealing.template_row(session, owner.tenant_id, owner.key, reference_id, model_version, template)
        )
        added.append(reference_id)
    if added:
        session.execute(
            update(ReferenceRow)
            .where(ReferenceRow.reference_id.in_(added))
            .values(model_version=model_version)
        )
        session.flush()
        change_counters.touch(session, owner.tenant_id, owner.key)
    return added


def drop_others(session: Session, owner: Owner, model_version: str) -> dict[str, int] | None:
    """Delete a signer's templates of all other models; return their number by model version.

    If a reference has no template of this model yet, nothing is deleted, because the reference would be left without
    any template; the result is None.
    """
    try:
        signer_locks.lock_exclusively(session, owner.tenant_id, owner.signer_id, owner.key)
    except SignerErased:
        return {}
    reference_ids = select(ReferenceRow.reference_id).where(ReferenceRow.signer_key == owner.key)
    if session.scalar(reference_ids.where(~_has_template(model_version)).limit(1)) is not None:
        return None
    deleted = session.scalars(
        delete(TemplateRow)
        .where(TemplateRow.reference_id.in_(reference_ids), TemplateRow.model_version != model_version)
        .returning(TemplateRow.model_version)
        .execution_options(synchronize_session=False)
    ).all()
    if deleted:
        change_counters.touch(session, owner.tenant_id, owner.key)
    return dict(Counter(deleted))


def _owners(session: Session, condition: Exists, after: str, limit: int) -> list[Owner]:
    rows = session.execute(
        select(SignerRow.key, SignerRow.tenant_id, SignerRow.signer_id)
        .where(SignerRow.key > after, condition)
        .order_by(SignerRow.key)
        .limit(limit)
    )
    return [Owner(row.key, row.tenant_id, row.signer_id) for row in rows]


def _has_template(model_version: str) -> Exists:
    return exists().where(
        TemplateRow.reference_id == ReferenceRow.reference_id, TemplateRow.model_version == model_version
    )


def _is_template(reference_id: str, model_version: str) -> ColumnElement[bool]:
    return and_(TemplateRow.reference_id == reference_id, TemplateRow.model_version == model_version)


def _is_damaged(
    session: Session, owner: Owner, model_version: str, dimension: int, stored: StoredTemplate
) -> bool:
    try:
        template = sealing.open_template(session, owner.tenant_id, owner.key, model_version, stored)
    except StoredDataDamaged:
        return True
    except DataKeyMissing:
        return False
    except ValueError:  # the length is not a whole number of floats
        return True
    return len(template) != dimension or not bool(np.isfinite(template).all())
