"""Decisions, outcome and audit entries of a verification, in the words of a report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence

from app.domain.audit_chain import Entry
from app.domain.cases import Case
from app.domain.mandate_form import amount
from app.domain.records import Verification
from app.report.document import Block, Bullets, Code, Paragraph, Table
from app.report.wording import Words
from app.services.report import CaseReport


def describe_decisions(t: Words, report: CaseReport) -> Iterator[Block]:
    """State what the service and persons decided, and the outcome."""
    verification = report.verification
    finding, basis = verification.finding, verification.basis
    thresholds = "decision-thresholds" if finding.review_threshold is None else "decision-thresholds-review"
    rows = [
        (
            t("decision-service"),
            t("decision-on", decision=t(finding.decision), moment=t.moment(finding.created_at)),
        ),
        (
            t("decision-by"),
            t(
                thresholds,
                distance=t.number(finding.distance),
                threshold=t.number(finding.threshold),
                review=t.number(finding.review_threshold or finding.threshold),
            ),
        ),
        (t("decision-threshold"), _choice(t, verification)),
    ]
    if value := verification.document.get("amount"):
        currency = verification.document.get("currency")
        rows.append((t("decision-amount"), t.amount(amount(value), currency)))
    known = basis.get("known_forgeries") or {}
    if known.get("resembled"):
        by_distance = t(str(known["decision_by_distance"]))
        rows.append((t("decision-known-forgery"), t("decision-resembles", decision=by_distance)))
    rows.append((t("decision-person"), _person(t, report.case)))
    outcome = t("outcome-none")
    if verification.outcome is not None:
        outcome = t(
            "outcome-recorded",
            outcome=t(f"outcome-{verification.outcome}"),
            moment=t.moment(verification.outcome_at),
        )
        if verification.outcome_note:
            outcome = t("with-note", text=outcome, note=verification.outcome_note)
    rows.append((t("decision-outcome"), outcome))
    yield Table((), tuple(rows), (0.25, 0.75))
    yield Paragraph(t("decisions-caution"))


def _choice(t: Words, verification: Verification) -> str:
    """Say by what the threshold was chosen."""
    basis = verification.basis
    if basis["fixed_threshold"] is not None:
        return t("threshold-fixed", threshold=t.number(basis["fixed_threshold"]))
    far = t.share(basis["target_far"])
    if band := basis.get("band"):
        return t("threshold-band", far=far, number=band["number"])
    return t("threshold-far", far=far)


def _person(t: Words, case: Case | None) -> str:
    """Say what a person has decided."""
    if case is None:
        return t("person-none")
    if case.ruling is None or case.decided_by is None:
        return t("person-closed" if case.state == "closed" else "person-open")
    decided = t(
        "person-decided",
        decision=t(case.ruling.decision),
        reason=t(f"reason-{case.ruling.reason}"),
        name=case.decided_by.name,
        moment=t.moment(case.decided_at),
    )
    return t("with-note", text=decided, note=case.ruling.note) if case.ruling.note else decided


def describe_audit(t: Words, report: CaseReport) -> Iterator[Block]:
    """List the audit entries, and how they prove that nothing was changed."""
    entries = report.entries
    if not entries:
        yield Paragraph(t("audit-empty"), is_strong=True)
        return
    yield Table(
        tuple(t(f"column-{name}") for name in ("entry", "time", "action", "actor", "hash")),
        tuple(
            (
                str(entry.sequence),
                entry.at[:19].replace("T", " "),
                t.code("action-", entry.action),
                entry.actor,
                entry.hash,
            )
            for entry in entries
        ),
        (0.08, 0.18, 0.18, 0.16, 0.4),
    )
    yield Paragraph(t("audit-command", sequence=entries[-1].sequence))
    yield Code(_verify_command(entries))
    sealed = all(entry.sealed_with is not None for entry in entries)
    yield Bullets(
        (
            t("audit-proved"),
            t("audit-not-proved"),
            t("audit-sealed" if sealed else "audit-unsealed"),
            t("audit-views"),
        )
    )


def _verify_command(entries: Sequence[Entry]) -> str:
    anchors = [
        json.dumps({"tenant_id": entry.tenant_id, "sequence": entry.sequence, "hash": entry.hash})
        for entry in entries
    ]
    quoted = " ".join(shlex.quote(anchor) for anchor in anchors)
    keep = f"printf '%s\\n' {quoted} > report-entries.jsonl"
    return f"{keep}\npython -m app audit verify --anchors report-entries.jsonl"
