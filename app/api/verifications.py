"""The record: verifications that were made, and what the cases turned out to be."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from app.api.dependencies import ALWAYS, IMAGE_RESPONSE, Cursor, Limit, Running, as_uploaded
from app.api.schemas import OutcomeIn, SignerId, VerificationRecord, VerificationsPage, after_of, cursor_of
from app.http.authorization import Reading, Verifying
from app.http.problems import documented
from app.services import records

router = APIRouter(prefix="/verifications", tags=["record"])
VerificationPath = Annotated[str, Path(max_length=64, description="As returned by `/verify`.")]


@router.get(
    "",
    summary="List verifications",
    response_model=VerificationsPage,
    responses=documented(*ALWAYS, "invalid-cursor"),
)
async def list_verifications(
    core: Running,
    caller: Reading,
    signer_id: Annotated[SignerId | None, Query(description="Only of this signer.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> VerificationsPage:
    """Verifications on record, newest first, of one signer or of all.

    ```sh
    curl 'http://127.0.0.1:8000/verifications?signer_id=writer-001'
    ```
    """
    page = await records.list_verifications(core, caller.tenant_id, signer_id, limit, after_of(cursor))
    return VerificationsPage(
        verifications=[VerificationRecord.of(v) for v in page.items], next_cursor=cursor_of(page.next_after)
    )


@router.get(
    "/{verification_id}",
    summary="Show a verification",
    response_model=VerificationRecord,
    responses=documented(*ALWAYS, "verification-not-found"),
)
async def get_verification(
    core: Running, caller: Reading, verification_id: VerificationPath
) -> VerificationRecord:
    """A verification with all it rested on: distances, thresholds, policy, calibration and model version.

    ```sh
    curl http://127.0.0.1:8000/verifications/VERIFICATION_ID
    ```
    """
    return VerificationRecord.of(await records.get_verification(core, caller.tenant_id, verification_id))


@router.get(
    "/{verification_id}/image",
    summary="Fetch a questioned signature's image",
    response_class=Response,
    responses={**IMAGE_RESPONSE, **documented(*ALWAYS, "verification-not-found", "image-not-kept")},
)
async def get_questioned_image(core: Running, caller: Reading, verification_id: VerificationPath) -> Response:
    """The bytes of a questioned signature, as they were uploaded, where and as long as the service keeps them.

    ```sh
    curl -o questioned.png http://127.0.0.1:8000/verifications/VERIFICATION_ID/image
    ```
    """
    return as_uploaded(await records.get_questioned_image(core, caller.tenant_id, verification_id))


@router.put(
    "/{verification_id}/outcome",
    summary="Record an outcome",
    response_model=VerificationRecord,
    responses=documented(*ALWAYS, "verification-not-found"),
)
async def put_outcome(
    core: Running, caller: Verifying, verification_id: VerificationPath, outcome: OutcomeIn
) -> VerificationRecord:
    r"""Record what the case turned out to be; a later outcome replaces an earlier one.

    ```sh
    curl -X PUT -H 'Content-Type: application/json' -d '{"outcome": "genuine"}' \
         http://127.0.0.1:8000/verifications/VERIFICATION_ID/outcome
    ```
    """
    recorded = await records.record_outcome(
        core, caller.tenant_id, verification_id, outcome.outcome, outcome.note
    )
    return VerificationRecord.of(recorded)
