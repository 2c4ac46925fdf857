"""API keys in memory: what their text looks like, and whose key a text is.

A key is 256 random bits, not a password: a plain SHA-256 keeps it safely, and nobody guesses one. The ring finds a
key in the same time however many there are and however close a guess is: it looks the digest up under a name that
is blinded with a secret of this process, then compares it in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, SecretStr

from app.domain.callers import DEFAULT_TENANT, Caller, Scope, parse_scopes

PREFIX = "cs_"
NAME = r"[A-Za-z0-9_.-]{1,64}"
"""What a key or a tenant may be called."""
_KEY_FORM = re.compile(
    rf"(?P<name>{NAME}):(?P<digest>[0-9a-f]{{64}})(?::(?P<scopes>[a-z+]+))?(?::(?P<tenant>{NAME}))?"
)


@dataclass(frozen=True)
class Key:
    """A key as it is kept: everything but its text.

    Attributes
    ----------
    sha256 : str
        Of the text, hexadecimal.
    expires_at, revoked_at, last_used_at : datetime or None
        In UTC.
    rate_limit : str or None
        The key's own limit, such as ``60/minute``; None takes the service's.
    """

    key_id: str
    name: str
    tenant_id: str
    sha256: str
    scopes: frozenset[Scope]
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    rate_limit: str | None = None

    def expired(self, at: datetime) -> bool:
        """Whether the key is past its time."""
        return self.expires_at is not None and at >= self.expires_at

    def live(self, at: datetime) -> bool:
        """Whether the key opens anything."""
        return self.revoked_at is None and not self.expired(at)

    @property
    def caller(self) -> Caller:
        """Who holds the key."""
        return Caller(self.name, self.tenant_id, self.scopes, self.key_id, self.rate_limit)


class ApiKey(BaseModel):
    """A key as it is configured: its name, the SHA-256 of its text, and what it may do."""

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: SecretStr
    scopes: frozenset[Scope]
    tenant_id: str = DEFAULT_TENANT

    @classmethod
    def parse(cls, text: str) -> ApiKey:
        """Read ``NAME:SHA256[:SCOPE+SCOPE[:TENANT]]``; without scopes a key may do everything in its tenant."""
        match = _KEY_FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                "an API key is configured as NAME:SHA256[:SCOPE+SCOPE[:TENANT]]; "
                "make one with `python -m app new-key NAME`"
            )
        return cls(
            name=match["name"],
            sha256=SecretStr(match["digest"]),
            scopes=parse_scopes((match["scopes"] or "admin").split("+")),
            tenant_id=match["tenant"] or DEFAULT_TENANT,
        )

    @property
    def key(self) -> Key:
        """The key as the door knows it."""
        key_id = f"config-{self.tenant_id}-{self.name}"
        return Key(key_id, self.name, self.tenant_id, self.sha256.get_secret_value(), self.scopes)


def new_text() -> str:
    """The text of a new key, to be shown once."""
    return f"{PREFIX}{secrets.token_urlsafe(32)}"


def sha256(text: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


def new_key(name: str, scopes: tuple[Scope, ...] = (), tenant_id: str = DEFAULT_TENANT) -> tuple[str, str]:
    """Make a key for the settings; return its text, to be shown once, and its line for COUNTERSIGN_API_KEYS."""
    text = new_text()
    parts = [name, sha256(text)]
    if scopes or tenant_id != DEFAULT_TENANT:
        parts.append("+".join(scopes or ("admin",)))
    if tenant_id != DEFAULT_TENANT:
        parts.append(tenant_id)
    return text, ":".join(parts)


class Keyring:
    """The keys that open the service.

    Parameters
    ----------
    keys : iterable of Key
    ever : bool
        Whether a key was ever made, live or not: then the service never goes back to serving without one.
    """

    def __init__(self, keys: Iterable[Key] = (), *, ever: bool = False) -> None:
        self._blind = secrets.token_bytes(32)
        self._keys = {self._blinded(bytes.fromhex(key.sha256)): key for key in keys}
        self._ever = ever

    def __bool__(self) -> bool:
        return self._ever or bool(self._keys)

    def live(self, at: datetime) -> int:
        """How many keys open something."""
        return sum(key.live(at) for key in self._keys.values())

    def find(self, text: str) -> Key | None:
        """The key with this text, live or not; None for one that nobody knows."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        key = self._keys.get(self._blinded(digest))
        if key is None or not hmac.compare_digest(bytes.fromhex(key.sha256), digest):
            return None
        return key

    def _blinded(self, digest: bytes) -> bytes:
        return hmac.digest(self._blind, digest, "sha256")
