"""Problem details (RFC 9457): the only place where errors are translated to HTTP responses.

`PROBLEMS` lists all problem codes; the OpenAPI document, the page at ``/problems`` and the tests are based on it.
"""

from __future__ import annotations

import html
import http
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.domain.errors import CountersignError, FileRefused, TooManyRequests, Unavailable
from app.domain.request_context import prefix, request_id
from app.domain.validation import describe_fault, without_consequences
from model.errors import ModelError

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


Stored = Literal["nothing", "everything", "unknown"]
"""What a failed request has stored; ``unknown`` means everything or nothing, never a part."""


@dataclass(frozen=True)
class ProblemKind:
    """The properties that all problems with the same code share.

    Attributes
    ----------
    status : int
        HTTP status.
    title : str
    stored : {"nothing", "everything", "unknown"}
    """

    status: int
    title: str
    stored: Stored = "nothing"


PROBLEMS: dict[str, ProblemKind] = {
    # The request
    "malformed-request": ProblemKind(400, "The request is not valid for this endpoint"),
    "invalid-cursor": ProblemKind(400, "The cursor was not issued by this listing"),
    "empty-upload": ProblemKind(400, "A file is empty"),
    "damaged-image": ProblemKind(400, "An image is truncated or corrupt"),
    "no-such-page": ProblemKind(400, "The file has no such page"),
    "too-many-files": ProblemKind(400, "Too many files in one request"),
    "duplicate-signature": ProblemKind(400, "A questioned signature occurs twice in the request"),
    "upload-refused": ProblemKind(400, "A file was not accepted"),
    "unauthenticated": ProblemKind(401, "A valid API key is required"),
    "forbidden": ProblemKind(403, "The API key does not permit this"),
    "cors-refused": ProblemKind(403, "Browsers may not send this request from a page of another origin"),
    "not-found": ProblemKind(404, "There is no such resource"),
    "signer-not-found": ProblemKind(404, "There is no such signer"),
    "reference-not-found": ProblemKind(404, "The signer has no such reference"),
    "verification-not-found": ProblemKind(404, "There is no such verification"),
    "account-not-found": ProblemKind(404, "There is no such account"),
    "account-version-not-found": ProblemKind(404, "The account has no such version"),
    "case-not-found": ProblemKind(404, "There is no such case"),
    "image-not-kept": ProblemKind(404, "The image of this questioned signature is not kept"),
    "method-not-allowed": ProblemKind(405, "This resource does not support the method"),
    "upload-timeout": ProblemKind(408, "The request did not arrive in time"),
    "too-few-references": ProblemKind(409, "The signer has too few references"),
    "several-signatures": ProblemKind(409, "There are several signatures on the image"),
    "nobody-enrolled": ProblemKind(409, "No signers are enrolled"),
    "duplicate-reference": ProblemKind(409, "The image is already a reference of this signer"),
    "too-many-references": ProblemKind(409, "The signer has the maximum number of references"),
    "not-confirmed": ProblemKind(409, "The questioned signature cannot become a reference"),
    "unsupported-rate": ProblemKind(409, "The calibration does not support this error rate or threshold"),
    "model-version-mismatch": ProblemKind(409, "References have no template of the current model"),
    "idempotency-conflict": ProblemKind(409, "The Idempotency-Key was used for another request"),
    "signer-erased": ProblemKind(409, "The signer was erased while the request was processed"),
    "no-difference-map": ProblemKind(409, "The model cannot say where signatures differ"),
    "mandate-not-in-force": ProblemKind(409, "No version of the account applies to this day"),
    "currency-mismatch": ProblemKind(409, "The amount is in another currency"),
    "case-claimed": ProblemKind(409, "Another clerk has claimed the case"),
    "case-not-claimed": ProblemKind(409, "The case has to be claimed before it is decided"),
    "case-decided": ProblemKind(409, "The case was decided or closed already"),
    "undo-expired": ProblemKind(409, "There is no decision that can be taken back"),
    "conflict": ProblemKind(409, "The request conflicts with stored data"),
    "precondition-failed": ProblemKind(412, "The account has changed since it was read"),
    "request-too-large": ProblemKind(413, "The request is too large"),
    "upload-too-large": ProblemKind(413, "A file is too large"),
    "too-many-pixels": ProblemKind(413, "An image has too many pixels"),
    "too-expensive": ProblemKind(413, "Decoding an image takes too much memory or processor time"),
    "unsupported-encoding": ProblemKind(415, "The body of a request must not be compressed"),
    "not-an-image": ProblemKind(415, "A file is not an image"),
    "unsupported-image": ProblemKind(415, "An image format is not supported"),
    # The signature
    "blank-image": ProblemKind(422, "The image is blank"),
    "too-little-ink": ProblemKind(422, "The image contains too little ink for a signature"),
    "only-a-line": ProblemKind(422, "The image contains only a line, no signature"),
    "too-much-ink": ProblemKind(422, "Ink and paper cannot be distinguished"),
    "image-too-small": ProblemKind(422, "The image or the signature is too small"),
    "no-signature": ProblemKind(422, "There is no handwritten signature on the image"),
    "bad-region": ProblemKind(422, "The region is not a usable part of the image"),
    "unusable-signature": ProblemKind(422, "The image contains no usable signature"),
    "precondition-required": ProblemKind(428, "A change needs an If-Match header"),
    # The service
    "too-many-requests": ProblemKind(429, "Too many requests in too short a time"),
    "internal-error": ProblemKind(500, "Internal error", "unknown"),
    "answer-lost": ProblemKind(500, "The request was carried out, but its response was lost", "everything"),
    "outcome-unknown": ProblemKind(500, "It is unknown whether the request was carried out", "unknown"),
    "erasure-not-logged": ProblemKind(
        500, "The data were erased, but the erasure log could not be written", "everything"
    ),
    "stored-data-damaged": ProblemKind(500, "Stored data cannot be decrypted"),
    "busy": ProblemKind(503, "The service is at capacity"),
    "deadline-passed": ProblemKind(503, "The response was not ready in time"),
    "not-ready": ProblemKind(503, "The service is starting or shutting down, or cannot reach its network"),
    "store-unavailable": ProblemKind(503, "The store cannot be reached or written"),
    "data-key-missing": ProblemKind(503, "The encryption key of stored data is not configured"),
    "unavailable": ProblemKind(503, "The service is temporarily unavailable"),
}

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_BY_STATUS = {400: "malformed-request", 404: "not-found", 405: "method-not-allowed", 413: "request-too-large"}


