"""Verification of accounts against the audit trail: versions of mandates, and decisions on documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.audit_chain import Fault, canonical
from app.store.access_tables import AuditRow
from app.store.account_tables import AccountRow, AccountVerificationRow, AccountVersionRow

_COPIED_FIELDS = ("decision", "amount", "version_id", "model_version")


def check_accounts(session: Session) -> Iterator[Fault]:
    """Yield decisions and versions that were changed, that are missing, or that have no audit entry."""
    yield from _check_decisions(session)
    yield from _check_versions(session)


def _check_decisions(session: Session) -> Iterator[Fault]:
    of_entry = (AccountVerificationRow.account_verification_id == AuditRow.record_id) & (
        AccountVerificationRow.tenant_id == AuditRow.tenant_id
    )
    columns = [getattr(AccountVerificationRow, name) for name in _COPIED_FIELDS]
    entries = (
        select(AuditRow.tenant_id, AuditRow.sequence, AuditRow.record_id, AuditRow.details, *columns)
        .outerjoin(AccountVerificationRow, of_entry)
        .where(AuditRow.action == "account-verify")
    )
    for row in session.execute(entries, execution_options={"yield_per": 1000}):
        what = f"the account verification {row.record_id}"
        if row.decision is None:
            yield Fault(row.tenant_id, row.sequence, f"{what} was deleted")
            continue
        details = json.loads(row.details)
        changed = [name for name in _COPIED_FIELDS if getattr(row, name) != details.get(name)]
        if changed:
            yield Fault(row.tenant_id, row.sequence, f"{what} was changed: {', '.join(changed)}")
    unknown = (
        select(AccountVerificationRow.tenant_id, AccountVerificationRow.account_verification_id)
        .outerjoin(AuditRow, of_entry & (AuditRow.action == "account-verify"))
        .where(AuditRow.record_id.is_(None))
    )
    for tenant_id, account_verification_id in session.execute(unknown):
        yield Fault(tenant_id, None, f"the account verification {account_verification_id} has no audit entry")


def _check_versions(session: Session) -> Iterator[Fault]:
    entries = select(AuditRow.tenant_id, AuditRow.record_id, AuditRow.details).where(
        AuditRow.action == "account-change"
    )
    hashes = {
        (entry.tenant_id, entry.record_id): json.loads(entry.details).get("sha256")
        for entry in session.execute(entries)
    }
    versions = select(AccountRow.tenant_id, AccountVersionRow.version_id, AccountVersionRow.mandate).join(
        AccountRow, AccountRow.key == AccountVersionRow.account_key
    )
    for row in session.execute(versions):
        recorded = hashes.get((row.tenant_id, row.version_id))
        if recorded is None:
            yield Fault(row.tenant_id, None, f"the account version {row.version_id} has no audit entry")
        elif recorded != hashlib.sha256(canonical(row.mandate).encode()).hexdigest():
            yield Fault(
                row.tenant_id, None, f"the mandate of the account version {row.version_id} was changed"
            )
