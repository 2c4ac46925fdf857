"""RFC 9457 problem details: the one place where errors become HTTP responses.

`PROBLEMS` is the table of every error code; the docs page, the page at ``/problems`` and the tests read it.
"""

from __future__ import annotations

import html
import http
import logging
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.domain.errors import CountersignError, FileRefused, TooManyRequests, Unavailable
from app.domain.request_context import prefix, request_id
from model.errors import ModelError

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


Stored = Literal["nothing", "everything", "unknown"]
"""What remains of a request that was answered with a problem. Unknown: everything or nothing, never a part."""


@dataclass(frozen=True)
class ProblemKind:
    """What is the same for all problems of one code."""

    status: int
    title: str
    stored: Stored = "nothing"


PROBLEMS: dict[str, ProblemKind] = {
    # The request
    "malformed-request": ProblemKind(400, "The request is not what this endpoint takes"),
    "invalid-cursor": ProblemKind(400, "The cursor was not handed out by this listing"),
    "empty-upload": ProblemKind(400, "A file is empty"),
    "damaged-image": ProblemKind(400, "An image is truncated or broken"),
    "no-such-page": ProblemKind(400, "The file has no such page"),
    "too-many-files": ProblemKind(400, "Too many files in one request"),
    "duplicate-signature": ProblemKind(400, "A questioned signature occurs twice in the request"),
    "upload-refused": ProblemKind(400, "A file is not taken"),
    "unauthenticated": ProblemKind(401, "A valid API key is needed"),
    "forbidden": ProblemKind(403, "The API key may not do this"),
    "not-found": ProblemKind(404, "Nothing is served under this address"),
    "signer-not-found": ProblemKind(404, "There is no such signer"),
    "reference-not-found": ProblemKind(404, "The signer has no such reference"),
    "verification-not-found": ProblemKind(404, "There is no such verification"),
    "account-not-found": ProblemKind(404, "There is no such account"),
    "account-version-not-found": ProblemKind(404, "The account has no such version"),
    "image-not-kept": ProblemKind(404, "The image of this questioned signature is not kept"),
    "method-not-allowed": ProblemKind(405, "This address does not take this method"),
    "upload-timeout": ProblemKind(408, "The request did not arrive in time"),
    "too-few-references": ProblemKind(409, "The signer has too few references"),
    "several-signatures": ProblemKind(409, "There are several signatures on the image"),
    "nobody-enrolled": ProblemKind(409, "There is nobody to identify among"),
    "duplicate-reference": ProblemKind(409, "The file is a reference of this signer already"),
    "too-many-references": ProblemKind(409, "The signer has as many references as are kept"),
    "unsupported-rate": ProblemKind(409, "The calibration cannot tell such an error rate"),
    "model-version-mismatch": ProblemKind(409, "References have no template of the model in use yet"),
    "idempotency-conflict": ProblemKind(409, "The Idempotency-Key was used for another request"),
    "signer-erased": ProblemKind(409, "The signer was erased while the request was processed"),
    "mandate-not-in-force": ProblemKind(409, "No version of the account applies to this day"),
    "currency-mismatch": ProblemKind(409, "The amount is in another currency than the account"),
    "conflict": ProblemKind(409, "The request is at odds with what is stored"),
    "precondition-failed": ProblemKind(412, "What is stored has changed since it was read"),
    "request-too-large": ProblemKind(413, "The request is too large"),
    "upload-too-large": ProblemKind(413, "A file is too large"),
    "too-many-pixels": ProblemKind(413, "An image has too many pixels"),
    "too-expensive": ProblemKind(413, "An image takes too much memory or processor time to read"),
    "not-an-image": ProblemKind(415, "A file is not an image"),
    "unsupported-image": ProblemKind(415, "A file is of a kind that is not read"),
    # The signature
    "blank-image": ProblemKind(422, "Nothing is written on the image"),
    "too-little-ink": ProblemKind(422, "There is too little ink for a signature"),
    "only-a-line": ProblemKind(422, "There is only a line, no signature"),
    "too-much-ink": ProblemKind(422, "Ink and paper cannot be told apart"),
    "image-too-small": ProblemKind(422, "The image or the writing is too small"),
    "no-signature": ProblemKind(422, "There is no handwritten signature on the image"),
    "bad-region": ProblemKind(422, "The region lies outside the image"),
    "unusable-signature": ProblemKind(422, "The image holds no usable signature"),
    "precondition-required": ProblemKind(428, "A change needs an If-Match header"),
    # The service
    "too-many-requests": ProblemKind(429, "Too many requests in too short a time"),
    "internal-error": ProblemKind(500, "The service failed", "unknown"),
    "answer-lost": ProblemKind(500, "The request was carried out, but not answered in time", "everything"),
    "outcome-unknown": ProblemKind(500, "The request was carried out as a whole, or not at all", "unknown"),
    "erasure-not-logged": ProblemKind(
        500, "It is erased, but the erasure log could not be written", "everything"
    ),
    "stored-data-damaged": ProblemKind(500, "What is stored does not decrypt"),
    "busy": ProblemKind(503, "The service has as much work as it takes on"),
    "deadline-passed": ProblemKind(503, "The answer was not ready in time"),
    "not-ready": ProblemKind(503, "The service is starting or shutting down"),
    "store-unavailable": ProblemKind(503, "The store cannot be reached or written"),
    "data-key-missing": ProblemKind(503, "A key that what is stored needs is not configured"),
    "unavailable": ProblemKind(503, "The service cannot answer now"),
}

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_BY_STATUS = {400: "malformed-request", 404: "not-found", 405: "method-not-allowed", 413: "request-too-large"}


