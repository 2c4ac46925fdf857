"""Distances between embeddings: Euclidean or cosine. Pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.types import Metric

Floats = NDArray[np.float64]


def distances(
    questioned: NDArray[np.floating], references: NDArray[np.floating], metric: Metric = "euclidean"
) -> Floats:
    """Distances between embeddings: (d,) and (k, d) to (k,), or (n, d) and (k, d) to (n, k).

    Euclidean, or one minus the cosine, in [0, 2]. Both grow with difference.

    Raises
    ------
    ValueError
        The dimensions differ, or the metric is ``local``, which needs the network:
        :meth:`model.networks.embedder.Embedder.compare`.
    """
    if metric == "local":
        raise ValueError("local matching needs the network it was trained with")
    a = np.atleast_2d(np.asarray(questioned, dtype=np.float64))
    b = np.atleast_2d(np.asarray(references, dtype=np.float64))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"embeddings of {a.shape[1]} and {b.shape[1]} dimensions cannot be compared")
    if metric == "cosine":
        table = 1.0 - np.clip(_unit(a) @ _unit(b).T, -1.0, 1.0)
    else:
        # Differences, not the expanded square: that one loses half the digits where distances are small. One
        # row at a time keeps the memory at (k, d).
        table = np.stack([np.sqrt(np.square(row - b).sum(axis=1)) for row in a])
    return np.asarray(table[0] if np.ndim(questioned) == 1 else table, dtype=np.float64)


def pairwise(references: NDArray[np.floating], metric: Metric = "euclidean") -> Floats:
    """Distances among references: (k, d) to (k, k), symmetric, zeros on the diagonal."""
    table = distances(np.atleast_2d(references), references, metric)
    np.fill_diagonal(table, 0.0)
    return table


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float64).tiny), dtype=np.float64)
