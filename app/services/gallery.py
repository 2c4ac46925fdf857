"""Every enrolled template in memory, for identification; kept in step with the store.

For each tenant the search vectors of all templates stand in one matrix. Before each use the tenant's counter is read
(`app.store.change_counters`): when it moved, by whichever process, the signers that changed are read again. The time
this takes grows with the number of changed signers, not with the number of enrolled ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from app.store import change_counters, references
from app.store.references import Indexed
from app.store.store import Store

Matrix = NDArray[np.float32]
SearchVectors = Callable[[Matrix], Matrix]
"""(n, dimension) templates to (n, c) vectors whose Euclidean distances rank like those of the model."""

PAGE = 500
"""Signers read from the store in one statement while an index is brought up to date."""


@dataclass(frozen=True)
class Entry:
    """One signer in the gallery; `templates` is (k, dimension) float16, None when some are not to be had.

    Another model made them, or they do not decrypt. `key` tells the signer from others who had the same id before.
    """

    key: str
    signer_id: str
    target_far: float | None
    fixed_threshold: float | None
    templates: NDArray[np.float16] | None


@dataclass(frozen=True)
class Neighbours:
    """The signers nearest to a template, best first, and how many could not be compared."""

    entries: tuple[Entry, ...]
    compared: int
    skipped: int


class _TenantIndex:
    """One tenant's signers, and the matrix of their search vectors.

    A signer that changes gets new rows at the end; the old ones are given an infinite distance, and taken out once
    they are half of all. Use under :attr:`lock`, by one thread at a time.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.seen = 0
        self._slots: dict[str, int] = {}  # of signer keys, in _entries
        self._entries: list[Entry | None] = []
        self._rows: list[slice] = []  # of each slot, in the arrays below
        self._vectors: Matrix = np.zeros((0, 0), np.float32)
        self._squares: Matrix = np.zeros(0, np.float32)
        self._owners: NDArray[np.int64] = np.zeros(0, np.int64)
        self._used = 0
        self._stale = 0

    def replace(self, key: str, entry: Entry | None, vectors: Matrix) -> None:
        """Set what is known of a signer; `entry` None removes it. `vectors` (k, c) are its search vectors."""
        slot = self._slots.pop(key, None)
        if slot is not None:
            rows = self._rows[slot]
            self._squares[rows] = np.inf
            self._entries[slot] = None
            self._stale += rows.stop - rows.start
        if entry is not None:
            slot = self._slots[key] = len(self._entries)
            self._entries.append(entry)
            self._rows.append(self._append(slot, vectors))

    def compact(self) -> None:
        """Take out the rows of signers that changed or were removed, once they are half of all rows."""
        if 2 * self._stale <= self._used and 2 * len(self._slots) >= len(self._entries):
            return
        kept = [self._rows[slot] for slot in self._slots.values()]
        sizes = [rows.stop - rows.start for rows in kept]
        vectors = np.concatenate([self._vectors[:0], *(self._vectors[rows] for rows in kept)])
        entries = [self._entries[s] for s in self._slots.values()]
        ends = np.cumsum(sizes, dtype=np.int64)
        self._vectors = vectors
        self._squares = np.einsum("ij,ij->i", vectors, vectors)
        self._owners = np.repeat(np.arange(len(sizes)), sizes)
        self._used, self._stale = len(vectors), 0
        self._rows = [slice(int(end) - size, int(end)) for end, size in zip(ends, sizes, strict=True)]
        self._entries = entries
        self._slots = {key: position for position, key in enumerate(self._slots)}

    def nearest(self, vector: Matrix, count: int, among: Collection[str] | None) -> Neighbours:
        """The `count` signers with the reference nearest to a search vector (c,), among some or all."""
        known = [
            (slot, entry)
            for slot, entry in enumerate(self._entries)
            if entry is not None and (among is None or entry.signer_id in among)
        ]
        compared = [(slot, entry) for slot, entry in known if entry.templates is not None]
        skipped = len(known) - len(compared)
        if not compared:
            return Neighbours((), 0, skipped)
        used = slice(0, self._used)
        # |a - b|^2 = |b|^2 - 2 a.b + const: enough to rank by; the nearest are measured exactly afterwards.
        away = self._squares[used] - 2.0 * (self._vectors[used] @ vector)
        by_slot = np.full(len(self._entries), np.inf, np.float32)
        np.minimum.at(by_slot, self._owners[used], away)
        distances = by_slot[[slot for slot, _ in compared]]
        wanted = min(count, len(compared))
        best = np.argpartition(distances, wanted - 1)[:wanted] if wanted else np.zeros(0, np.int64)
        best = best[np.argsort(distances[best], kind="stable")]
        return Neighbours(tuple(compared[i][1] for i in best), len(compared), skipped)

    def _append(self, slot: int, vectors: Matrix) -> slice:
        end = self._used + len(vectors)
        if len(vectors) and end > len(self._squares):
            room = max(end, 2 * self._used, 64)
            grown = np.zeros((room, vectors.shape[1]), np.float32)
            if self._used:
                grown[: self._used] = self._vectors[: self._used]
            self._vectors = grown
            self._squares = np.concatenate(
                [self._squares[: self._used], np.zeros(room - self._used, np.float32)]
            )
            self._owners = np.concatenate([self._owners[: self._used], np.zeros(room - self._used, np.int64)])
        rows = slice(self._used, end)
        if len(vectors):
            self._vectors[rows] = vectors
            self._squares[rows] = np.einsum("ij,ij->i", vectors, vectors)
            self._owners[rows] = slot
        self._used = end
        return rows


