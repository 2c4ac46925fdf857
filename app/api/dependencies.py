"""Dependencies, parameters and problem codes that several routers share."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, cast

from fastapi import Depends, File, Form, Header, Query, Request, Response, UploadFile
from pydantic import BeforeValidator, StringConstraints

from app.decoding.formats import FORMAT_NAMES, Format
from app.domain.errors import MalformedRequest, NotReady
from app.domain.records import ReferenceImage, Upload, UploadRegion, parse_region
from app.domain.validation import IDEMPOTENCY_KEY_PATTERN, REGION_PATTERN, check_digits
from app.http.bodies import AsArray
from app.services.context import AppContext
from model.errors import BadRegion

COMMON_PROBLEMS = (  # of every endpoint that uses the store
    "malformed-request",
    "unauthenticated",
    "forbidden",
    "too-many-requests",
    "store-unavailable",
    "data-key-missing",
    "stored-data-damaged",
    "not-ready",
    "deadline-passed",
    "internal-error",
    "answer-lost",
    "outcome-unknown",
)
UPLOAD_PROBLEMS = (  # of every endpoint that accepts images
    "empty-upload",
    "damaged-image",
    "no-such-page",
    "upload-too-large",
    "too-many-pixels",
    "too-expensive",
    "request-too-large",
    "unsupported-encoding",
    "not-an-image",
    "unsupported-image",
    "blank-image",
    "too-little-ink",
    "only-a-line",
    "too-much-ink",
    "image-too-small",
    "no-signature",
    "several-signatures",
    "bad-region",
    "upload-timeout",
    "busy",
)


async def running_context(request: Request) -> AppContext:
    """Return the components of the running service. Raises NotReady while the service starts or shuts down."""
    context = getattr(request.app.state, "context", None)
    if context is None:
        raise NotReady("The service is starting or shutting down; try again in a moment.")
    return cast("AppContext", context)


RunningContext = Annotated[AppContext, Depends(running_context)]
SignatureFile = Annotated[UploadFile, File(description=f"Image of the questioned signature: {FORMAT_NAMES}.")]
PageField = Annotated[
    int,
    Form(
        ge=0,
        le=9999,
        description="Page to read from a TIFF or PDF with several pages, counted from 0.",
        examples=[0],
    ),
]
_BOX = AsArray(4, (1040, 520, 1410, 655))
RegionField = Annotated[
    str,
    _BOX,
    Form(
        pattern=REGION_PATTERN,
        description="Where the signature is on the page. `auto`: the service finds it and leaves out print, lines "
        "and stamps. `whole`: all ink of the image is compared. `left,top,right,bottom` in pixels: the signature "
        "within this box. In JSON, the box may also be an array of four numbers, as `/extract` returns it.",
        examples=["auto"],
    ),
]
RegionsField = Annotated[
    list[Annotated[str, _BOX, StringConstraints(pattern=REGION_PATTERN)]] | None,
    Form(
        max_length=100,
        description="Where the signatures are, as in `/verify`: one region for all files, or one for each file, or, "
        "with a single file, one for each signature on its page. `auto` when it is omitted. In JSON, each box may "
        "also be an array of four numbers, as `/extract` returns it.",
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=IDEMPOTENCY_KEY_PATTERN,
        description="Unique value that the client generates for each request. A retry with the same key and the "
        "same content is not carried out again: it returns the first response. The same key with other content is "
        "answered 409 `idempotency-conflict`.",
    ),
]
Integer = Annotated[int, BeforeValidator(check_digits)]
"""A whole number as a parameter of the query; pydantic alone also takes `+5`, ` 5 `, `5.0` and `5_0`."""
Limit = Annotated[Integer, Query(ge=1, le=500, description="Maximum number of items per page.")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=1024,
        json_schema_extra={"format": "cursor"},
        description="`next_cursor` of the previous page; omit it for the first page.",
    ),
]


IMAGE_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The image as it was uploaded.",
        "content": {kind.media_type: {} for kind in Format},
    }
}


def image_response(image: ReferenceImage) -> Response:
    """Return the response with an uploaded image. Its headers prevent browsers from rendering it inline."""
    headers = {"Content-Disposition": "attachment", "Content-Security-Policy": "default-src 'none'; sandbox"}
    return Response(image.data, media_type=image.media_type, headers=headers)


async def read_upload(
    file: UploadFile, field: str, position: int = 1, page: int = 0, region: str = "auto"
) -> Upload:
    """Read an uploaded file into memory, and record its position in the request. Raises MalformedRequest."""
    return Upload(await file.read(), file.filename or None, field, position, page, _region(region))


async def read_uploads(
    files: list[UploadFile], field: str, page: int, regions: list[str] | None
) -> list[Upload]:
    """Read the files of a field: one upload for each file, or for each region of a single file.

    Raises
    ------
    MalformedRequest
        The number of regions fits neither the files nor a single file.
    """
    regions = regions or ["auto"]
    if len(files) == 1:
        first = await read_upload(files[0], field, 1, page, regions[0])
        others = [replace(first, region=_region(region)) for region in regions[1:]]
        return [first, *others]
    if len(regions) not in {1, len(files)}:
        raise MalformedRequest(
            f"There are {len(regions)} values of `region` and {len(files)} files; send one for all files, or one for "
            "each."
        )
    paired = zip(files, regions * len(files) if len(regions) == 1 else regions, strict=True)
    return [
        await read_upload(file, field, position, page, region)
        for position, (file, region) in enumerate(paired, 1)
    ]


def _region(text: str) -> UploadRegion:
    try:
        return parse_region(text)
    except ValueError as error:
        raise BadRegion(
            f"The region is {text!r}; left must be less than right, and top less than bottom."
        ) from error
