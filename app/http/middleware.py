"""What happens around every request: its id, its size, its log line, its metrics, and a last resort.

Plain ASGI, not `BaseHTTPMiddleware`: nothing is copied or spooled on the way.
"""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.callers import Caller
from app.domain.errors import RequestTooLarge
from app.domain.request_context import begin_request
from app.http.problems import internal, of_error
from app.observability.metrics import Metrics

_log = logging.getLogger("countersign.access")


class HeadAsGet:
    """Answers HEAD wherever GET is answered: the same status and headers, without the body (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        # In place, not in a copy: the layers around this one read the route that the router notes in the scope.
        scope["method"] = "GET"
        try:
            await self._app(scope, receive, without_body)
        finally:
            scope["method"] = "HEAD"


class RequestMiddleware:
    """The outermost layer of the service.

    Parameters
    ----------
    app : ASGIApp
        What is inside.
    metrics : Metrics
    max_bytes : int
        Most bytes of a request's body; more are refused before they are read, or as soon as they have come.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, max_bytes: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        rid = begin_request(headers.get("x-request-id"), scope.get("root_path", ""))
        begin = time.perf_counter()
        status = 0

        async def framed_send(message: Message) -> None:
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
                await of_error(self._too_large())(scope, receive, framed_send)
            else:
                await self._app(scope, self._counted(receive), framed_send)
        except Exception:
            _log.exception("unhandled error")
            if status:
                raise  # half an answer is out; only a broken connection can tell the caller
            await internal()(scope, receive, framed_send)
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
        # The route's pattern, not the path: ids of people stay out of logs and metrics.
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
