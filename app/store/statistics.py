"""Counts and samples of one tenant for the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app.domain.ids import first_id_at
from app.store.case_tables import CaseRow
from app.store.tables import VerificationRow

MAX_CASES = 10_000
"""Maximum number of decided cases that are read."""


@dataclass(frozen=True)
class DecidedCase:
    """A decision of a clerk on a case, and the seconds that it took (None: unknown)."""

    kind: str
    automatic: str
    decision: str
    seconds: float | None


@dataclass(frozen=True)
class Compared:
    """The values that the rank of a verification is computed from."""

    distance: float
    spread: float
    references: int


def decisions(session: Session, tenant_id: str, begin: datetime, end: datetime) -> dict[str, int]:
    """Count the verifications from `begin` to before `end` by decision."""
    rows = session.execute(
        select(VerificationRow.decision, func.count())
        .where(
            VerificationRow.tenant_id == tenant_id,
            VerificationRow.verification_id >= first_id_at(begin),
            VerificationRow.verification_id < first_id_at(end),
        )
        .group_by(VerificationRow.decision)
    )
    return {str(decision): count for decision, count in rows}


def outcomes(
    session: Session, tenant_id: str, model_version: str, since: datetime
) -> dict[tuple[str, str], int]:
    """Count the verifications by a model whose outcome was recorded since a time, by (outcome, decision)."""
    rows = session.execute(
        select(VerificationRow.outcome, VerificationRow.decision, func.count())
        .where(
            VerificationRow.tenant_id == tenant_id,
            VerificationRow.outcome.is_not(None),
            VerificationRow.outcome_at >= since,
            VerificationRow.model_version == model_version,
        )
        .group_by(VerificationRow.outcome, VerificationRow.decision)
    )
    return {(str(outcome), decision): count for outcome, decision, count in rows}


def decided_cases(session: Session, tenant_id: str, since: datetime) -> list[DecidedCase]:
    """Return the cases that clerks decided since a time, the latest first, at most `MAX_CASES`."""
    rows = session.execute(
        select(CaseRow.kind, VerificationRow.decision.label("automatic"), CaseRow.decision, CaseRow.seconds)
        .join(VerificationRow, VerificationRow.verification_id == CaseRow.verification_id)
        .where(CaseRow.tenant_id == tenant_id, CaseRow.decided_at >= since)
        .order_by(CaseRow.decided_at.desc())
        .limit(MAX_CASES)
    )
    return [DecidedCase(row.kind, row.automatic, str(row.decision), row.seconds) for row in rows]


def latest(session: Session, tenant_id: str, model_version: str, count: int) -> list[Compared]:
    """Return the latest verifications by a model."""
    query = (
        select(VerificationRow.distance, VerificationRow.basis, VerificationRow.reference_distances)
        .where(VerificationRow.tenant_id == tenant_id, VerificationRow.model_version == model_version)
        .order_by(VerificationRow.verification_id.desc())
        .limit(count)
    )
    return _compared(session.execute(query).all())


def _compared(rows: Sequence[Row[Any]]) -> list[Compared]:
    return [
        Compared(
            row.distance,
            row.basis["spread"],
            len(row.basis.get("distinct_references", row.reference_distances)),
        )
        for row in rows
        if "spread" in row.basis
    ]
