"""``/cases``: the verifications that a clerk has to decide, claimed by one clerk at a time."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query

from app.api.case_schemas import (
    CaseOut,
    CasePicturesOut,
    CasesPage,
    ClerkIn,
    NextCaseIn,
    NextCaseOut,
    RulingIn,
    clerk_of,
)
from app.api.cursors import Listing
from app.api.dependencies import COMMON_PROBLEMS, Cursor, Limit, RunningContext
from app.api.schemas import RecordId
from app.domain.cases import Order, State
from app.http.authorization import Reading, Verifying
from app.http.json_bodies import JsonRoute
from app.http.problems import documented
from app.services import cases
from app.services.case_pictures import get_case_pictures

router = APIRouter(prefix="/cases", tags=["cases"], route_class=JsonRoute)
CasePath = Annotated[
    RecordId, Path(max_length=64, description="Id of the case: the `verification_id` of its verification.")
]
ClerkBody = Annotated[ClerkIn, Body(default_factory=ClerkIn)]
NextCaseBody = Annotated[NextCaseIn, Body(default_factory=NextCaseIn)]
_CLAIM_PROBLEMS = (*COMMON_PROBLEMS, "case-not-found", "case-claimed", "case-decided")


@router.get(
    "",
    summary="List cases",
    response_model=CasesPage,
    responses=documented(*COMMON_PROBLEMS, "invalid-cursor"),
)
async def list_cases(
    context: RunningContext,
    caller: Reading,
    state: Annotated[State, Query(description="Only cases in this state.")] = "open",
    order: Annotated[
        Order, Query(description="Oldest first, or largest amount first and cases without an amount last.")
    ] = "oldest",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> CasesPage:
    """List the cases in a state. Requires the scope `read`.

    A verification with the decision `review` is an open case, and so is one that was drawn for quality control. It is
    decided by a clerk, or closed when an outcome `genuine` or `forged` is recorded for it. Amounts of different
    currencies are compared as numbers.

    ```sh
    curl http://127.0.0.1:8000/cases
    ```
    """
    listing = Listing("cases", state, order)
    page = await cases.list_cases(
        context.store, caller.tenant_id, state, limit, listing.decode(cursor), order
    )
    return CasesPage(
        cases=[CaseOut.of(context, case) for case in page.items],
        next_cursor=listing.encode(page.next_after),
    )


@router.post(
    "/next", summary="Claim the next case", response_model=NextCaseOut, responses=documented(*COMMON_PROBLEMS)
)
async def post_next_case(context: RunningContext, caller: Verifying, body: NextCaseBody) -> NextCaseOut:
    r"""Claim the first open case that no other clerk has claimed, one's own claims first.

    Requires the scope `verify`.

    ```sh
    curl -X POST -H 'Content-Type: application/json' -d '{"clerk": "anna"}' \
         http://127.0.0.1:8000/cases/next
    ```
    """
    clerk = clerk_of(caller, body.clerk)
    case = await cases.claim_next_case(context, caller.tenant_id, clerk, body.after, body.order)
    return NextCaseOut(case=None if case is None else CaseOut.of(context, case))


@router.get(
    "/{case_id}",
    summary="Show a case",
    response_model=CaseOut,
    responses=documented(*COMMON_PROBLEMS, "case-not-found"),
)
async def get_case(context: RunningContext, caller: Reading, case_id: CasePath) -> CaseOut:
    """Return a case with its verification, its claim and its decision. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/cases/VERIFICATION_ID
    ```
    """
    return CaseOut.of(context, await cases.get_case(context.store, caller.tenant_id, case_id))


@router.get(
    "/{case_id}/pictures",
    summary="Show the signatures of a case",
    response_model=CasePicturesOut,
    responses=documented(*COMMON_PROBLEMS, "case-not-found"),
)
async def get_pictures(context: RunningContext, caller: Reading, case_id: CasePath) -> CasePicturesOut:
    """Return the questioned signature and the closest references, each alone on white paper.

    The audit records the access. Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/cases/VERIFICATION_ID/pictures
    ```
    """
    return CasePicturesOut.of(await get_case_pictures(context, caller.tenant_id, case_id))


@router.post(
    "/{case_id}/claim",
    summary="Claim a case",
    response_model=CaseOut,
    responses=documented(*_CLAIM_PROBLEMS),
)
async def post_claim(
    context: RunningContext, caller: Verifying, case_id: CasePath, body: ClerkBody
) -> CaseOut:
    r"""Claim a case, or renew one's claim. Until it expires, nobody else can decide. Requires the scope `verify`.

    ```sh
    curl -X POST -H 'Content-Type: application/json' -d '{"clerk": "anna"}' \
         http://127.0.0.1:8000/cases/VERIFICATION_ID/claim
    ```
    """
    clerk = clerk_of(caller, body.clerk)
    return CaseOut.of(context, await cases.claim_case(context, caller.tenant_id, case_id, clerk))


@router.post(
    "/{case_id}/release",
    summary="Release a case",
    response_model=CaseOut,
    responses=documented(*_CLAIM_PROBLEMS),
)
async def post_release(
    context: RunningContext, caller: Verifying, case_id: CasePath, body: ClerkBody
) -> CaseOut:
    r"""Give up one's claim on a case; without a claim, nothing changes. Requires the scope `verify`.

    ```sh
    curl -X POST -H 'Content-Type: application/json' -d '{"clerk": "anna"}' \
         http://127.0.0.1:8000/cases/VERIFICATION_ID/release
    ```
    """
    clerk = clerk_of(caller, body.clerk)
    return CaseOut.of(context, await cases.release_case(context, caller.tenant_id, case_id, clerk))


@router.post(
    "/{case_id}/decision",
    summary="Decide a case",
    response_model=CaseOut,
    responses=documented(*_CLAIM_PROBLEMS, "case-not-claimed"),
)
async def post_decision(
    context: RunningContext, caller: Verifying, case_id: CasePath, body: RulingIn
) -> CaseOut:
    r"""Decide a case that one has claimed. Requires the scope `verify`.

    The same decision may be sent again; the answer is the same. A decision is no outcome: what the signature turns
    out to be is recorded by `PUT /verifications/{verification_id}/outcome`. In quality control, the decision of the
    service stays as it is, and the audit has both.

    ```sh
    curl -X POST -H 'Content-Type: application/json' \
         -d '{"clerk": "anna", "decision": "reject", "reason": "differs"}' \
         http://127.0.0.1:8000/cases/VERIFICATION_ID/decision
    ```
    """
    clerk = clerk_of(caller, body.clerk)
    decided = await cases.decide_case(context, caller.tenant_id, case_id, clerk, body.ruling, body.seconds)
    return CaseOut.of(context, decided)


@router.post(
    "/{case_id}/undo",
    summary="Take a decision back",
    response_model=CaseOut,
    responses=documented(*COMMON_PROBLEMS, "case-not-found", "undo-expired"),
)
async def post_undo(
    context: RunningContext, caller: Verifying, case_id: CasePath, body: ClerkBody
) -> CaseOut:
    r"""Take one's own decision back, until `undo_until`; the case is claimed again. Requires the scope `verify`.

    ```sh
    curl -X POST -H 'Content-Type: application/json' -d '{"clerk": "anna"}' \
         http://127.0.0.1:8000/cases/VERIFICATION_ID/undo
    ```
    """
    clerk = clerk_of(caller, body.clerk)
    return CaseOut.of(context, await cases.undo_decision(context, caller.tenant_id, case_id, clerk))
