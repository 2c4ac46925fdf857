"""The order of changes to a tenant's templates, so that an index in memory can follow them.

Each change raises the tenant's counter and writes the new value beside the signer's key, in the transaction of the
change. The counter's row lock makes commits of one tenant follow each other, so a reader that sees value n sees
every change up to n: several processes on one database keep their indexes coherent by asking for what is new.
"""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.store.tables import ChangeRow, TenantRow


def touch(session: Session, tenant_id: str, signer_key: str) -> None:
    """Record that a signer's references or policy changed; the last step of a transaction that writes them."""
    raised = session.execute(
        update(TenantRow)
        .where(TenantRow.tenant_id == tenant_id)
        .values(sequence=TenantRow.sequence + 1)
        .returning(TenantRow.sequence)
    ).scalar_one_or_none()
    if raised is None:
        raised = 1
        session.add(TenantRow(tenant_id=tenant_id, sequence=raised))
        session.flush()
    session.merge(ChangeRow(tenant_id=tenant_id, signer_key=signer_key, sequence=raised))


def sequence(session: Session, tenant_id: str) -> int:
    """The tenant's counter; 0 when nothing was ever enrolled."""
    found = session.scalar(select(TenantRow.sequence).where(TenantRow.tenant_id == tenant_id))
    return found or 0


def changed_since(session: Session, tenant_id: str, seen: int) -> list[str]:
    """Keys of the signers that changed after the counter stood at `seen`, erased ones included."""
    return list(
        session.scalars(
            select(ChangeRow.signer_key).where(ChangeRow.tenant_id == tenant_id, ChangeRow.sequence > seen)
        )
    )


def tenants(session: Session) -> list[str]:
    """Every tenant that ever enrolled somebody."""
    return list(session.scalars(select(TenantRow.tenant_id).order_by(TenantRow.tenant_id)))