class Problem(BaseModel):
    """What went wrong (RFC 9457); `code` is for programs, `detail` for people."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Where the code is explained.", examples=["/problems#signer-not-found"])
    title: str = Field(examples=["There is no such signer"])
    status: int = Field(examples=[404])
    detail: str = Field(
        description="What was wrong and what to do.", examples=["No signer 'alice' is enrolled."]
    )
    code: str = Field(description="Stable identifier.", examples=["signer-not-found"])
    instance: str = Field(description="The request this is about.", examples=["urn:request:5f2c1e9a0b3d4c6e"])
    request_id: str = Field(description="Also in X-Request-ID and in the log.", examples=["5f2c1e9a0b3d4c6e"])


def problem(
    code: str,
    detail: str,
    *,
    status: int | None = None,
    headers: dict[str, str] | None = None,
    **more: object,
) -> JSONResponse:
    """Build the response for one problem; `more` are members beside the standard ones."""
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
    """Translate an error of the service or the model."""
    code = error.code if error.code in PROBLEMS else "internal-error"
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable | TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_s)
    if code == "unauthenticated":
        headers["WWW-Authenticate"] = 'ApiKey realm="countersign", header="X-API-Key"'
    if code == "internal-error":
        _log.error("internal error", exc_info=error)
        return internal()
    if isinstance(error, FileRefused):
        file = {"field": error.field, "position": error.position, "name": error.name}
        return problem(code, str(error), headers=headers, file=file)
    return problem(code, str(error), headers=headers)


def internal() -> JSONResponse:
    """The answer to anything nobody foresaw; the reason is in the log, not on the wire."""
    return problem(
        "internal-error",
        "The service failed through a fault of its own. A request that writes was carried out as a whole or not at "
        "all: repeat it with the same Idempotency-Key, or look at what is stored. Quote the request id when you "
        "report it.",
    )


def install(app: FastAPI) -> None:
    """Make every error of `app`, the framework's own included, a problem; serve the page that lists them."""

    async def domain(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, CountersignError | ModelError)  # noqa: S101 - registered for these only  # nosec B101
        return of_error(error)

    async def validation(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it only  # nosec B101
        faults = [_fault(item) for item in error.errors()]
        detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
        return problem("malformed-request", f"{detail}.", errors=faults)

    async def framework(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it only  # nosec B101
        # The framework wraps what the body reader raised; its own words would hide the reason.
        if isinstance(error.__cause__, CountersignError):
            return of_error(error.__cause__)
        code = _BY_STATUS.get(
            error.status_code, "malformed-request" if error.status_code < 500 else "internal-error"
        )
        where = f"{request.method} {request.url.path}"
        detail = {
            "not-found": f"There is no {where}; /docs lists what there is.",
            "method-not-allowed": f"{where} is not served; /docs lists the methods of each address.",
        }.get(code, f"{str(error.detail).rstrip('.')}.")
        headers = dict(error.headers or {})
        if code == "method-not-allowed":
            headers["Allow"] = ", ".join(sorted(_methods(request)))
        return problem(code, detail, status=error.status_code, headers=headers)

    app.add_exception_handler(CountersignError, domain)
    app.add_exception_handler(ModelError, domain)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, framework)
    app.add_api_route("/problems", _page, include_in_schema=False, response_class=HTMLResponse)


def _methods(request: Request) -> set[str]:
    """Every method of this address (RFC 9110, 15.5.6); the framework names those of one route only."""
    methods = {
        method
        for method in METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    return methods | {"HEAD"} if "GET" in methods else methods


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Describe an endpoint's errors for OpenAPI: one response for each status, one example for each code."""
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
        "detail": f"{kind.title}; the text here says what to do about it.",
        "code": code,
        "instance": f"urn:request:{rid}",
        "request_id": rid,
    }


def _fault(item: dict[str, Any]) -> dict[str, str]:
    where = [str(part) for part in item["loc"] if part not in {"body", "query", "path", "header"}]
    return {"field": ".".join(where) or "body", "message": str(item["msg"])}


async def _page() -> str:
    rows = "\n".join(_row(code, kind) for code, kind in PROBLEMS.items())
    return (
        "<!doctype html><meta charset=utf-8><title>Countersign: problems</title>"
        "<style>body{font:16px/1.5 system-ui;margin:2rem;max-width:60rem}td{padding:.2rem 1rem .2rem 0}</style>"
        "<h1>Problems</h1><p>Every error code of the API, and what is stored of a request that was answered with it. "
        "Unknown means as a whole or not at all. Repeating a request with the same Idempotency-Key is always safe: "
        "what was carried out is not done again, and its answer is given. DELETE, PATCH and PUT may be repeated as "
        "they are.</p><table><tr><th>Status<th>Code<th>Title<th>Stored</tr>"
        f"{rows}</table>"
    )


def _row(code: str, kind: ProblemKind) -> str:
    return (
        f'<tr id="{html.escape(code)}"><td>{kind.status}</td>'
        f"<td><code>{html.escape(code)}</code></td><td>{html.escape(kind.title)}</td><td>{kind.stored}</td></tr>"
    )
