"""Verifying the audit: every chain by itself, beside its anchors, and beside the records that it tells of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.api_keys import Key
from app.domain.audit_chain import Anchor, ChainKeys, Entry, Fault, Verifier
from app.store import api_keys, audit
from app.store.access_tables import AuditRow
from app.store.tables import VerificationRow

_COPIED = ("decision", "distance", "threshold", "log_likelihood_ratio", "model_version")


@dataclass(frozen=True)
class Report:
    """What was looked at, and what is wrong with it."""

    heads: tuple[Anchor, ...]
    faults: tuple[Fault, ...]


def verify_store(session: Session, chain_keys: ChainKeys, anchors: Iterable[Anchor] = ()) -> Report:
    """Look through the whole audit of a store."""
    if session.get_bind().dialect.name == "postgresql":  # one view of all tables, while others go on writing
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    anchors = tuple(anchors)
    recorded = {head.tenant_id: head for head in audit.heads(session)}
    faults: list[Fault] = [
        Fault("-", None, f"the trigger {name}, which refuses changes, is missing from the database")
        for name in audit.missing_triggers(session)
    ]
    found = []
    tenants = {*audit.tenants(session), *(anchor.tenant_id for anchor in anchors)}
    for tenant_id in sorted(tenants):
        verifier = Verifier(tenant_id, chain_keys, anchors)
        faults.extend(verifier.check(audit.entries(session, tenant_id)))
        if verifier.head.sequence and tenant_id not in recorded:
            faults.append(Fault(tenant_id, None, "the store's head of the chain is missing"))
        faults.extend(verifier.finish(recorded.get(tenant_id)))
        found.append(verifier.head)
    faults.extend(_verifications_beside_entries(session))
    faults.extend(_keys_beside_entries(session))
    return Report(tuple(found), tuple(faults))


def _verifications_beside_entries(session: Session) -> Iterator[Fault]:
    """Verifications that are not what the audit says, or that it knows nothing of."""
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
            yield Fault(
                row.tenant_id, row.sequence, f"the verification {row.record_id} is not on record any more"
            )
            continue
        told = json.loads(row.details)
        changed = [name for name in _COPIED if getattr(record, name) != told.get(name)]
        if changed:
            yield Fault(
                row.tenant_id,
                row.sequence,
                f"the verification {row.record_id} was changed since: {', '.join(changed)}",
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
        # Ids are in the order of time: those before the first entry are older than the audit itself.
        .where(AuditRow.record_id.is_(None), VerificationRow.verification_id > first)
    )
    for tenant_id, verification_id in session.execute(unknown):
        yield Fault(tenant_id, None, f"the audit knows nothing of the verification {verification_id}")


def _keys_beside_entries(session: Session) -> Iterator[Fault]:
    """Keys that were not made, or not revoked, by the command that does so."""
    made: dict[tuple[str, str], dict[str, object]] = {}
    revoked: set[tuple[str, str]] = set()
    about_keys = select(AuditRow.tenant_id, AuditRow.record_id, AuditRow.action, AuditRow.details).where(
        AuditRow.action.in_(("key-create", "key-revoke"))
    )
    for row in session.execute(about_keys):
        if row.action == "key-create":
            made[row.tenant_id, row.record_id] = json.loads(row.details)
        else:
            revoked.add((row.tenant_id, row.record_id))
    for key in api_keys.listed(session):
        place = (key.tenant_id, key.key_id)
        if place not in made:
            yield Fault(key.tenant_id, None, f"the audit knows nothing of the API key {key.key_id}")
            continue
        if describe_key(key) != made[place]:
            yield Fault(key.tenant_id, None, f"the API key {key.key_id} was changed since it was made")
        if (key.revoked_at is not None) != (place in revoked):
            yield Fault(
                key.tenant_id, None, f"the API key {key.key_id} was revoked or revived by another hand"
            )


def describe_key(key: Key) -> dict[str, object]:
    """What the audit keeps of a new key."""
    return {
        "name": key.name,
        "fingerprint": hashlib.sha256(key.sha256.encode()).hexdigest(),
        "scopes": sorted(key.scopes),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "rate_limit": key.rate_limit,
    }


def verify_export(entries: Iterable[Entry], chain_keys: ChainKeys, anchors: Iterable[Anchor] = ()) -> Report:
    """Look through exported entries, those of a tenant together and in order; no database is needed."""
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