class Problem(BaseModel):
    """Problem details (RFC 9457). Programs should evaluate `code`; `detail` is for people."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(
        description="Address of the explanation of the code.", examples=["/problems#signer-not-found"]
    )
    title: str = Field(examples=["There is no such signer"])
    status: int = Field(examples=[404])
    detail: str = Field(
        description="What is wrong and how to correct it.", examples=["No signer 'alice' is enrolled."]
    )
    code: str = Field(description="Stable identifier.", examples=["signer-not-found"])
    instance: str = Field(description="Identifies the request.", examples=["urn:request:5f2c1e9a0b3d4c6e"])
    regions: list[Annotated[list[int], Field(min_length=4, max_length=4)]] | None = Field(
        default=None,
        description="With `several-signatures`: left, top, right and bottom of each signature, in pixels; send one "
        "as `region`.",
        examples=[[[1040, 520, 1410, 655], [240, 510, 600, 650]]],
    )
    request_id: str = Field(description="Also in X-Request-ID and in the log.", examples=["5f2c1e9a0b3d4c6e"])


def problem(
    code: str,
    detail: str,
    *,
    status: int | None = None,
    headers: dict[str, str] | None = None,
    **more: object,
) -> JSONResponse:
    """Build the response for a problem.

    Parameters
    ----------
    code : str
        A key of `PROBLEMS`.
    detail : str
    status : int, optional
        Replaces the status of the code.
    headers : dict, optional
    **more : object
        Extension members (RFC 9457, section 3.2).
    """
    kind = PROBLEMS[code]
    rid = request_id()
    body = {
        "type": f"{prefix()}/problems#{code}",
        "title": kind.title,
        "status": status or kind.status,
        "detail": detail,
        "code": code,
        "instance": f"urn:request:{rid}",
        "request_id": rid,
        **more,
    }
    return JSONResponse(body, status or kind.status, headers, media_type=MEDIA_TYPE)


def of_error(error: CountersignError | ModelError) -> JSONResponse:
    """Build the response for an error of the service or the model."""
    code = error.code if error.code in PROBLEMS else "internal-error"
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable | TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_s)
    if code == "unauthenticated":
        headers["WWW-Authenticate"] = 'ApiKey realm="countersign", header="X-API-Key"'
    if code == "unsupported-encoding":
        headers["Accept-Encoding"] = "identity"  # RFC 9110, section 15.5.16
    if code == "internal-error":
        _log.error("internal error", exc_info=error)
        return internal()
    if isinstance(error, FileRefused):
        file = {"field": error.field, "position": error.position, "name": error.name}
        more: dict[str, Any] = {"regions": error.regions} if error.regions else {}
        return problem(code, str(error), headers=headers, file=file, **more)
    return problem(code, str(error), headers=headers)


def internal() -> JSONResponse:
    """Build the response for an unexpected error, without its cause, which only the log contains."""
    return problem(
        "internal-error",
        "An unexpected error occurred in the service. If the request writes data, everything or nothing was stored: "
        "repeat it with the same Idempotency-Key, or check what is stored. Include the request id when you report "
        "the error.",
    )


def install(app: FastAPI) -> None:
    """Register the exception handlers, including those for errors of the framework, and the page ``/problems``."""

    async def handle_domain_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, CountersignError | ModelError)  # noqa: S101 - registered for these only  # nosec B101
        return of_error(error)

    async def handle_validation_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it only  # nosec B101
        form = _form_of(request)
        errors = [_describe(item, form) for item in without_consequences(error.errors())]
        detail = "; ".join(f"{item['field']}: {item['message']}" for item in errors)
        return problem("malformed-request", f"{detail}.", errors=errors)

    async def handle_http_exception(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it only  # nosec B101
        # The framework wraps exceptions raised while the body is read; its own message would hide the cause.
        if isinstance(error.__cause__, CountersignError):
            return of_error(error.__cause__)
        code = _BY_STATUS.get(
            error.status_code, "malformed-request" if error.status_code < 500 else "internal-error"
        )
        where = f"{request.method} {request.url.path}"
        detail = {
            "not-found": f"{where} does not exist; /docs lists the endpoints.",
            "method-not-allowed": f"{where} is not supported; /docs lists the methods of each endpoint.",
        }.get(code, f"{str(error.detail).rstrip('.')}.")
        headers = dict(error.headers or {})
        if code == "method-not-allowed":
            headers["Allow"] = ", ".join(sorted(_methods(request)))
        return problem(code, detail, status=error.status_code, headers=headers)

    app.add_exception_handler(CountersignError, handle_domain_error)
    app.add_exception_handler(ModelError, handle_domain_error)
    app.add_exception_handler(RequestValidationError, handle_validation_error)
    app.add_exception_handler(HTTPException, handle_http_exception)
    app.add_api_route("/problems", _page, include_in_schema=False, response_class=HTMLResponse)


def _methods(request: Request) -> set[str]:
    """Return all methods of a path (RFC 9110, section 15.5.6); the framework lists those of one route only."""
    methods = {
        method
        for method in METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    return methods | {"HEAD"} if "GET" in methods else methods


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Build the OpenAPI description of an endpoint's errors: one response per status, one example per code."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in sorted(codes, key=lambda code: PROBLEMS[code].status):
        kind = PROBLEMS[code]
        entry = responses.setdefault(
            kind.status,
            {
                "description": http.HTTPStatus(kind.status).phrase,
                "content": {
                    MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}},
                },
            },
        )
        entry["content"][MEDIA_TYPE]["examples"][code] = {"summary": kind.title, "value": _example(code)}
        if kind.status in {429, 503}:
            entry["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return responses


def _example(code: str) -> dict[str, object]:
    kind = PROBLEMS[code]
    rid = "5f2c1e9a0b3d4c6e8f7a9b0c1d2e3f40"
    return {
        "type": f"/problems#{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": f"{kind.title}; the detail says how to correct it.",
        "code": code,
        "instance": f"urn:request:{rid}",
        "request_id": rid,
    }


def _form_of(request: Request) -> Any:
    """The annotation of the body of an endpoint; None where it has none."""
    field = getattr(request.scope.get("route"), "body_field", None)
    return None if field is None else field.field_info.annotation


def _describe(item: Mapping[str, Any], form: Any) -> dict[str, str]:
    path = [str(part) for part in item["loc"] if part not in {"body", "query", "path", "header"}]
    return {"field": ".".join(path) or "body", "message": describe_fault(item, form)}


async def _page() -> str:
    rows = "\n".join(_row(code, kind) for code, kind in PROBLEMS.items())
    return (
        "<!doctype html><meta charset=utf-8><title>Countersign: problems</title>"
        "<style>body{font:16px/1.5 system-ui;margin:2rem;max-width:60rem}td{padding:.2rem 1rem .2rem 0}</style>"
        "<h1>Problems</h1><p>All error codes of the API, and what the failed request has stored. Unknown means "
        "everything or nothing, never a part. Repeating a request with the same Idempotency-Key is always safe: if "
        "it was carried out before, the earlier answer is returned. DELETE, PATCH and PUT can be repeated without a "
        "key.</p><table><tr><th>Status<th>Code<th>Title<th>Stored</tr>"
        f"{rows}</table>"
    )


def _row(code: str, kind: ProblemKind) -> str:
    return (
        f'<tr id="{html.escape(code)}"><td>{kind.status}</td>'
        f"<td><code>{html.escape(code)}</code></td><td>{html.escape(kind.title)}</td><td>{kind.stored}</td></tr>"
    )
