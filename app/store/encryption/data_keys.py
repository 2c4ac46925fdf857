"""The data encryption keys: loading, selection of the active key, and generation.

A key is 32 random bytes with an id. Every key decrypts; only the active key encrypts. The active key is the last one,
unless `encryption_key_id` names another. Two keys are derived from each (HKDF, RFC 5869), one for AES-GCM and one for
the digests of tombstones, so that no secret serves two purposes. A key file is reread when it changes, so a rotation
needs no restart.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.domain.errors import InvalidSettings, StartRefused
from app.settings import Settings

KEY_BYTES = 32
NEW_KEY = "`python -m app encryption new-key` generates one"
_PATTERN = re.compile(r"(?P<id>[A-Za-z0-9_.-]{1,64}):(?P<key>[A-Za-z0-9+/_-]{43}=?)")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataKey:
    """One key in its derived forms; the raw bytes are not kept."""

    key_id: str
    aead: AESGCM
    digest_key: bytes

    @classmethod
    def parse(cls, text: str) -> DataKey:
        """Parse ``ID:BASE64``; raises ValueError, whose message never contains the text, as it may be a secret."""
        match = _PATTERN.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"an encryption key must be ID:BASE64 of {KEY_BYTES} bytes; {NEW_KEY}")
        try:
            raw = base64.b64decode(match["key"].rstrip("=") + "=", altchars=b"-_", validate=False)
        except (binascii.Error, ValueError):
            raise ValueError(f"encryption key {match['id']!r} is not valid base64; {NEW_KEY}") from None
        if len(raw) != KEY_BYTES:
            raise ValueError(f"encryption key {match['id']!r} has {len(raw)} bytes, not {KEY_BYTES}")
        return cls(match["id"], AESGCM(_derive(raw, b"data")), _derive(raw, b"tombstone"))


def _derive(raw: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, None, b"countersign v1 " + purpose).derive(raw)


class DataKeys:
    """The data keys of one service.

    Parameters
    ----------
    texts : iterable of str
        Each ``ID:BASE64``.
    file : Path or None
        The file that the keys were read from; it is reread when it changes.
    active_id : str or None
        Id of the key that encrypts; None selects the last key.

    Raises
    ------
    ValueError
        If a key is malformed, two keys have the same id, there is no key, or `active_id` is not among them.
    """

    def __init__(self, texts: Iterable[str], file: Path | None = None, active_id: str | None = None) -> None:
        self.file = file
        self._active_id = active_id
        self._lock = threading.Lock()
        self._version = _file_version(file)
        self._keys = _parse_keys(texts, active_id)

    @classmethod
    def from_file(cls, file: Path, active_id: str | None = None) -> DataKeys:
        """Read a key file; raises OSError, ValueError."""
        version = _file_version(file)  # taken before the file is read, so that no change in between is missed
        keys = cls(read_key_file(file), file, active_id)
        keys._version = version
        return keys

    @property
    def active(self) -> DataKey:
        """The key that encrypts."""
        self._refresh()
        return self._keys[self._active_id or next(reversed(self._keys))]

    def get(self, key_id: str) -> DataKey | None:
        """Return the key with this id, or None if it is not configured."""
        if key_id not in self._keys:
            self._refresh()
        return self._keys.get(key_id)

    @property
    def all(self) -> tuple[DataKey, ...]:
        """All keys, oldest first."""
        self._refresh()
        return tuple(self._keys.values())

    def _refresh(self) -> None:
        """Reread the file if it has changed; keep the current keys if it cannot be read."""
        version = _file_version(self.file)
        if self.file is None or version == self._version or version is None:
            return
        with self._lock:
            try:
                self._keys = _parse_keys(read_key_file(self.file), self._active_id)
            except (OSError, ValueError) as error:
                _log.error("the key file cannot be reread; the current keys remain in use: %s", error)
            self._version = version


def _parse_keys(texts: Iterable[str], active_id: str | None) -> dict[str, DataKey]:
    keys: dict[str, DataKey] = {}
    for text in texts:
        key = DataKey.parse(text)
        if key.key_id in keys:
            raise ValueError(f"two encryption keys have the id {key.key_id!r}")
        keys[key.key_id] = key
    if not keys:
        raise ValueError(f"there is no encryption key; {NEW_KEY}")
    if active_id is not None and active_id not in keys:
        raise ValueError(f"encryption_key_id is {active_id!r}, but there is no such key")
    return keys


def read_key_file(file: Path) -> list[str]:
    """Return the keys of a file, each ``ID:BASE64``, without comments; raises OSError."""
    lines = (line.partition("#")[0].strip() for line in file.read_text("utf-8-sig", "replace").splitlines())
    return [line for line in lines if line]


def _file_version(file: Path | None) -> tuple[int, int, int] | None:
    if file is None:
        return None
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def new_key_text() -> str:
    """Generate a key as ``ID:BASE64``; its id is ``k``, the date (UTC) and four random hexadecimal digits."""
    key_id = f"k{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(2)}"
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def write_keys(file: Path, texts: Iterable[str]) -> None:
    """Replace a key file atomically.

    A new file is readable by its owner only; an existing file keeps its owner and mode.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as out:
            if file.exists():
                status = file.stat()
                os.fchmod(out.fileno(), status.st_mode & 0o777)
                if os.geteuid() == 0:
                    os.fchown(out.fileno(), status.st_uid, status.st_gid)
            out.write("".join(f"{text}\n" for text in texts))
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
        _sync_folder(file.parent)
    finally:
        temporary.unlink(missing_ok=True)


