"""Signers in the database: read, list, set the policy, erase, count."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from app.domain.records import Page, Signer
from app.store import change_counters, idempotency, questioned_images
from app.store.erasure import tombstones
from app.store.erasure.tombstones import Erasure
from app.store.signer_locks import LockedSigner, key_query, not_enrolled
from app.store.tables import ReferenceRow, SignerRow

_SIGNERS = select(
    SignerRow.key,
    SignerRow.signer_id,
    SignerRow.created_at,
    SignerRow.target_far,
    SignerRow.fixed_threshold,
    select(func.count())
    .select_from(ReferenceRow)
    .where(ReferenceRow.signer_key == SignerRow.key)
    .scalar_subquery()
    .label("references"),
).where(SignerRow.tenant_id == bindparam("tenant_id"))
_ONE = _SIGNERS.where(SignerRow.signer_id == bindparam("signer_id"))


def get(session: Session, tenant_id: str, signer_id: str) -> Signer:
    """Return one signer. Raises SignerNotFound."""
    found = session.execute(_ONE, {"tenant_id": tenant_id, "signer_id": signer_id}).one_or_none()
    if found is None:
        raise not_enrolled(signer_id)
    return _signer(found)


def page(
    session: Session, tenant_id: str, limit: int, after: str | None, search: str | None = None
) -> Page[Signer]:
    """Return one page of signers, ordered by id.

    Parameters
    ----------
    search : str or None
        Only signers whose id contains this text; the letters A to Z in either case.
    after : str or None
        The last signer id of the previous page.
    """
    query = _SIGNERS.order_by(SignerRow.signer_id).limit(limit + 1)
    if after is not None:
        query = query.where(SignerRow.signer_id > after)
    if search:
        query = query.where(func.lower(SignerRow.signer_id).contains(search.lower(), autoescape=True))
    rows = session.execute(query, {"tenant_id": tenant_id}).all()
    items = tuple(_signer(row) for row in rows[:limit])
    return Page(items, items[-1].signer_id if len(rows) > limit else None)


def unknown(session: Session, tenant_id: str, signer_ids: list[str]) -> list[str]:
    """Return those of the ids under which no signer is enrolled."""
    known = set(
        session.scalars(
            select(SignerRow.signer_id).where(
                SignerRow.tenant_id == tenant_id, SignerRow.signer_id.in_(signer_ids)
            )
        )
    )
    return [signer_id for signer_id in signer_ids if signer_id not in known]


def key_of(session: Session, tenant_id: str, signer_id: str) -> str | None:
    """Return the internal key of a signer; None if no signer is enrolled under this id."""
    return session.scalar(key_query(tenant_id, signer_id))


def set_policy(session: Session, locked: LockedSigner, policy: dict[str, float | None]) -> Signer:
    """Set the signer's own policy and return the signer.

    Parameters
    ----------
    policy : dict
        `target_far`, `fixed_threshold` or both; None restores the default of the service. Fields that are absent are
        not changed.
    """
    if policy:
        session.execute(update(SignerRow).where(SignerRow.key == locked.key).values(**policy))
        change_counters.touch(session, locked.tenant_id, locked.key)
    return get(session, locked.tenant_id, locked.signer_id)


def erase(session: Session, locked: LockedSigner) -> Erasure:
    """Delete an exclusively locked signer with all data, and insert a tombstone.

    Deleted are references with their images and templates, images of questioned signatures, and stored answers of
    idempotent requests. Verifications are kept, without images.
    """
    session.execute(delete(SignerRow).where(SignerRow.key == locked.key))  # cascades to references
    questioned_images.erase_of(session, locked.tenant_id, locked.signer_id)
    idempotency.forget_signer(session, locked.tenant_id, locked.signer_id)
    change_counters.touch(session, locked.tenant_id, locked.key)
    return tombstones.add_tombstone(session, "signer", locked.key)


def count(session: Session) -> tuple[int, int]:
    """Count the signers and the references of all tenants."""
    return (
        session.scalar(select(func.count()).select_from(SignerRow)) or 0,
        session.scalar(select(func.count()).select_from(ReferenceRow)) or 0,
    )


def _signer(row: Row[Any]) -> Signer:
    return Signer(
        key=row.key,
        signer_id=row.signer_id,
        created_at=row.created_at,
        references=row.references,
        target_far=row.target_far,
        fixed_threshold=row.fixed_threshold,
    )
