"""The indexes of enrolled signers, for identification: one for each tenant, kept current with the store.

Before each search the tenant's change counter is read (`app.store.change_counters`). If any process has raised it,
the changed signers are read again; the cost grows with the number of changed signers, not with the number of enrolled
ones. A tenant with few signers has an :class:`~app.services.exhaustive_index.ExhaustiveIndex`, one with many a
:class:`~app.services.candidate_index.CandidateIndex`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from app.services import candidate_index
from app.services.candidate_index import CandidateIndex
from app.services.exhaustive_index import (
    Changes,
    Entry,
    ExhaustiveIndex,
    Matrix,
    Neighbours,
    Reduce,
)
from app.store import change_counters, index_snapshots, references
from app.store.index_snapshots import IndexSnapshots, SnapshotUnusable
from app.store.references import Indexed
from app.store.store import Store

T = TypeVar("T")
PAGE = 500
"""Maximum number of signers read from the store in one statement."""
CANDIDATES = 200
"""Minimum number of signers that a candidate index proposes; their exact distances are computed."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reductions:
    """How templates (n, dimension) are reduced: to search vectors of all references, and to candidate vectors.

    Attributes
    ----------
    search, candidate : callable
        :meth:`~model.networks.embedder.Embedder.search_vectors` and
        :meth:`~model.networks.embedder.Embedder.candidate_vectors`.
    """

    search: Reduce
    candidate: Reduce


@dataclass
class _Tenant:
    """The index of one tenant.

    Attributes
    ----------
    lock : asyncio.Lock
        Held by a search or a refresh until its thread ends.
    guard : threading.Lock
        Held for each access to the index, so that an erasure need not wait until a long refresh has ended.
    sequence : int
        The change counter up to which the index is current.
    erased : set of str
        Keys that were erased while a refresh, which may have read them before, was running.
    erasures, saved : int
        Number of erasures, and the sequence of the last snapshot.
    """

    index: ExhaustiveIndex | CandidateIndex
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    guard: threading.Lock = field(default_factory=threading.Lock)
    sequence: int = 0
    erased: set[str] = field(default_factory=set)
    erasures: int = 0
    saved: int = -1


