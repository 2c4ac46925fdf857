"""Admission control: limits on requests in flight, checked before a body is read, and deadlines.

The number of POST requests with a body is limited, and so is the total size of all bodies, of any content type, from
the first byte of a body to the answer: reading the body, decoding, isolating ink, the network, the store. Further
requests get a 503 with Retry-After immediately. Requests without a body are not limited, so health checks, metrics
and listings are answered under load.

A body must arrive within the upload timeout (else 408). From its last byte on, the request has its deadline
(`app.domain.deadline`; else 503). Plain ASGI, like `app.http.middleware`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.deadline import current, deadline_of_request, too_late
from app.domain.errors import AnswerLost, Busy, DeadlinePassed, NotReady, UploadTimeout
from app.http.problems import of_error


class InflightLimit:
    """Counts requests in flight and the bytes of their bodies.

    Parameters
    ----------
    max_requests, max_bytes : int
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request while it is processed. Raises Busy at the limit."""
        if self.requests >= self._max_requests:
            raise Busy(f"{self.requests} requests are in flight already; try again in a moment.")
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    def add_bytes(self, size: int) -> None:
        """Count `size` more bytes of a body. Raises Busy at the limit."""
        # A single request is always admitted: its own size is limited elsewhere.
        if self.bytes and self.bytes + size > self._max_bytes:
            raise Busy(f"Requests of {self.bytes:,} bytes are in flight already; try again in a moment.")
        self.bytes += size

    def remove_bytes(self, size: int) -> None:
        """Stop counting `size` bytes: their request has been answered."""
        self.bytes -= size


def has_body(headers: Headers) -> bool:
    """Whether a request announces a body (RFC 9112, section 6)."""
    return "content-length" in headers or "transfer-encoding" in headers


class AdmissionMiddleware:
    """Admits requests and sets their deadlines.

    Parameters
    ----------
    app : ASGIApp
        The next layer.
    inflight : InflightLimit
    deadline_s : float
        From the last byte of the body to the beginning of the write.
    upload_timeout_s : float
        From the request's head to the last byte of its body.
    refused : callable
        Called with the problem code of each request that was refused or cancelled.
    """

    def __init__(
        self,
        app: ASGIApp,
        inflight: InflightLimit,
        deadline_s: float,
        upload_timeout_s: float,
        refused: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._app = app
        self._inflight = inflight
        self._deadline_s = deadline_s
        self._upload_timeout_s = upload_timeout_s
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                if (deadline := current()) is not None:
                    deadline.disarm()  # a response that has started is sent completely
            await send(message)

        try:
            headers = Headers(scope=scope)
            if scope["method"] == "POST" and has_body(headers):
                with self._inflight.request():
                    await self._limit_bytes(scope, receive, watched_send)
            elif has_body(headers):
                await self._limit_bytes(scope, receive, watched_send)
            else:
                await self._limit_time(scope, receive, watched_send)
        except (AnswerLost, Busy, UploadTimeout, DeadlinePassed, NotReady) as error:
            if begun:
                raise  # the response has started: only closing the connection can signal the error
            self._refused(error.code)
            await of_error(error)(scope, receive, send)

    async def _limit_bytes(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = Headers(scope=scope).get("content-length", "")
        size = int(declared) if declared.isdecimal() else 0
        counted = 0
        try:
            self._inflight.add_bytes(size)
            counted = size
            received = 0

            async def counted_receive() -> Message:
                nonlocal received, counted
                message = await receive()
                received += len(message.get("body", b""))
                if received > counted:  # the body has no Content-Length, or a wrong one
                    self._inflight.add_bytes(received - counted)
                    counted = received
                return message

            await self._limit_time(scope, counted_receive, send)
        finally:
            self._inflight.remove_bytes(counted)

    async def _limit_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        uploading = has_body(Headers(scope=scope))
        with deadline_of_request() as deadline:

            async def timed_receive() -> Message:
                nonlocal uploading
                message = await receive()
                if uploading and not message.get("more_body", False):
                    uploading = False
                    deadline.set(self._deadline_s)
                return message

            deadline.set(self._upload_timeout_s if uploading else self._deadline_s)
            try:
                await self._app(scope, timed_receive, send)
            except asyncio.CancelledError as error:
                _clear_cancellation()  # send an error response instead of closing the connection
                if deadline.expired and uploading:
                    raise UploadTimeout(
                        f"The request did not arrive in full within {self._upload_timeout_s:g} s; send it again."
                    ) from None
                if deadline.expired:
                    raise too_late() from None
                if deadline.cancel():
                    raise NotReady(
                        "The service shut down before the answer was ready; nothing was stored. Try again."
                    ) from error
                raise AnswerLost(
                    "The request was carried out, but the service shut down before it could answer. Repeat it with "
                    "the same Idempotency-Key to get the answer; without one, check what is stored first."
                ) from error


def _clear_cancellation() -> None:
    """Clear the cancellation of the running task that has just been raised."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
