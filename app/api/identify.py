"""``POST /identify``: ranking of the enrolled signers by their distance to a questioned signature."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form

from app.api.dependencies import (
    COMMON_PROBLEMS,
    UPLOAD_PROBLEMS,
    PageField,
    RegionField,
    RunningContext,
    SignatureFile,
    read_upload,
)
from app.api.schemas import IdentificationOut, SignerId
from app.http.authorization import Verifying
from app.http.bodies import ImageRoute
from app.http.problems import documented
from app.services.identify import identify

router = APIRouter(tags=["verification"], route_class=ImageRoute)


@router.post(
    "/identify",
    summary="Find the closest signers",
    response_model=IdentificationOut,
    responses=documented(
        *COMMON_PROBLEMS, *UPLOAD_PROBLEMS, "signer-not-found", "nobody-enrolled", "signer-erased"
    ),
)
async def post_identify(
    context: RunningContext,
    caller: Verifying,
    signature: SignatureFile,
    top_k: Annotated[int, Form(ge=1, le=100, description="Maximum number of candidates.")] = 5,
    signer_ids: Annotated[
        list[SignerId] | None,
        Form(
            max_length=500,
            description="Compare with these signers only; repeat the field for each. Omit it for all signers.",
        ),
    ] = None,
    page: PageField = 0,
    region: RegionField = "auto",
) -> IdentificationOut:
    """Find the enrolled signers closest to a questioned signature, closest first.

    `accepted` states whether the signature is within the threshold of the closest signer. No verification is stored;
    the audit records the result. Requires the scope `verify`.

    ```sh
    curl -F signature=@demo/writer-001/genuine/04.png -F top_k=3 http://127.0.0.1:8000/identify
    ```
    """
    upload = await read_upload(signature, "signature", page=page, region=region)
    return IdentificationOut.of(await identify(context, caller.tenant_id, upload, top_k, signer_ids))
