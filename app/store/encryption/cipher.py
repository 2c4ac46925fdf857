"""Encryption of stored values: AES-256-GCM with a random nonce for every value.

The id of the key is stored next to each ciphertext. The row that a value belongs to (kind, tenant, signer, reference,
model version, key id) is authenticated as associated data, so a ciphertext that is moved to another row does not
decrypt there. One key may encrypt at most 2^32 values, because the nonces are random and have 96 bits (NIST
SP 800-38D, section 8.3).
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
_NONCE_BYTES = 12
_SESSION_KEY = "cipher"
_MAX_UNREADABLE = 1000


@dataclass(frozen=True)
class Place:
    """The row that a sealed value belongs to.

    Attributes
    ----------
    kind : str
        ``image``, ``template``, ``questioned``, ``questioned-template`` or ``answer``.
    tenant_id : str
    owner : str
        The signer's internal key for images of references and all templates; the signer's id for the other kinds,
        empty if unknown.
    row_id : str
        The reference id, the verification id or the Idempotency-Key.
    model_version : str
        The model version of a template; empty for the other kinds.
    """

    kind: str
    tenant_id: str
    owner: str
    row_id: str
    model_version: str = ""

    def associated_data(self, key_id: str) -> bytes:
        """Encode the place and the key id, each part prefixed by its length so that the encoding is unambiguous."""
        parts = (self.kind, self.tenant_id, self.owner, self.row_id, self.model_version, key_id)
        encoded = [part.encode() for part in parts]
        return _FORMAT + b"".join([len(part).to_bytes(4, "big") + part for part in encoded])


@dataclass(frozen=True)
class Sealed:
    """An encrypted value: format (1 byte), nonce (12 bytes), ciphertext with its tag (length + 16 bytes)."""

    key_id: str
    data: bytes


class Cipher:
    """Encrypts and decrypts values, and records the places whose values failed to decrypt.

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
        nonce = os.urandom(_NONCE_BYTES)
        data = key.aead.encrypt(nonce, value, place.associated_data(key.key_id))
        return Sealed(key.key_id, _FORMAT + nonce + data)

    def open(self, place: Place, key_id: str, data: bytes) -> bytes:
        """Decrypt the value of a row.

        Raises
        ------
        DataKeyMissing
            If the key is not configured.
        StoredDataDamaged
            If the value was modified or belongs to another row.
        """
        key = self.keys.get(key_id)
        if key is None:
            self._record_unreadable(place, f"its key {key_id!r} is not configured")
            raise DataKeyMissing(
                f"The stored value ({place.kind} {place.row_id}) was encrypted with key {key_id!r}, which is not "
                "configured; the operator must add the key."
            )
        try:
            stored = memoryview(data)  # slices of it are not copied
            if stored[:1] != _FORMAT:
                raise InvalidTag
            nonce, ciphertext = stored[1 : 1 + _NONCE_BYTES], stored[1 + _NONCE_BYTES :]
            return key.aead.decrypt(nonce, ciphertext, place.associated_data(key_id))
        except (InvalidTag, ValueError):
            self._record_unreadable(place, "it was modified or moved")
            raise StoredDataDamaged(
                f"The stored value ({place.kind} {place.row_id}) does not decrypt: it was damaged, modified or moved "
                "from another row. Restore it from a backup, or delete it and enrol again."
            ) from None

    @property
    def unreadable(self) -> dict[Place, str]:
        """The places whose values failed to decrypt when last read, with the reason."""
        with self._lock:
            return dict(self._unreadable)

    def forget(self, place: Place) -> None:
        """Remove a place from the unreadable ones, because its value decrypts again or was deleted."""
        with self._lock:
            self._unreadable.pop(place, None)

    def _record_unreadable(self, place: Place, reason: str) -> None:
        with self._lock:
            if len(self._unreadable) < _MAX_UNREADABLE:
                self._unreadable[place] = reason


def digest(key: DataKey, *parts: str) -> str:
    """Return the HMAC-SHA256 (hex) of some texts under the digest key of a data key."""
    message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hmac.new(key.digest_key, message, sha256).hexdigest()


def session_info(cipher: Cipher) -> dict[str, Cipher]:
    """Return the `info` dictionary of a session from which :func:`cipher_of` gets the cipher."""
    return {_SESSION_KEY: cipher}


def cipher_of(session: Session) -> Cipher:
    """Return the cipher of the store that a session belongs to."""
    cipher = session.info[_SESSION_KEY]
    assert isinstance(cipher, Cipher)  # noqa: S101 # nosec B101 - set by Store
    return cipher
