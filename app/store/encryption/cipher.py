"""What stands between the store's rows and its disk: AES-256-GCM with a fresh nonce for every value.

Beside each ciphertext stands the id of its key. What the value belongs to (kind, tenant, signer, reference, model
version, key id) goes in as associated data: a ciphertext that is moved to another row does not decrypt there. One key
may seal some 2^32 values before random nonces of 96 bits come too close to repeating (NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import hmac
import os
import threading
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from sqlalchemy.orm import Session

from app.domain.errors import DataKeyMissing, StoredDataDamaged
from app.store.encryption.data_keys import DataKey, DataKeys

_FORMAT = b"\x01"
_NONCE = 12
_SESSION_KEY = "cipher"


@dataclass(frozen=True)
class Place:
    """The row that a sealed value belongs to.

    Attributes
    ----------
    kind : str
        ``image``, ``template``, ``questioned`` or ``answer``.
    tenant_id : str
    owner : str
        The signer's key for references; the signer's id for the others, empty where it is not known.
    row_id : str
        The reference's or verification's id, or the Idempotency-Key.
    model_version : str
        For templates; else empty.
    """

    kind: str
    tenant_id: str
    owner: str
    row_id: str
    model_version: str = ""

    def bound(self, key_id: str) -> bytes:
        """The associated data: every part with its length before it, so that no two places read alike."""
        parts = (self.kind, self.tenant_id, self.owner, self.row_id, self.model_version, key_id)
        return _FORMAT + b"".join(len(p.encode()).to_bytes(4, "big") + p.encode() for p in parts)


@dataclass(frozen=True)
class Sealed:
    """A ciphertext as stored: format (1 byte), nonce (12), ciphertext with its tag (length + 16)."""

    key_id: str
    data: bytes


class Cipher:
    """Seals and opens values; remembers the places whose values did not open.

    Parameters
    ----------
    keys : DataKeys
    """

    def __init__(self, keys: DataKeys) -> None:
        self.keys = keys
        self._lock = threading.Lock()
        self._unreadable: dict[Place, str] = {}

    def seal(self, place: Place, value: bytes) -> Sealed:
        """Encrypt a value for its row with the active key."""
        key = self.keys.active
        nonce = os.urandom(_NONCE)
        data = key.aead.encrypt(nonce, value, place.bound(key.key_id))
        return Sealed(key.key_id, _FORMAT + nonce + data)

    def open(self, place: Place, key_id: str | None, data: bytes) -> bytes:
        """Decrypt a row's value; one without a key id was stored before values were encrypted.

        Raises
        ------
        DataKeyMissing
            When the key is not configured.
        StoredDataDamaged
            When the value was changed, or belongs to another row.
        """
        if key_id is None:
            return bytes(data)
        key = self.keys.get(key_id)
        if key is None:
            self._note(place, f"its key {key_id!r} is not configured")
            raise DataKeyMissing(
                f"What is stored ({place.kind} {place.row_id}) was encrypted with key {key_id!r}, which is not "
                "configured; the operator must add it."
            )
        try:
            stored = bytes(data)
            if not stored.startswith(_FORMAT):
                raise InvalidTag
            nonce, sealed = stored[1 : 1 + _NONCE], stored[1 + _NONCE :]
            return key.aead.decrypt(nonce, sealed, place.bound(key_id))
        except (InvalidTag, ValueError):
            self._note(place, "it was changed or moved")
            raise StoredDataDamaged(
                f"What is stored ({place.kind} {place.row_id}) does not decrypt: it was damaged, changed or moved "
                "from another row. Restore it, or delete it and enrol anew."
            ) from None

    def digests(self, *words: str) -> dict[str, str]:
        """Keyed digests of some words, hex, by key id: they name nobody to whoever lacks the key."""
        return {key.key_id: digest(key, *words) for key in self.keys.all}

    @property
    def unreadable(self) -> dict[Place, str]:
        """The places whose values did not open when they were last read, with the reason."""
        with self._lock:
            return dict(self._unreadable)

    def forget(self, place: Place) -> None:
        """Take a place off that list: it opens again, or is gone."""
        with self._lock:
            self._unreadable.pop(place, None)

    def _note(self, place: Place, why: str) -> None:
        with self._lock:
            if len(self._unreadable) < 1000:
                self._unreadable[place] = why


def digest(key: DataKey, *words: str) -> str:
    """HMAC-SHA256 of some words under a key's digest key, hex."""
    message = b"".join(len(word.encode()).to_bytes(4, "big") + word.encode() for word in words)
    return hmac.new(key.digest_key, message, sha256).hexdigest()


def carry(cipher: Cipher) -> dict[str, Cipher]:
    """What a session is given so that the store's functions find the cipher in it."""
    return {_SESSION_KEY: cipher}


def cipher_of(session: Session) -> Cipher:
    """The cipher of the store that a session belongs to."""
    cipher = session.info[_SESSION_KEY]
    assert isinstance(cipher, Cipher)  # noqa: S101 # nosec B101 - put there by Store
    return cipher
