"""Euclidean and cosine distances between embeddings, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.types import Metric

Floats = NDArray[np.float64]


def distances(
    questioned: NDArray[np.floating], references: NDArray[np.floating], metric: Metric = "euclidean"
) -> Floats:
    """Compute the distances between questioned signatures and references.

    Parameters
    ----------
    questioned : (d,) or (n, d)
    references : (k, d)
    metric : {"euclidean", "cosine"}
        The cosine distance is one minus the cosine, in [0, 2].

    Returns
    -------
    (k,) or (n, k) float64

    Raises
    ------
    ValueError
        The dimensions differ, or the metric is ``local``, which requires the network
        (:meth:`model.networks.embedder.Embedder.compare`).
    """
    if metric == "local":
        raise ValueError("local matching requires the network")
    a = np.atleast_2d(np.asarray(questioned, dtype=np.float64))
    b = np.atleast_2d(np.asarray(references, dtype=np.float64))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"embeddings of {a.shape[1]} and {b.shape[1]} dimensions cannot be compared")
    if metric == "cosine":
        table = 1.0 - np.clip(_unit(a) @ _unit(b).T, -1.0, 1.0)
    else:
        # Expanding the square would lose half of the digits of small distances. Processing one row at a time limits
        # the memory to (k, d).
        table = np.stack([np.sqrt(np.square(row - b).sum(axis=1)) for row in a])
    return np.asarray(table[0] if np.ndim(questioned) == 1 else table, dtype=np.float64)


def pairwise(references: NDArray[np.floating], metric: Metric = "euclidean") -> Floats:
    """Compute the distances among references: (k, d) to (k, k) float64, symmetric, zeros on the diagonal."""
    table = distances(np.atleast_2d(references), references, metric)
    np.fill_diagonal(table, 0.0)
    return table


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float64).tiny), dtype=np.float64)
