"""Admission control: a bound on the work in hand, decided before a body is read, and deadlines.

Requests that bring images (POST with a body) are the service's work. At most so many of them are in hand at a time,
and all bodies together, whatever their content type, hold at most so many bytes, from the first byte of a body to the
answer: reading the body, decoding, isolating ink, the network, the store. One more is answered 503 with Retry-After
at once. Requests without a body are not limited: health, metrics and listings answer under load, too.

A body has to arrive within a time of its own (else 408), and from its last byte on the request has its deadline
(`app.domain.deadline`; else 503). Plain ASGI, as `app.http.middleware`.
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
    """How much work is in hand, and how much may be.

    Parameters
    ----------
    most_requests, most_bytes : int
    """

    def __init__(self, most_requests: int, most_bytes: int) -> None:
        self._most_requests = most_requests
        self._most_bytes = most_bytes
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request while it is worked on; raises Busy when there are as many as may be."""
        if self.requests >= self._most_requests:
            raise Busy(f"{self.requests} requests are in hand already; try again in a moment.")
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    def load(self, size: int) -> None:
        """Count `size` more bytes of a body; raises Busy when they are too many."""
        # One request alone may be as large as requests may be, or it would never be served.
        if self.bytes and self.bytes + size > self._most_bytes:
            raise Busy(f"Requests of {self.bytes:,} bytes are in hand already; try again in a moment.")
        self.bytes += size

    def unload(self, size: int) -> None:
        """No longer count `size` bytes: their request is answered."""
        self.bytes -= size


def has_body(headers: Headers) -> bool:
    """Whether a request announces a body (RFC 9112, section 6)."""
    return "content-length" in headers or "transfer-encoding" in headers


class AdmissionMiddleware:
    """The layer that lets requests in.

    Parameters
    ----------
    app : ASGIApp
        What is inside.
    gate : InflightLimit
    deadline_s : float
        From the last byte of the body to the moment that the answer is kept.
    upload_timeout_s : float
        From the request's head to the last byte of its body.
    refused : callable
        Called for each request that was not let in or was dropped, with the code of its problem.
    """

    def __init__(
        self,
        app: ASGIApp,
        gate: InflightLimit,
        deadline_s: float,
        upload_timeout_s: float,
        refused: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._app = app
        self._gate = gate
        self._deadline_s = deadline_s
        self._upload_timeout_s = upload_timeout_s
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                if (deadline := current()) is not None:
                    deadline.disarm()  # an answer that has begun is sent to its end
            await send(message)

        try:
            headers = Headers(scope=scope)
            if scope["method"] == "POST" and has_body(headers):
                with self._gate.request():
                    await self._weighed(scope, receive, watched_send)
            elif has_body(headers):
                await self._weighed(scope, receive, watched_send)
            else:
                await self._timed(scope, receive, watched_send)
        except (AnswerLost, Busy, UploadTimeout, DeadlinePassed, NotReady) as error:
            if begun:
                raise  # half an answer is out; only a broken connection can tell the caller
            self._refused(error.code)
            await of_error(error)(scope, receive, send)

    async def _weighed(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = Headers(scope=scope).get("content-length", "")
        size = int(declared) if declared.isdecimal() else 0
        loaded = 0
        try:
            self._gate.load(size)
            loaded = size
            came = 0

            async def weighed_receive() -> Message:
                nonlocal came, loaded
                message = await receive()
                came += len(message.get("body", b""))
                if came > loaded:  # a body that did not declare its size
                    self._gate.load(came - loaded)
                    loaded = came
                return message

            await self._timed(scope, weighed_receive, send)
        finally:
            self._gate.unload(loaded)

    async def _timed(self, scope: Scope, receive: Receive, send: Send) -> None:
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
                _keep_running()  # an answer is better than a connection that breaks
                if deadline.expired and uploading:
                    raise UploadTimeout(
                        f"The request did not arrive in full within {self._upload_timeout_s:g} s; send it again."
                    ) from None
                if deadline.expired:
                    raise too_late() from None
                if deadline.drop():
                    raise NotReady(
                        "The service shut down before the answer was ready; nothing was stored. Try again."
                    ) from error
                raise AnswerLost(
                    "The request was carried out, but the service shut down before it could answer. Repeat it with "
                    "the same Idempotency-Key to get the answer; without one, look at what is stored first."
                ) from error


def _keep_running() -> None:
    """Take back the cancellation of the running task that has just been delivered."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
