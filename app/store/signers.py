"""Signers in the store: found, listed, made, given a policy of their own, erased."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from app.domain import Page, Signer, new_id
from app.errors import SignerErased, SignerNotFound
from app.store import changes, erasures, questioned, retries
from app.store.erasures import Erasure
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
    """One signer; raises SignerNotFound."""
    found = session.execute(_ONE, {"tenant_id": tenant_id, "signer_id": signer_id}).one_or_none()
    if found is None:
        raise SignerNotFound(f"No signer {signer_id!r} is enrolled; POST references to enrol one.")
    return _signer(found)


def page(session: Session, tenant_id: str, limit: int, after: str | None) -> Page[Signer]:
    """Signers in the order of their ids."""
    query = _SIGNERS.order_by(SignerRow.signer_id).limit(limit + 1)
    if after is not None:
        query = query.where(SignerRow.signer_id > after)
    rows = session.execute(query, {"tenant_id": tenant_id}).all()
    items = tuple(_signer(row) for row in rows[:limit])
    return Page(items, items[-1].signer_id if len(rows) > limit else None)


def unknown(session: Session, tenant_id: str, signer_ids: list[str]) -> list[str]:
    """Those of the ids under which nobody is enrolled."""
    known = set(
        session.scalars(
            select(SignerRow.signer_id).where(
                SignerRow.tenant_id == tenant_id, SignerRow.signer_id.in_(signer_ids)
            )
        )
    )
    return [signer_id for signer_id in signer_ids if signer_id not in known]


def hold(session: Session, key: str, signer_id: str) -> None:
    """Keep a signer from being erased until this transaction ends.

    A transaction that writes something of a signer begins with this or with :func:`ensure`. What it writes is on disk
    before an erasure begins, which then finds it, or it is not written.

    Raises
    ------
    SignerErased
        The signer with this key is gone; one of the same id that was enrolled since is another.
    """
    # FOR KEY SHARE: it keeps an erasure waiting, and no other verification.
    held = select(SignerRow.key).where(SignerRow.key == key).with_for_update(read=True, key_share=True)
    if session.scalar(held) is None:
        raise SignerErased(
            f"Signer {signer_id!r} was erased while this request was worked on; nothing was stored. To continue, "
            "enrol them anew."
        )


def key_of(session: Session, tenant_id: str, signer_id: str) -> str | None:
    """The key of a signer, None when nobody is enrolled under this id."""
    return session.scalar(
        select(SignerRow.key).where(SignerRow.tenant_id == tenant_id, SignerRow.signer_id == signer_id)
    )


def ensure(session: Session, tenant_id: str, signer_id: str, at: datetime) -> str:
    """The signer's key; the signer is made when new."""
    key = session.scalar(
        select(SignerRow.key)
        .where(SignerRow.tenant_id == tenant_id, SignerRow.signer_id == signer_id)
        .with_for_update()
    )
    if key is None:
        key = new_id()
        session.add(SignerRow(key=key, tenant_id=tenant_id, signer_id=signer_id, created_at=at))
        session.flush()
    return key


def set_policy(session: Session, tenant_id: str, signer_id: str, policy: dict[str, float | None]) -> Signer:
    """Set `target_far` and `fixed_threshold`, those that are given; None takes the service's own again."""
    signer = get(session, tenant_id, signer_id)
    if policy:
        session.execute(update(SignerRow).where(SignerRow.key == signer.key).values(**policy))
        changes.touch(session, tenant_id, signer.key)
    return get(session, tenant_id, signer_id)


def erase(session: Session, tenant_id: str, signer_id: str) -> Erasure | None:
    """Delete a signer with all that was kept of them, and leave a tombstone; None when there was none.

    References, images and templates go, the images of questioned signatures, and the answers kept for repetitions;
    verifications stay on record, without images.
    """
    key = key_of(session, tenant_id, signer_id)
    if key is None:
        return None
    gone = delete(SignerRow).where(SignerRow.key == key).returning(SignerRow.key)
    if session.scalar(gone) is None:  # another caller was quicker; else references follow by cascade
        return None
    questioned.erase_of(session, tenant_id, signer_id)
    retries.forget_signer(session, tenant_id, signer_id)
    changes.touch(session, tenant_id, key)
    return erasures.bury(session, "signer", key)


def count(session: Session) -> tuple[int, int]:
    """How many signers and references there are, of all tenants."""
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
