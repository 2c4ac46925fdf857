"""Recall, durations and memory of candidate indexes, measured for :mod:`benchmarks.identify`.

An index is filled with synthetic signers (:mod:`benchmarks.synthetic_signers`) of three references each. Questioned
signatures are further ones of some of these signers. Beside the index in the memory of the service are the exhaustive
comparison of all reduced vectors in NumPy, and the library usearch alone. Templates of candidates are not read from a
store, which would have 38 GB for a million signers; the tables of stored signers have the time of reading.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import psutil
from numpy.typing import NDArray

from app.cpu import usable_cores
from app.services.candidate_index import CONNECTIVITY, EXPANSION_ADD, EXPANSION_SEARCH, CandidateIndex
from app.services.exhaustive_index import Entry
from app.services.gallery import CANDIDATES
from benchmarks.synthetic_signers import BLOCK, Floats, Population
from model.networks.embedder import Embedder

REFERENCES = 3
TOP = 5
"""Signers that a caller of identification gets by default."""
SHORTLIST = 500
"""Signers, nearest by exhaustive search of the reduced vectors, whose exact distances count as exhaustive search."""


@dataclass(frozen=True)
class Question:
    """Synthetic signers, and questioned signatures of some of them.

    Attributes
    ----------
    population : Population
    embedder : Embedder
    means : (signers, c) float16
        The mean of the reduced vectors of each signer's references.
    asked : (questions,) int64
        Numbers of the true signers.
    questioned : (questions, dimension) float32
    vectors : (questions, c) float32
        The questioned signatures, reduced.
    in_top : (questions,) bool
        Whether an exhaustive search ranks the true signer among the first TOP.
    """

    population: Population
    embedder: Embedder
    means: NDArray[np.float16]
    asked: NDArray[np.int64]
    questioned: Floats
    vectors: Floats
    in_top: NDArray[np.bool_]

    def further(self, signers: int) -> NDArray[np.float16]:
        """Return the means of some further signers, (signers, c)."""
        first = -(-len(self.means) // BLOCK) + 1
        return _means(self.population, range(first, first - (-signers // BLOCK)))[:signers]


@dataclass(frozen=True)
class Measured:
    """What was measured of one kind of search among one number of signers; durations in seconds.

    Attributes
    ----------
    index_bytes : int
        As the library or the database states it.
    resident_bytes : int or None
        Memory that the process needed more than before; None where the index is in a database.
    search_s : (searches,)
        Of a search for candidates.
    inserting_s : (searches,)
        The same while signers are inserted; empty where there is nothing to insert into.
    inserted_per_s : float
    in_candidates : (questions,) bool
        Whether the true signer is one of the candidates.
    """

    signers: int
    kind: str
    build_s: float
    index_bytes: int
    search_s: NDArray[np.float64]
    inserting_s: NDArray[np.float64]
    inserted_per_s: float
    in_candidates: NDArray[np.bool_]
    in_top: NDArray[np.bool_]
    resident_bytes: int | None = None


def _key(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012d}"


def _entries(first: int, means: NDArray[np.float16]) -> dict[str, Entry]:
    """Return signers by their keys, with one reduced vector each for a template."""
    keys = [_key(first + n) for n in range(len(means))]
    return {key: Entry(key, key, None, None, row[None]) for key, row in zip(keys, means, strict=True)}


def _means(population: Population, blocks: range) -> NDArray[np.float16]:
    # The templates of a million signers would have to be drawn to be reduced; their reductions are drawn instead.
    drawn = [population.reduced(block)[:, :REFERENCES].mean(axis=1).astype(np.float16) for block in blocks]
    return np.concatenate(drawn)


def draw_means(population: Population, signers: int) -> NDArray[np.float16]:
    """Draw signers; return the mean of the reduced vectors of each one's references, (signers, c).

    The first ones are the same for any number of signers.
    """
    return _means(population, range(-(-signers // BLOCK)))[:signers]


def ask(population: Population, embedder: Embedder, means: NDArray[np.float16], queries: int) -> Question:
    """Draw questioned signatures of some signers, and search exhaustively."""
    asked, questioned = _questions(population, len(means), queries)
    in_top = _in_top(population, means, embedder, asked, questioned)
    return Question(
        population, embedder, means, asked, questioned, embedder.candidate_vectors(questioned), in_top
    )


def measure_exhaustive(question: Question) -> Measured:
    """Compare all reduced vectors with each question, in NumPy: the time that an index has to beat."""
    resident = _resident_bytes()
    start = time.perf_counter()
    rows = question.means.astype(np.float32)
    squares = np.einsum("ij,ij->i", rows, rows)
    build_s = time.perf_counter() - start

    def search(vector: Floats) -> NDArray[np.int64]:
        count = min(CANDIDATES, len(rows))
        return np.argpartition(squares - 2 * (rows @ vector), count - 1)[:count]

    found, search_s = _timed(search, question.vectors)
    return Measured(
        len(rows), "exhaustive", build_s, rows.nbytes, search_s, np.zeros(0), 0.0, found_in(question, found),
        question.in_top, _resident_bytes() - resident,
    )  # fmt: skip


def measure_library(question: Question) -> Measured:
    """Measure the library usearch alone: labels instead of keys, all vectors at once on all cores, no removal."""
    from usearch.index import Index  # noqa: PLC0415 - an extra

    resident = _resident_bytes()

    index = Index(
        ndim=question.means.shape[1],
        metric="l2sq",
        dtype="f16",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSION_SEARCH * CANDIDATES,
    )
    start = time.perf_counter()
    index.add(np.arange(len(question.means)), question.means, threads=usable_cores())
    build_s = time.perf_counter() - start
    found, search_s = _timed(
        lambda vector: np.asarray(index.search(vector, CANDIDATES, threads=1).keys, np.int64),
        question.vectors,
    )
    return Measured(
        len(question.means), "usearch alone", build_s, index.memory_usage, search_s, np.zeros(0), 0.0,
        found_in(question, found), question.in_top, _resident_bytes() - resident,
    )  # fmt: skip


def measure_memory(question: Question, inserts: int = 2000) -> Measured:
    """Measure the index in the memory of the service."""
    resident = _resident_bytes()
    index, build_s = CandidateIndex(lambda rows: np.asarray(rows, np.float32)), 0.0
    for first in range(0, len(question.means), BLOCK):
        entries = _entries(first, question.means[first : first + BLOCK])
        start = time.perf_counter()
        index.apply(entries)
        build_s += time.perf_counter() - start
    found, search_s = _timed(lambda vector: numbers_of(index.nearest(vector, CANDIDATES)), question.vectors)
    size = index._graph.memory_usage  # noqa: SLF001 - the library's own figure
    resident = _resident_bytes() - resident
    inserting_s, inserted_per_s = _search_while_inserting(index, question, inserts)
    return Measured(
        len(question.means), "memory", build_s, size, search_s, inserting_s, inserted_per_s,
        found_in(question, found), question.in_top, resident,
    )  # fmt: skip


def _resident_bytes() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def numbers_of(keys: list[str]) -> NDArray[np.int64]:
    """Return the numbers of synthetic signers from their keys."""
    return np.array([int(key[-12:]) for key in keys], np.int64)


def found_in(question: Question, found: list[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Return whether the true signer is among the candidates of each question."""
    return np.array([n in numbers for n, numbers in zip(question.asked, found, strict=True)])


