"""What the routes of the desk share: the session, its forms, and ids in addresses."""

from __future__ import annotations

import hmac
from typing import Annotated, cast
from urllib.parse import quote

from fastapi import Depends, Form, Query, Request

from app.domain.callers import Caller
from app.domain.cases import Clerk
from app.domain.errors import Forbidden
from app.http.authentication import Authenticator
from app.http.sessions import ClerkSession

PAGE = 50
"""Number of rows on a page of a list."""
Csrf = Annotated[str, Form(max_length=64)]
CursorText = Annotated[str | None, Query(max_length=1024)]


async def _session(request: Request) -> ClerkSession:
    return cast("ClerkSession", request.state.session)  # the middleware has checked it


async def _checked_session(session: Session, csrf: Csrf) -> ClerkSession:
    """Return the session of a form. Raises Forbidden when the form is not from a page of this session."""
    if not hmac.compare_digest(csrf.encode(), session.csrf.encode()):
        raise Forbidden(
            "The form was not sent from a page of this session; reload the page and send it again."
        )
    return session


Session = Annotated[ClerkSession, Depends(_session)]
FormSession = Annotated[ClerkSession, Depends(_checked_session)]


def clerk_of(caller: Caller, session: ClerkSession) -> Clerk:
    """Return the clerk who has signed in."""
    return Clerk(session.clerk, caller.key_id)


def authenticator_of(request: Request) -> Authenticator:
    """Return the authenticator of the application."""
    return cast("Authenticator", request.app.state.authenticator)


def segment(text: str) -> str:
    """Encode an id as one segment of a path."""
    return quote(text, safe="")
