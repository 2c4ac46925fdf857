"""``POST /extract``: the handwritten signatures on a page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile

from app.api.dependencies import COMMON_PROBLEMS, UPLOAD_PROBLEMS, PageField, RunningContext, read_upload
from app.api.schemas import ExtractionOut
from app.http.authorization import Verifying
from app.http.bodies import ImageRoute
from app.http.problems import documented
from app.services.extract import extract

router = APIRouter(tags=["verification"], route_class=ImageRoute)


@router.post(
    "/extract",
    summary="Find the signatures on a page",
    response_model=ExtractionOut,
    responses=documented(*COMMON_PROBLEMS, *UPLOAD_PROBLEMS),
)
async def post_extract(
    context: RunningContext,
    _: Verifying,
    document: Annotated[
        UploadFile, File(description="Image of a cheque, a form, a letter or another page with signatures.")
    ],
    page: PageField = 0,
    crops: Annotated[
        bool, Form(description="Whether to return each signature as an image, alone on white paper.")
    ] = False,
) -> ExtractionOut:
    """Find the handwritten signatures on a page, the most prominent one first.

    A `region` of the response can be sent to `/verify`, `/identify` and `/compare`, with references to enrol, and
    with the documents of accounts. A page without a signature has an empty list. Only an audit entry is stored.
    Requires the scope `verify`.

    ```sh
    curl -F document=@cheque.png -F crops=true http://127.0.0.1:8000/extract
    ```
    """
    upload = await read_upload(document, "document", page=page)
    return ExtractionOut.of(await extract(context, upload), crops=crops)
