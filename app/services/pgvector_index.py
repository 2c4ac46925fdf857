"""The index of signers in PostgreSQL: no templates and no vectors are in the memory of the service.

A search gets keys of candidates from the table of reduced vectors (`app.store.candidate_vectors`) and reads their
templates, in one transaction. Changes of signers update the table in their own transaction. Rows that are
missing because a process without this index changed a signer are added by the next search or by maintenance.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.services.exhaustive_index import ExhaustiveIndex, Matrix, Neighbours
from app.services.gallery import CANDIDATES, Reductions, entries_of
from app.store import candidate_vectors, change_counters, references
from app.store.candidate_vectors import Writer
from app.store.database_errors import store_unavailable
from app.store.store import Store

ADDED_BY_SEARCH = 500
"""Maximum number of missing signers that a search adds; it skips further ones and returns their number."""
ADDED_AT_ONCE = 20
"""Signers added in one transaction, which locks them."""
PAGE = 1000
RECOUNTED_S = 60.0
"""Seconds after which the signers of a large, changing tenant are counted again."""
BUILD_MEMORY_MB = 512
"""MiB that the database may use to build a graph while the service runs: enough for half a million signers."""
_log = logging.getLogger(__name__)


@dataclass
class _Tenant:
    """The state of a tenant.

    Attributes
    ----------
    seen : int
        Value of the change counter up to which no signer is missing in the table.
    counted : int
        Value of the change counter at the last count; -1 before the first.
    counted_at : float
        Monotonic time of the last count.
    compared, skipped : int
        Signers who had a vector then, and those who had references and no vector.
    lock : asyncio.Lock
        Held by the search that adds missing signers.
    """

    seen: int = 0
    counted: int = -1
    counted_at: float = float("-inf")
    compared: int = 0
    skipped: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True)
class _Found:
    """A search: the value of the change counter that it saw, its result, and some missing signers, if any."""

    sequence: int
    neighbours: Neighbours
    missing: tuple[str, ...]


class PgvectorIndex:
    """The signers of all tenants in the database (:class:`app.services.signer_index.SignerIndex`).

    Parameters
    ----------
    store : Store
        Its changes are written to the table by `writer`.
    writer : Writer
    reductions : Reductions
    exhaustive_signers : int
        Number of signers of a tenant up to which the database compares all of them, without a graph.
    """

    def __init__(self, store: Store, writer: Writer, reductions: Reductions, exhaustive_signers: int) -> None:
        self._store = store
        self._writer = writer
        self._reductions = reductions
        self._limit = exhaustive_signers
        self._tenants: dict[str, _Tenant] = {}

    async def nearest(
        self, tenant_id: str, template: Matrix, count: int, among: Collection[str] | None = None
    ) -> Neighbours:
        """Find the signers nearest to `template` (dimension,); at least :data:`~app.services.gallery.CANDIDATES`.

        The numbers of compared and of skipped signers may be a minute old for a tenant with more signers than are
        compared without a graph.
        """
        if among is not None:
            return await self._store.read(self._search_among, tenant_id, template, count, sorted(among))
        tenant = self._tenants.setdefault(tenant_id, _Tenant())
        found = await self._store.read(self._search, tenant_id, tenant, template, count)
        if found.missing and len(found.missing) <= ADDED_BY_SEARCH:
            async with tenant.lock:  # searches that waited for the lock find nothing missing
                found = await self._store.read(self._search, tenant_id, tenant, template, count)
                if found.missing and len(found.missing) <= ADDED_BY_SEARCH:
                    await self._add([(tenant_id, key) for key in found.missing])
                    tenant.seen, tenant.counted = found.sequence, -1
                    found = await self._store.read(self._search, tenant_id, tenant, template, count)
        return found.neighbours

    async def maintain(self) -> None:
        """Add missing signers, and build the graphs of tenants that have grown."""
        await self.add_missing(lambda _: None)
        try:
            await asyncio.to_thread(self.build_graphs, BUILD_MEMORY_MB)
        except SQLAlchemyError as error:
            raise store_unavailable(error) from error

    async def add_missing(self, added: Callable[[int], None]) -> None:
        """Add all signers who have references and no vector; `added` gets the number after each transaction."""
        after = ""
        while True:
            page = await self._store.read(
                candidate_vectors.lacking_after, self._writer.model_version, after, PAGE
            )
            if not page:
                return
            await self._add(page, added)
            after = page[-1][1]

    def build_graphs(self, memory_mb: int) -> list[str]:
        """Build missing graphs in some MiB of memory; return their tenants. Raises SQLAlchemyError."""
        return candidate_vectors.build_graphs(self._store.engine, self._limit, memory_mb)

    async def erase(self, tenant_id: str, signer_key: str) -> None:
        """Do nothing: the transaction of the erasure has deleted the vectors."""

    def close(self) -> None:
        """Do nothing: searches run on the threads of the store."""

    async def _add(
        self, signers: Sequence[tuple[str, str]], added: Callable[[int], None] = lambda _: None
    ) -> None:
        ordered = sorted(signers, key=lambda signer: signer[1])  # the order in which signers are locked

        def renew(session: Session, page: Sequence[tuple[str, str]]) -> int:
            return sum(self._writer.renew(session, tenant_id, key) for tenant_id, key in page)

        for start in range(0, len(ordered), ADDED_AT_ONCE):
            added(await self._store.write(renew, ordered[start : start + ADDED_AT_ONCE]))

    def _search(
        self, session: Session, tenant_id: str, tenant: _Tenant, template: Matrix, count: int
    ) -> _Found:
        version = self._writer.model_version
        sequence = change_counters.sequence(session, tenant_id)
        missing: list[str] = []
        if sequence != tenant.seen:
            missing = candidate_vectors.lacking(session, tenant_id, version, tenant.seen, ADDED_BY_SEARCH + 1)
            if missing and len(missing) <= ADDED_BY_SEARCH:
                return _Found(sequence, Neighbours((), 0, 0), tuple(missing))
            if not missing:
                tenant.seen = max(tenant.seen, sequence)
        vector = self._reductions.candidate(template[None])[0]
        keys = candidate_vectors.nearest(session, tenant_id, version, vector, max(count, CANDIDATES))
        entries = entries_of(references.for_index(session, tenant_id, version, keys))
        self._count(session, tenant_id, tenant, sequence)
        readable = tuple(entry for entry in entries if entry.templates is not None)
        return _Found(sequence, Neighbours(readable, tenant.compared, tenant.skipped), tuple(missing))

    def _search_among(
        self, session: Session, tenant_id: str, template: Matrix, count: int, signer_ids: Sequence[str]
    ) -> Neighbours:
        named = ExhaustiveIndex(self._reductions.search)
        rows = references.for_index_by_id(session, tenant_id, self._writer.model_version, signer_ids)
        named.apply({entry.key: entry for entry in entries_of(rows)})
        return named.nearest(template, count)

    def _count(self, session: Session, tenant_id: str, tenant: _Tenant, sequence: int) -> None:
        """Count the signers of a tenant when they may have changed; at intervals when counting takes long."""
        if tenant.counted == sequence:
            return
        age = time.monotonic() - tenant.counted_at
        if tenant.counted >= 0 and tenant.compared > self._limit and age < RECOUNTED_S:
            return
        tenant.compared, tenant.skipped = candidate_vectors.count(
            session, tenant_id, self._writer.model_version
        )
        tenant.counted, tenant.counted_at = sequence, time.monotonic()
