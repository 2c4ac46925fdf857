"""Cases in the store: opened with a verification, claimed, decided, closed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, update
from sqlalchemy.orm import Session

from app.domain.amounts import Money
from app.domain.cases import Case, CaseDecision, Claim, Clerk, Kind, Order, Ruling, State
from app.domain.errors import CaseNotFound
from app.domain.records import Page
from app.store import questioned_images, verifications
from app.store.case_tables import CaseRow
from app.store.signer_locks import LockedSigner


def add(
    session: Session, locked: LockedSigner, verification_id: str, kind: Kind, money: Money | None
) -> None:
    """Open the case of a verification, which has been inserted before; `money` is the amount of the document."""
    session.flush()
    session.add(
        CaseRow(
            verification_id=verification_id,
            tenant_id=locked.tenant_id,
            state="open",
            kind=kind,
            amount="" if money is None else f"{money.value:020.4f}",
            currency=None if money is None else money.currency,
        )
    )
    session.flush()


def get(session: Session, tenant_id: str, case_id: str) -> Case:
    """Get one case; raise CaseNotFound."""
    return _one(session, case_id, _rows(tenant_id).where(CaseRow.verification_id == case_id))


def lock(session: Session, tenant_id: str, case_id: str) -> Case:
    """Get one case and lock it until the transaction ends; raise CaseNotFound."""
    query = _rows(tenant_id).where(CaseRow.verification_id == case_id).with_for_update()
    return _one(session, case_id, query)


def lock_next(
    session: Session, tenant_id: str, clerk: Clerk, at: datetime, after: str | None, order: Order = "oldest"
) -> Case | None:
    """Get the first case that the clerk has claimed, or else the first one that nobody has claimed, locked.

    Parameters
    ----------
    at : datetime
        Claims that have expired by then do not count.
    after : str or None
        The search begins after this case and continues at the beginning of the queue; the case itself is left
        out.
    """
    unclaimed = or_(CaseRow.claimed_until.is_(None), CaseRow.claimed_until <= at)
    waiting = _rows(tenant_id).where(CaseRow.state == "open").order_by(*_sorting(order)).limit(1)
    parts = _parts(session, tenant_id, after, order)
    for whose in (_claimed_by(clerk), unclaimed):
        for part in parts:
            # Another process may be about to claim the first one: the next is taken instead of waiting for it.
            query = waiting.where(whose, *part).with_for_update(skip_locked=True)
            if (row := session.scalar(query)) is not None:
                return _read(session, [row])[0]
    return None


def _parts(
    session: Session, tenant_id: str, after: str | None, order: Order
) -> list[list[ColumnElement[bool]]]:
    """Return the conditions of the parts of the queue, in the order in which they are searched."""
    if after is None:
        return [[]]
    behind = _after(session, tenant_id, after, order)
    return [[behind], [~behind, CaseRow.verification_id != after]]


def _sorting(order: Order) -> list[ColumnElement[Any]]:
    oldest: ColumnElement[Any] = CaseRow.verification_id.asc()
    return [oldest] if order == "oldest" else [CaseRow.amount.desc(), oldest]


def _after(session: Session, tenant_id: str, case_id: str, order: Order) -> ColumnElement[bool]:
    """Return the condition of the cases that come after one."""
    older = CaseRow.verification_id > case_id
    if order == "oldest":
        return older
    query = select(CaseRow.amount).where(CaseRow.tenant_id == tenant_id, CaseRow.verification_id == case_id)
    amount = session.scalar(query) or ""
    return or_(CaseRow.amount < amount, and_(CaseRow.amount == amount, older))


def claimed(session: Session, tenant_id: str, clerk: Clerk) -> list[str]:
    """List the ids of the open cases that the clerk has claimed."""
    query = select(CaseRow.verification_id).where(
        CaseRow.tenant_id == tenant_id, CaseRow.state == "open", _claimed_by(clerk)
    )
    return list(session.scalars(query.order_by(CaseRow.verification_id)))


def page(
    session: Session, tenant_id: str, state: State, limit: int, after: str | None, order: Order = "oldest"
) -> Page[Case]:
    """Return one page of the cases in a state, oldest first, or largest amount first and those without one last.

    Parameters
    ----------
    after : str or None
        The last case id of the previous page.
    """
    query = _rows(tenant_id).where(CaseRow.state == state)
    if after is not None:
        query = query.where(_after(session, tenant_id, after, order))
    rows = session.scalars(query.order_by(*_sorting(order)).limit(limit + 1)).all()
    items = _read(session, rows[:limit])
    return Page(items, items[-1].case_id if len(rows) > limit else None)


def count_open(session: Session, tenant_id: str) -> int:
    """Count the open cases of a tenant."""
    query = select(func.count()).where(CaseRow.tenant_id == tenant_id, CaseRow.state == "open")
    return session.scalar(query) or 0


def set_claim(session: Session, case_id: str, claim: Claim | None) -> None:
    """Replace the claim of a locked, open case; None removes it."""
    _update(
        session,
        case_id,
        claimed_by=claim.clerk.name if claim else None,
        claim_key_id=claim.clerk.key_id if claim else None,
        claimed_until=claim.until if claim else None,
    )


def decide(
    session: Session, case_id: str, clerk: Clerk, ruling: Ruling, at: datetime, seconds: float | None
) -> None:
    """Store the decision of the clerk who has claimed a locked, open case."""
    _update(
        session,
        case_id,
        state="decided",
        claimed_until=None,
        decision=ruling.decision,
        reason=ruling.reason,
        note=ruling.note,
        decided_by=clerk.name,
        decided_at=at,
        seconds=seconds,
    )


def reopen(session: Session, case_id: str, claim: Claim) -> None:
    """Delete the decision on a locked case, which the clerk who decided it has claimed again."""
    _update(
        session,
        case_id,
        state="open",
        decision=None,
        reason=None,
        note=None,
        decided_by=None,
        decided_at=None,
        seconds=None,
    )
    set_claim(session, case_id, claim)


def close(session: Session, verification_id: str) -> None:
    """Close the case of a verification whose outcome is known, if there is an open one."""
    session.execute(
        update(CaseRow)
        .where(CaseRow.verification_id == verification_id, CaseRow.state == "open")
        .values(state="closed", claimed_by=None, claim_key_id=None, claimed_until=None)
    )


def _claimed_by(clerk: Clerk) -> ColumnElement[bool]:
    return (CaseRow.claimed_by == clerk.name) & CaseRow.claim_key_id.is_not_distinct_from(clerk.key_id)


def _rows(tenant_id: str) -> Select[Any]:
    # An object of an earlier query in the same session would hide later changes.
    return select(CaseRow).where(CaseRow.tenant_id == tenant_id).execution_options(populate_existing=True)


def _one(session: Session, case_id: str, query: Select[Any]) -> Case:
    row = session.scalar(query)
    if row is None:
        raise CaseNotFound(f"There is no case {case_id!r}.")
    return _read(session, [row])[0]


def _update(session: Session, case_id: str, **values: Any) -> None:
    session.execute(update(CaseRow).where(CaseRow.verification_id == case_id).values(values))


def _read(session: Session, rows: Iterable[CaseRow]) -> tuple[Case, ...]:
    rows = list(rows)
    ids = [row.verification_id for row in rows]
    found = verifications.get_many(session, ids)
    kept = questioned_images.kept(session, ids)
    return tuple(
        Case(
            verification=found[row.verification_id],
            state=cast("State", row.state),
            claim=_claim(row),
            ruling=_ruling(row),
            decided_by=Clerk(row.decided_by, row.claim_key_id) if row.decided_by is not None else None,
            decided_at=row.decided_at,
            is_image_kept=row.verification_id in kept,
            kind=cast("Kind", row.kind),
            amount=Decimal(row.amount) if row.amount else None,
            currency=row.currency,
            seconds=row.seconds,
        )
        for row in rows
    )


def _claim(row: CaseRow) -> Claim | None:
    if row.claimed_by is None or row.claimed_until is None:
        return None
    return Claim(Clerk(row.claimed_by, row.claim_key_id), row.claimed_until)


def _ruling(row: CaseRow) -> Ruling | None:
    if row.decision is None or row.reason is None:
        return None
    return Ruling(cast("CaseDecision", row.decision), row.reason, row.note)
