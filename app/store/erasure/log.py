"""The log of erasures outside the database: one JSON object a line, only ever added to, by any number of processes.

It holds what the table of tombstones holds, keyed digests that name nobody, and is what survives when the database
is replaced by a backup. That works as far as the log itself is not replaced as well.
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
        Made when new, readable by its owner alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, known_tombstones: Iterable[Erasure]) -> None:
        """Add those erasures that are not in it yet; all are on disk when this returns. Raises OSError.

        One may come twice: whoever looks after the store makes up for what was not noted, while the request that
        erased is about to note it.
        """
        wanted = list(known_tombstones)
        if not wanted:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            noted = {tombstone.digest for tombstone in self.read()}
            lines = "".join(
                f"{json.dumps(_line(tombstone))}\n" for tombstone in wanted if tombstone.digest not in noted
            ).encode()
            if not lines:
                return
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                lines = b"\n" + lines  # a line that broke off, on a full disk, ends here
            written = os.write(handle, lines)
            if written != len(lines):
                raise OSError(f"only {written} of {len(lines)} bytes could be written")
            os.fsync(handle)
        finally:
            os.close(handle)

    def state(self) -> tuple[int, int] | None:
        """Something that changes whenever the log does; None when there is no file yet. Raises OSError."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_size, found.st_mtime_ns

    def read(self) -> list[Erasure]:
        """All erasures; none when there is no file yet. Lines that broke off are passed over. Raises OSError."""
        try:
            lines = self.path.read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return []
        found: list[Erasure] = []
        for number, line in enumerate(lines, 1):
            try:
                item = json.loads(line)
                at = datetime.fromisoformat(item["erased_at"])
                found.append(Erasure(str(item["kind"]), str(item["digest"]), str(item["key_id"]), at))
            except (ValueError, KeyError, TypeError):
                if line.strip():
                    _log.warning("%s, line %d is no erasure; it is passed over", self.path, number)
        return found


def _line(tombstone: Erasure) -> dict[str, str]:
    return {
        "kind": tombstone.kind,
        "digest": tombstone.digest,
        "key_id": tombstone.key_id,
        "erased_at": tombstone.erased_at.isoformat(),
    }
