"""Verification of cases against the audit trail: each decision has its entry, and each entry its decision."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.audit_chain import Fault
from app.store.access_tables import AuditRow
from app.store.case_tables import CaseRow


def check_cases(session: Session) -> Iterator[Fault]:
    """Yield decisions on cases that were changed, deleted or added without an entry."""
    entries = (
        select(AuditRow.tenant_id, AuditRow.sequence, AuditRow.record_id, AuditRow.action, AuditRow.details)
        .where(AuditRow.action.in_(("case-decision", "case-undo")))
        .order_by(AuditRow.tenant_id, AuditRow.sequence)
    )
    recorded: dict[tuple[str, str | None], tuple[int, tuple[str, str, str]]] = {}
    for entry in session.execute(entries, execution_options={"yield_per": 1000}):
        identity = (entry.tenant_id, entry.record_id)
        if entry.action == "case-undo":
            recorded.pop(identity, None)
            continue
        details = json.loads(entry.details)
        recorded[identity] = entry.sequence, (details["decision"], details["reason"], details["clerk"])
    decided = select(
        CaseRow.tenant_id, CaseRow.verification_id, CaseRow.decision, CaseRow.reason, CaseRow.decided_by
    ).where(CaseRow.decision.is_not(None))
    for row in session.execute(decided, execution_options={"yield_per": 1000}):
        sequence, content = recorded.pop((row.tenant_id, row.verification_id), (None, None))
        if content is None:
            yield Fault(row.tenant_id, None, f"the decision on case {row.verification_id} has no audit entry")
        elif content != (row.decision, row.reason, row.decided_by):
            yield Fault(row.tenant_id, sequence, f"the decision on case {row.verification_id} was changed")
    for (tenant_id, case_id), (sequence, _) in recorded.items():
        yield Fault(tenant_id, sequence, f"the decision on case {case_id} was deleted")
