"""Cases: list, claim, release, decide, and take a decision back. Each change is in the audit trail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.domain.audit_chain import canonical
from app.domain.cases import Case, Claim, Clerk, Order, Ruling, State
from app.domain.errors import MalformedRequest
from app.domain.records import Page, now
from app.services.context import AppContext
from app.settings import Settings
from app.store import cases
from app.store.store import Store

_Choice = Callable[[Session], Case | None]


async def list_cases(
    store: Store, tenant_id: str, state: State, limit: int, after: str | None, order: Order = "oldest"
) -> Page[Case]:
    """List the cases in a state, oldest first, or largest amount first."""
    return await store.read(cases.page, tenant_id, state, limit, after, order)


async def count_open_cases(store: Store, tenant_id: str) -> int:
    """Count the open cases."""
    return await store.read(cases.count_open, tenant_id)


async def get_case(store: Store, tenant_id: str, case_id: str) -> Case:
    """Get one case; raise CaseNotFound."""
    return await store.read(cases.get, tenant_id, case_id)


async def claim_case(context: AppContext, tenant_id: str, case_id: str, clerk: Clerk) -> Case:
    """Claim a case, or renew the claim; raise CaseNotFound, CaseDecided or CaseClaimed."""

    def choose(session: Session) -> Case:
        case = cases.lock(session, tenant_id, case_id)
        case.refuse_claim(clerk, now())
        return case

    claimed = await _claim(context, tenant_id, clerk, choose)
    assert claimed is not None  # noqa: S101 # nosec B101 - `choose` found it
    return claimed


async def claim_next_case(
    context: AppContext, tenant_id: str, clerk: Clerk, after: str | None = None, order: Order = "oldest"
) -> Case | None:
    """Claim the first case that no other clerk has claimed; the clerk's own claims come first.

    Parameters
    ----------
    after : str, optional
        A case that the clerk works on, or leaves for later: the next one after it is claimed.
    """
    return await _claim(
        context,
        tenant_id,
        clerk,
        lambda session: cases.lock_next(session, tenant_id, clerk, now(), after, order),
    )


async def _claim(context: AppContext, tenant_id: str, clerk: Clerk, choose: _Choice) -> Case | None:
    """Claim the case that `choose` returns locked. A renewed claim has no second entry in the audit trail."""
    entry = context.trail.entry("case-claim", clerk=clerk.name)

    def write(session: Session) -> Case | None:
        case = choose(session)
        if case is None:
            return None
        cases.set_claim(session, case.case_id, _new_claim(context.settings, clerk))
        if not case.is_claimed_by(clerk):
            context.trail.append(session, replace(entry, record_id=case.case_id))
        return cases.get(session, tenant_id, case.case_id)

    return await context.store.write(write)


async def release_case(context: AppContext, tenant_id: str, case_id: str, clerk: Clerk) -> Case:
    """Give up the claim on a case; raise CaseNotFound, CaseDecided or CaseClaimed."""
    entry = context.trail.entry("case-release", record_id=case_id, clerk=clerk.name)

    def write(session: Session) -> Case:
        case = cases.lock(session, tenant_id, case_id)
        case.refuse_claim(clerk, now())
        if not case.is_claimed_by(clerk):
            return case
        cases.set_claim(session, case_id, None)
        context.trail.append(session, entry)
        return cases.get(session, tenant_id, case_id)

    return await context.store.write(write)


async def release_all_cases(context: AppContext, tenant_id: str, clerk: Clerk) -> int:
    """Give up all claims of a clerk; return their number."""
    entry = context.trail.entry("case-release", clerk=clerk.name)

    def write(session: Session) -> int:
        claimed = [
            cases.lock(session, tenant_id, case_id) for case_id in cases.claimed(session, tenant_id, clerk)
        ]
        mine = [case for case in claimed if case.is_claimed_by(clerk)]
        for case in mine:
            cases.set_claim(session, case.case_id, None)
        for case in mine:
            context.trail.append(session, replace(entry, record_id=case.case_id))
        return len(mine)

    return await context.store.write(write)


async def decide_case(
    context: AppContext,
    tenant_id: str,
    case_id: str,
    clerk: Clerk,
    ruling: Ruling,
    seconds: float | None = None,
) -> Case:
    """Decide a case that the clerk has claimed. The same decision of the same clerk may be repeated.

    In quality control, the decision is stored in addition to that of the service and does not change it.

    Parameters
    ----------
    seconds : float, optional
        For how long the clerk looked at the case.

    Raises
    ------
    CaseNotFound, CaseDecided, CaseClaimed, CaseNotClaimed
    MalformedRequest
        The reason is ``other`` without a note.
    """
    if ruling.reason == "other" and not (ruling.note or "").strip():
        raise MalformedRequest("The reason `other` needs an explanation; send a `note`.")
    details: dict[str, Any] = {"clerk": clerk.name, "decision": ruling.decision, "reason": ruling.reason}
    entry = context.trail.entry("case-decision", record_id=case_id, **details)

    def write(session: Session) -> Case:
        case = cases.lock(session, tenant_id, case_id)
        if case.ruling == ruling and case.decided_by == clerk:
            return case
        time = now()
        case.refuse_decision(clerk, time)
        cases.decide(session, case_id, clerk, ruling, time, seconds)
        recorded = entry
        if case.kind == "quality-control":
            automatic = case.verification.finding.decision
            recorded = replace(entry, details=canonical(details | {"automatic_decision": automatic}))
        context.trail.append(session, recorded)
        return cases.get(session, tenant_id, case_id)

    return await context.store.write(write)


async def undo_decision(context: AppContext, tenant_id: str, case_id: str, clerk: Clerk) -> Case:
    """Take back the clerk's own decision within `case_undo_s`; the clerk holds the claim again.

    Raises
    ------
    CaseNotFound, UndoExpired
    """
    entry = context.trail.entry("case-undo", record_id=case_id, clerk=clerk.name)

    def write(session: Session) -> Case:
        case = cases.lock(session, tenant_id, case_id)
        case.refuse_undo(clerk, undo_until(context.settings, case), now())
        cases.reopen(session, case_id, _new_claim(context.settings, clerk))
        context.trail.append(session, entry)
        return cases.get(session, tenant_id, case_id)

    return await context.store.write(write)


def undo_until(settings: Settings, case: Case) -> datetime | None:
    """Return the time until which the decision can be taken back; None when there is no decision."""
    if case.decided_at is None:
        return None
    return case.decided_at + timedelta(seconds=settings.case_undo_s)


def _new_claim(settings: Settings, clerk: Clerk) -> Claim:
    return Claim(clerk, now() + timedelta(seconds=settings.case_claim_s))
