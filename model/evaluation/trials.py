"""The protocol: who is compared with whom. Everything that is measured or calibrated draws its trials here.

For each signer k references are drawn among the genuine signatures; questioned are all remaining genuine ones, all
skilled forgeries of the signer, and 20 random forgeries (genuine signatures of other people). This is repeated for
several seeded draws. The draw depends on the seed and on names alone, so that two models meet the same trials, and
the references of a smaller k are among those of a larger one.
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
    """What a questioned signature is."""

    GENUINE = 0
    SKILLED = 1
    RANDOM = 2


@dataclass(frozen=True)
class Gallery:
    """A data set as seen by one model: who signed what, and any distance between specimens.

    Attributes
    ----------
    name : str
        Of the data set and split.
    keys : tuple of str
        One for each specimen, unique.
    signers : (n,) array of str
        Who signed, or whose signature was forged.
    genuine : (n,) bool
    between : callable
        Indices (a,) and (b,) to distances (a, b) float64.
    refused : tuple of str
        Keys of specimens in which no usable signature was found; they take no part.
    terms : {"research", "permissive"}
        On which the data may be used.
    """

    name: str
    keys: tuple[str, ...]
    signers: NDArray[np.str_]
    genuine: NDArray[np.bool_]
    between: Callable[[Indices, Indices], Floats]
    refused: tuple[str, ...] = ()
    terms: Terms = "research"


@dataclass(frozen=True)
class Case:
    """One signer with references drawn, and everything that is compared with them.

    Attributes
    ----------
    writer : str
        The signer, with the data set in front: unique among several galleries.
    draw : int
        Counted from 0.
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


def embedded(
    name: str,
    keys: Sequence[str],
    signers: Sequence[str],
    genuine: Sequence[bool],
    embeddings: NDArray[np.floating],
    metric: Metric = "euclidean",
    compare: Compare | None = None,
    terms: Terms = "research",
) -> Gallery:
    """A gallery of precomputed embeddings (n, d).

    ``compare`` replaces the metric's distances: embeddings (a, d) and (b, d) to (a, b), symmetric. Rows that
    are not finite stand for specimens without a usable signature: they are listed as refused and left out.
    """
    usable = np.isfinite(embeddings).all(axis=1)
    kept = np.asarray(embeddings[usable], dtype=np.float64)

    def between(a: Indices, b: Indices) -> Floats:
        return distances(kept[a], kept[b], metric)

    return Gallery(
        name=name,
        keys=tuple(key for key, use in zip(keys, usable, strict=True) if use),
        signers=np.asarray(signers, dtype=np.str_)[usable],
        genuine=np.asarray(genuine, dtype=np.bool_)[usable],
        between=between if compare is None else _remembered(kept, compare),
        refused=tuple(key for key, use in zip(keys, usable, strict=True) if not use),
        terms=terms,
    )


def _remembered(embeddings: NDArray[np.float64], compare: Compare) -> Callable[[Indices, Indices], Floats]:
    """Distances that are each computed once: draws of references meet the same pairs again and again."""
    # Zero stands for unknown. Pages that are never written to take no memory.
    known = np.zeros((len(embeddings), len(embeddings)), dtype=np.float32)

    def between(a: Indices, b: Indices) -> Floats:
        lacking = known[np.ix_(a, b)] == 0.0
        if lacking.any():
            # One call for many pairs, also where it computes some again: a call costs as much as several pairs.
            rows, columns = a[lacking.any(axis=1)], b[lacking.any(axis=0)]
            found = compare(embeddings[rows], embeddings[columns])
            known[np.ix_(rows, columns)] = found
            known[np.ix_(columns, rows)] = found.T
        return np.asarray(known[np.ix_(a, b)], dtype=np.float64)

    return between


def draw_cases(
    gallery: Gallery,
    references: int,
    draws: int = 5,
    seed: int = 0,
    random_forgeries: int = RANDOM_FORGERIES,
) -> list[Case]:
    """Draw the trials of the protocol.

    Signers with too few genuine signatures to leave one over are not among the cases.

    Parameters
    ----------
    references : int
        k >= 1.
    draws : int
        How often references are drawn anew for each signer.
    """
    people = np.array([person(str(signer)) for signer in gallery.signers])
    cases = []
    for signer in sorted({str(name) for name in gallery.signers[gallery.genuine]}):
        own = gallery.signers == signer
        genuine = np.flatnonzero(own & gallery.genuine)
        if len(genuine) <= references:
            continue
        skilled = np.flatnonzero(own & ~gallery.genuine)
        strangers = np.flatnonzero(gallery.genuine & (people != person(signer)))
        for draw in range(draws):
            rng = np.random.default_rng([seed, draw, zlib.crc32(signer.encode())])
            order = rng.permutation(genuine)
            random = rng.permutation(strangers)[:random_forgeries]
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
                    to_references=gallery.between(questioned, chosen),
                    among_references=gallery.between(chosen, chosen),
                )
            )
    return cases


def one_shot(
    gallery: Gallery, ways: int, references: int = 1, draws: int = 20, seed: int = 0
) -> tuple[Floats, Indices]:
    """Trials of one-shot classification: a questioned signature among ``ways`` signers, by smallest mean distance.

    In each draw ``ways`` signers are chosen, k references and one questioned genuine signature of each.

    Returns
    -------
    distances : (draws * ways, ways) float64
    truth : (draws * ways,) int
        For :func:`model.evaluation.metrics.identification_rate`.

    Raises
    ------
    ValueError
        Fewer than ``ways`` people have more than k genuine signatures.
    """
    pools = {
        str(signer): np.flatnonzero((gallery.signers == signer) & gallery.genuine)
        for signer in np.unique(gallery.signers)
    }
    able = [signer for signer, pool in sorted(pools.items()) if len(pool) > references]
    if len(able) < ways:
        raise ValueError(
            f"{len(able)} signers of {gallery.name} have enough signatures, {ways} are asked for"
        )
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(draws):
        chosen = [
            rng.permutation(pools[able[i]])[: references + 1] for i in rng.permutation(len(able))[:ways]
        ]
        questioned = np.array([pool[-1] for pool in chosen])
        columns = [gallery.between(questioned, pool[:references]).mean(axis=1) for pool in chosen]
        rows.append(np.stack(columns, axis=1))
    return np.concatenate(rows), np.tile(np.arange(ways), draws)


def person(signer: str) -> str:
    """Who is behind a signer: ``012/name03`` and ``012/name04`` are two names written by one person."""
    return signer.partition("/")[0]
