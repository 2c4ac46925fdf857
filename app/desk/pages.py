"""Rendering of the desk's pages: templates, headers and cookies."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles

from app.desk.forms import segment
from app.desk.texts import LANGUAGE_COOKIE, texts_of
from app.domain.cases import Order
from app.domain.request_context import prefix
from app.http.sessions import DESK, ClerkSession
from app.texts.catalogue import LANGUAGES

FOLDER = Path(__file__).parent
ORDER_COOKIE = "countersign_order"
STATIC = FOLDER / "static"
"""The scripts and the style sheet of the pages."""
RELEASE = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(STATIC.iterdir()))).hexdigest()[:12]
"""Stands in the addresses of these files, so that browsers may keep them until they change."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; "  # pictures of signatures are in the page, so that no cache holds them
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy of all pages: no script or style but the files of the desk, and nothing inline."""
_templates = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

_templates.filters["segment"] = segment


class CachedFiles(StaticFiles):
    """Files that never change at the address at which the pages name them; they hold nothing of any tenant."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Answer with a file that browsers keep; part of Starlette's interface for subclasses."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def render(request: Request, template: str, status: int = 200, /, **values: object) -> HTMLResponse:
    """Render a page for the clerk who has signed in, and renew the session."""
    texts = texts_of(request)
    session: ClerkSession | None = getattr(request.state, "session", None)
    page = _templates.get_template(template).render(
        t=texts,
        base=f"{prefix()}{DESK}",
        release=RELEASE,
        path=request.url.path if request.method == "GET" else f"{prefix()}{DESK}",
        session=session,
        caller=getattr(request.state, "caller", None),
        **values,
    )
    response = HTMLResponse(page, status)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = (
        "same-origin"  # with no-referrer, forms are sent with `Origin: null`
    )
    _keep_cookies(request, response)
    return response


def redirect(request: Request, path: str) -> RedirectResponse:
    """Lead to a page of the desk after a form was sent."""
    response = RedirectResponse(f"{prefix()}{DESK}{path}", 303)
    _keep_cookies(request, response)
    return response


def order_of(request: Request) -> Order:
    """Return the order of the queue that the clerk has chosen."""
    chosen = request.query_params.get("order") or request.cookies.get(ORDER_COOKIE)
    return "largest-amount" if chosen == "largest-amount" else "oldest"


def _keep_cookies(request: Request, response: Response) -> None:
    session: ClerkSession | None = getattr(request.state, "session", None)
    if session is not None:
        request.app.state.authenticator.sessions.keep(session, request.scope, response)
    if "order" in request.query_params:
        response.set_cookie(ORDER_COOKIE, order_of(request), path=f"{prefix()}{DESK}", samesite="strict")
    if (language := request.query_params.get("lang")) in LANGUAGES:
        response.set_cookie(LANGUAGE_COOKIE, language or "", path=f"{prefix()}{DESK}", samesite="strict")
