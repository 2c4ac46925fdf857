"""``POST /identify``: whose signature is this, among those enrolled?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form

from app.api.dependencies import ALWAYS, ON_FILES, PageField, Running, SignatureFile, received
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
    responses=documented(*ALWAYS, *ON_FILES, "signer-not-found", "nobody-enrolled", "signer-erased"),
)
async def post_identify(
    core: Running,
    caller: Verifying,
    signature: SignatureFile,
    top_k: Annotated[int, Form(ge=1, le=100, description="How many candidates to return.")] = 5,
    signer_ids: Annotated[
        list[SignerId] | None,
        Form(max_length=500, description="Only among these; repeat the field for each."),
    ] = None,
    page: PageField = 0,
) -> IdentificationOut:
    """One-shot classification: the closest signers, best first, and whether the best passes their own threshold.

    ```sh
    curl -F signature=@demo/writer-001/genuine/04.png -F top_k=3 http://127.0.0.1:8000/identify
    ```
    """
    upload = await received(signature, "signature", page=page)
    return IdentificationOut.of(await identify(core, caller.tenant_id, upload, top_k, signer_ids))
