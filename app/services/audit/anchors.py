"""Audit anchors: write the head of each audit chain to the log when it changes.

A chain cannot prove that it is complete: an intruder who deletes its last entries and resets the stored head leaves a
valid chain. A log that is shipped to another machine still has the hash of the deleted entries, and
`audit verify --anchors` compares it with the chain.
"""

from __future__ import annotations

import asyncio
import logging

from app.domain.audit_chain import Anchor
from app.services.audit.trail import Trail
from app.store import audit
from app.store.store import Store

INTERVAL_S = 300.0
"""Seconds between two checks for changed heads."""
_log = logging.getLogger("countersign.audit")


class AnchorWriter:
    """Writes the heads of the audit chains to the log.

    Parameters
    ----------
    store : Store
    trail : Trail
    """

    def __init__(self, store: Store, trail: Trail) -> None:
        self._store = store
        self._trail = trail
        self._written: set[Anchor] = set()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Seal chains that do not end with the current key, and start the periodic writing."""
        if self._trail.keys.current is None:
            _log.info(
                "no audit key is set: anyone with write access to the database can rebuild the audit chain"
            )
        else:
            await self._store.write(self._trail.seal)
        self._task = asyncio.create_task(self._run(), name="anchors")

    async def close(self) -> None:
        """Stop the periodic writing; write the last heads."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._write_changed_heads()

    async def _run(self) -> None:
        while True:
            await self._write_changed_heads()
            await asyncio.sleep(INTERVAL_S)

    async def _write_changed_heads(self) -> None:
        try:
            heads = set(await self._store.read(audit.heads))
        except Exception:  # noqa: BLE001 - the next attempt may succeed
            _log.warning("the heads of the audit chains cannot be read", exc_info=True)
            return
        for head in sorted(heads - self._written, key=lambda head: head.tenant_id):
            fields = {"tenant_id": head.tenant_id, "sequence": head.sequence, "hash": head.hash}
            _log.info("audit head", extra={"fields": {"audit_head": fields}})
        self._written = heads
