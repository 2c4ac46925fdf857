"""Problem details (RFC 9457): the only place where errors are translated to HTTP responses.

Their codes are in `app.http.problem_codes`.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.domain.errors import CountersignError, FileRefused, TooManyRequests, Unavailable
from app.domain.request_context import prefix, request_id
from app.domain.validation import describe_fault, field_path, without_consequences
from app.http.problem_codes import PROBLEMS
from model.errors import ModelError

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)
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
    code: str = Field(
        description="Stable identifier; `/problems` lists all. Later releases may add codes: treat one that is not "
        "known by its status.",
        examples=["signer-not-found"],
    )
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
        A key of `app.http.problem_codes.PROBLEMS`.
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
    """Register the exception handlers, including those for errors of the framework."""

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
    return {
        "field": ".".join(field_path(item["loc"], form)) or "body",
        "message": describe_fault(item, form),
    }
