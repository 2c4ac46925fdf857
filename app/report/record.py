"""Decisions, outcome and audit entries of a verification, in the words of a report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence

from app.domain.audit_chain import Entry
from app.report import wording
from app.report.document import Block, Bullets, Code, Paragraph, Table
from app.services.report import CaseReport

_ACTIONS = {
    "verify": "verification",
    "outcome": "outcome recorded",
    "case-decision": "decided by a person",
    "case-undo": "decision taken back",
    "forgery-add": "kept as a known forgery",
    "forgery-withdraw": "withdrawn as a known forgery",
}


def describe_decisions(report: CaseReport) -> Iterator[Block]:
    """State what the service and persons decided, and the outcome."""
    verification, case = report.verification, report.case
    finding, basis = verification.finding, verification.basis
    known = basis.get("known_forgeries") or {}
    rows = [
        ("Decision of the service", f"{finding.decision}, on {wording.moment(finding.created_at)}"),
        (
            "By",
            f"distance {wording.number(finding.distance)}; accepted up to {wording.number(finding.threshold)}"
            + (
                ""
                if finding.review_threshold is None
                else f", left to a person up to {wording.number(finding.review_threshold)}"
            ),
        ),
    ]
    if known.get("resembled"):
        rows.append(
            (
                "Known forgery",
                "resembles one; the decision by the distance alone would be "
                + str(known["decision_by_distance"]),
            )
        )
    if case is None:
        rows.append(("Decision of a person", "none: the case was not left to a person"))
    elif case.ruling is None or case.decided_by is None:
        state = "closed by an outcome" if case.state == "closed" else "none yet"
        rows.append(("Decision of a person", state))
    else:
        note = f"; note: {case.ruling.note}" if case.ruling.note else ""
        rows.append(
            (
                "Decision of a person",
                (
                    f"{case.ruling.decision}, reason {case.ruling.reason}, by {case.decided_by.name} on "
                    f"{wording.moment(case.decided_at)}{note}"
                ),
            )
        )
    if verification.outcome is None:
        rows.append(("Outcome", "none recorded"))
    else:
        note = f"; note: {verification.outcome_note}" if verification.outcome_note else ""
        rows.append(
            (
                "Outcome",
                f"{verification.outcome}, recorded on {wording.moment(verification.outcome_at)}{note}",
            )
        )
    yield Table((), tuple(rows), (0.25, 0.75))
    yield Paragraph(
        "The decision of the service follows from the thresholds that its operator has chosen. It is not a "
        "conclusion on the propositions. Decisions and outcomes that were made later had no influence on the "
        "evaluation above."
    )


def describe_audit(report: CaseReport) -> Iterator[Block]:
    """List the audit entries, and how they prove that nothing was changed."""
    entries = report.entries
    if not entries:
        yield Paragraph(
            "The audit has no entry on this verification: it is older than the audit, or its entry was "
            "removed. Nothing proves that the record was not changed.",
            is_strong=True,
        )
        return
    yield Table(
        ("Entry", "Time (UTC)", "Action", "By", "Hash"),
        tuple(
            (
                str(entry.sequence),
                entry.at[:19].replace("T", " "),
                _ACTIONS.get(entry.action, entry.action),
                entry.actor,
                entry.hash,
            )
            for entry in entries
        ),
        (0.08, 0.18, 0.18, 0.16, 0.4),
    )
    yield Paragraph(
        f"This report states the record as of entry {entries[-1].sequence}. To verify that nothing was "
        "changed, run this on the server of the service. It compares the whole chain with the entries "
        "printed here, and the record with its entry; the answer must be that the log is intact:"
    )
    yield Code(_verify_command(entries))
    sealed = all(entry.sealed_with is not None for entry in entries)
    yield Bullets(
        (
            (
                "Proved by it: decision, distance, threshold, likelihood ratio and model of the "
                "verification, and the decisions of persons, are those that were recorded when these entries "
                "were made."
            ),
            (
                "Not in the chain: the distances to single references, the hash of the questioned image, "
                "warnings and notes. Section 6 says whether the distances agree with what is in the chain."
            ),
            "The entries are sealed with a secret key, without which the chain cannot be rebuilt."
            if sealed
            else "Some of these entries are not sealed with a key: whoever can write to the database could "
            "have rebuilt the chain before this report was made. From now on, a kept copy of this report "
            "shows it.",
            (
                "Each reading of this report is in the audit as well (view-report), but is not listed here, "
                "so that the same record always gives the same report."
            ),
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
