"""The erasure log: an append-only file outside the database, one JSON object per line, shared by all processes.

It holds the same tombstones as the database: keyed digests that identify no one. It survives when the database is
replaced by a backup, provided that the log itself is not replaced as well.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from app.store.erasure.tombstones import Erasure

_log = logging.getLogger(__name__)


class ErasureLog:
    """A file of erasures.

    Parameters
    ----------
    path : Path
        Created if missing, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, erasures: Iterable[Erasure]) -> None:
        """Add the erasures that are not in the log yet and flush them to disk; raises OSError.

        An erasure may be passed twice: maintenance adds what is missing from the log, possibly while the request that
        erased the record is about to do the same.
        """
        added = list(erasures)
        if not added:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            logged = {erasure.digest for erasure in self.read()}
            lines = "".join(
                f"{json.dumps(_to_json(erasure))}\n" for erasure in added if erasure.digest not in logged
            ).encode()
            if not lines:
                return
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # terminates an incomplete line, such as one left by a full disk
            written = os.write(handle, lines)
            if written != len(lines):
                raise OSError(f"only {written} of {len(lines)} bytes could be written")
            os.fsync(handle)
        finally:
            os.close(handle)

    def state(self) -> tuple[int, int] | None:
        """Return a value that changes whenever the log changes, None if there is no file; raises OSError."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_size, status.st_mtime_ns

    def read(self) -> list[Erasure]:
        """Return all erasures, none if there is no file. Incomplete lines are skipped. Raises OSError."""
        try:
            lines = self.path.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return []
        erasures: list[Erasure] = []
        for number, line in enumerate(lines, 1):
            try:
                item = json.loads(line)
                erased_at = datetime.fromisoformat(item["erased_at"])
                erasures.append(
                    Erasure(str(item["kind"]), str(item["digest"]), str(item["key_id"]), erased_at)
                )
            except (ValueError, KeyError, TypeError):
                if line.strip():
                    _log.warning("%s: line %d is not an erasure and is skipped", self.path, number)
        return erasures


def _to_json(erasure: Erasure) -> dict[str, str]:
    return {
        "kind": erasure.kind,
        "digest": erasure.digest,
        "key_id": erasure.key_id,
        "erased_at": erasure.erased_at.isoformat(),
    }
