"""``/verifications``: stored verifications and the outcomes of their cases."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from app.api.cursors import Listing
from app.api.dependencies import (
    COMMON_PROBLEMS,
    IMAGE_RESPONSE,
    Cursor,
    Limit,
    RunningContext,
    image_response,
)
from app.api.schemas import (
    OutcomeIn,
    RecordId,
    SignerId,
    VerificationRecord,
    VerificationsPage,
)
from app.api.verification_parameters import Wanted
from app.http.authorization import Reading, Verifying
from app.http.json_bodies import JsonRoute
from app.http.problems import documented
from app.services import outcomes, records

router = APIRouter(prefix="/verifications", tags=["record"], route_class=JsonRoute)
VerificationPath = Annotated[
    RecordId, Path(max_length=64, description="`verification_id` returned by `/verify`.")
]


@router.get(
    "",
    summary="List verifications",
    response_model=VerificationsPage,
    responses=documented(*COMMON_PROBLEMS, "invalid-cursor"),
)
async def list_verifications(
    context: RunningContext,
    caller: Reading,
    wanted: Wanted,
    signer_id: Annotated[SignerId | None, Query(description="Only verifications of this signer.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> VerificationsPage:
    """List stored verifications, newest first: all, or those that fit all of the parameters.

    A cursor belongs to the parameters of its page; only `limit` may change. Requires the scope `read`.

    ```sh
    curl 'http://127.0.0.1:8000/verifications?decision=reject&created_from=2026-01-15T00:00:00Z'
    ```
    """
    listing = Listing("verifications", signer_id, wanted)
    page = await records.list_verifications(
        context.store, caller.tenant_id, signer_id, limit, listing.decode(cursor), wanted
    )
    return VerificationsPage(
        verifications=[VerificationRecord.of(v) for v in page.items],
        next_cursor=listing.encode(page.next_after),
    )


@router.get(
    "/{verification_id}",
    summary="Show a verification",
    response_model=VerificationRecord,
    responses=documented(*COMMON_PROBLEMS, "verification-not-found"),
)
async def get_verification(
    context: RunningContext, caller: Reading, verification_id: VerificationPath
) -> VerificationRecord:
    """Return a verification with the inputs of its decision: distances, thresholds, policy, calibration and model.

    Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/verifications/VERIFICATION_ID
    ```
    """
    return VerificationRecord.of(
        await records.get_verification(context.store, caller.tenant_id, verification_id)
    )


@router.get(
    "/{verification_id}/image",
    summary="Fetch a questioned signature's image",
    response_class=Response,
    responses={**IMAGE_RESPONSE, **documented(*COMMON_PROBLEMS, "verification-not-found", "image-not-kept")},
)
async def get_questioned_image(
    context: RunningContext, caller: Reading, verification_id: VerificationPath
) -> Response:
    """Return the image of a questioned signature as it was uploaded. The audit records the access.

    The service keeps these images only if it is configured to, for a limited number of days. Requires the scope
    `read`.

    ```sh
    curl -o questioned.png http://127.0.0.1:8000/verifications/VERIFICATION_ID/image
    ```
    """
    return image_response(await records.get_questioned_image(context, caller.tenant_id, verification_id))


@router.put(
    "/{verification_id}/outcome",
    summary="Record an outcome",
    response_model=VerificationRecord,
    responses=documented(*COMMON_PROBLEMS, "verification-not-found"),
)
async def put_outcome(
    context: RunningContext, caller: Verifying, verification_id: VerificationPath, outcome: OutcomeIn
) -> VerificationRecord:
    r"""Record the outcome of the case; it replaces an earlier outcome. Requires the scope `verify`.

    `forged` makes the signature a known forgery, as far as its template or its image is kept (`known_forgery` of
    the answer): later questioned signatures of the signer are compared with it, and one that resembles it gets the
    warning `resembles-known-forgery` and the decision `review`. A later outcome does not undo this;
    `DELETE /signers/{signer_id}/forgeries/{verification_id}` does.

    ```sh
    curl -X PUT -H 'Content-Type: application/json' -d '{"outcome": "genuine"}' \
         http://127.0.0.1:8000/verifications/VERIFICATION_ID/outcome
    ```
    """
    recorded = await outcomes.record_outcome(
        context, caller.tenant_id, verification_id, outcome.outcome, outcome.note
    )
    return VerificationRecord.of(recorded)
