"""The index of a tenant with many signers: a graph of reduced vectors that proposes candidates.

Every signer has one vector, the mean of the reduced vectors of their references, in a graph of near neighbours
(HNSW: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable
small world graphs", IEEE TPAMI 42, 2020) of the library usearch. A search returns keys of signers. The caller reads
their templates from the store and computes exact distances, so the index holds no templates.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.services.exhaustive_index import Changes, Entry, Matrix, Reduce
from app.store.index_snapshots import SnapshotUnusable

CONNECTIVITY = 16
"""Neighbours of a vector in the graph; twice as many in its lowest layer."""
EXPANSION_ADD = 128
"""Vectors that are considered as neighbours of a new one."""
EXPANSION_SEARCH = 2
"""Vectors that a search keeps, as a multiple of the number that it returns."""
_KEY_BYTES = 36
_BLANK_LABEL = 0
_RECENT_NAMES = 10_000
_FORMAT = 1


def is_available() -> bool:
    """Whether the extra `index` is installed."""
    return importlib.util.find_spec("usearch") is not None


class CandidateIndex:
    """The signers of one tenant. Not thread-safe.

    Parameters
    ----------
    reduce : callable
        :meth:`model.networks.embedder.Embedder.candidate_vectors`.

    Attributes
    ----------
    skipped : set of str
        Keys of signers with a reference that has no readable template of the model in use.
    """

    def __init__(self, reduce: Reduce) -> None:
        self._reduce = reduce
        self._graph: Any = None  # created with the first vector, whose length it needs
        self._names = _Names()
        self.skipped: set[str] = set()

    def __len__(self) -> int:
        """Return the number of signers that a search considers."""
        return 0 if self._graph is None else len(self._graph)

    def apply(self, changes: Changes) -> None:
        """Add, replace and remove signers."""
        for key, entry in changes.items():
            if entry is None or entry.templates is None:
                self.erase(key)
                if entry is not None:
                    self.skipped.add(key)
        entries = [entry for entry in changes.values() if entry is not None and entry.templates is not None]
        if not entries:
            return
        keys = [entry.key for entry in entries]
        self._remove(keys)
        self.skipped.difference_update(keys)
        vectors = self._signer_vectors(entries)
        if self._graph is None:
            self._graph = _new_graph(vectors.shape[1])
        labels = _labels(keys)
        self._graph.add(labels, vectors, threads=1)
        self._names.add(labels, keys)

    def erase(self, key: str) -> None:
        """Remove a signer and overwrite the memory of their vector."""
        self.skipped.discard(key)
        if not self._remove([key]):
            return
        # A removed vector keeps its memory until the next vector is added, which gets the same place.
        blank = np.full(1, _BLANK_LABEL, np.uint64)
        self._graph.add(blank, np.zeros((1, self._graph.ndim), np.float32))
        self._graph.remove(blank)

    def nearest(self, template: Matrix, count: int) -> list[str]:
        """Return the keys of about `count` signers near a template (dimension,), best first."""
        if not len(self):
            return []
        self._graph.expansion_search = EXPANSION_SEARCH * count
        found = self._graph.search(self._reduce(template[None])[0], min(count, len(self)), threads=1)
        return self._names.of(np.asarray(found.keys, np.uint64))

    def dump(self) -> bytes:
        """Return the whole index as bytes, for :meth:`load`."""
        names, keys = self._names.dump()
        graph = b"" if self._graph is None else bytes(self._graph.save())
        parts = (names, keys, json.dumps(sorted(self.skipped)).encode(), graph)
        head = json.dumps({"format": _FORMAT, "sizes": [len(part) for part in parts]}).encode()
        return b"".join((len(head).to_bytes(4, "big"), head, *parts))

    @classmethod
    def load(cls, dumped: bytes, reduce: Reduce) -> CandidateIndex:
        """Restore a dumped index. Raises SnapshotUnusable when it is damaged or of another release."""
        index = cls(reduce)
        try:
            end = 4 + int.from_bytes(dumped[:4], "big")
            head = json.loads(dumped[4:end])
            if head["format"] != _FORMAT:
                raise SnapshotUnusable(f"it has format {head['format']}")
            parts = []
            for size in head["sizes"]:
                parts.append(dumped[end : end + size])
                end += size
            labels, keys, skipped, graph = parts
            index._names = _Names.load(labels, keys)
            index.skipped = set(json.loads(skipped))
            if graph:
                index._graph = _restored_graph(graph)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise SnapshotUnusable(f"it is damaged ({error})") from error
        return index

    def _signer_vectors(self, entries: list[Entry]) -> Matrix:
        """Compute the mean of the reduced vectors of each signer's references: (signers, c) float32."""
        templates = [entry.templates for entry in entries if entry.templates is not None]
        reduced = self._reduce(np.concatenate(templates).astype(np.float32))
        sizes = np.array([len(rows) for rows in templates])
        sums = np.add.reduceat(reduced, np.cumsum(sizes) - sizes, axis=0)
        return np.asarray(sums / sizes[:, None], np.float32)

    def _remove(self, keys: Iterable[str]) -> int:
        """Remove signers; return the number of those that were in the graph."""
        if self._graph is None:
            return 0
        labels = _labels(keys)
        present = labels[np.asarray(self._graph.contains(labels), bool)] if len(labels) else labels
        if len(present):
            self._graph.remove(present)
        return len(present)