def local_key_file(settings: Settings) -> Path | None:
    """Return the path of the local key file, which is used when no key is configured.

    None unless the database is SQLite and the service listens on a loopback address.
    """
    try:
        url = make_url(settings.database_url)
    except ArgumentError:
        return None
    if url.get_backend_name() != "sqlite" or not url.database or not settings.loopback:
        return None
    return Path(f"{url.database}.key")


def load_data_keys(settings: Settings, *, make: bool = True) -> DataKeys:
    """Load the configured keys or, on a loopback address with SQLite, the local key file.

    Parameters
    ----------
    settings : Settings
    make : bool
        Whether to create the local key file if it does not exist.

    Raises
    ------
    StartRefused
        With a message of one line that states the fault and its remedy.
    """
    active_id = settings.encryption_key_id
    try:
        if settings.encryption_keys is not None:
            texts = settings.encryption_keys.get_secret_value().split(",")
            return DataKeys([text for text in texts if text.strip()], None, active_id)
        if settings.encryption_key_file is not None:
            return DataKeys.from_file(settings.encryption_key_file, active_id)
        local = local_key_file(settings)
        if local is not None:
            return _local_keys(local, active_id) if make else DataKeys.from_file(local, active_id)
    except OSError as error:
        if settings.encryption_key_file:
            raise InvalidSettings(f"The encryption keys cannot be read: {error}.") from error
        raise StartRefused(
            f"The store cannot be opened and written next to its key. The encryption keys cannot be read: {error}."
        ) from error
    except ValueError as error:
        raise InvalidSettings(f"The encryption keys cannot be used: {error}.") from error
    raise InvalidSettings(
        "No encryption key is configured: set COUNTERSIGN_ENCRYPTION_KEY_FILE or COUNTERSIGN_ENCRYPTION_KEYS "
        f"({NEW_KEY}). A key is generated next to the store only on a loopback address with SQLite."
    )


def _local_keys(file: Path, active_id: str | None) -> DataKeys:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        write_keys(temporary, [new_key_text()])
        try:
            os.link(temporary, file)  # fails if another process created the file first; its key is used then
            _sync_folder(file.parent)
            _log.warning(
                "no encryption key is configured: created %s; without it the store cannot be read", file
            )
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
    else:
        _log.warning("no encryption key is configured: using %s", file)
    return DataKeys.from_file(file, active_id)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
