"""API keys: their text form, and lookup by text.

A key has 256 random bits, so an unsalted SHA-256 is enough to store it. The time of a lookup depends neither on the
number of keys nor on how much of a guess is right: digests are indexed under an HMAC with a random secret of this
process, and then compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from app.domain.callers import Caller, Scope

PREFIX = "cs_"
NAME = r"[A-Za-z0-9_.-]{1,64}"
"""Regular expression of the name of a key or a tenant."""
BOOTSTRAP = "bootstrap"
"""Name and id of the key of the settings."""
_KEY_TEXT = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")


@dataclass(frozen=True)
class Key:
    """A key, without its text.

    Attributes
    ----------
    sha256 : str
        SHA-256 of the text, hexadecimal.
    expires_at, revoked_at, last_used_at : datetime or None
        In UTC.
    rate_limit : str or None
        Limit of this key, such as ``60/minute``; None: the limit of the service.
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

    def expired(self, now: datetime) -> bool:
        """Whether the key has expired."""
        return self.expires_at is not None and now >= self.expires_at

    def live(self, now: datetime) -> bool:
        """Whether the key is valid: neither revoked nor expired."""
        return self.revoked_at is None and not self.expired(now)

    @property
    def caller(self) -> Caller:
        """The caller that the key authenticates."""
        return Caller(self.name, self.tenant_id, self.scopes, self.key_id, self.rate_limit)


def bootstrap_key(text: str, tenant_id: str) -> Key:
    """Return the key of the settings, with the scope ``admin``.

    Raises ValueError when `text` is not the text of a key.
    """
    if _KEY_TEXT.fullmatch(text) is None:
        raise ValueError("it is not the text of an API key; `python -m app keys generate` makes one")
    return Key(BOOTSTRAP, BOOTSTRAP, tenant_id, sha256(text), frozenset({"admin"}))


def new_text() -> str:
    """Generate the text of a new key, which is shown once and not stored."""
    return f"{PREFIX}{secrets.token_urlsafe(32)}"


def sha256(text: str) -> str:
    """Return the SHA-256 of the text of a key, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


class Keyring:
    """A set of keys, searched by their text. It is true when a key exists or has existed.

    Parameters
    ----------
    keys : iterable of Key
        Revoked and expired ones included.
    ever : bool
        Whether a key has ever existed, valid or not: from then on the service is never open without a key.
    """

    def __init__(self, keys: Iterable[Key] = (), *, ever: bool = False) -> None:
        self._secret = secrets.token_bytes(32)
        self._keys = {self._index(bytes.fromhex(key.sha256)): key for key in keys}
        self._ever = ever

    def __bool__(self) -> bool:
        return self._ever or bool(self._keys)

    def live(self, now: datetime) -> int:
        """Number of valid keys."""
        return sum(key.live(now) for key in self._keys.values())

    def find(self, sha256: str) -> Key | None:
        """Return the key whose text has this SHA-256 (hexadecimal), valid or not; None when there is none."""
        digest = bytes.fromhex(sha256)
        key = self._keys.get(self._index(digest))
        if key is None or not hmac.compare_digest(bytes.fromhex(key.sha256), digest):
            return None
        return key

    def _index(self, digest: bytes) -> bytes:
        return hmac.digest(self._secret, digest, "sha256")
