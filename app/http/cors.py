"""Cross-origin requests of browsers (CORS), with refusals as problems."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.problems import problem


class OwnOriginMiddleware:
    """Refuses preflight requests where CORS is off, and says so; browsers send them for other origins only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if not _is_preflight(scope):
            await self._app(scope, receive, send)
            return
        refusal = problem(
            "cors-refused",
            "CORS is off for this service: pages of other origins may not call it. Its operator lists their origins "
            "in COUNTERSIGN_CORS_ORIGINS.",
        )
        await refusal(scope, receive, send)


def _is_preflight(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "OPTIONS":
        return False
    headers = Headers(scope=scope)
    return "origin" in headers and "access-control-request-method" in headers


class CrossOriginMiddleware(CORSMiddleware):
    """Starlette's CORS middleware, whose refusal of a preflight request is a problem instead of plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight request; one that is refused gets a 403 that says what is not allowed."""
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        headers = {
            name: value
            for name, value in answer.headers.items()
            if name not in {"content-type", "content-length"}
        }
        return problem("cors-refused", self._reasons(request_headers), headers=headers)

    def _reasons(self, headers: Headers) -> str:
        origin, method = headers["origin"], headers["access-control-request-method"]
        sent = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
        unknown = sorted({name for name in sent if name and name not in self.allow_headers})
        reasons = []
        if not self.is_allowed_origin(origin=origin):
            reasons.append(
                f"Pages of {origin[:200]} may not call this service; its operator lists their origins in "
                "COUNTERSIGN_CORS_ORIGINS"
            )
        if method not in self.allow_methods:
            reasons.append(
                f"The method {method[:20]} is not allowed; the methods are {', '.join(self.allow_methods)}"
            )
        if unknown:
            reasons.append(f"The header {unknown[0][:100]} is not allowed; leave it out")
        if not reasons:
            reasons.append("Pages of public networks may not call this service in a private one")
        return f"{'. '.join(reasons)}."
