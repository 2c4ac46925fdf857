"""Stored decisions on documents: written once; only the outcome is recorded later."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import cast

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.domain.accounts import AccountVerification, Document
from app.domain.assignment import Decision
from app.domain.errors import VerificationNotFound
from app.domain.mandate_form import amount_text
from app.domain.records import Page
from app.domain.verification_filter import EVERYTHING, VerificationFilter
from app.store import verifications
from app.store.account_tables import AccountVerificationRow


def add(session: Session, tenant_id: str, verification: AccountVerification) -> None:
    """Insert a decision, after the verifications of its signatures, whose signers are locked."""
    document = verification.document
    session.add(
        AccountVerificationRow(
            account_verification_id=verification.account_verification_id,
            tenant_id=tenant_id,
            account_id=verification.account_id,
            version=verification.version,
            version_id=verification.version_id,
            created_at=verification.created_at,
            signed_on=document.signed_on,
            amount=amount_text(document.amount),
            currency=document.currency,
            decision=verification.decision,
            model_version=verification.model_version,
            basis=verification.basis,
        )
    )
    session.flush()


def get(
    session: Session, tenant_id: str, account_id: str, account_verification_id: str
) -> AccountVerification:
    """Get one decision; raise VerificationNotFound."""
    row = session.scalar(
        select(AccountVerificationRow).where(
            AccountVerificationRow.tenant_id == tenant_id,
            AccountVerificationRow.account_id == account_id,
            AccountVerificationRow.account_verification_id == account_verification_id,
        )
    )
    if row is None:
        raise VerificationNotFound(
            f"There is no verification {account_verification_id!r} of account {account_id!r} on record."
        )
    return _read(session, [row])[0]


def set_outcome(
    session: Session, account_verification_id: str, outcome: str, note: str | None, at: datetime
) -> None:
    """Record the outcome of an existing document; it replaces an earlier outcome."""
    session.execute(
        update(AccountVerificationRow)
        .where(AccountVerificationRow.account_verification_id == account_verification_id)
        .values(outcome=outcome, outcome_note=note, outcome_at=at)
    )


def page(
    session: Session,
    tenant_id: str,
    account_id: str,
    limit: int,
    after: str | None,
    wanted: VerificationFilter = EVERYTHING,
) -> Page[AccountVerification]:
    """List the decisions on documents of an account, newest first."""
    row = AccountVerificationRow
    query = select(row).where(
        row.tenant_id == tenant_id,
        row.account_id == account_id,
        *verifications.in_interval(row.account_verification_id, row.created_at, wanted, after),
    )
    if wanted.decision is not None:
        query = query.where(row.decision == wanted.decision)
    if wanted.outcome is not None:
        query = query.where(row.outcome == wanted.outcome)
    newest_first = query.order_by(AccountVerificationRow.account_verification_id.desc())
    rows = session.scalars(newest_first.limit(limit + 1)).all()
    items = _read(session, rows[:limit])
    return Page(items, items[-1].account_verification_id if len(rows) > limit else None)


def _read(session: Session, rows: Iterable[AccountVerificationRow]) -> tuple[AccountVerification, ...]:
    rows = list(rows)
    of_row = {
        row.account_verification_id: [
            item["verification_id"] for item in row.basis["signatures"] if item["verification_id"]
        ]
        for row in rows
    }
    found = verifications.get_many(session, [one for several in of_row.values() for one in several])
    return tuple(
        AccountVerification(
            account_verification_id=row.account_verification_id,
            account_id=row.account_id,
            version=row.version,
            version_id=row.version_id,
            created_at=row.created_at,
            document=Document(row.signed_on, Decimal(row.amount), row.currency),
            decision=cast("Decision", row.decision),
            model_version=row.model_version,
            basis=row.basis,
            verifications={one: found[one] for one in of_row[row.account_verification_id]},
            outcome=row.outcome,
            outcome_note=row.outcome_note,
            outcome_at=row.outcome_at,
        )
        for row in rows
    )