def exact_s(question: Question) -> float:
    """Return the median of the seconds that the exact distances to the references of all candidates take."""
    drawn = question.population.templates(0, slice(CANDIDATES))[:, :REFERENCES]
    templates = drawn.reshape(-1, question.questioned.shape[1])
    _, durations = _timed(
        lambda one: question.embedder.compare_one(one, templates).astype(np.int64), question.questioned[:50]
    )
    return float(np.median(durations))


def _timed(
    search: Callable[[Floats], NDArray[np.int64]], questions: Floats
) -> tuple[list[NDArray[np.int64]], NDArray[np.float64]]:
    found, durations = [], []
    for one in questions:
        start = time.perf_counter()
        numbers = search(one)
        durations.append(time.perf_counter() - start)
        found.append(numbers)
    return found, np.array(durations)


def _questions(population: Population, signers: int, queries: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the numbers of some signers and a further signature of each."""
    numbers, signatures = [], []
    blocks = np.unique(np.linspace(0, -(-signers // BLOCK) - 1, 8).astype(int))
    for block in blocks:
        rows = population.templates(
            int(block), slice(min(-(-queries // len(blocks)), signers - block * BLOCK))
        )
        numbers.append(block * BLOCK + np.arange(len(rows)))
        signatures.append(rows[:, -1])
    return np.concatenate(numbers), np.concatenate(signatures)


def _in_top(
    population: Population,
    reduced: NDArray[np.float16],
    embedder: Embedder,
    asked: NDArray[np.int64],
    questioned: Floats,
) -> NDArray[np.bool_]:
    """Whether an exhaustive search ranks the true signer among the first TOP, for each question."""
    rule = embedder.calibration.at(REFERENCES).rule

    def distances(one: Floats, rows: Floats) -> NDArray[np.float64]:
        table = embedder.compare_one(one, rows.reshape(-1, rows.shape[2])).reshape(len(rows), REFERENCES)
        return np.array([float(rule.distance(row)) for row in table])

    shortlists = _nearest(reduced, embedder.candidate_vectors(questioned), SHORTLIST)
    # A block has to be drawn as a whole, so all questions take their signers from it at once.
    pairs = np.concatenate(
        [
            np.stack([np.full(len(numbers) + 1, n), np.append(numbers, asked[n])])
            for n, numbers in enumerate(shortlists)
        ],
        axis=1,
    )
    pairs = np.unique(pairs, axis=1)
    measured = np.full(pairs.shape[1], np.inf)
    for block in np.unique(pairs[1] // BLOCK):
        of_block = np.flatnonzero(pairs[1] // BLOCK == block)
        drawn = np.unique(pairs[1][of_block])
        rows = population.templates(int(block), drawn % BLOCK)[:, :REFERENCES]
        for n in np.unique(pairs[0][of_block]):
            which = of_block[pairs[0][of_block] == n]
            measured[which] = distances(questioned[n], rows[np.searchsorted(drawn, pairs[1][which])])
    closer = np.zeros(len(asked), int)
    for n, number in enumerate(asked):
        is_of = pairs[0] == n
        own = measured[is_of & (pairs[1] == number)][0]
        closer[n] = int((measured[is_of] < own).sum())
    return closer < TOP


def _nearest(reduced: NDArray[np.float16], vectors: Floats, count: int) -> NDArray[np.int64]:
    """Find the numbers of the rows nearest to each vector by exhaustive search: (vectors, count)."""
    numbers = np.zeros((len(vectors), 0), np.int64)
    squares = np.zeros((len(vectors), 0), np.float32)
    for start in range(0, len(reduced), 50_000):
        rows = reduced[start : start + 50_000].astype(np.float32)
        further = np.square(rows).sum(axis=1) - 2 * (vectors @ rows.T)
        squares = np.concatenate([squares, further], axis=1)
        numbers = np.concatenate(
            [numbers, np.broadcast_to(start + np.arange(len(rows)), further.shape)], axis=1
        )
        best = np.argpartition(squares, min(count, squares.shape[1]) - 1, axis=1)[:, :count]
        squares = np.asarray(np.take_along_axis(squares, best, axis=1), np.float32)
        numbers = np.asarray(np.take_along_axis(numbers, best, axis=1), np.int64)
    return numbers


def _search_while_inserting(
    index: CandidateIndex, question: Question, inserts: int
) -> tuple[NDArray[np.float64], float]:
    """Search while another thread adds signers, ten at a time, with a lock as the gallery has it."""
    guard, further = threading.Lock(), question.further(inserts)

    def insert() -> None:
        for at in range(0, inserts, 10):
            entries = _entries(len(question.means) + at, further[at : at + 10])
            with guard:
                index.apply(entries)

    def search(vector: Floats) -> None:
        with guard:
            index.nearest(vector, CANDIDATES)

    return search_while(insert, inserts, search, question.vectors)


def search_while(
    insert: Callable[[], None], inserts: int, search: Callable[[Floats], object], questions: Floats
) -> tuple[NDArray[np.float64], float]:
    """Search while another thread inserts; return the durations of the searches and the inserts per second."""
    rate = 0.0

    def timed() -> None:
        nonlocal rate
        start = time.perf_counter()
        insert()
        rate = inserts / (time.perf_counter() - start)

    writer = threading.Thread(target=timed)
    writer.start()
    durations = []
    while writer.is_alive():
        for one in questions:
            start = time.perf_counter()
            search(one)
            durations.append(time.perf_counter() - start)
            if not writer.is_alive():
                break
    writer.join()
    return np.array(durations), rate


def print_header() -> None:
    """Print the header of a table in Markdown, to which :func:`print_rows` adds."""
    print(
        "| signers | candidates from | built, s | size, MB | memory, MB | search, ms: p50 | p99 "
        "| while inserting, ms: p50 | p99 | inserted per s "
        f"| true signer in {CANDIDATES} candidates | of those exhaustively in the first {TOP} |"
    )
    print("|---:|---|" + "---:|" * 10, flush=True)


def print_rows(rows: list[Measured]) -> None:
    """Print what was measured, one row of the table for each."""
    for row in rows:
        cells = [
            f"{row.signers:,}",
            row.kind,
            f"{row.build_s:.1f}",
            f"{row.index_bytes / 1e6:.0f}",
            "" if row.resident_bytes is None else f"{row.resident_bytes / 1e6:.0f}",
            *percentiles(row.search_s),
            *percentiles(row.inserting_s),
            f"{row.inserted_per_s:.0f}" if row.inserted_per_s else "",
            f"{row.in_candidates.mean():.4f}",
            f"{row.in_candidates[row.in_top].mean():.4f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def percentiles(seconds: NDArray[np.float64]) -> list[str]:
    """Return the median and the 99th percentile in milliseconds; empty where nothing was measured."""
    return [f"{1e3 * np.quantile(seconds, q):.1f}" if len(seconds) else "" for q in (0.5, 0.99)]
