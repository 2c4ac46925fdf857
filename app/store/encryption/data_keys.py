"""The keys that encrypt what is stored: where they come from, which one encrypts, how a new one is made.

A key is 32 random bytes under an id. All keys decrypt, one encrypts (the last, unless `encryption_key_id` names
another). From each, two keys are derived (HKDF, RFC 5869), one for AES-GCM and one for the digests of tombstones, so
that one secret never does two jobs. A key file is read again when it changes: a rotation needs no restart.
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

from app.domain.errors import StartRefused
from app.settings import Settings

KEY_BYTES = 32
NEW_KEY = "`python -m app encryption new-key` makes one"
_FORM = re.compile(r"(?P<id>[A-Za-z0-9_.-]{1,64}):(?P<key>[A-Za-z0-9+/_-]{43}=?)")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataKey:
    """One key, ready for use; its bytes are not kept."""

    key_id: str
    aead: AESGCM
    digest_key: bytes

    @classmethod
    def parse(cls, text: str) -> DataKey:
        """Read ``ID:BASE64``; raises ValueError without repeating the text, which may be a secret."""
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"an encryption key is ID:BASE64 of {KEY_BYTES} bytes; {NEW_KEY}")
        try:
            raw = base64.b64decode(match["key"].rstrip("=") + "=", altchars=b"-_", validate=False)
        except (binascii.Error, ValueError):
            raise ValueError(f"encryption key {match['id']!r} is not base64; {NEW_KEY}") from None
        if len(raw) != KEY_BYTES:
            raise ValueError(f"encryption key {match['id']!r} has {len(raw)} bytes, not {KEY_BYTES}")
        return cls(match["id"], AESGCM(_derived(raw, b"data")), _derived(raw, b"tombstone"))


def _derived(raw: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, None, b"countersign v1 " + purpose).derive(raw)


class DataKeys:
    """All keys of one service.

    Parameters
    ----------
    texts : iterable of str
        Each ``ID:BASE64``.
    file : Path or None
        Where they were read from, when they were; watched for changes.
    chosen : str or None
        Id of the key that encrypts; None takes the last.

    Raises
    ------
    ValueError
        When a key is none, two share an id, or there is none at all.
    """

    def __init__(self, texts: Iterable[str], file: Path | None = None, chosen: str | None = None) -> None:
        self.file = file
        self._chosen = chosen
        self._lock = threading.Lock()
        self._stamp = _stamp(file)
        self._keys = _parsed(texts, chosen)

    @classmethod
    def of_file(cls, file: Path, chosen: str | None = None) -> DataKeys:
        """Read a key file; raises OSError, ValueError."""
        stamp = _stamp(file)
        keys = cls(read_key_file(file), file, chosen)
        keys._stamp = stamp  # before the reading, so that no change in between is missed
        return keys

    @property
    def active(self) -> DataKey:
        """The key that encrypts."""
        self._refresh()
        return self._keys[self._chosen or next(reversed(self._keys))]

    def get(self, key_id: str) -> DataKey | None:
        """A key by its id; None for one that is not configured."""
        if key_id not in self._keys:
            self._refresh()
        return self._keys.get(key_id)

    @property
    def all(self) -> tuple[DataKey, ...]:
        """Every key, oldest first."""
        self._refresh()
        return tuple(self._keys.values())

    def _refresh(self) -> None:
        """Read the file again when it changed; a file that cannot be read leaves the keys as they were."""
        stamp = _stamp(self.file)
        if self.file is None or stamp == self._stamp or stamp is None:
            return
        with self._lock:
            try:
                self._keys = _parsed(read_key_file(self.file), self._chosen)
            except (OSError, ValueError) as error:
                _log.error("the key file cannot be read again, the known keys stay in use: %s", error)
            self._stamp = stamp


def _parsed(texts: Iterable[str], chosen: str | None) -> dict[str, DataKey]:
    keys: dict[str, DataKey] = {}
    for text in texts:
        key = DataKey.parse(text)
        if key.key_id in keys:
            raise ValueError(f"two encryption keys have the id {key.key_id!r}")
        keys[key.key_id] = key
    if not keys:
        raise ValueError(f"there is no encryption key; {NEW_KEY}")
    if chosen is not None and chosen not in keys:
        raise ValueError(f"encryption_key_id names {chosen!r}, and there is no such key")
    return keys


def read_key_file(file: Path) -> list[str]:
    """The keys in a file, each ``ID:BASE64``, without comments. Raises OSError."""
    lines = (line.partition("#")[0].strip() for line in file.read_text("utf-8-sig", "replace").splitlines())
    return [line for line in lines if line]


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    if file is None:
        return None
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def new_key_text() -> str:
    """A fresh key as ``ID:BASE64``; the id is the day and four random digits, in the order of time."""
    key_id = f"k{datetime.now(UTC):%Y%m%d}-{secrets.token_hex(2)}"
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def write_keys(file: Path, texts: Iterable[str]) -> None:
    """Replace a key file as a whole, readable by its owner alone; keeps owner and mode of one that is there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
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
        beside.replace(file)
        _sync_folder(file.parent)
    finally:
        beside.unlink(missing_ok=True)


def local_key_file(settings: Settings) -> Path | None:
    """Where a key of this machine's own lies when none is configured; None where there is no such place."""
    try:
        url = make_url(settings.database_url)
    except ArgumentError:
        return None
    if url.get_backend_name() != "sqlite" or not url.database or not settings.loopback:
        return None
    return Path(f"{url.database}.key")


def load_data_keys(settings: Settings, *, make: bool = True) -> DataKeys:
    """The keys as configured; else, on a loopback address with SQLite, one of the machine's own.

    That one is made when there is none yet, unless ``make`` is false.

    Raises
    ------
    StartRefused
        With one line on what is wrong and what to do.
    """
    chosen = settings.encryption_key_id
    try:
        if settings.encryption_keys is not None:
            texts = settings.encryption_keys.get_secret_value().split(",")
            return DataKeys([text for text in texts if text.strip()], None, chosen)
        if settings.encryption_key_file is not None:
            return DataKeys.of_file(settings.encryption_key_file, chosen)
        own = local_key_file(settings)
        if own is not None:
            return _own(own, chosen) if make else DataKeys.of_file(own, chosen)
    except OSError as error:
        where = (
            "" if settings.encryption_key_file else "The store cannot be opened and written beside its key. "
        )
        raise StartRefused(f"{where}The encryption keys cannot be read: {error}.") from error
    except ValueError as error:
        raise StartRefused(f"The encryption keys cannot be used: {error}.") from error
    raise StartRefused(
        "No encryption key is configured: set COUNTERSIGN_ENCRYPTION_KEY_FILE or COUNTERSIGN_ENCRYPTION_KEYS "
        f"({NEW_KEY}). Only on a loopback address with SQLite is one made beside the store."
    )


def _own(file: Path, chosen: str | None) -> DataKeys:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        write_keys(beside, [new_key_text()])
        try:
            os.link(beside, file)  # fails when another process was quicker: its key is the one
            _sync_folder(file.parent)
            _log.warning(
                "no encryption key is configured: made %s, without which what is stored cannot be read", file
            )
        except FileExistsError:
            pass
        finally:
            beside.unlink(missing_ok=True)
    else:
        _log.warning("no encryption key is configured: using %s", file)
    return DataKeys.of_file(file, chosen)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
