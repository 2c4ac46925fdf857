"""The pages of the desk: sign in, queue, case, and the forms that claim, decide and take back."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import JSONResponse

from app.api.cursors import Listing
from app.api.dependencies import RunningContext
from app.api.reports import Format, build_response
from app.api.schemas import RecordId
from app.desk.forms import PAGE, FormSession, Session, authenticator_of, clerk_of
from app.desk.pages import order_of, redirect, render
from app.desk.texts import texts_of
from app.desk.views import Scale, Shown, shown_references
from app.domain.callers import Caller
from app.domain.cases import REASONS, Case, Clerk, Ruling, State
from app.domain.errors import CaseNotFound, Forbidden, MalformedRequest, Unauthenticated, UndoExpired
from app.domain.records import now
from app.domain.validation import CLERK_PATTERN
from app.http.authorization import Reading, Verifying
from app.http.sessions import ClerkSession
from app.services import cases, records
from app.services.case_pictures import get_case_page, get_case_pictures
from app.services.context import AppContext
from app.services.differences import get_difference_layer

router = APIRouter(prefix="/desk", include_in_schema=False)
EARLIER = 5
"""Number of earlier verifications of the signer that are shown."""
_RETURN = re.compile(
    r"/desk(/(cases|signers|accounts)/[^/\\]{1,384}|/(signers|accounts|new-account|enrol|dashboard))?"
)
"""Pages to which the sign-in leads back."""
After = Annotated[str | None, Form(max_length=64)]
Undo = Annotated[str | None, Query(max_length=64, description="A case that was just decided.")]


@router.get("/sign-in")
async def get_sign_in(request: Request, next: Annotated[str, Query(max_length=200)] = "") -> Response:  # noqa: A002
    """Show the form to sign in."""
    return _sign_in_page(request, 200, next, again=_RETURN.fullmatch(next) is not None and next != "/desk")


@router.post("/sign-in")
async def post_sign_in(
    request: Request,
    clerk: Annotated[str, Form(pattern=CLERK_PATTERN)],
    key: Annotated[str, Form(max_length=256)] = "",
    next: Annotated[str, Form(max_length=200)] = "",  # noqa: A002
) -> Response:
    """Begin a session, and lead to the page that was asked for."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise Forbidden("The form was sent by a page of another origin.")
    try:
        session, caller = await authenticator_of(request).sign_in(request.scope, clerk.strip(), key.strip())
    except Unauthenticated:
        return _sign_in_page(request, 401, next, refused="sign-in-refused")
    if not caller.may("read"):
        return _sign_in_page(request, 403, next, refused="sign-in-no-scope")
    request.state.session = session
    # An id in the path was decoded.
    return redirect(request, quote(next.removeprefix("/desk"), safe="/%") if _RETURN.fullmatch(next) else "")


def _sign_in_page(
    request: Request, status: int, target: str, *, refused: str = "", again: bool = False
) -> Response:
    keyless = authenticator_of(request).keyless
    return render(
        request, "sign-in.html", status, target=target, refused=refused, again=again, keyless=keyless
    )


@router.post("/sign-out")
async def post_sign_out(
    request: Request, context: RunningContext, caller: Reading, session: FormSession
) -> Response:
    """Release the claims of the clerk and end the session."""
    if caller.may("verify"):
        await cases.release_all_cases(context, caller.tenant_id, clerk_of(caller, session))
    del request.state.session
    response = redirect(request, "/sign-in")
    authenticator_of(request).sessions.end(session, response)
    return response


@router.get("")
async def get_queue(
    request: Request,
    context: RunningContext,
    caller: Reading,
    session: Session,
    cursor: Annotated[str | None, Query(max_length=1024)] = None,
    undo: Undo = None,
    *,
    decided: bool = False,
    none_free: bool = False,
) -> Response:
    """Show the open cases in the chosen order, or the decided ones, oldest first."""
    state: State = "decided" if decided else "open"
    order = "oldest" if decided else order_of(request)
    listing = Listing("queue", state)  # the order may change between two pages
    page = await cases.list_cases(context.store, caller.tenant_id, state, PAGE, listing.decode(cursor), order)
    return render(
        request,
        "queue.html",
        listed=page.items,
        state=state,
        order=order,
        count=await cases.count_open_cases(context.store, caller.tenant_id),
        next_cursor=listing.encode(page.next_after),
        none_free=none_free,
        now=now(),
        me=clerk_of(caller, session),
        undo=await _undo_offer(context, caller, session, undo),
    )


@router.post("/next")
async def post_next(
    request: Request, context: RunningContext, caller: Verifying, session: FormSession, after: After = None
) -> Response:
    """Claim the next case and lead to it; without one, lead to the queue."""
    return await _to_next(request, context, caller, session, after)


@router.get("/cases/{case_id}")
async def get_case(
    request: Request,
    context: RunningContext,
    caller: Reading,
    session: Session,
    case_id: RecordId,
    undo: Undo = None,
) -> Response:
    """Show a case, and renew the clerk's claim when half of its time is over."""
    clerk = clerk_of(caller, session)
    case = await cases.get_case(context.store, caller.tenant_id, case_id)
    if caller.may("verify") and _is_held(case, clerk) and _is_half_over(context, case):
        await cases.claim_case(context, caller.tenant_id, case_id, clerk)
    pictures = await get_case_pictures(context, caller.tenant_id, case_id)
    case, finding = pictures.case, pictures.case.verification.finding
    earlier = await records.list_verifications(
        context.store, caller.tenant_id, case.verification.signer_id, EARLIER, case_id
    )
    return render(
        request,
        "case.html",
        case=case,
        finding=finding,
        questioned=Shown.of(pictures.questioned),
        references=shown_references(pictures),
        has_map=context.embedder.locates_differences
        and finding.model_version == context.model_version
        and case.is_image_kept,
        more=len(finding.references) - len(pictures.references),
        scale=Scale.of(finding),
        earlier=earlier.items,
        reasons=REASONS,
        claim=case.claim_at(now()),
        is_mine=_is_held(case, clerk),
        undo=await _undo_offer(context, caller, session, undo),
    )


