"""``POST /compare``: one-shot verification against references that are sent along."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, UploadFile

from app.api.dependencies import ALWAYS, ON_FILES, Running, SignatureFile, received
from app.api.schemas import VerdictOut, verdict_out
from app.http.authorization import Verifying
from app.http.bodies import ImageRoute
from app.http.problems import documented
from app.services.verify import compare

router = APIRouter(tags=["verification"], route_class=ImageRoute)


@router.post(
    "/compare",
    summary="Compare signatures without enrolling anybody",
    response_model=VerdictOut,
    responses=documented(*ALWAYS, *ON_FILES, "too-many-files"),
)
async def post_compare(
    core: Running,
    _: Verifying,
    references: Annotated[
        list[UploadFile], File(min_length=1, description="Genuine specimens, one or more.")
    ],
    signature: SignatureFile,
) -> VerdictOut:
    r"""The verdict of `/verify` on references that come with the request; nothing is enrolled, nothing is kept.

    The references are numbered from 1 in the answer.

    ```sh
    curl -F references=@demo/writer-001/genuine/01.png -F references=@demo/writer-001/genuine/02.png \
         -F signature=@demo/writer-001/genuine/04.png http://127.0.0.1:8000/compare
    ```
    """
    shown = [await received(file, "references", position) for position, file in enumerate(references, 1)]
    return verdict_out(await compare(core, shown, await received(signature, "signature")))
