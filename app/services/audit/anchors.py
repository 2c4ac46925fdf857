"""Anchors of the audit: the head of each chain goes to the log whenever it moved, and the log goes elsewhere.

What ends a chain cannot vouch for itself: whoever cuts the tail off and turns the stored head back leaves a chain
that is whole. A log on another machine still names the entry that is gone; `audit verify --anchors` reads it.
"""

from __future__ import annotations

import asyncio
import logging

from app.domain.audit_chain import Anchor
from app.services.audit.trail import Trail
from app.store import audit
from app.store.store import Store

_log = logging.getLogger("countersign.audit")


class AnchorWriter:
    """Writes the heads of the audit's chains to the log.

    Parameters
    ----------
    store : Store
    trail : Trail
    every_s : float
        Seconds between two looks.
    """

    def __init__(self, store: Store, trail: Trail, every_s: float) -> None:
        self._store = store
        self._trail = trail
        self._every_s = every_s
        self._told: set[Anchor] = set()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Seal chains that end without the key in use, and begin to look."""
        if self._trail.keys.current is None:
            _log.info("no audit key is set: who can write the database can rebuild the audit's chain")
        else:
            await self._store.write(self._trail.seal)
        self._task = asyncio.create_task(self._keep_telling(), name="anchors")

    async def close(self) -> None:
        """Stop; tell the last heads."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._try_telling()

    async def _keep_telling(self) -> None:
        while True:
            await self._try_telling()
            await asyncio.sleep(self._every_s)

    async def _try_telling(self) -> None:
        try:
            heads = set(await self._store.read(audit.heads))
        except Exception:  # noqa: BLE001 - whatever it was, the next look may succeed
            _log.warning("the heads of the audit cannot be read", exc_info=True)
            return
        for head in sorted(heads - self._told, key=lambda head: head.tenant_id):
            fields = {"tenant_id": head.tenant_id, "sequence": head.sequence, "hash": head.hash}
            _log.info("audit head", extra={"fields": {"audit_head": fields}})
        self._told = heads
