"""``POST /verify``: a questioned signature against an enrolled signer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form

from app.api.dependencies import ALWAYS, ON_FILES, IdempotencyKey, PageField, Running, SignatureFile, received
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
        *ALWAYS,
        *ON_FILES,
        "signer-not-found",
        "too-few-references",
        "model-version-mismatch",
        "signer-erased",
        "idempotency-conflict",
    ),
)
async def post_verify(
    core: Running,
    caller: Verifying,
    signature: SignatureFile,
    signer_id: Annotated[
        SignerId, Form(description="Whose signature it claims to be.", examples=["writer-001"])
    ],
    page: PageField = 0,
    idempotency_key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Compare a signature with all references of a signer, decide, and put the verdict on record.

    `distance <= threshold` is `accept`. The threshold is the one at which the share `target_far` of skilled
    forgeries of strangers was accepted, widened by how much this signer's own references vary.

    ```sh
    curl -F signer_id=writer-001 -F signature=@demo/writer-001/genuine/04.png http://127.0.0.1:8000/verify
    ```
    """
    upload = await received(signature, "signature", page=page)
    request = await make_idempotent_request(caller.tenant_id, idempotency_key, "verify", signer_id, [upload])
    return await verify(
        core,
        caller.tenant_id,
        signer_id,
        upload,
        lambda v: VerificationOut.of(v).model_dump(mode="json"),
        request,
    )
