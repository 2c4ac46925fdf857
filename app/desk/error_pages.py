"""Errors at the desk as pages: a browser gets a page in place of the problem details that programs get."""

from __future__ import annotations

import json
import logging
from typing import Any

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.desk.pages import render
from app.desk.texts import texts_of
from app.http.paths import path_in_service
from app.http.problems import MEDIA_TYPE
from app.http.sessions import is_at_desk
from app.texts.negotiation import choose_media_type

HTML = "text/html"
_log = logging.getLogger(__name__)


class ErrorPages:
    """Replaces problem details under ``/desk`` by a page, if the request prefers HTML to JSON.

    Outside of the layers that answer with problems: so their answers to unknown pages and wrong methods, and those
    to requests that no page has seen, such as too many or too large ones, are pages as well.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if not _wants_page(scope):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        content = b""

        async def send_page(message: Message) -> None:
            nonlocal start, content
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
            elif start is None:
                await send(message)
            else:
                content += message.get("body", b"")
                if not message.get("more_body", False):
                    response = _page_or_none(Request(scope), json.loads(content))
                    if response is not None:
                        start = _with_page(start, response)
                        content = bytes(response.body)
                    await send(start)
                    await send({"type": "http.response.body", "body": content})

        await self._app(scope, receive, send_page)


def _wants_page(scope: Scope) -> bool:
    # The problem of a HEAD request has no body from which a page could be made.
    if scope["type"] != "http" or scope["method"] == "HEAD" or not is_at_desk(path_in_service(scope)):
        return False
    accepted = Headers(scope=scope).get("accept", "")
    return choose_media_type(accepted, (MEDIA_TYPE, "application/json", HTML)) == HTML


def _is_problem(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith(MEDIA_TYPE)


def _page_or_none(request: Request, problem: dict[str, Any]) -> Response | None:
    """Render the page of a problem; None if that fails, so that the caller learns of the problem in any case."""
    code, status, detail = problem["code"], problem["status"], problem["detail"]
    texts = texts_of(request)
    text = texts.error(code, status)
    # These are for those who write programs; the text says the same to clerks.
    if text is not None and (
        code in {"internal-error", "method-not-allowed", "not-found"} or "errors" in problem
    ):
        detail = ""
    try:
        return render(
            request,
            "error.html",
            status,
            text=text or detail,
            detail=detail,
            request_id=problem["request_id"],
        )
    except Exception:  # noqa: BLE001 - the caller gets the problem instead
        _log.exception("the page of an error could not be rendered")
        return None


def _with_page(start: Message, page: Response) -> Message:
    """Return the start of a response with the headers of the page, and those of the problem that it lacks."""
    own = {name for name, _ in page.raw_headers}
    kept = [(name, value) for name, value in start["headers"] if name.lower() not in own]
    return {**start, "headers": [*page.raw_headers, *kept]}