class Gallery:
    """All signers of all tenants.

    It works on threads of its own, so that bringing a large index up to date takes no thread from writes. A tenant
    has one of them at most: those who wait for a tenant's index wait on the event loop, so that the other threads
    stay free for other tenants. Use from one event loop.

    Parameters
    ----------
    store : Store
    model_version : str
        Only templates of this model are compared.
    search_vectors : callable
        :meth:`model.networks.embedder.Embedder.search_vectors`.
    threads : int
        Tenants whose index is searched or brought up to date at a time.
    """

    def __init__(
        self, store: Store, model_version: str, search_vectors: SearchVectors, threads: int = 2
    ) -> None:
        self._store = store
        self._model_version = model_version
        self._search_vectors = search_vectors
        self._indexes: dict[str, _TenantIndex] = {}
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="gallery")

    async def nearest(
        self, tenant_id: str, template: Matrix, count: int, among: Collection[str] | None = None
    ) -> Neighbours:
        """The `count` signers with the reference nearest to `template` (dimension,), among some or all.

        Every change that was committed before this call is taken into account.
        """
        index = self._indexes.setdefault(tenant_id, _TenantIndex())
        await index.lock.acquire()
        try:
            work = asyncio.get_running_loop().run_in_executor(
                self._threads, self._nearest, tenant_id, index, template, count, among
            )
        except BaseException:
            index.lock.release()
            raise
        # The thread goes on when the caller goes away, and has the index until it ends.
        work.add_done_callback(lambda _: index.lock.release())
        return await asyncio.shield(work)

    def close(self) -> None:
        """Let running searches finish."""
        self._threads.shutdown(wait=True)

    def _nearest(
        self, tenant_id: str, index: _TenantIndex, template: Matrix, count: int, among: Collection[str] | None
    ) -> Neighbours:
        vector = self._search_vectors(template[None])[0]
        self._refresh(tenant_id, index)
        return index.nearest(vector, count, among)

    def _refresh(self, tenant_id: str, index: _TenantIndex) -> None:
        sequence = self._store.read_now(change_counters.sequence, tenant_id)
        if sequence == index.seen:
            return
        # Changes committed while this runs have a larger number and are read the next time, some of them again.
        keys = self._store.read_now(change_counters.changed_since, tenant_id, index.seen)
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            rows = self._store.read_now(references.for_index, tenant_id, self._model_version, page)
            by_key = {key: list(group) for key, group in groupby(rows, key=lambda row: row.key)}
            for key in page:
                self._replace(index, key, by_key.get(key, []))
        index.compact()
        index.seen = sequence

    def _replace(self, index: _TenantIndex, key: str, rows: Sequence[Indexed]) -> None:
        known = [row.template for row in rows if row.template is not None]
        complete = len(known) == len(rows) > 0
        templates = np.stack(known) if complete else None
        vectors = np.zeros((0, 0), np.float32) if templates is None else self._search_vectors(templates)
        entry = None
        if rows:
            entry = Entry(
                key,
                rows[0].signer_id,
                rows[0].target_far,
                rows[0].fixed_threshold,
                None if templates is None else templates.astype(np.float16),
            )
        index.replace(key, entry, vectors)
