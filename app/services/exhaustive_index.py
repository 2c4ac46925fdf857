"""The index of a tenant with few signers: all templates in memory, every search compares all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Reduce = Callable[[NDArray[np.floating]], Matrix]
"""(n, dimension) templates to (n, c) vectors whose Euclidean distances rank like those of the model."""


@dataclass(frozen=True)
class Entry:
    """One signer in an index.

    Attributes
    ----------
    key : str
        Distinguishes the signer from erased signers with the same id.
    signer_id : str
    target_far, fixed_threshold : float or None
        The signer's own policy.
    templates : (k, dimension) float16, the precision of the store, or None
        None when a reference has no template of the model in use, or one that cannot be decrypted.
    """

    key: str
    signer_id: str
    target_far: float | None
    fixed_threshold: float | None
    templates: NDArray[np.float16] | None


Changes = Mapping[str, Entry | None]
"""Changed signers by key; None for a signer who was erased."""


@dataclass(frozen=True)
class Neighbours:
    """The signers nearest to a template, with the number of signers compared and skipped."""

    entries: tuple[Entry, ...]
    compared: int
    skipped: int


class ExhaustiveIndex:
    """The signers of one tenant, and the matrix of the search vectors of all their references.

    The rows of a changed signer are appended; the old rows get an infinite distance, and are removed once they are
    half of all rows. Not thread-safe.

    Parameters
    ----------
    reduce : callable
        :meth:`model.networks.embedder.Embedder.search_vectors`.
    """

    def __init__(self, reduce: Reduce) -> None:
        self._reduce = reduce
        self._slots: dict[str, int] = {}  # by signer key: index into _entries and _rows
        self._entries: list[Entry | None] = []
        self._rows: list[slice] = []  # by slot: rows of the arrays below
        self._vectors: Matrix = np.zeros((0, 0), np.float32)
        self._squares: Matrix = np.zeros(0, np.float32)
        self._owners: NDArray[np.int64] = np.zeros(0, np.int64)
        self._used = 0
        self._stale = 0

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: str) -> bool:
        return key in self._slots

    def entries(self) -> Iterator[Entry]:
        """Iterate over the signers."""
        return (entry for entry in self._entries if entry is not None)

    def apply(self, changes: Changes) -> None:
        """Add, replace and remove signers."""
        for key, entry in changes.items():
            self._replace(key, entry)

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

    def nearest(self, template: Matrix, count: int, among: Collection[str] | None = None) -> Neighbours:
        """Find the `count` signers with a reference nearest to a template (dimension,), best first.

        Parameters
        ----------
        among : collection of str or None
            Ids of the signers to compare with; None for all.
        """
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
        vector = self._reduce(template[None])[0]
        # |a - b|^2 = |b|^2 - 2 a.b + const is enough for ranking; the caller computes exact distances.
        row_distances = self._squares[used] - 2.0 * (self._vectors[used] @ vector)
        slot_distances = np.full(len(self._entries), np.inf, np.float32)
        np.minimum.at(slot_distances, self._owners[used], row_distances)
        distances = slot_distances[[slot for slot, _ in compared]]
        count = min(count, len(compared))
        best = np.argpartition(distances, count - 1)[:count] if count else np.zeros(0, np.int64)
        best = best[np.argsort(distances[best], kind="stable")]
        return Neighbours(tuple(compared[index][1] for index in best), len(compared), skipped)

    def _replace(self, key: str, entry: Entry | None) -> None:
        slot = self._slots.pop(key, None)
        if slot is not None:
            rows = self._rows[slot]
            self._squares[rows] = np.inf
            self._vectors[rows] = 0.0  # nothing is left of an erased signer
            self._entries[slot] = None
            self._stale += rows.stop - rows.start
        if entry is None:
            return
        vectors = np.zeros((0, 0), np.float32)
        if entry.templates is not None:
            vectors = self._reduce(entry.templates.astype(np.float32))
        slot = self._slots[key] = len(self._entries)
        self._entries.append(entry)
        self._rows.append(self._append(slot, vectors))

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
