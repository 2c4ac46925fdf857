"""Stored verifications: insert, read, list, and record the outcome of a closed case."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import ColumnElement, Table, insert, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.domain.errors import VerificationNotFound
from app.domain.ids import first_id_at
from app.domain.records import Finding, OperatingPoint, Page, ReferenceDistance, ResultWarning, Verification
from app.domain.verification_filter import EVERYTHING, VerificationFilter
from app.store.forgery_tables import KnownForgeryRow
from app.store.signer_locks import LockedSigner
from app.store.tables import VerificationRow

BATCH = 500
CLOCK_MARGIN = timedelta(minutes=1)
"""How far the time in an id may be from `created_at`.

Usually it is less than a second. Ids do not go back when the clock is set back.
"""
_ADD = insert(cast("Table", VerificationRow.__table__))


def add(session: Session, locked: LockedSigner, verification: Verification) -> None:
    """Insert a verification of a signer."""
    finding = verification.finding
    session.execute(
        _ADD,
        {
            "verification_id": verification.verification_id,
            "tenant_id": locked.tenant_id,
            "signer_id": locked.signer_id,
            "created_at": finding.created_at,
            "decision": finding.decision,
            "distance": finding.distance,
            "threshold": finding.threshold,
            "review_threshold": finding.review_threshold,
            "log_likelihood_ratio": finding.log_likelihood_ratio,
            "operating_point": asdict(finding.operating_point),
            "reference_distances": [asdict(item) for item in finding.references],
            "warnings": [asdict(note) for note in finding.warnings],
            "model_version": finding.model_version,
            "questioned_sha256": verification.questioned_sha256,
            "basis": verification.basis,
        },
    )


def get(session: Session, tenant_id: str, verification_id: str) -> Verification:
    """Return one verification. Raises VerificationNotFound."""
    row = session.scalar(
        select(VerificationRow).where(
            VerificationRow.tenant_id == tenant_id, VerificationRow.verification_id == verification_id
        )
    )
    if row is None:
        raise VerificationNotFound(f"There is no verification {verification_id!r}.")
    return _verifications(session, [row])[0]


def get_many(session: Session, verification_ids: Collection[str]) -> dict[str, Verification]:
    """Get verifications by id, as far as they exist."""
    found: dict[str, Verification] = {}
    ids = list(verification_ids)
    for start in range(0, len(ids), BATCH):  # databases limit the number of parameters of one statement
        batch = VerificationRow.verification_id.in_(ids[start : start + BATCH])
        rows = session.scalars(select(VerificationRow).where(batch)).all()
        found.update((one.verification_id, one) for one in _verifications(session, rows))
    return found


def page(
    session: Session,
    tenant_id: str,
    signer_id: str | None,
    limit: int,
    after: str | None,
    wanted: VerificationFilter = EVERYTHING,
) -> Page[Verification]:
    """Return one page of verifications, newest first, of one signer or of all signers.

    Each page is a part of a range of one index, in the order of the listing: that of the signer, or else of the
    outcome, or else of the decision. Further ones of these conditions are checked on the rows of the range.

    Parameters
    ----------
    signer_id : str or None
        None for all signers.
    after : str or None
        The last verification id of the previous page.
    """
    query = select(VerificationRow).where(
        VerificationRow.tenant_id == tenant_id,
        *in_interval(VerificationRow.verification_id, VerificationRow.created_at, wanted, after),
    )
    values = (
        (VerificationRow.signer_id, signer_id),
        (VerificationRow.outcome, wanted.outcome),
        (VerificationRow.decision, wanted.decision),
    )
    given = [(column, value) for column, value in values if value is not None]
    for number, (column, value) in enumerate(given):
        # The first one chooses the index. The others are about expressions, which no index has: SQLite would take
        # the index of decisions, of which most are about other signers.
        query = query.where((column if number == 0 else column.concat("")) == value)
    rows = session.scalars(query.order_by(VerificationRow.verification_id.desc()).limit(limit + 1)).all()
    items = tuple(_verifications(session, rows[:limit]))
    return Page(items, items[-1].verification_id if len(rows) > limit else None)


def in_interval(
    identity: InstrumentedAttribute[str],
    created_at: InstrumentedAttribute[datetime],
    wanted: VerificationFilter,
    after: str | None,
) -> list[ColumnElement[bool]]:
    """Return the conditions that rows are in an interval of time and, newest first, come after an id.

    Ids are in the order of time, and the indexes end with them: a range of ids bounds what is read. It has one upper
    end, as SQLite does not choose the best index with two.

    Parameters
    ----------
    identity, created_at : columns
    after : str or None
        The last id of the previous page.
    """
    found: list[ColumnElement[bool]] = []
    ends = [] if after is None else [after]
    if wanted.created_from is not None:
        found += [
            created_at >= wanted.created_from,
            identity >= first_id_at(wanted.created_from, -CLOCK_MARGIN),
        ]
    if wanted.created_before is not None:
        found.append(created_at < wanted.created_before)
        ends.append(first_id_at(wanted.created_before, CLOCK_MARGIN))
    if ends:
        found.append(identity < min(ends))
    return found


def set_outcome(
    session: Session, tenant_id: str, verification_id: str, outcome: str, note: str | None, at: datetime
) -> None:
    """Record the outcome of a closed case, replacing an earlier one.

    Raises
    ------
    VerificationNotFound
    """
    get(session, tenant_id, verification_id)
    session.execute(
        update(VerificationRow)
        .where(VerificationRow.verification_id == verification_id)
        .values(outcome=outcome, outcome_note=note, outcome_at=at)
    )


def _verifications(session: Session, rows: Sequence[VerificationRow]) -> list[Verification]:
    """Convert at most `BATCH` rows."""
    ids = [row.verification_id for row in rows]
    known = set(
        session.scalars(
            select(KnownForgeryRow.verification_id).where(KnownForgeryRow.verification_id.in_(ids))
        )
    )
    return [_verification(row, is_known_forgery=row.verification_id in known) for row in rows]


def _verification(row: VerificationRow, *, is_known_forgery: bool) -> Verification:
    return Verification(
        verification_id=row.verification_id,
        signer_id=row.signer_id,
        finding=Finding(
            decision=row.decision,
            distance=row.distance,
            threshold=row.threshold,
            review_threshold=row.review_threshold,
            log_likelihood_ratio=row.log_likelihood_ratio,
            operating_point=OperatingPoint(**row.operating_point),
            references=tuple(ReferenceDistance(**item) for item in row.reference_distances),
            warnings=tuple(ResultWarning(**note) for note in row.warnings),
            model_version=row.model_version,
            created_at=row.created_at,
            region=row.basis.get("quality", {}).get("region"),
        ),
        questioned_sha256=row.questioned_sha256,
        basis=row.basis,
        outcome=row.outcome,
        outcome_note=row.outcome_note,
        outcome_at=row.outcome_at,
        is_known_forgery=is_known_forgery,
    )
