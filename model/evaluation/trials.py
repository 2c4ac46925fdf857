"""The evaluation protocol: the trials that every measurement and calibration uses.

For each signer, k references are drawn from the genuine signatures. The questioned signatures are the remaining
genuine ones, all skilled forgeries of the signer, and 20 random forgeries (genuine signatures of other writers). This
is repeated for several seeded draws. A draw depends only on the seed and on names, so all models are measured on the
same trials. The references for a smaller k are a subset of those for a larger one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from model.decision.distances import Floats, distances
from model.types import Metric, Terms

Indices = NDArray[np.intp]
Compare = Callable[[NDArray[np.floating], NDArray[np.floating]], Floats]

RANDOM_FORGERIES = 20


class Kind(IntEnum):
    """The kind of a questioned signature."""

    GENUINE = 0
    SKILLED = 1
    RANDOM = 2


@dataclass(frozen=True)
class Gallery:
    """The specimens of a data set and their distances by one model.

    Attributes
    ----------
    name : str
        Name of the data set and split.
    keys : tuple of str
        Unique key of each specimen.
    signers : (n,) array of str
        The signer, or the signer whose signature was forged.
    genuine : (n,) bool
    distances : callable
        Indices (a,) and (b,) to distances (a, b) float64.
    refused : tuple of str
        Keys of specimens without a usable signature. They are not in the arrays above.
    terms : {"research", "permissive"}
        Terms on which the data may be used.
    """

    name: str
    keys: tuple[str, ...]
    signers: NDArray[np.str_]
    genuine: NDArray[np.bool_]
    distances: Callable[[Indices, Indices], Floats]
    refused: tuple[str, ...] = ()
    terms: Terms = "research"


@dataclass(frozen=True)
class Case:
    """One draw of references of one signer, with the questioned signatures.

    Attributes
    ----------
    writer : str
        ``DATASET:SIGNER``, unique among several galleries.
    draw : int
        Number of the draw, counted from 0.
    references : (k,) indices into the gallery
    questioned : (m,) indices into the gallery
    kinds : (m,) int8
        :class:`Kind` of each questioned signature.
    to_references : (m, k) float64
    among_references : (k, k) float64
    """

    writer: str
    draw: int
    references: Indices
    questioned: Indices
    kinds: NDArray[np.int8]
    to_references: Floats
    among_references: Floats


def gallery_from_embeddings(
    name: str,
    keys: Sequence[str],
    signers: Sequence[str],
    genuine: Sequence[bool],
    embeddings: NDArray[np.floating],
    metric: Metric = "euclidean",
    compare: Compare | None = None,
    terms: Terms = "research",
) -> Gallery:
    """Build a gallery from embeddings (n, d).

    Parameters
    ----------
    name, keys, signers, genuine, terms
        As the attributes of :class:`Gallery`.
    embeddings : (n, d)
        A row that is not finite marks a specimen without a usable signature; its key is listed in ``refused``.
    metric : {"euclidean", "cosine", "local"}
    compare : callable, optional
        Replaces the distances of the metric: embeddings (a, d) and (b, d) to distances (a, b), symmetric.
    """
    usable = np.isfinite(embeddings).all(axis=1)
    usable_embeddings = np.asarray(embeddings[usable], dtype=np.float64)

    def distances_of(a: Indices, b: Indices) -> Floats:
        return distances(usable_embeddings[a], usable_embeddings[b], metric)

    return Gallery(
        name=name,
        keys=tuple(key for key, use in zip(keys, usable, strict=True) if use),
        signers=np.asarray(signers, dtype=np.str_)[usable],
        genuine=np.asarray(genuine, dtype=np.bool_)[usable],
        distances=distances_of if compare is None else _cached_distances(usable_embeddings, compare),
        refused=tuple(key for key, use in zip(keys, usable, strict=True) if not use),
        terms=terms,
    )


def _cached_distances(
    embeddings: NDArray[np.float64], compare: Compare
) -> Callable[[Indices, Indices], Floats]:
    """Return a function that caches the distances, because the draws of references share most of their pairs."""
    # Zero means "not computed". Pages that are never written to use no memory.
    cache = np.zeros((len(embeddings), len(embeddings)), dtype=np.float32)

    def distances_of(a: Indices, b: Indices) -> Floats:
        missing = cache[np.ix_(a, b)] == 0.0
        if missing.any():
            # One call computes a block of pairs, cached ones included: a call is slower than a few extra pairs.
            rows, columns = a[missing.any(axis=1)], b[missing.any(axis=0)]
            computed = compare(embeddings[rows], embeddings[columns])
            cache[np.ix_(rows, columns)] = computed
            cache[np.ix_(columns, rows)] = computed.T
        return np.asarray(cache[np.ix_(a, b)], dtype=np.float64)

    return distances_of


def draw_cases(
    gallery: Gallery,
    references: int,
    draws: int = 5,
    seed: int = 0,
    random_forgeries: int = RANDOM_FORGERIES,
) -> list[Case]:
    """Draw the trials of the protocol.

    Signers with no more than ``references`` genuine signatures are left out.

    Parameters
    ----------
    references : int
        k >= 1.
    draws : int
        Number of draws of references for each signer.
    random_forgeries : int
        Maximum number of random forgeries in each case.
    """
    writers = np.array([writer_of(str(signer)) for signer in gallery.signers])
    cases = []
    for signer in sorted({str(name) for name in gallery.signers[gallery.genuine]}):
        of_signer = gallery.signers == signer
        genuine = np.flatnonzero(of_signer & gallery.genuine)
        if len(genuine) <= references:
            continue
        skilled = np.flatnonzero(of_signer & ~gallery.genuine)
        others = np.flatnonzero(gallery.genuine & (writers != writer_of(signer)))
        for draw in range(draws):
            rng = np.random.default_rng([seed, draw, zlib.crc32(signer.encode())])
            order = rng.permutation(genuine)
            random = rng.permutation(others)[:random_forgeries]
            chosen, remaining = order[:references], np.sort(order[references:])
            questioned = np.concatenate([remaining, skilled, random])
            kinds = np.repeat(
                np.array([Kind.GENUINE, Kind.SKILLED, Kind.RANDOM], dtype=np.int8),
                [len(remaining), len(skilled), len(random)],
            )
            cases.append(
                Case(
                    writer=f"{gallery.name}:{signer}",
                    draw=draw,
                    references=chosen,
                    questioned=questioned,
                    kinds=kinds,
                    to_references=gallery.distances(questioned, chosen),
                    among_references=gallery.distances(chosen, chosen),
                )
            )
    return cases


def one_shot(
    gallery: Gallery, ways: int, references: int = 1, draws: int = 20, seed: int = 0
) -> tuple[Floats, Indices]:
    """Draw trials of one-shot classification: a questioned signature among ``ways`` signers.

    In each draw, ``ways`` signers are chosen, with k references and one questioned genuine signature of each.

    Returns
    -------
    distances : (draws * ways, ways) float64
        Mean distance of each questioned signature to the references of each signer.
    truth : (draws * ways,) int
        Column of the true signer, as :func:`model.evaluation.metrics.identification_rate` expects it.

    Raises
    ------
    ValueError
        Fewer than ``ways`` signers have more than k genuine signatures.
    """
    genuine = {
        str(signer): np.flatnonzero((gallery.signers == signer) & gallery.genuine)
        for signer in np.unique(gallery.signers)
    }
    eligible = [signer for signer, indices in sorted(genuine.items()) if len(indices) > references]
    if len(eligible) < ways:
        raise ValueError(
            f"{len(eligible)} signers of {gallery.name} have more than {references} genuine signatures; "
            f"{ways} are required"
        )
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(draws):
        chosen = [
            rng.permutation(genuine[eligible[i]])[: references + 1]
            for i in rng.permutation(len(eligible))[:ways]
        ]
        questioned = np.array([indices[-1] for indices in chosen])
        columns = [gallery.distances(questioned, indices[:references]).mean(axis=1) for indices in chosen]
        rows.append(np.stack(columns, axis=1))
    return np.concatenate(rows), np.tile(np.arange(ways), draws)


def writer_of(signer: str) -> str:
    """Return the writer of a signer: ``012/name03`` and ``012/name04`` are two names written by one person."""
    return signer.partition("/")[0]
