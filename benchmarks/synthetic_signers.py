"""Templates of any number of synthetic signers, with the spread of real ones, for :mod:`benchmarks.identify`.

A signer's mean template is the mean of all people plus a random mixture of the deviations of eight people from it.
The signer's signatures vary like those of one more person: random combinations of that person's deviations from their
own mean. With eight people in a mixture, the distance to the most similar of 208 other signers is that of the real
people whom the mixtures are made of (0.99; with three it is 0.95, with twenty 1.02).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.registry import data_root, open_dataset
from model.errors import UnusableSignature
from model.evaluation.features import WeightsFeatures
from model.networks.embedder import Embedder
from model.synthetic.writer import Writer

Floats = NDArray[np.float32]
DATASETS = ("bhsig260-hindi", "bhsig260-bengali", "susig", "sigcomp2011-dutch", "svc2004", "sigcomp2009")
PARTS = ("test", "validation")
SIGNATURES = 12
MIXED = 8
BLOCK = 500
"""Signers that are drawn at once; each block has a random generator of its own."""


@dataclass(frozen=True)
class People:
    """Embeddings of people: for each, (signatures, dimension) float32; and where they come from."""

    embeddings: tuple[Floats, ...]
    source: str


def real_people(features: WeightsFeatures, parts: Sequence[str] = PARTS) -> People:
    """Embed genuine signatures of writers of six data sets, of some of their splits. Raises DataError."""
    found = []
    for part in parts:
        for name in DATASETS:
            dataset = open_dataset(f"{name}/{part}")
            for signer in dataset.signers():
                rows = features.embed(list(dataset.genuine(signer))[:SIGNATURES])
                found.append(rows[np.isfinite(rows).all(axis=1)])
    embeddings = tuple(rows for rows in found if len(rows) > 4)
    return People(embeddings, f"{len(embeddings)} people of {len(DATASETS)} data sets")


def drawn_people(embedder: Embedder, count: int = 200) -> People:
    """Embed signatures of synthetic writers, where there are no data sets."""
    found = []
    for number in range(count):
        writer = Writer(10_000 + number)
        canvases = []
        for n in range(SIGNATURES):
            try:
                canvases.append(embedder.prepare(writer.genuine_image(n)).canvas)
            except UnusableSignature:
                continue
        found.append(embedder.embed(np.stack(canvases)))
    return People(tuple(found), f"{count} writers of model.synthetic")


def people(features: WeightsFeatures) -> People:
    """Return real people where the data sets are, otherwise drawn ones."""
    if data_root().is_dir():
        return real_people(features)
    return drawn_people(features.embedder)


class Population:
    """Synthetic signers; the same number always gives the same signer.

    Parameters
    ----------
    base : People
        Their embeddings are unit vectors followed by one component, as :class:`~model.networks.local.LocalNetwork`
        makes them.
    signatures : int
        Number of signatures of each signer.
    reduce : callable
        A linear map of embeddings, for :meth:`reduced`.
    """

    def __init__(
        self, base: People, signatures: int, reduce: Callable[[NDArray[np.floating]], NDArray[np.float32]]
    ) -> None:
        means = np.stack([rows.mean(axis=0) for rows in base.embeddings])
        within = [(rows - rows.mean(axis=0)) / np.sqrt(np.float32(len(rows) - 1)) for rows in base.embeddings]
        self.signatures = signatures
        self._sizes = np.array([len(rows) for rows in within])
        self._starts = 1 + len(means) + np.cumsum(self._sizes) - self._sizes
        # Every signature is a combination of these rows, divided by its length.
        self._rows = np.concatenate([means.mean(axis=0)[None], means - means.mean(axis=0), *within])
        self._products = self._rows @ self._rows.T
        self._reduced_rows = reduce(self._rows)
        self._people = len(means)

    def templates(self, block: int, which: Sequence[int] | NDArray[np.integer] | slice) -> Floats:
        """Draw some signers of a block: (signers, signatures, dimension) float32, rounded to half precision."""
        drawn = [
            weights @ self._rows[rows] / self._lengths(rows, weights)[:, None]
            for rows, weights in self._combinations(block)[which]
        ]
        return np.stack(drawn).astype(np.float16).astype(np.float32)

    def reduced(self, block: int) -> Floats:
        """Reduce the templates of a whole block without drawing them: (BLOCK, signatures, c) float32."""
        drawn = [
            weights @ self._reduced_rows[rows] / self._lengths(rows, weights)[:, None]
            for rows, weights in self._combinations(block)[:]
        ]
        return np.stack(drawn)

    def _lengths(self, rows: NDArray[np.int64], weights: Floats) -> Floats:
        lengths: Floats = np.sqrt(
            np.einsum("si,ij,sj->s", weights, self._products[np.ix_(rows, rows)], weights)
        )
        return lengths

    def _combinations(self, block: int) -> _Combinations:
        rng = np.random.default_rng([2026, block])
        mixed = rng.integers(self._people, size=(BLOCK, MIXED))
        shares = rng.dirichlet(np.ones(MIXED), size=BLOCK).astype(np.float32)
        shares /= np.linalg.norm(shares, axis=1, keepdims=True)  # keeps the variance between people
        varying_like = rng.integers(self._people, size=BLOCK)
        combinations = _Combinations()
        for n, person in enumerate(varying_like):
            size = int(self._sizes[person])
            within = rng.normal(size=(self.signatures, size)).astype(np.float32)
            rows = np.concatenate([[0], 1 + mixed[n], self._starts[person] + np.arange(size)])
            common = np.repeat(np.append(np.float32(1), shares[n])[None], self.signatures, axis=0)
            combinations.append((rows, np.concatenate([common, within], axis=1).astype(np.float32)))
        return combinations


class _Combinations(list[tuple[NDArray[np.int64], Floats]]):
    """For each signer of a block: rows, and weights (signatures, rows); can be indexed by several numbers."""

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            return list.__getitem__(self, which)
        return [list.__getitem__(self, int(n)) for n in which]
