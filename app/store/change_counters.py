"""Change counters, from which a template index in memory learns which signers of a tenant have changed.

Each change increments the tenant's counter and stores the new value with the signer's key, in the same transaction.
The row lock on the counter serializes the commits of a tenant, so a reader that sees value n also sees all changes up
to n. Several processes that share a database keep their indexes up to date by reading the changes since the last
value they have seen.
"""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.store.tables import ChangeRow, TenantRow

INDEX_WRITER = "index_writer"
"""Key of the :class:`IndexWriter` in the `info` of a session."""


class IndexWriter(Protocol):
    """An index in the database, which changes in the same transaction as the signer."""

    def renew(self, session: Session, tenant_id: str, signer_key: str) -> bool:
        """Bring the signer's entry up to date; return whether there is one."""
        ...


def touch(session: Session, tenant_id: str, signer_key: str) -> None:
    """Record that the references or the policy of a signer changed, as the last step before the audit entry."""
    writer: IndexWriter | None = session.info.get(INDEX_WRITER)
    if writer is not None:  # before the counter, whose row lock makes all changes of the tenant wait
        writer.renew(session, tenant_id, signer_key)
    new_value = session.execute(
        update(TenantRow)
        .where(TenantRow.tenant_id == tenant_id)
        .values(sequence=TenantRow.sequence + 1)
        .returning(TenantRow.sequence)
    ).scalar_one_or_none()
    if new_value is None:
        new_value = 1
        session.add(TenantRow(tenant_id=tenant_id, sequence=new_value))
        session.flush()
    session.merge(ChangeRow(tenant_id=tenant_id, signer_key=signer_key, sequence=new_value))


def sequence(session: Session, tenant_id: str) -> int:
    """Return the value of the tenant's counter; 0 if no signer was ever enrolled."""
    found = session.scalar(select(TenantRow.sequence).where(TenantRow.tenant_id == tenant_id))
    return found or 0


def changed_since(session: Session, tenant_id: str, seen: int) -> list[str]:
    """Return the keys of the signers that changed since the counter had the value `seen`, including erased ones."""
    return list(
        session.scalars(
            select(ChangeRow.signer_key).where(ChangeRow.tenant_id == tenant_id, ChangeRow.sequence > seen)
        )
    )


def count(session: Session, tenant_id: str) -> int:
    """Count the signers that a tenant ever enrolled, including erased ones."""
    counted = select(func.count()).select_from(ChangeRow).where(ChangeRow.tenant_id == tenant_id)
    return session.scalar(counted) or 0


def tenants(session: Session) -> list[str]:
    """Return the tenants that ever enrolled a signer, sorted."""
    return list(session.scalars(select(TenantRow.tenant_id).order_by(TenantRow.tenant_id)))
