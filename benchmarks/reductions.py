"""Which short vectors find a signer's candidates: ``python -m benchmarks.reductions [WEIGHTS]``.

For each questioned signature of the test and validation writers of six data sets, signers are ranked by the distance
of the mean of three references. Compared are averages of blocks of cells, principal components, linear discriminants
(Fisher, "The use of multiple measurements in taxonomic problems", Annals of Eugenics 7, 1936) fitted on training
writers, and the distances of the model itself. Only for networks with local matching.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from app.settings import RELEASED_WEIGHTS
from benchmarks.synthetic_signers import PARTS, Floats, real_people
from model.evaluation.features import InkCache, WeightsFeatures
from model.networks.embedder import Embedder

REFERENCES = 3
KEPT = 256
"""Principal components that linear discriminants are fitted in."""
SHRINKAGE = 0.1
"""Share of a multiple of the identity in the covariance within writers."""
RANKS = (1, 5, 10)
Reduce = Callable[[Floats], Floats]


def blocks(embedder: Embedder, rows: int, columns: int) -> Reduce:
    """Return averages of rows x columns blocks of cells."""
    options = embedder.card.network_options
    height, width = (side // 8 for side in options["canvas"])

    def reduce(embeddings: Floats) -> Floats:
        cells = torch.from_numpy(embeddings[:, :-1]).reshape(len(embeddings), height, width, -1)
        pooled = torch.nn.functional.adaptive_avg_pool2d(cells.permute(0, 3, 1, 2), (rows, columns))
        return np.asarray(pooled.flatten(1).numpy(), np.float32)

    return reduce


def components(base: Reduce, train: list[Floats], length: int) -> Reduce:
    """Return principal components of another reduction, fitted on training writers."""
    rows = base(np.concatenate(train))
    mean = rows.mean(axis=0)
    basis = np.linalg.svd(rows - mean, full_matrices=False)[2][:length].T
    return lambda embeddings: np.asarray((base(embeddings) - mean) @ basis, np.float32)


def discriminants(base: Reduce, train: list[Floats], length: int) -> Reduce:
    """Return linear discriminants in the principal components of another reduction."""
    project = components(base, train, KEPT)
    people = [project(rows) for rows in train]
    within = np.concatenate([rows - rows.mean(axis=0) for rows in people])
    covariance = within.T @ within / len(within)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / KEPT * np.eye(KEPT)
    whiten = np.linalg.cholesky(np.linalg.inv(shrunk))
    means = np.stack([rows.mean(axis=0) for rows in people]) @ whiten
    basis = whiten @ np.linalg.svd(means - means.mean(axis=0), full_matrices=False)[2][:length].T
    return lambda embeddings: np.asarray(project(embeddings) @ basis, np.float32)


def rank(distances: NDArray[np.floating], owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rank of the true signer, from 0, in each row of distances (questioned, signers)."""
    own = distances[np.arange(len(owners)), owners]
    return np.asarray((distances < own[:, None]).sum(axis=1), np.int64)


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, nargs="?", default=RELEASED_WEIGHTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    features = WeightsFeatures(args.weights, InkCache(), device="cpu")
    embedder = features.embedder
    test = real_people(features, PARTS).embeddings
    train = list(real_people(features, ("train",)).embeddings)
    references = np.stack([rows[:REFERENCES] for rows in test])
    questioned = np.concatenate([rows[REFERENCES : REFERENCES + 4] for rows in test])
    owners = np.repeat(np.arange(len(test)), [len(rows[REFERENCES : REFERENCES + 4]) for rows in test])

    def measure(reduce: Reduce) -> tuple[int, NDArray[np.int64]]:
        vectors = reduce(questioned)
        flat = reduce(references.reshape(-1, references.shape[2]))
        means = flat.reshape(len(references), REFERENCES, -1).mean(axis=1)
        squares = np.square(means).sum(axis=1)[None] - 2 * vectors @ means.T
        return vectors.shape[1], rank(squares, owners)

    search = embedder.search_vectors
    reductions: dict[str, Reduce] = {
        "search vectors": search,
        "2 x 7 blocks": embedder.candidate_vectors,
        "2 x 4 blocks": blocks(embedder, 2, 4),
        "1 x 7 blocks": blocks(embedder, 1, 7),
        "principal components": components(search, train, 128),
        "principal components, more": components(search, train, 256),
        "linear discriminants": discriminants(search, train, 128),
        "linear discriminants, more": discriminants(search, train, 192),
    }
    print(
        f"`python -m benchmarks.reductions {args.weights}`, {len(questioned)} signatures, {len(test)} signers\n"
    )
    print("| vectors | length | " + " | ".join(f"in the first {n}" for n in RANKS) + " | mean rank |")
    print("|---|" + "---:|" * (len(RANKS) + 2))
    table = embedder.compare(questioned, references.reshape(-1, references.shape[2]))
    exact = rank(table.reshape(len(questioned), len(references), REFERENCES).mean(axis=2), owners)
    results = {"distances of the model": (embedder.dimension, exact)}
    results |= {name: measure(reduce) for name, reduce in reductions.items()}
    for name, (length, ranks) in results.items():
        shares = " | ".join(f"{np.mean(ranks < n):.4f}" for n in RANKS)
        print(f"| {name} | {length} | {shares} | {ranks.mean():.3f} |")


if __name__ == "__main__":
    main()
