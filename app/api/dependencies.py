"""What the routers share: the core of the running service, uploaded files, and the errors that go with them."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import Depends, File, Form, Header, Query, Request, Response, UploadFile

from app.domain.errors import NotReady
from app.domain.records import ReferenceImage, Upload
from app.services.core import Core

ALWAYS = (
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
ON_FILES = (
    "empty-upload",
    "damaged-image",
    "no-such-page",
    "upload-too-large",
    "too-many-pixels",
    "too-expensive",
    "request-too-large",
    "not-an-image",
    "unsupported-image",
    "blank-image",
    "too-little-ink",
    "only-a-line",
    "too-much-ink",
    "image-too-small",
    "upload-timeout",
    "busy",
)


async def core_of(request: Request) -> Core:
    """The running service's core; raises NotReady while it starts or stops."""
    core = getattr(request.app.state, "core", None)
    if core is None:
        raise NotReady("The service is starting or shutting down; try again in a moment.")
    return cast("Core", core)


Running = Annotated[Core, Depends(core_of)]
SignatureFile = Annotated[
    UploadFile, File(description="The questioned signature: PNG, JPEG, TIFF, BMP or WebP.")
]
PageField = Annotated[
    int, Form(ge=0, le=9999, description="Page of a multi-page TIFF, counted from 0.", examples=[0])
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Yours, for one request: repeating it with the same key gives the first answer again.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=500, description="Most items on a page.")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=1024,
        json_schema_extra={"format": "cursor"},
        description="`next_cursor` of the page before; none for the first page.",
    ),
]


IMAGE_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The image as it was uploaded.",
        "content": {
            kind: {} for kind in ("image/png", "image/jpeg", "image/tiff", "image/bmp", "image/webp")
        },
    }
}


def as_uploaded(image: ReferenceImage) -> Response:
    """An image as it was uploaded, for saving and not for showing in the service's own name."""
    headers = {"Content-Disposition": "attachment", "Content-Security-Policy": "default-src 'none'; sandbox"}
    return Response(image.data, media_type=image.media_type, headers=headers)


async def received(file: UploadFile, field: str, position: int = 1, page: int = 0) -> Upload:
    """The bytes of an uploaded file, with where in the request it stood."""
    return Upload(await file.read(), file.filename or None, field, position, page)
