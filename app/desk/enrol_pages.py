"""The page that enrols references: files or photos, with boxes that were proposed and corrected by hand."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import StringConstraints

from app.api.dependencies import PageField, RunningContext, read_upload
from app.api.schemas import SignerId
from app.desk.forms import FormSession, segment
from app.desk.pages import redirect, render
from app.domain.caller_ids import MAX_LENGTH
from app.domain.errors import MalformedRequest
from app.domain.records import Upload, parse_region
from app.domain.validation import PRINTABLE_PATTERN
from app.http.authorization import Enrolling, Reading, Verifying
from app.services.enrol import enrol
from app.services.signature_pictures import propose_crops

router = APIRouter(prefix="/desk", include_in_schema=False)
MAX_BOXES = 500
_BOX = re.compile(r"(\d{1,3})(?:\.(\d{1,4}))?:(auto|whole|\d{1,5}(?:,\d{1,5}){3})")
"""Number of the file and of its page, both counted from 0, and the region."""
BoxText = Annotated[str, StringConstraints(max_length=40)]


@router.get("/enrol")
async def get_enrol(
    request: Request,
    _: Reading,
    signer: Annotated[str, Query(max_length=MAX_LENGTH, pattern=PRINTABLE_PATTERN)] = "",
) -> Response:
    """Show the form that enrols references."""
    return render(request, "enrol.html", signer=signer)


@router.post("/enrol/page")
async def post_page(
    context: RunningContext,
    _: Enrolling,
    __: Verifying,
    ___: FormSession,
    file: Annotated[UploadFile, File()],
    page: PageField = 0,
) -> Response:
    """Return a page as a picture, its size in pixels, the boxes of the signatures on it, and the number of pages."""
    proposed = await propose_crops(context, await read_upload(file, "files", page=page, region="whole"))
    return JSONResponse(
        {
            "image": f"data:image/png;base64,{base64.b64encode(proposed.page.image).decode()}",
            "width": proposed.reading.width,
            "height": proposed.reading.height,
            "pages": proposed.reading.pages,
            "boxes": [list(found.box) for found in proposed.reading.signatures],
        }
    )


@router.post("/enrol")
async def post_enrol(
    request: Request,
    context: RunningContext,
    caller: Enrolling,
    _: FormSession,
    signer_id: Annotated[SignerId, Form()],
    files: Annotated[list[UploadFile], File(min_length=1)],
    boxes: Annotated[list[BoxText] | None, Form(max_length=MAX_BOXES)] = None,
) -> Response:
    """Enrol the signatures in the boxes, all of them or none, and lead to the signer."""
    uploads = await _uploads([file for file in files if file.filename or file.size], boxes or [])
    await enrol(context, caller.tenant_id, signer_id, uploads, lambda _: {})
    return redirect(request, f"/signers/{segment(signer_id)}?enrolled={len(uploads)}")


async def _uploads(files: list[UploadFile], boxes: list[str]) -> list[Upload]:
    """Read one upload for each box; for each file whose signature is to be found where there are none.

    Raises
    ------
    MalformedRequest
        A box is not of the form `file.page:left,top,right,bottom`, or there is no such file.
    """
    if not files:
        raise MalformedRequest("No file was chosen; nothing was stored.")
    pairs = []
    for box in boxes or [f"{number}:auto" for number in range(len(files))]:
        found = _BOX.fullmatch(box)
        if found is None or int(found[1]) >= len(files):
            raise MalformedRequest(f"{box!r} is not a box in one of the files.")
        pairs.append((int(found[1]), int(found[2] or 0), found[3]))
    whole = {
        number: await read_upload(files[number], "files", number + 1) for number in {n for n, *_ in pairs}
    }
    try:
        return [
            replace(whole[number], page=page, region=parse_region(region)) for number, page, region in pairs
        ]
    except ValueError as error:
        raise MalformedRequest(
            "The left side of a box has to be left of the right one, and the top above."
        ) from error
