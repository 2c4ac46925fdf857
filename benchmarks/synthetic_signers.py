"""Templates of any number of synthetic signers, with the spread of real ones, for :mod:`benchmarks.identify`.

A signer's mean template is the mean of all people plus a random mixture of the deviations of eight people from it.
The signer's signatures vary like those of one more person: random combinations of that person's deviations from their
own mean. With eight people in a mixture, the distance to the most similar of 208 other signers is that of the real
people whom the mixtures are made of (0.99; with three it is 0.95, with twenty 1.02).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
        rows, weights = self._combinations(block)
        rows, weights = rows[which], weights[which]
        drawn = np.empty((len(rows), self.signatures, self._rows.shape[1]), np.float32)
        gathered = np.empty(
            (rows.shape[1], self._rows.shape[1]), np.float32
        )  # new memory takes longer than the rest
        for n, some in enumerate(rows):
            np.take(self._rows, some, axis=0, out=gathered, mode="clip")  # without a mode, a copy is made
            np.matmul(weights[n], gathered, out=drawn[n])
        drawn /= self._lengths(rows, weights)[..., None]
        return drawn.astype(np.float16).astype(np.float32)

    def reduced(self, block: int) -> Floats:
        """Reduce the templates of a whole block without drawing them: (BLOCK, signatures, c) float32."""
        rows, weights = self._combinations(block)
        drawn: Floats = weights @ self._reduced_rows[rows] / self._lengths(rows, weights)[..., None]
        return drawn

    def _lengths(self, rows: NDArray[np.int64], weights: Floats) -> Floats:
        products = self._products[rows[:, :, None], rows[:, None, :]]
        lengths: Floats = np.sqrt(np.einsum("nsi,nsi->ns", weights @ products, weights))
        return lengths

    def _combinations(self, block: int) -> tuple[NDArray[np.int64], Floats]:
        """Return what the signers of a block are combined of: rows (BLOCK, n), weights (BLOCK, signatures, n).

        People with fewer signatures than others have weights of zero at the end.
        """
        rng = np.random.default_rng([2026, block])
        mixed = rng.integers(self._people, size=(BLOCK, MIXED))
        shares = rng.dirichlet(np.ones(MIXED), size=BLOCK).astype(np.float32)
        shares /= np.linalg.norm(shares, axis=1, keepdims=True)  # keeps the variance between people
        varying_like = rng.integers(self._people, size=BLOCK)
        sizes = self._sizes[varying_like]
        within = np.zeros((BLOCK, self.signatures, self._sizes.max()), np.float32)
        drawn = rng.normal(size=int(sizes.sum()) * self.signatures).astype(np.float32)
        ends = np.cumsum(sizes * self.signatures)
        for n, (size, values) in enumerate(zip(sizes, np.split(drawn, ends[:-1]), strict=True)):
            within[n, :, :size] = values.reshape(self.signatures, size)
        numbers = np.arange(self._sizes.max())[None]
        rows = np.where(numbers < sizes[:, None], self._starts[varying_like][:, None] + numbers, 0)
        mean = np.zeros((BLOCK, 1), np.int64)
        common = np.concatenate([np.ones((BLOCK, 1), np.float32), shares], axis=1)
        return (
            np.concatenate([mean, 1 + mixed, rows], axis=1),
            np.concatenate([np.repeat(common[:, None], self.signatures, axis=1), within], axis=2),
        )