@router.get("/cases/{case_id}/page.png")
async def get_page(context: RunningContext, caller: Reading, case_id: RecordId) -> Response:
    """Show the page with the questioned signature."""
    picture = await get_case_page(context, caller.tenant_id, case_id)
    return Response(picture.image, media_type="image/png")


@router.get("/cases/{case_id}/differences")
async def get_differences(
    request: Request,
    context: RunningContext,
    caller: Reading,
    case_id: RecordId,
    reference: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Return where the questioned signature differs from a reference or from all, for the viewer of a case."""
    picture, maps = await get_difference_layer(context, caller.tenant_id, case_id, reference)
    return JSONResponse({**asdict(Shown.require(picture)), "text": texts_of(request).differences(maps)})


@router.get("/cases/{case_id}/report")
async def get_report(
    request: Request,
    context: RunningContext,
    caller: Reading,
    case_id: RecordId,
    format: Annotated[Format, Query()] = "html",  # noqa: A002 - the name of the parameter
) -> Response:
    """Show the report on the verification of a case, in the language of the page."""
    return await build_response(context, caller.tenant_id, case_id, format, texts_of(request).language)


@router.post("/cases/{case_id}/claim")
async def post_claim(
    request: Request, context: RunningContext, caller: Verifying, session: FormSession, case_id: RecordId
) -> Response:
    """Claim a case."""
    await cases.claim_case(context, caller.tenant_id, case_id, clerk_of(caller, session))
    return redirect(request, f"/cases/{case_id}")


@router.post("/cases/{case_id}/skip")
async def post_skip(
    request: Request, context: RunningContext, caller: Verifying, session: FormSession, case_id: RecordId
) -> Response:
    """Release a case and lead to the next one."""
    await cases.release_case(context, caller.tenant_id, case_id, clerk_of(caller, session))
    return await _to_next(request, context, caller, session, case_id)


@router.post("/cases/{case_id}/decision")
async def post_decision(
    request: Request,
    context: RunningContext,
    caller: Verifying,
    session: FormSession,
    case_id: RecordId,
    ruling: Annotated[str, Form(max_length=64, description="A decision and its reason: `accept:matches`.")],
    note: Annotated[str, Form(max_length=1000)] = "",
    seconds: Annotated[float | None, Form(ge=0, le=86_400, allow_inf_nan=False)] = None,
    *,
    in_place: Annotated[bool, Form(description="The page shows the next case itself.")] = False,
) -> Response:
    """Decide a case and lead to the next one."""
    clerk = clerk_of(caller, session)
    stated = _parse_ruling(ruling, note.strip())
    await cases.decide_case(context, caller.tenant_id, case_id, clerk, stated, seconds)
    if in_place:
        return render(request, "undo.html", undo=await _undo_offer(context, caller, session, case_id))
    return await _to_next(request, context, caller, session, case_id, undo=case_id)


@router.post("/cases/{case_id}/undo")
async def post_undo(
    request: Request, context: RunningContext, caller: Verifying, session: FormSession, case_id: RecordId
) -> Response:
    """Take a decision back and lead to its case."""
    await cases.undo_decision(context, caller.tenant_id, case_id, clerk_of(caller, session))
    return redirect(request, f"/cases/{case_id}")


async def _to_next(
    request: Request,
    context: AppContext,
    caller: Caller,
    session: ClerkSession,
    after: str | None,
    undo: str | None = None,
) -> Response:
    clerk, order = clerk_of(caller, session), order_of(request)
    case = await cases.claim_next_case(context, caller.tenant_id, clerk, after, order)
    query = "" if undo is None else f"?undo={undo}"
    if case is not None:
        return redirect(request, f"/cases/{case.case_id}{query}")
    return redirect(request, query or "?none_free=true")


async def _undo_offer(
    context: AppContext, caller: Caller, session: ClerkSession, case_id: str | None
) -> tuple[Case, int] | None:
    """Return the case whose decision the clerk can take back, and for how many seconds."""
    if case_id is None:
        return None
    try:
        case = await cases.get_case(context.store, caller.tenant_id, case_id)
        case.refuse_undo(clerk_of(caller, session), cases.undo_until(context.settings, case), now())
    except (CaseNotFound, UndoExpired):
        return None
    until = cases.undo_until(context.settings, case)
    return None if until is None else (case, int((until - now()).total_seconds()))


def _is_held(case: Case, clerk: Clerk) -> bool:
    """Whether the clerk may decide the case: it is claimed by the clerk, and by nobody else since."""
    return case.state == "open" and case.is_claimed_by(clerk)


def _is_half_over(context: AppContext, case: Case) -> bool:
    """Whether less than half of the time of the claim is left."""
    claim = case.claim_at(now() + timedelta(seconds=context.settings.case_claim_s / 2))
    return claim is None


def _parse_ruling(text: str, note: str) -> Ruling:
    for decision, reasons in REASONS.items():
        for reason in reasons:
            if text == f"{decision}:{reason}":
                return Ruling(decision, reason, note or None)
    raise MalformedRequest(f"{text!r} is not a decision with its reason.")
