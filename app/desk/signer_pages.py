"""The pages of signers: list and search, references, proposals, known forgeries, erasure."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from app.api.cursors import Listing
from app.api.dependencies import Integer, RunningContext
from app.api.schemas import RecordId, SignerPath
from app.desk.forms import PAGE, CursorText, FormSession, segment
from app.desk.pages import redirect, render
from app.domain.caller_ids import MAX_LENGTH
from app.domain.errors import MalformedRequest, ModelVersionMismatch
from app.domain.validation import PRINTABLE_PATTERN
from app.http.authorization import Administering, Enrolling, Reading
from app.services import outcomes, proposals, records
from app.services.context import AppContext
from app.services.reference_quality import SignerQuality, describe_quality
from app.services.signature_pictures import get_questioned_picture, get_reference_picture

router = APIRouter(prefix="/desk", include_in_schema=False)
RECENT = 10
"""Number of verifications, proposals and known forgeries of the signer that are shown."""
REFERENCES = 100
"""Number of references that are shown."""


@router.get("/signers")
async def get_signers(
    request: Request,
    context: RunningContext,
    caller: Reading,
    search: Annotated[str, Query(max_length=MAX_LENGTH, pattern=PRINTABLE_PATTERN)] = "",
    cursor: CursorText = None,
) -> Response:
    """List the signers, or those whose id contains a text."""
    wanted = search.strip()
    listing = Listing("signers", wanted or None)
    page = await records.list_signers(
        context.store, caller.tenant_id, PAGE, listing.decode(cursor), wanted or None
    )
    next_cursor = listing.encode(page.next_after)
    return render(request, "signers.html", listed=page.items, search=wanted, next_cursor=next_cursor)


@router.get("/signers/{signer_id}")
async def get_signer(
    request: Request,
    context: RunningContext,
    caller: Reading,
    signer_id: SignerPath,
    enrolled: Annotated[Integer, Query(ge=0, le=1000)] = 0,
) -> Response:
    """Show a signer with what is known of the references."""
    tenant_id = caller.tenant_id
    signer = await records.get_signer(context.store, tenant_id, signer_id)
    references = await records.list_references(context.store, tenant_id, signer_id, REFERENCES, None)
    proposed = await proposals.list_proposals(context.store, tenant_id, signer_id, RECENT, None)
    forgeries = await outcomes.list_forgeries(
        context.store, context.model_version, tenant_id, signer_id, RECENT, None
    )
    recent = await records.list_verifications(context.store, tenant_id, signer_id, RECENT, None)
    return render(
        request,
        "signer.html",
        signer=signer,
        references=references.items,
        quality=await _quality(context, tenant_id, signer_id),
        proposals=proposed.items,
        forgeries=forgeries.items,
        recent=recent.items,
        enrolled=enrolled,
    )


async def _quality(context: AppContext, tenant_id: str, signer_id: str) -> SignerQuality | None:
    """Describe the references; None when they wait for templates of the model in use."""
    try:
        return await describe_quality(context, tenant_id, signer_id)
    except ModelVersionMismatch:
        return None


@router.get("/signers/{signer_id}/references/{reference_id}.png")
async def get_reference(
    context: RunningContext, caller: Reading, signer_id: SignerPath, reference_id: RecordId
) -> Response:
    """Show a reference, alone on white paper."""
    picture = await get_reference_picture(context, caller.tenant_id, signer_id, reference_id)
    return Response(picture.image, media_type="image/png")


@router.get("/verifications/{verification_id}.png")
async def get_questioned(context: RunningContext, caller: Reading, verification_id: RecordId) -> Response:
    """Show a questioned signature, alone on white paper."""
    picture = await get_questioned_picture(context, caller.tenant_id, verification_id)
    return Response(picture.image, media_type="image/png")


@router.post("/signers/{signer_id}/erase")
async def post_erase(
    request: Request,
    context: RunningContext,
    caller: Enrolling,
    _: FormSession,
    signer_id: SignerPath,
    typed: Annotated[str, Form(max_length=4 * MAX_LENGTH)] = "",
) -> Response:
    """Erase a signer whose id was typed in, and lead to the list."""
    if typed.strip() != signer_id:
        raise MalformedRequest("The id that was typed is not that of the signer; nothing was erased.")
    await records.erase_signer(context, caller.tenant_id, signer_id)
    return redirect(request, "/signers")


@router.post("/signers/{signer_id}/references/{reference_id}/erase")
async def post_erase_reference(
    request: Request,
    context: RunningContext,
    caller: Enrolling,
    _: FormSession,
    signer_id: SignerPath,
    reference_id: RecordId,
) -> Response:
    """Erase a reference and lead back to its signer."""
    await records.erase_reference(context, caller.tenant_id, signer_id, reference_id)
    return _to_signer(request, signer_id)


@router.post("/signers/{signer_id}/proposals/{verification_id}/accept")
async def post_accept_proposal(
    request: Request,
    context: RunningContext,
    caller: Enrolling,
    _: FormSession,
    signer_id: SignerPath,
    verification_id: RecordId,
) -> Response:
    """Make a proposed signature a reference and lead back to its signer."""
    await proposals.accept_proposal(context, caller.tenant_id, verification_id, lambda _: {})
    return _to_signer(request, signer_id, "?enrolled=1")


@router.post("/signers/{signer_id}/proposals/{verification_id}/decline")
async def post_decline_proposal(
    request: Request,
    context: RunningContext,
    caller: Enrolling,
    _: FormSession,
    signer_id: SignerPath,
    verification_id: RecordId,
) -> Response:
    """Decline a proposed signature and lead back to its signer."""
    await proposals.decline_proposal(context, caller.tenant_id, signer_id, verification_id)
    return _to_signer(request, signer_id)


@router.post("/signers/{signer_id}/forgeries/{verification_id}/withdraw")
async def post_withdraw_forgery(
    request: Request,
    context: RunningContext,
    caller: Administering,
    _: FormSession,
    signer_id: SignerPath,
    verification_id: RecordId,
) -> Response:
    """Compare later signatures with a forgery no longer and lead back to its signer."""
    await outcomes.withdraw_forgery(context, caller.tenant_id, signer_id, verification_id)
    return _to_signer(request, signer_id)


def _to_signer(request: Request, signer_id: str, query: str = "") -> Response:
    return redirect(request, f"/signers/{segment(signer_id)}{query}")
