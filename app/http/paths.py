"""Paths of requests: under a proxy's prefix, and with ids that hold slashes.

A server decodes ``%2F`` to ``/`` before the router sees the path, so that an id with a slash would look like two
segments. :class:`PathMiddleware` hands the router a path in which such a slash is still encoded, and
:func:`decoded_segment` decodes it where a path parameter is validated.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

_AMBIGUOUS = re.compile(rb"%2f|%25", re.IGNORECASE)


class PathMiddleware:
    """The outermost layer: makes the path of each request what the layers inside expect.

    Behind a proxy that strips the prefix at which it publishes the service, the path lacks ``root_path``, which ASGI
    wants it to begin with: without it, redirects would lead to addresses outside of the prefix.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] == "http":
            raw: bytes = scope.get("raw_path") or b""
            if _AMBIGUOUS.search(raw):
                segments = raw.partition(b"?")[0].split(b"/")
                scope["path"] = "/".join(_segment(segment) for segment in segments)
            prefix: str = scope.get("root_path", "").rstrip("/")
            if prefix and scope["path"] != prefix and not scope["path"].startswith(f"{prefix}/"):
                scope["path"] = prefix + scope["path"]
        await self._app(scope, receive, send)


def _segment(raw: bytes) -> str:
    return unquote(raw.decode("latin-1")).replace("%", "%25").replace("/", "%2F")


def decoded_segment(text: object) -> object:
    """A path parameter as the caller meant it."""
    if isinstance(text, str):
        return text.replace("%2F", "/").replace("%25", "%")
    return text
