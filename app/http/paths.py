"""Paths of requests: under a proxy's prefix, and with ids that hold slashes.

A server decodes ``%2F`` to ``/`` before the router sees the path, so that an id with a slash would look like two
segments. :class:`PathMiddleware` hands the router a path in which such a slash is still encoded, and
:func:`decoded_segment` decodes it where a path parameter is validated.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, unquote_to_bytes

from starlette.types import ASGIApp, Receive, Scope, Send

_AMBIGUOUS = re.compile(rb"%2f|%25", re.IGNORECASE)


class PathMiddleware:
    """The outermost layer: makes the path of each request what the layers inside expect.

    Behind a proxy that strips the prefix at which it publishes the service, the path lacks ``root_path``, which ASGI
    wants it to begin with: without it, redirects would lead to addresses outside of the prefix.

    Parameters
    ----------
    app : ASGIApp
        The next layer.
    prefix : str
        The prefix, such as ``/signatures``; empty without one.
    """

    def __init__(self, app: ASGIApp, prefix: str = "") -> None:
        self._app = app
        self._prefix = prefix.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] == "http":
            raw: bytes = scope.get("raw_path") or b""
            if _AMBIGUOUS.search(raw):
                segments = raw.partition(b"?")[0].split(b"/")
                scope["path"] = "/".join(_segment(segment) for segment in segments)
            if prefix := self._prefix:
                scope["root_path"] = prefix
                if scope["path"] != prefix and not scope["path"].startswith(f"{prefix}/"):
                    scope["path"] = prefix + scope["path"]
        await self._app(scope, receive, send)


def path_in_service(scope: Scope) -> str:
    """Return the path of an HTTP request without the prefix at which a proxy publishes the service."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def is_utf8(scope: Scope) -> bool:
    """Whether the path and the query of an HTTP request are UTF-8 after percent-decoding.

    A server replaces bytes that are not by U+FFFD, so that different ids in another encoding would become one.
    """
    for part in (scope.get("raw_path") or b"", scope["query_string"]):
        try:
            unquote_to_bytes(part).decode("utf-8")
        except UnicodeDecodeError:
            return False
    return True


def _segment(raw: bytes) -> str:
    return unquote(raw.decode("latin-1")).replace("%", "%25").replace("/", "%2F")


def decoded_segment(text: object) -> object:
    """A path parameter as the caller meant it."""
    if isinstance(text, str):
        return text.replace("%2F", "/").replace("%25", "%")
    return text
