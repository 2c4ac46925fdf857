"""Verification of known forgeries against the audit trail: none is added, and none removed, without an entry."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.audit_chain import Fault
from app.store.access_tables import AuditRow
from app.store.forgery_tables import KnownForgeryRow
from app.store.tables import SignerRow


def check_forgeries(session: Session) -> Iterator[Fault]:
    """Yield known forgeries without an audit entry, and those that are missing although their signer is enrolled."""
    added: dict[tuple[str, str], tuple[int, str | None]] = {}
    query = (
        select(AuditRow.tenant_id, AuditRow.sequence, AuditRow.record_id, AuditRow.subject, AuditRow.action)
        .where(AuditRow.action.in_(("forgery-add", "forgery-withdraw")))
        .order_by(AuditRow.tenant_id, AuditRow.sequence)
    )
    for entry in session.execute(query):
        identity = entry.tenant_id, entry.record_id
        if entry.action == "forgery-add":
            added[identity] = entry.sequence, entry.subject
        else:
            added.pop(identity, None)
    stored = {
        (row.tenant_id, row.verification_id)
        for row in session.execute(
            select(SignerRow.tenant_id, KnownForgeryRow.verification_id).join(
                SignerRow, SignerRow.key == KnownForgeryRow.signer_key
            )
        )
    }
    for tenant_id, verification_id in sorted(stored - added.keys()):
        yield Fault(tenant_id, None, f"the known forgery {verification_id} has no audit entry")
    enrolled = set(session.scalars(select(SignerRow.key)))
    for identity, (sequence, signer_key) in sorted(added.items()):
        if identity not in stored and signer_key in enrolled:
            yield Fault(identity[0], sequence, f"the known forgery {identity[1]} was deleted")
