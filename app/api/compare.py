"""``POST /compare``: verification against references in the same request."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, File, UploadFile

from app.api.dependencies import (
    COMMON_PROBLEMS,
    UPLOAD_PROBLEMS,
    PageField,
    RegionField,
    RunningContext,
    SignatureFile,
    read_upload,
)
from app.api.schemas import VerdictOut, verdict_out
from app.decoding.formats import FORMAT_NAMES
from app.http.authorization import Verifying
from app.http.bodies import ImageRoute
from app.http.problems import documented
from app.services.verify import compare

router = APIRouter(tags=["verification"], route_class=ImageRoute)


@router.post(
    "/compare",
    summary="Compare signatures without enrolment",
    response_model=VerdictOut,
    responses=documented(*COMMON_PROBLEMS, *UPLOAD_PROBLEMS, "too-many-files"),
)
async def post_compare(
    context: RunningContext,
    _: Verifying,
    references: Annotated[
        list[UploadFile],
        File(
            min_length=1,
            description=f"Images of genuine signatures of the signer, one or more: {FORMAT_NAMES}.",
        ),
    ],
    signature: SignatureFile,
    page: PageField = 0,
    region: RegionField = "auto",
) -> VerdictOut:
    r"""Compare a questioned signature with references in the same request, and decide as `/verify` does.

    The images and the verdict are not stored; the audit records the decision. The `reference_id` of each reference
    in the response is its position in the request, counted from 1. `page` and `region` apply to the questioned
    signature; of the references, the first page is read, and the service finds the signature on it. Requires the
    scope `verify`.

    ```sh
    curl -F references=@demo/writer-001/genuine/01.png -F references=@demo/writer-001/genuine/02.png \
         -F signature=@demo/writer-001/genuine/04.png http://127.0.0.1:8000/compare
    ```
    """
    specimens = [
        replace(await read_upload(file, "references", position), takes_region=False)
        for position, file in enumerate(references, 1)
    ]
    questioned = await read_upload(signature, "signature", page=page, region=region)
    return verdict_out(await compare(context, specimens, questioned))