class _Names:
    """The keys of signers by their labels in the graph: arrays for most of them, a dictionary for recent ones.

    A dictionary of a million keys would take half as much memory as their vectors. Names of removed signers stay
    until the index is built again; they are random, and the table of changes keeps them, too.
    """

    def __init__(self) -> None:
        self._labels: NDArray[np.uint64] = np.zeros(0, np.uint64)  # sorted
        self._keys: NDArray[np.bytes_] = np.zeros(0, f"S{_KEY_BYTES}")
        self._recent: dict[int, str] = {}

    def add(self, labels: NDArray[np.uint64], keys: list[str]) -> None:
        self._recent.update(zip(labels.tolist(), keys, strict=True))
        if len(self._recent) > max(_RECENT_NAMES, len(self._labels) // 10):
            self._merge()

    def of(self, labels: NDArray[np.uint64]) -> list[str]:
        rows = np.searchsorted(self._labels, labels)
        return [
            self._recent[label] if label in self._recent else self._keys[row].decode()
            for label, row in zip(labels.tolist(), rows.tolist(), strict=True)
        ]

    def dump(self) -> tuple[bytes, bytes]:
        self._merge()
        return self._labels.tobytes(), self._keys.tobytes()

    @classmethod
    def load(cls, labels: bytes, keys: bytes) -> _Names:
        names = cls()
        names._labels = np.frombuffer(labels, np.uint64)
        names._keys = np.frombuffer(keys, f"S{_KEY_BYTES}")
        if len(names._labels) != len(names._keys):
            raise ValueError("the numbers of labels and of keys differ")
        return names

    def _merge(self) -> None:
        added = np.fromiter(self._recent, np.uint64, len(self._recent))
        labels, first = np.unique(np.concatenate([added, self._labels]), return_index=True)
        keys = np.array([key.encode() for key in self._recent.values()], f"S{_KEY_BYTES}")
        self._keys = np.concatenate([keys, self._keys])[first]
        self._labels = labels
        self._recent = {}


def _labels(keys: Iterable[str]) -> NDArray[np.uint64]:
    """Hash keys to labels of 64 bits.

    Two of ten million keys get the same label with a probability of 3 in a million; one of both signers would then
    not be found.
    """
    hashes = (int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") for key in keys)
    return np.array([value if value != _BLANK_LABEL else 1 for value in hashes], np.uint64)


def _new_graph(dimension: int) -> Any:
    from usearch.index import Index  # noqa: PLC0415 - an extra

    return Index(
        ndim=dimension,
        metric="l2sq",
        dtype="f16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
    )


def _restored_graph(dumped: bytes) -> Any:
    from usearch.index import Index  # noqa: PLC0415 - an extra

    graph = Index.restore(dumped)
    if graph is None:
        raise ValueError("it is not a graph")
    return graph
