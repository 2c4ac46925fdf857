"""Files of candidate indexes, encrypted, so that a restart does not build them again from all templates.

A file holds the index of one tenant up to a value of the change counter. It is bound to the tenant, the model and the
history of the store: it names an entry of the tenant's audit chain, so that it is not used with an older backup whose
change counter has reached the same value again. A file that is missing, damaged or of another history is not
an error: the index is built again.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from cryptography.exceptions import InvalidTag
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.store.access_tables import AuditHeadRow, AuditRow
from app.store.encryption.cipher import Place
from app.store.encryption.data_keys import DataKeys

_FORMAT = "countersign-index-1"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_PIECE_BYTES = 64 << 20
"""Bytes that are encrypted at once: the AES-GCM of the library accepts less than 2 GiB."""
_log = logging.getLogger(__name__)


class SnapshotUnusable(Exception):
    """A file of an index cannot be used, with the reason."""


@dataclass(frozen=True)
class Position:
    """What a snapshot contains, and the history that it belongs to.

    Attributes
    ----------
    sequence : int
        Value of the tenant's change counter up to which the index is current.
    audit_sequence : int
        Number of an entry of the tenant's audit chain that was written before the snapshot; 0 if there was none.
    audit_hash : str
        Hash of that entry; empty if there was none.
    """

    sequence: int
    audit_sequence: int
    audit_hash: str


def position(session: Session, tenant_id: str, sequence: int) -> Position:
    """Return the position of an index that is current up to a value of the change counter."""
    head = session.execute(
        select(AuditHeadRow.sequence, AuditHeadRow.hash).where(AuditHeadRow.tenant_id == tenant_id)
    ).one_or_none()
    return Position(sequence, 0, "") if head is None else Position(sequence, head.sequence, head.hash)


def is_of_this_history(session: Session, tenant_id: str, found: Position) -> bool:
    """Whether a snapshot was made from this store, or from an older state of it."""
    if not found.audit_sequence:
        return (
            session.scalar(select(AuditHeadRow.sequence).where(AuditHeadRow.tenant_id == tenant_id)) is None
        )
    stored = session.scalar(
        select(AuditRow.hash).where(
            AuditRow.tenant_id == tenant_id, AuditRow.sequence == found.audit_sequence
        )
    )
    return stored == found.audit_hash


class IndexSnapshots:
    """A folder of encrypted files, one for each tenant.

    Parameters
    ----------
    folder : Path
        Created with the first file, readable by its owner only.
    keys : DataKeys
        The keys of the store's data. A file whose key was retired is unusable.
    model_version : str
    """

    def __init__(self, folder: Path, keys: DataKeys, model_version: str) -> None:
        self._folder = folder
        self._keys = keys
        self._model_version = model_version

    def prepare(self, tenant_id: str, at: Position, content: bytes) -> Path:
        """Write an encrypted snapshot under a temporary name, for :meth:`publish`. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(tenant_id).with_suffix(f".{uuid4().hex}.tmp")
        key = self._keys.active
        pieces = -(-len(content) // _PIECE_BYTES)
        # Every piece is bound to its place among the pieces of this file.
        head = {
            "format": _FORMAT,
            "id": uuid4().hex,
            "key_id": key.key_id,
            "pieces": pieces,
            "sequence": at.sequence,
            "audit_sequence": at.audit_sequence,
            "audit_hash": at.audit_hash,
        }
        line = json.dumps(head)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(line.encode() + b"\n")
                for number in range(pieces):
                    piece = content[number * _PIECE_BYTES : (number + 1) * _PIECE_BYTES]
                    nonce = os.urandom(_NONCE_BYTES)
                    file.write(nonce)
                    file.write(
                        key.aead.encrypt(nonce, piece, self._associated(tenant_id, line, number, key.key_id))
                    )
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def publish(self, tenant_id: str, prepared: Path) -> None:
        """Replace the tenant's snapshot by a prepared file. Raises OSError."""
        prepared.replace(self._path(tenant_id))

    def read(self, tenant_id: str) -> tuple[Position, bytes] | None:
        """Read and decrypt the snapshot of a tenant; None when there is none.

        Raises
        ------
        SnapshotUnusable
            The file is damaged, of another release, or encrypted with a key that is not configured.
        """
        try:
            with self._path(tenant_id).open("rb") as file:
                line = file.readline(4096).decode().rstrip("\n")
                head = json.loads(line)
                if head["format"] != _FORMAT:
                    raise SnapshotUnusable(f"it has the format {head['format']}")
                key = self._keys.get(head["key_id"])
                if key is None:
                    raise SnapshotUnusable(f"its key {head['key_id']!r} is not configured")
                pieces = []
                for number in range(head["pieces"]):
                    nonce = file.read(_NONCE_BYTES)
                    sealed = file.read(_PIECE_BYTES + _TAG_BYTES)
                    place = self._associated(tenant_id, line, number, key.key_id)
                    pieces.append(key.aead.decrypt(nonce, sealed, place))
                at = Position(head["sequence"], head["audit_sequence"], head["audit_hash"])
        except FileNotFoundError:
            return None
        except (OSError, InvalidTag, ValueError, KeyError, TypeError) as error:
            raise SnapshotUnusable(f"it is damaged ({error or type(error).__name__})") from error
        return at, b"".join(pieces)

    def delete(self, tenant_id: str) -> None:
        """Delete the snapshot of a tenant, if there is one; raises OSError."""
        self._path(tenant_id).unlink(missing_ok=True)

    def delete_temporary(self) -> None:
        """Delete incomplete files of processes that were killed."""
        with suppress(OSError):
            for path in self._folder.glob("*.tmp"):
                path.unlink(missing_ok=True)

    def _path(self, tenant_id: str) -> Path:
        # A digest, because the ids of tenants need not be valid file names.
        return self._folder / f"{sha256(tenant_id.encode()).hexdigest()[:32]}.index"

    def _associated(self, tenant_id: str, head: str, number: int, key_id: str) -> bytes:
        return Place("index", tenant_id, head, str(number), self._model_version).associated_data(key_id)
