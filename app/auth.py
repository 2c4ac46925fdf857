"""Who calls: API keys, their scopes and their tenant.

Keys are kept as SHA-256 digests: they are long random strings, not passwords, so a fast hash is enough, and every
configured digest is compared in constant time on every request.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from app.errors import Forbidden, Unauthenticated
from app.settings import SCOPES, ApiKey, Scope

HEADER = APIKeyHeader(
    name="X-API-Key",
    auto_error=False,
    description="A key made by `python -m app new-key NAME`. Without configured keys the service answers this "
    "machine only, and no key is needed.",
)
DEFAULT_TENANT = "default"


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request, and what they may do."""

    name: str
    tenant_id: str
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether the caller has `scope`; `admin` has them all."""
        return scope in self.scopes or "admin" in self.scopes


NOBODY = Caller("loopback", DEFAULT_TENANT, frozenset(SCOPES))
"""A caller on this machine while no key is configured."""


class Keyring:
    """The keys that are configured."""

    def __init__(self, keys: tuple[ApiKey, ...]) -> None:
        self._keys = tuple((bytes.fromhex(key.sha256.get_secret_value()), key) for key in keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def caller(self, text: str) -> Caller | None:
        """Who holds this key; None for a key that nobody knows."""
        digest = hashlib.sha256(text.encode()).digest()
        found: Caller | None = None
        for known, key in self._keys:  # all of them, however early one fits
            if hmac.compare_digest(known, digest):
                found = Caller(key.name, key.tenant_id, key.scopes)
        return found


def new_key(name: str, scopes: tuple[Scope, ...] = ()) -> tuple[str, str]:
    """Make a key; return its text, to be shown once, and its line for the settings."""
    text = f"cs_{secrets.token_urlsafe(32)}"
    line = f"{name}:{hashlib.sha256(text.encode()).hexdigest()}"
    return text, ":".join([line, "+".join(scopes)]) if scopes else line


def allow(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """Build the dependency that lets callers with `scope` in and tells who they are."""

    async def admit(request: Request, key: Annotated[str | None, Security(HEADER)] = None) -> Caller:
        caller = _identify(request.app.state.keyring, key, request.client.host if request.client else None)
        request.state.caller = caller.name
        if not caller.may(scope):
            raise Forbidden(f"Key {caller.name!r} lacks the scope {scope!r} that this call needs.")
        return caller

    return admit


def _identify(keyring: Keyring, key: str | None, address: str | None) -> Caller:
    if not keyring:
        if not _is_loopback(address):
            raise Forbidden(
                "No API key is configured, so the service answers callers on its own machine only. "
                "Configure keys with COUNTERSIGN_API_KEYS."
            )
        return NOBODY
    if key is None:
        raise Unauthenticated("The header X-API-Key is missing.")
    caller = keyring.caller(key)
    if caller is None:
        raise Unauthenticated("The key in X-API-Key is not known; ask the operator for a valid one.")
    return caller


def _is_loopback(address: str | None) -> bool:
    if address is None:  # a Unix socket: this machine by nature
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


Enrolling = Annotated[Caller, Depends(allow("enrol"))]
Verifying = Annotated[Caller, Depends(allow("verify"))]
Reading = Annotated[Caller, Depends(allow("read"))]
