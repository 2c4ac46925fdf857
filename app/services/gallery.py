"""An in-memory index of all enrolled templates, for identification.

For each tenant, one matrix holds the search vectors of all templates. Before each search the tenant's change counter
is read (`app.store.change_counters`). If any process has raised it, the changed signers are read again; the cost
grows with the number of changed signers, not with the number of enrolled ones.
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
"""Maximum number of signers read from the store in one statement."""


@dataclass(frozen=True)
class Entry:
    """One signer in the gallery.

    Attributes
    ----------
    key : str
        Distinguishes the signer from erased signers with the same id.
    signer_id : str
    target_far, fixed_threshold : float or None
        The signer's own policy.
    templates : (k, dimension) float16 or None
        None when a reference has no template of the model in use, or one that cannot be decrypted.
    """

    key: str
    signer_id: str
    target_far: float | None
    fixed_threshold: float | None
    templates: NDArray[np.float16] | None


@dataclass(frozen=True)
class Neighbours:
    """The signers nearest to a template, best first, with the number of signers compared and skipped."""

    entries: tuple[Entry, ...]
    compared: int
    skipped: int


class _TenantIndex:
    """The signers of one tenant, and the matrix of their search vectors.

    The rows of a changed signer are appended; the old rows get an infinite distance, and are removed once they are
    half of all rows. Not thread-safe: use it while holding :attr:`lock`.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.sequence = 0  # the change counter up to which the index is current
        self._slots: dict[str, int] = {}  # by signer key: index into _entries and _rows
        self._entries: list[Entry | None] = []
        self._rows: list[slice] = []  # by slot: rows of the arrays below
        self._vectors: Matrix = np.zeros((0, 0), np.float32)
        self._squares: Matrix = np.zeros(0, np.float32)
        self._owners: NDArray[np.int64] = np.zeros(0, np.int64)
        self._used = 0
        self._stale = 0

    def replace(self, key: str, entry: Entry | None, vectors: Matrix) -> None:
        """Replace a signer's entry and search vectors (k, c); an `entry` of None removes the signer."""
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
        """Remove stale rows and empty slots, once either are half of all."""
        if 2 * self._stale <= self._used and 2 * len(self._slots) >= len(self._entries):
            return
        live_rows = [self._rows[slot] for slot in self._slots.values()]
        sizes = [rows.stop - rows.start for rows in live_rows]
        vectors = np.concatenate([self._vectors[:0], *(self._vectors[rows] for rows in live_rows)])
        entries = [self._entries[slot] for slot in self._slots.values()]
        ends = np.cumsum(sizes, dtype=np.int64)
        self._vectors = vectors
        self._squares = np.einsum("ij,ij->i", vectors, vectors)
        self._owners = np.repeat(np.arange(len(sizes)), sizes)
        self._used, self._stale = len(vectors), 0
        self._rows = [slice(int(end) - size, int(end)) for end, size in zip(ends, sizes, strict=True)]
        self._entries = entries
        self._slots = {key: slot for slot, key in enumerate(self._slots)}

    def nearest(self, vector: Matrix, count: int, among: Collection[str] | None) -> Neighbours:
        """Find the `count` signers with a reference nearest to a search vector (c,), among some or all."""
        candidates = [
            (slot, entry)
            for slot, entry in enumerate(self._entries)
            if entry is not None and (among is None or entry.signer_id in among)
        ]
        compared = [(slot, entry) for slot, entry in candidates if entry.templates is not None]
        skipped = len(candidates) - len(compared)
        if not compared:
            return Neighbours((), 0, skipped)
        used = slice(0, self._used)
        # |a - b|^2 = |b|^2 - 2 a.b + const is enough for ranking; the caller computes exact distances.
        row_distances = self._squares[used] - 2.0 * (self._vectors[used] @ vector)
        slot_distances = np.full(len(self._entries), np.inf, np.float32)
        np.minimum.at(slot_distances, self._owners[used], row_distances)
        distances = slot_distances[[slot for slot, _ in compared]]
        count = min(count, len(compared))
        best = np.argpartition(distances, count - 1)[:count] if count else np.zeros(0, np.int64)
        best = best[np.argsort(distances[best], kind="stable")]
        return Neighbours(tuple(compared[index][1] for index in best), len(compared), skipped)

    def _append(self, slot: int, vectors: Matrix) -> slice:
        end = self._used + len(vectors)
        if len(vectors) and end > len(self._squares):
            capacity = max(end, 2 * self._used, 64)
            grown = np.zeros((capacity, vectors.shape[1]), np.float32)
            if self._used:
                grown[: self._used] = self._vectors[: self._used]
            self._vectors = grown
            self._squares = np.concatenate(
                [self._squares[: self._used], np.zeros(capacity - self._used, np.float32)]
            )
            self._owners = np.concatenate(
                [self._owners[: self._used], np.zeros(capacity - self._used, np.int64)]
            )
        rows = slice(self._used, end)
        if len(vectors):
            self._vectors[rows] = vectors
            self._squares[rows] = np.einsum("ij,ij->i", vectors, vectors)
            self._owners[rows] = slot
        self._used = end
        return rows


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
    search_vectors : callable
        :meth:`model.networks.embedder.Embedder.search_vectors`.
    threads : int
        Number of tenants whose indexes are searched or refreshed concurrently.
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
        """Find the `count` signers with a reference nearest to `template` (dimension,), among some or all.

        The result reflects every change committed before this call.
        """
        index = self._indexes.setdefault(tenant_id, _TenantIndex())
        await index.lock.acquire()
        try:
            search = asyncio.get_running_loop().run_in_executor(
                self._threads, self._search, tenant_id, index, template, count, among
            )
        except BaseException:
            index.lock.release()
            raise
        # The thread continues when the caller is cancelled, so the lock is held until the thread ends.
        search.add_done_callback(lambda _: index.lock.release())
        return await asyncio.shield(search)

    def close(self) -> None:
        """Wait for running searches to finish."""
        self._threads.shutdown(wait=True)

    def _search(
        self, tenant_id: str, index: _TenantIndex, template: Matrix, count: int, among: Collection[str] | None
    ) -> Neighbours:
        vector = self._search_vectors(template[None])[0]
        self._refresh(tenant_id, index)
        return index.nearest(vector, count, among)

    def _refresh(self, tenant_id: str, index: _TenantIndex) -> None:
        sequence = self._store.read_now(change_counters.sequence, tenant_id)
        if sequence == index.sequence:
            return
        # Changes committed from here on have a larger number and are read (possibly again) at the next refresh.
        keys = self._store.read_now(change_counters.changed_since, tenant_id, index.sequence)
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            rows = self._store.read_now(references.for_index, tenant_id, self._model_version, page)
            by_key = {key: list(group) for key, group in groupby(rows, key=lambda row: row.key)}
            for key in page:
                self._replace(index, key, by_key.get(key, []))
        index.compact()
        index.sequence = sequence

    def _replace(self, index: _TenantIndex, key: str, rows: Sequence[Indexed]) -> None:
        present = [row.template for row in rows if row.template is not None]
        is_complete = len(present) == len(rows) > 0
        templates = np.stack(present) if is_complete else None
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
