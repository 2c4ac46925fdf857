"""Verification of the audit trail: each chain, its anchors, and the records that its entries describe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.api_keys import Key
from app.domain.audit_chain import Anchor, ChainKeys, Entry, Fault, Verifier
from app.services.audit.account_checks import check_accounts
from app.services.audit.case_checks import check_cases
from app.services.audit.forgery_checks import check_forgeries
from app.store import api_keys, audit
from app.store.access_tables import AuditRow
from app.store.tables import VerificationRow

_COPIED_FIELDS = ("decision", "distance", "threshold", "log_likelihood_ratio", "model_version")


@dataclass(frozen=True)
class Report:
    """The heads of the verified chains, and the faults found."""

    heads: tuple[Anchor, ...]
    faults: tuple[Fault, ...]


def verify_store(session: Session, chain_keys: ChainKeys, anchors: Iterable[Anchor] = ()) -> Report:
    """Verify the audit trail of a store, all tenants."""
    if session.get_bind().dialect.name == "postgresql":  # one snapshot of all tables during concurrent writes
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    anchors = tuple(anchors)
    stored_heads = {head.tenant_id: head for head in audit.heads(session)}
    faults: list[Fault] = [
        Fault("-", None, f"the trigger {name}, which prevents changes, is missing from the database")
        for name in audit.missing_triggers(session)
    ]
    heads = []
    tenants = {*audit.tenants(session), *(anchor.tenant_id for anchor in anchors)}
    for tenant_id in sorted(tenants):
        verifier = Verifier(tenant_id, chain_keys, anchors)
        faults.extend(verifier.check(audit.entries(session, tenant_id)))
        if verifier.head.sequence and tenant_id not in stored_heads:
            faults.append(Fault(tenant_id, None, "the stored head of the chain is missing"))
        faults.extend(verifier.finish(stored_heads.get(tenant_id)))
        heads.append(verifier.head)
    faults.extend(_check_verifications(session))
    faults.extend(check_accounts(session))
    faults.extend(check_cases(session))
    faults.extend(check_forgeries(session))
    faults.extend(_check_api_keys(session))
    return Report(tuple(heads), tuple(faults))


def _check_verifications(session: Session) -> Iterator[Fault]:
    """Yield verifications that are missing, that differ from their audit entry, or that have none."""
    entries = (
        select(AuditRow.tenant_id, AuditRow.sequence, AuditRow.record_id, AuditRow.details, VerificationRow)
        .outerjoin(
            VerificationRow,
            (VerificationRow.verification_id == AuditRow.record_id)
            & (VerificationRow.tenant_id == AuditRow.tenant_id),
        )
        .where(AuditRow.action == "verify")
    )
    for row in session.execute(entries, execution_options={"yield_per": 1000}):
        record = row.VerificationRow
        if record is None:
            yield Fault(row.tenant_id, row.sequence, f"the verification {row.record_id} was deleted")
            continue
        details = json.loads(row.details)
        changed = [name for name in _COPIED_FIELDS if getattr(record, name) != details.get(name)]
        document = record.basis.get("document", {})
        changed += [name for name in ("amount", "currency") if document.get(name) != details.get(name)]
        if changed:
            yield Fault(
                row.tenant_id,
                row.sequence,
                f"the verification {row.record_id} was changed: {', '.join(changed)}",
            )
    first = session.scalar(
        select(AuditRow.record_id).where(AuditRow.action == "verify").order_by(AuditRow.record_id).limit(1)
    )
    if first is None:
        return
    unknown = (
        select(VerificationRow.tenant_id, VerificationRow.verification_id)
        .outerjoin(
            AuditRow,
            (VerificationRow.verification_id == AuditRow.record_id)
            & (VerificationRow.tenant_id == AuditRow.tenant_id)
            & (AuditRow.action == "verify"),
        )
        # Ids are in the order of time: verifications before the first entry are older than the audit trail.
        .where(AuditRow.record_id.is_(None), VerificationRow.verification_id > first)
    )
    for tenant_id, verification_id in session.execute(unknown):
        yield Fault(tenant_id, None, f"the verification {verification_id} has no audit entry")


def _check_api_keys(session: Session) -> Iterator[Fault]:
    """Yield API keys that were created, changed or revoked without an audit entry."""
    created: dict[tuple[str, str], dict[str, object]] = {}
    revoked: set[tuple[str, str]] = set()
    query = select(AuditRow.tenant_id, AuditRow.record_id, AuditRow.action, AuditRow.details).where(
        AuditRow.action.in_(("key-create", "key-revoke"))
    )
    for row in session.execute(query):
        if row.action == "key-create":
            created[row.tenant_id, row.record_id] = json.loads(row.details)
        else:
            revoked.add((row.tenant_id, row.record_id))
    for key in api_keys.all_keys(session):
        identity = (key.tenant_id, key.key_id)
        if identity not in created:
            yield Fault(key.tenant_id, None, f"the API key {key.key_id} has no audit entry")
            continue
        if describe_key(key) != created[identity]:
            yield Fault(key.tenant_id, None, f"the API key {key.key_id} was changed after it was created")
        if (key.revoked_at is not None) != (identity in revoked):
            yield Fault(
                key.tenant_id,
                None,
                f"the API key {key.key_id} was revoked or reactivated without an audit entry",
            )


def describe_key(key: Key) -> dict[str, object]:
    """Build the details of the audit entry of a new key."""
    return {
        "name": key.name,
        "fingerprint": hashlib.sha256(key.sha256.encode()).hexdigest(),
        "scopes": sorted(key.scopes),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "rate_limit": key.rate_limit,
    }


def verify_export(entries: Iterable[Entry], chain_keys: ChainKeys, anchors: Iterable[Anchor] = ()) -> Report:
    """Verify exported entries without a database; the entries of a tenant must be contiguous and in order."""
    anchors = tuple(anchors)
    verifiers: dict[str, Verifier] = {}
    faults: list[Fault] = []
    for entry in entries:
        verifier = verifiers.get(entry.tenant_id)
        if verifier is None:
            verifier = verifiers[entry.tenant_id] = Verifier(entry.tenant_id, chain_keys, anchors)
        faults.extend(verifier.check([entry]))
    for verifier in verifiers.values():
        faults.extend(verifier.finish(None))
    return Report(tuple(verifier.head for verifier in verifiers.values()), tuple(faults))
