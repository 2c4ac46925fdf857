"""Authentication middleware: every request is authenticated or refused here, before its body is read.

Every path that is not in `OPEN` needs a caller, so a new endpoint is protected even if it names no scope. The
endpoints themselves check scopes (`app.http.authorization`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol
from urllib.parse import urlencode

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.api_keys import Key, sha256
from app.domain.callers import LOOPBACK, Caller
from app.domain.errors import CountersignError, Unauthenticated
from app.domain.records import now
from app.domain.request_context import prefix, set_caller
from app.http.loopback import refuse_unless_local
from app.http.paths import path_in_service
from app.http.problems import of_error
from app.http.rate_limits import Limits
from app.http.sessions import DESK, SIGN_IN, ClerkSession, Sessions, is_at_desk

HEADER_NAME = "X-API-Key"
OPEN = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json", "/problems"})
OPEN_FOLDERS = ("/problems/", "/static-offline-docs/", f"{DESK}/static/")
_log = logging.getLogger("countersign.authentication")


class KeysInUse(Protocol):
    """The keys that authentication looks up."""

    @property
    def keyless(self) -> bool:
        """Whether no key has ever been created."""

    async def find(self, sha256: str) -> Key | None:
        """Return the key whose text has this digest, valid or not. Raises StoreUnavailable."""

    def used(self, key: Key) -> None:
        """Record that a key was used."""


class Authenticator:
    """Finds out who sent a request, by its key or by the session of a clerk.

    Parameters
    ----------
    keys : KeysInUse
    limits : Limits
    sessions : Sessions
    local_names, origins : collection of str
        See `app.http.loopback`.
    """

    def __init__(
        self,
        keys: KeysInUse,
        limits: Limits,
        sessions: Sessions,
        local_names: Collection[str] = (),
        origins: Collection[str] = (),
    ) -> None:
        self._keys = keys
        self._limits = limits
        self.sessions = sessions
        self._local_names = frozenset(local_names)
        self._origins = frozenset(origins)

    @property
    def keyless(self) -> bool:
        """Whether no key has ever been created."""
        return self._keys.keyless

    async def by_headers(self, scope: Scope) -> Caller:
        """Return the caller whose key is in the headers. Raises Unauthenticated, Forbidden or TooManyRequests."""
        texts = _texts(scope)
        if self._keys.keyless and not texts:
            refuse_unless_local(scope, self._local_names, self._origins)
            return LOOPBACK
        if len(texts) != 1:
            self._limits.count_failure(_address(scope))
            raise Unauthenticated(
                f"The request has {len(texts)} different keys; send one."
                if texts
                else f"An API key is required, in the header {HEADER_NAME} or as `Authorization: Bearer KEY`."
            )
        return await self._caller(scope, sha256(texts[0]))

    async def by_session(self, scope: Scope, session: ClerkSession) -> Caller:
        """Return the caller who has signed in; raises as :meth:`by_headers`."""
        return await self._caller(scope, session.key_sha256)

    async def sign_in(self, scope: Scope, clerk: str, text: str) -> tuple[ClerkSession, Caller]:
        """Begin the session of a clerk; the key is empty while none exists. Raises as :meth:`by_headers`."""
        session = ClerkSession.new(clerk, sha256(text) if text else None)
        caller = await self.by_session(scope, session)
        self.count(caller)
        return session, caller

    def count(self, caller: Caller) -> None:
        """Count a request of a caller. Raises TooManyRequests beyond the limit of the key."""
        self._limits.count(caller)

    async def _caller(self, scope: Scope, digest: str | None) -> Caller:
        if digest is None and self._keys.keyless:
            refuse_unless_local(scope, self._local_names, self._origins)
            return LOOPBACK
        key = None if digest is None else await self._keys.find(digest)
        if key is None or not key.live(now()):
            _log.warning("key refused", extra={"fields": {"client": _address(scope), **_why(key)}})
            self._limits.count_failure(_address(scope))
            raise Unauthenticated(
                "The key is not valid. The service has no keys yet and needs none from its own machine: send none."
                if self._keys.keyless
                else "The key is not valid; ask the operator for a valid one."
            )
        self._keys.used(key)
        return key.caller


class AuthenticationMiddleware:
    """Sets the caller of each request; at the desk also the session, without which it leads to the sign-in page."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http" and not is_open(scope):
            path = path_in_service(scope)
            try:
                if is_at_desk(path):
                    caller = await self._clerk(scope)
                else:
                    caller = await self._authenticator.by_headers(scope)
                scope.setdefault("state", {})["caller"] = caller
                set_caller(caller)
                self._authenticator.count(caller)
            except Unauthenticated as error:
                refusal = _to_sign_in(scope) if is_at_desk(path) else of_error(error)
                await refusal(scope, receive, send)
                return
            except CountersignError as error:
                await of_error(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _clerk(self, scope: Scope) -> Caller:
        session = self._authenticator.sessions.read(scope)
        if session is None:
            raise Unauthenticated("The session has ended; sign in again.")
        scope.setdefault("state", {})["session"] = session
        return await self._authenticator.by_session(scope, session)


def _to_sign_in(scope: Scope) -> RedirectResponse:
    """Lead to the sign-in page, and from there back to the page that was asked for."""
    query = {"next": path_in_service(scope)} if scope["method"] in {"GET", "HEAD"} else {}
    return RedirectResponse(f"{prefix()}{SIGN_IN}?{urlencode(query)}", 303)


def is_open(scope: Scope) -> bool:
    """Whether a request needs no caller: probes, documentation, list of problems, the sign-in page of the desk."""
    path = path_in_service(scope)
    if path == SIGN_IN:
        return True
    return scope["method"] in {"GET", "HEAD"} and (path in OPEN or path.startswith(OPEN_FOLDERS))


def _texts(scope: Scope) -> list[str]:
    """Return the distinct keys of a request; a repeated header counts as two keys."""
    headers = Headers(scope=scope)
    # Spaces and tabs around the value of a header are not part of it (RFC 9110, section 5.5).
    own, standard = [value.strip(" \t") for value in headers.getlist(HEADER_NAME)], []
    for value in headers.getlist("authorization"):
        scheme, _, text = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            standard.append(text.strip())
    if len(own) > 1 or len(standard) > 1:
        return [*own, *standard]
    return list(dict.fromkeys(own + standard))


def _address(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def _why(key: Key | None) -> dict[str, str]:
    """Fields for the log. The response is the same for unknown, expired and revoked keys."""
    if key is None:
        return {"reason": "unknown"}
    return {"reason": "revoked" if key.revoked_at else "expired", "key": key.name, "tenant": key.tenant_id}
