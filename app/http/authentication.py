"""Authentication middleware: every request is authenticated or refused here, before its body is read.

Every path that is not in `OPEN` needs a caller, so a new endpoint is protected even if it names no scope. The
endpoints themselves check scopes (`app.http.authorization`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.domain.api_keys import Key
from app.domain.callers import LOOPBACK, Caller
from app.domain.errors import CountersignError, Unauthenticated
from app.domain.records import now
from app.domain.request_context import set_caller
from app.http.loopback import refuse_unless_local
from app.http.problems import of_error
from app.http.rate_limits import Limits

HEADER_NAME = "X-API-Key"
OPEN = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json", "/problems"})
OPEN_FOLDERS = ("/static-offline-docs/",)
_log = logging.getLogger("countersign.authentication")


class KeysInUse(Protocol):
    """The keys that authentication looks up."""

    @property
    def keyless(self) -> bool:
        """Whether no key has ever been created."""

    async def find(self, text: str) -> Key | None:
        """Return the key with this text, valid or not. Raises StoreUnavailable."""

    def used(self, key: Key) -> None:
        """Record that a key was used."""


class AuthenticationMiddleware:
    """Sets the caller of each request.

    Parameters
    ----------
    app : ASGIApp
        The next layer.
    keys : KeysInUse
    limits : Limits
    local_names, origins : collection of str
        See `app.http.loopback`.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: KeysInUse,
        limits: Limits,
        local_names: Collection[str] = (),
        origins: Collection[str] = (),
    ) -> None:
        self._app = app
        self._keys = keys
        self._limits = limits
        self._local_names = frozenset(local_names)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http" and not is_open(scope):
            try:
                caller = await self._caller(scope)
                scope.setdefault("state", {})["caller"] = caller
                set_caller(caller)
                self._limits.count(caller)
            except CountersignError as error:
                await of_error(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
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
        key = await self._keys.find(texts[0])
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


def is_open(scope: Scope) -> bool:
    """Whether a request needs no caller: probes, the documentation page and the list of problems."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return scope["method"] in {"GET", "HEAD"} and (path in OPEN or path.startswith(OPEN_FOLDERS))


def _texts(scope: Scope) -> list[str]:
    """Return the distinct keys of a request; a repeated header counts as two keys."""
    headers = Headers(scope=scope)
    own, standard = headers.getlist(HEADER_NAME), []
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