class Gallery:
    """The indexes of all tenants.

    The gallery has its own thread pool, so that refreshing a large index blocks no thread of the store. Each tenant
    uses at most one thread at a time: further searches of the same tenant wait on the event loop, which leaves the
    other threads to other tenants. Use it from one event loop.

    Parameters
    ----------
    store : Store
    model_version : str
        Only templates of this model are indexed.
    reductions : Reductions
    exhaustive_signers : int
        Number of signers of a tenant up to which every search compares all of them.
    snapshots : IndexSnapshots or None
        Where candidate indexes are kept over a restart; None: in memory only.
    threads : int
        Number of tenants whose indexes are searched or refreshed concurrently.
    """

    def __init__(
        self,
        store: Store,
        model_version: str,
        reductions: Reductions,
        exhaustive_signers: int,
        snapshots: IndexSnapshots | None = None,
        threads: int = 2,
    ) -> None:
        self._store = store
        self._model_version = model_version
        self._reductions = reductions
        self._limit = exhaustive_signers
        self._snapshots = snapshots
        self._tenants: dict[str, _Tenant] = {}
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="gallery")
        self._warned = False
        if snapshots is not None:
            snapshots.delete_temporary()

    async def nearest(
        self, tenant_id: str, template: Matrix, count: int, among: Collection[str] | None = None
    ) -> Neighbours:
        """Find the `count` signers nearest to `template` (dimension,), among some or all.

        The result reflects every change committed before this call. It has at least :data:`CANDIDATES` signers, in
        no order, when the tenant has a candidate index.
        """
        return await self._run(tenant_id, partial(self._search, template=template, count=count, among=among))

    async def maintain(self) -> None:
        """Refresh the indexes of tenants with many signers, and save those that have changed."""
        for tenant_id in await self._store.read(change_counters.tenants):
            if await self._store.read(change_counters.count, tenant_id) > self._limit:
                await self._run(tenant_id, self._refresh_and_save)

    async def erase(self, tenant_id: str, signer_key: str) -> None:
        """Remove a signer, after the erasure of the signer or of a reference was committed.

        A signer who still has references is added again by the next search.
        """
        await asyncio.to_thread(self._erase, tenant_id, signer_key)

    def close(self) -> None:
        """Wait for running searches to finish, and save the indexes that have changed."""
        self._threads.shutdown(wait=True)
        for tenant_id, tenant in self._tenants.items():
            self._save(tenant_id, tenant)

    async def _run(self, tenant_id: str, work: Callable[[str, _Tenant], T]) -> T:
        tenant = self._tenants.setdefault(tenant_id, _Tenant(ExhaustiveIndex(self._reductions.search)))
        await tenant.lock.acquire()
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, work, tenant_id, tenant)
        except BaseException:
            tenant.lock.release()
            raise
        # The thread continues when the caller is cancelled, so the lock is held until the thread ends.
        running.add_done_callback(lambda _: tenant.lock.release())
        return await asyncio.shield(running)

    def _search(
        self, tenant_id: str, tenant: _Tenant, template: Matrix, count: int, among: Collection[str] | None
    ) -> Neighbours:
        self._refresh(tenant_id, tenant)
        index = tenant.index
        if isinstance(index, ExhaustiveIndex):
            with tenant.guard:
                return index.nearest(template, count, among)
        if among is not None:
            named = ExhaustiveIndex(self._reductions.search)
            named.apply(self._read(references.for_index_by_id, tenant_id, sorted(among)))
            return named.nearest(template, count)
        with tenant.guard:
            keys = index.nearest(template, max(count, CANDIDATES))
            compared, skipped = len(index), len(index.skipped)
        entries = self._read(references.for_index, tenant_id, keys).values()
        readable = tuple(entry for entry in entries if entry.templates is not None)
        return Neighbours(readable, compared, skipped)

    def _refresh(self, tenant_id: str, tenant: _Tenant) -> None:
        with tenant.guard:
            tenant.erased.clear()
        if tenant.sequence == 0:
            self._restore(tenant_id, tenant)
        sequence = self._store.read_now(change_counters.sequence, tenant_id)
        if sequence == tenant.sequence:
            return
        # Changes committed from here on have a larger number and are read (possibly again) at the next refresh.
        keys = self._store.read_now(change_counters.changed_since, tenant_id, tenant.sequence)
        self._choose_index(tenant, keys)
        started, is_new = time.monotonic(), tenant.sequence == 0
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            changes: Changes = dict.fromkeys(page) | self._read(references.for_index, tenant_id, page)
            with tenant.guard:
                tenant.index.apply({key: row for key, row in changes.items() if key not in tenant.erased})
        if isinstance(tenant.index, ExhaustiveIndex):
            tenant.index.compact()
        elif is_new:
            _log.info("indexed %d signers in %.1f s", len(tenant.index), time.monotonic() - started)
        tenant.sequence = sequence

    def _choose_index(self, tenant: _Tenant, changed: Sequence[str]) -> None:
        """Change to a candidate index when the tenant has more signers than an exhaustive search compares."""
        present = tenant.index
        if not isinstance(present, ExhaustiveIndex):
            return
        signers = len(present) + sum(key not in present for key in changed)
        if signers <= self._limit:
            return
        if not candidate_index.is_available():
            if not self._warned:
                _log.warning(
                    "a tenant has more than %d signers: install the extra `index` (pip install -e '.[index]' "
                    "-c constraints.txt) to identify signatures faster and with less memory",
                    self._limit,
                )
            self._warned = True
            return
        index = CandidateIndex(self._reductions.candidate)
        entries = list(present.entries())
        for start in range(0, len(entries), PAGE):
            index.apply({entry.key: entry for entry in entries[start : start + PAGE]})
        with tenant.guard:
            tenant.index = index
            # An exhaustive index has no snapshot. Signers who were erased meanwhile are still in the copy.
            for key in tenant.erased:
                index.erase(key)

    def _read(
        self, query: Callable[..., list[Indexed]], tenant_id: str, names: Sequence[str]
    ) -> dict[str, Entry]:
        """Read signers from the store, by their keys."""
        rows = self._store.read_now(query, tenant_id, self._model_version, names)
        return {entry.key: entry for entry in entries_of(rows)}

    def _erase(self, tenant_id: str, signer_key: str) -> None:
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            with tenant.guard:
                tenant.erased.add(signer_key)
                tenant.erasures += 1
                tenant.saved = -1
                if isinstance(tenant.index, CandidateIndex):
                    tenant.index.erase(signer_key)
                else:
                    tenant.index.apply({signer_key: None})
        if self._snapshots is not None:
            try:
                self._snapshots.delete(tenant_id)
            except OSError as error:
                _log.error("an index file with an erased signer could not be deleted: %s", error)

    def _refresh_and_save(self, tenant_id: str, tenant: _Tenant) -> None:
        self._refresh(tenant_id, tenant)
        self._save(tenant_id, tenant)

    def _restore(self, tenant_id: str, tenant: _Tenant) -> None:
        """Load the snapshot of a tenant, if there is one and it is of this store and model."""
        if self._snapshots is None or not candidate_index.is_available():
            return
        try:
            found = self._snapshots.read(tenant_id)
            if found is None:
                return
            position, content = found
            if not self._store.read_now(index_snapshots.is_of_this_history, tenant_id, position):
                raise SnapshotUnusable("it is not of this store")
            index = CandidateIndex.load(content, self._reductions.candidate)
        except SnapshotUnusable as error:
            _log.warning("a file of an index cannot be used and is built again: %s", error)
            return
        with tenant.guard:
            tenant.index = index
            tenant.sequence = tenant.saved = position.sequence
            for key in tenant.erased:
                index.erase(key)

    def _save(self, tenant_id: str, tenant: _Tenant) -> None:
        """Write the snapshot of a changed candidate index. Failures are logged: the file only saves time."""
        snapshots, index = self._snapshots, tenant.index
        if snapshots is None or not isinstance(index, CandidateIndex) or tenant.saved == tenant.sequence:
            return
        prepared: Path | None = None
        try:
            position = self._store.read_now(index_snapshots.position, tenant_id, tenant.sequence)
            with tenant.guard:
                erasures, content = tenant.erasures, index.dump()
            prepared = snapshots.prepare(tenant_id, position, content)
            with tenant.guard:
                if erasures == tenant.erasures:  # otherwise the file has a signer who was erased meanwhile
                    snapshots.publish(tenant_id, prepared)
                    tenant.saved = position.sequence
                    prepared = None
        except OSError as error:
            _log.warning("the file of an index could not be written: %s", error)
        finally:
            if prepared is not None:
                prepared.unlink(missing_ok=True)


def entries_of(rows: Sequence[Indexed]) -> list[Entry]:
    """Return the entries of signers as the store returns them."""
    return [Entry(row.key, row.signer_id, row.target_far, row.fixed_threshold, row.templates) for row in rows]
