"""``POST /verify``: verification of a questioned signature against an enrolled signer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form

from app.api.dependencies import (
    COMMON_PROBLEMS,
    UPLOAD_PROBLEMS,
    IdempotencyKey,
    PageField,
    RegionField,
    RunningCore,
    SignatureFile,
    read_upload,
)
from app.api.schemas import SignerId, VerificationOut
from app.http.authorization import Verifying
from app.http.bodies import ImageRoute
from app.http.problems import documented
from app.services.idempotency import make_idempotent_request
from app.services.verify import verify

router = APIRouter(tags=["verification"], route_class=ImageRoute)


@router.post(
    "/verify",
    summary="Verify a questioned signature",
    response_model=VerificationOut,
    responses=documented(
        *COMMON_PROBLEMS,
        *UPLOAD_PROBLEMS,
        "signer-not-found",
        "too-few-references",
        "model-version-mismatch",
        "signer-erased",
        "idempotency-conflict",
    ),
)
async def post_verify(
    core: RunningCore,
    caller: Verifying,
    signature: SignatureFile,
    signer_id: Annotated[
        SignerId, Form(description="Signer whose signature it is claimed to be.", examples=["writer-001"])
    ],
    page: PageField = 0,
    region: RegionField = "auto",
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Compare a questioned signature with all references of a signer, decide, and store the verdict.

    The decision is `accept` when `distance <= threshold`. The threshold is the one at which the share `target_far` of
    skilled forgeries was accepted in the calibration data, raised by the spread of the signer's references; a
    `fixed_threshold` replaces it. Requires the scope `verify`.

    ```sh
    curl -F signer_id=writer-001 -F signature=@demo/writer-001/genuine/04.png http://127.0.0.1:8000/verify
    ```
    """
    upload = await read_upload(signature, "signature", page=page, region=region)
    request = await make_idempotent_request(caller.tenant_id, idempotency_key, "verify", signer_id, [upload])
    return await verify(
        core,
        caller.tenant_id,
        signer_id,
        upload,
        lambda v: VerificationOut.of(v).model_dump(mode="json"),
        request,
    )
