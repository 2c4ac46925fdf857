"""Outermost middleware: request id, checks of the body, response headers, access log, metrics, unhandled errors.

Plain ASGI, not `BaseHTTPMiddleware`, which copies and buffers.
"""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.callers import Caller
from app.domain.errors import MalformedRequest, RequestTooLarge, UnsupportedEncoding
from app.domain.request_context import begin_request
from app.http.admission import has_body
from app.http.paths import is_utf8
from app.http.problems import internal, of_error
from app.observability.metrics import Metrics

_log = logging.getLogger("countersign.access")


class HeadAsGet:
    """Answers HEAD like GET, without the body (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        # A copy: the server tells by the method in its own scope that no body follows.
        as_get = {**scope, "method": "GET"}

        def share() -> None:
            """Store what the router found in the scope of the outer layers, which log the route."""
            scope.update({key: value for key, value in as_get.items() if key != "method"})

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                share()
            elif message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(as_get, receive, without_body)
        finally:
            share()


class RequestMiddleware:
    """The outermost layer.

    Parameters
    ----------
    app : ASGIApp
        The next layer.
    metrics : Metrics
    max_bytes : int
        Maximum size of a request body.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, max_bytes: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        rid = begin_request(headers.get("x-request-id"), scope.get("root_path", ""))
        begin = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["X-Request-ID"] = rid
                out.setdefault("X-Content-Type-Options", "nosniff")
                out.setdefault("Cache-Control", "no-store")
                out.setdefault("Content-Security-Policy", "frame-ancestors 'none'")
                out.setdefault("Referrer-Policy", "no-referrer")
            await send(message)

        try:
            declared = headers.get("content-length", "0")
            if declared.isdigit() and int(declared) > self._max_bytes:
                await of_error(self._too_large())(scope, receive, send_with_headers)
            elif (coding := _content_coding(headers)) and has_body(headers):
                await of_error(_encoded(coding))(scope, receive, send_with_headers)
            elif not is_utf8(scope):
                await of_error(_not_utf8())(scope, receive, send_with_headers)
            else:
                await self._app(scope, self._counted(receive), send_with_headers)
        except Exception:
            _log.exception("unhandled error")
            if status:
                raise  # the response has started: only closing the connection can signal the error
            await internal()(scope, receive, send_with_headers)
        finally:
            self._account(scope, status, time.perf_counter() - begin)

    def _counted(self, receive: Receive) -> Receive:
        total = 0

        async def counted_receive() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._max_bytes:
                raise self._too_large()
            return message

        return counted_receive

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(
            f"The request has more than {self._max_bytes} bytes; send fewer or smaller files."
        )

    def _account(self, scope: Scope, status: int, seconds: float) -> None:
        # The pattern of the route, not the path: signer ids stay out of logs and metrics.
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"]
        caller = scope.get("state", {}).get("caller")
        client = scope.get("client")
        self._metrics.requests.labels(route, method, str(status)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        _log.info(
            "request",
            extra={
                "fields": {
                    "method": method,
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1e3, 2),
                    "key": caller.name if isinstance(caller, Caller) else "-",
                    "tenant": caller.tenant_id if isinstance(caller, Caller) else "-",
                    "client": client[0] if client else "-",
                }
            },
        )


def _content_coding(headers: Headers) -> str:
    """Return the content codings of the body (RFC 9110, section 8.4); empty if there is none but ``identity``."""
    values = ",".join(headers.getlist("content-encoding")).split(",")
    codings = (value.strip().lower() for value in values)
    return ", ".join(coding for coding in codings if coding not in {"", "identity"})


def _encoded(coding: str) -> UnsupportedEncoding:
    return UnsupportedEncoding(
        f"The body has the Content-Encoding {coding[:100]}; send it uncompressed, without this header. Image formats "
        "are compressed already."
    )


def _not_utf8() -> MalformedRequest:
    return MalformedRequest(
        "The path or the query is not UTF-8 after percent-decoding; encode ids as UTF-8, so that ö becomes %C3%B6."
    )
