"""Every enrolled template in memory, for identification; kept in step with the store.

For each tenant the templates stand in one matrix, grouped by signer. Before each use the tenant's counter is read
(`app.store.changes`): when it moved, by whichever process, the signers that changed are read again.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.store import changes, references
from app.store.store import Store

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Entry:
    """One signer in the gallery; `templates` is (k, dimension) float32, None when some are not to be had.

    Another model made them, or they do not decrypt.
    """

    signer_id: str
    target_far: float | None
    fixed_threshold: float | None
    templates: Matrix | None


@dataclass
class _Shelf:
    """One tenant's signers, and the matrix made of them."""

    seen: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    order: list[Entry] = field(default_factory=list)
    matrix: Matrix = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    squares: Matrix = field(default_factory=lambda: np.zeros(0, np.float32))
    starts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Neighbours:
    """The signers nearest to a template, best first, and how many could not be compared."""

    entries: tuple[Entry, ...]
    compared: int
    skipped: int


class Gallery:
    """All signers of all tenants.

    Parameters
    ----------
    store : Store
    model_version : str
        Only templates of this model are compared.
    cosine : bool
        Whether templates are compared by cosine instead of Euclidean distance.
    """

    def __init__(self, store: Store, model_version: str, *, cosine: bool) -> None:
        self._store = store
        self._model_version = model_version
        self._cosine = cosine
        self._shelves: dict[str, _Shelf] = {}
        self._lock = threading.Lock()

    async def nearest(
        self, tenant_id: str, template: Matrix, count: int, among: Collection[str] | None = None
    ) -> Neighbours:
        """The `count` signers with the reference nearest to `template` (dimension,), among some or all."""
        return await self._store.run(lambda: self._nearest(tenant_id, template, count, among))

    def _nearest(
        self, tenant_id: str, template: Matrix, count: int, among: Collection[str] | None
    ) -> Neighbours:
        shelf = self._fresh(tenant_id)
        skipped = sum(
            entry.templates is None
            for entry in shelf.entries.values()
            if among is None or entry.signer_id in among
        )
        if not shelf.order:
            return Neighbours((), 0, skipped)
        question = template / max(float(np.linalg.norm(template)), 1e-12) if self._cosine else template
        # |a - b|^2 = |b|^2 - 2 a.b + const: enough to rank by; whoever is near is measured exactly afterwards.
        away = shelf.squares - 2.0 * (shelf.matrix @ question)
        nearest = np.minimum.reduceat(away, shelf.starts)
        if among is not None:
            allowed = np.fromiter((e.signer_id in among for e in shelf.order), bool, len(shelf.order))
            nearest = np.where(allowed, nearest, np.inf)
        else:
            allowed = np.ones(len(shelf.order), bool)
        compared = int(allowed.sum())
        wanted = min(count, compared)
        best = np.argpartition(nearest, wanted - 1)[:wanted] if wanted else np.zeros(0, np.int64)
        best = best[np.argsort(nearest[best], kind="stable")]
        return Neighbours(tuple(shelf.order[i] for i in best), compared, skipped)

    def _fresh(self, tenant_id: str) -> _Shelf:
        """The tenant's shelf, with every change that was committed before this call."""
        with self._lock:
            shelf = self._shelves.setdefault(tenant_id, _Shelf())
            sequence = self._store.read_now(changes.sequence, tenant_id)
            if sequence == shelf.seen:
                return shelf
            fresh = self._store.read_now(self._changed, tenant_id, shelf)
            self._shelves[tenant_id] = fresh
            return fresh

    def _changed(self, session: Session, tenant_id: str, shelf: _Shelf) -> _Shelf:
        """A new shelf with the changes since `shelf`; the old one stays whole for whoever still reads it."""
        sequence = changes.sequence(session, tenant_id)
        keys: Sequence[str] | None = None
        entries: dict[str, Entry] = {}
        if shelf.seen:
            keys = changes.changed_since(session, tenant_id, shelf.seen)
            entries = {key: entry for key, entry in shelf.entries.items() if key not in set(keys)}
        rows = references.for_index(session, tenant_id, self._model_version, keys)
        for key, group in groupby(rows, key=lambda row: row.key):
            mine = list(group)
            known = [row.template for row in mine if row.template is not None]
            entries[key] = Entry(
                mine[0].signer_id,
                mine[0].target_far,
                mine[0].fixed_threshold,
                np.stack(known) if len(known) == len(mine) else None,
            )
        return self._arranged(sequence, entries)

    def _arranged(self, sequence: int, entries: dict[str, Entry]) -> _Shelf:
        order = [entry for entry in entries.values() if entry.templates is not None]
        if not order:
            return _Shelf(sequence, entries)
        blocks = [entry.templates for entry in order if entry.templates is not None]
        matrix = np.concatenate(blocks)
        if self._cosine:
            matrix = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
        starts = np.cumsum([0] + [len(block) for block in blocks[:-1]])
        squares = np.einsum("ij,ij->i", matrix, matrix)
        return _Shelf(sequence, entries, order, matrix, squares, starts)
