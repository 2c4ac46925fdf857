"""Recall, durations and memory of candidate indexes, measured for :mod:`benchmarks.identify`.

The index is filled with synthetic signers (:mod:`benchmarks.synthetic_signers`) of three references each. Questioned
signatures are further ones of some of these signers. Templates of candidates are not read from a store, which would
have 38 GB for a million signers; the table of stored signers has the time of reading.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
import psutil
from numpy.typing import NDArray

from app.services.candidate_index import CandidateIndex
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
class Measured:
    """What was measured with one number of signers; durations in seconds."""

    signers: int
    build_s: float
    index_bytes: int
    process_bytes: int
    search_s: NDArray[np.float64]
    exact_s: NDArray[np.float64]
    inserting_s: NDArray[np.float64]
    inserted_per_s: float
    in_top: float
    in_candidates: float
    recall: float


def _key(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012d}"


def _entries(first: int, vectors: Floats) -> dict[str, Entry]:
    """Return signers by their keys, with reduced vectors (signers, references, c) for templates."""
    keys = [_key(first + n) for n in range(len(vectors))]
    rows = vectors.astype(np.float16)
    return {key: Entry(key, key, None, None, row) for key, row in zip(keys, rows, strict=True)}


def measure(
    population: Population, embedder: Embedder, signers: int, queries: int, inserts: int = 2000
) -> Measured:
    """Build an index of some signers and measure it."""
    process = psutil.Process()
    before = process.memory_info().rss
    # The templates of a million signers would have to be drawn to be reduced; their reductions are drawn instead.
    index, build_s, reduced = CandidateIndex(lambda rows: np.asarray(rows, np.float32)), 0.0, []
    for block in range(-(-signers // BLOCK)):
        vectors = population.reduced(block)[: signers - block * BLOCK, :REFERENCES]
        entries = _entries(block * BLOCK, vectors)
        start = time.perf_counter()
        index.apply(entries)
        build_s += time.perf_counter() - start
        reduced.append(vectors.mean(axis=1).astype(np.float16))
    process_bytes = process.memory_info().rss - before - sum(rows.nbytes for rows in reduced)
    asked, questioned = _questions(population, signers, queries)
    vectors = embedder.candidate_vectors(questioned)
    found, search_s = _search(index, vectors)
    in_candidates = np.array([n in numbers for n, numbers in zip(asked, found, strict=True)])
    in_top = _in_top(population, np.concatenate(reduced), embedder, asked, questioned)
    inserting_s, inserted_per_s = _search_while_inserting(index, population, signers, vectors, inserts)
    return Measured(
        signers,
        build_s,
        index._graph.memory_usage,  # noqa: SLF001 - the library's own figure
        process_bytes,
        search_s,
        _exact_s(population, embedder, questioned[:50]),
        inserting_s,
        inserted_per_s,
        float(in_top.mean()),
        float(in_candidates.mean()),
        float(in_candidates[in_top].mean()),
    )


def _search(index: CandidateIndex, vectors: Floats) -> tuple[list[list[int]], NDArray[np.float64]]:
    found, durations = [], []
    for vector in vectors:
        start = time.perf_counter()
        keys = index.nearest(vector, CANDIDATES)
        durations.append(time.perf_counter() - start)
        found.append([int(key[-12:]) for key in keys])
    return found, np.array(durations)


def _exact_s(population: Population, embedder: Embedder, questioned: Floats) -> NDArray[np.float64]:
    """Return the seconds that the exact distances to the references of as many signers as candidates take."""
    templates = population.templates(0, slice(CANDIDATES))[:, :REFERENCES].reshape(-1, questioned.shape[1])
    durations = []
    for one in questioned:
        start = time.perf_counter()
        embedder.compare_one(one, templates)
        durations.append(time.perf_counter() - start)
    return np.array(durations)


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

    shortlists = [_nearest(reduced, vector, SHORTLIST) for vector in embedder.candidate_vectors(questioned)]
    closer = np.zeros(len(asked), int)
    for n, shortlist in enumerate(shortlists):
        true = population.templates(int(asked[n]) // BLOCK, [asked[n] % BLOCK])[:, :REFERENCES]
        own = distances(questioned[n], true)[0]
        others = shortlist[shortlist != asked[n]]
        for block in np.unique(others // BLOCK):
            which = others[others // BLOCK == block] % BLOCK
            rows = population.templates(int(block), which)[:, :REFERENCES]
            closer[n] += int((distances(questioned[n], rows) < own).sum())
    return closer < TOP


def _nearest(reduced: NDArray[np.float16], vector: Floats, count: int) -> NDArray[np.int64]:
    squares = np.empty(len(reduced), np.float32)
    for start in range(0, len(reduced), 50_000):
        rows = reduced[start : start + 50_000].astype(np.float32)
        squares[start : start + 50_000] = np.square(rows - vector).sum(axis=1)
    count = min(count, len(reduced))
    return np.argpartition(squares, count - 1)[:count]


def _search_while_inserting(
    index: CandidateIndex, population: Population, signers: int, questions: Floats, inserts: int
) -> tuple[NDArray[np.float64], float]:
    """Search while another thread adds signers, ten at a time, with a lock as the gallery has it."""
    guard, rate = threading.Lock(), 0.0
    first = -(-signers // BLOCK) + 1
    blocks = [(first + n, population.reduced(first + n)) for n in range(-(-inserts // BLOCK))]

    def insert() -> None:
        nonlocal rate
        start = time.perf_counter()
        for block, vectors in blocks:
            for at in range(0, BLOCK, 10):
                entries = _entries(block * BLOCK + at, vectors[at : at + 10, :REFERENCES])
                with guard:
                    index.apply(entries)
        rate = len(blocks) * BLOCK / (time.perf_counter() - start)

    writer = threading.Thread(target=insert)
    writer.start()
    durations = []
    while writer.is_alive():
        for vector in questions:
            start = time.perf_counter()
            with guard:
                index.nearest(vector, CANDIDATES)
            durations.append(time.perf_counter() - start)
            if not writer.is_alive():
                break
    writer.join()
    return np.array(durations), rate


def print_table(rows: list[Measured]) -> None:
    """Print what was measured as a table in Markdown."""
    print(
        "| signers | built, s | index, MB | process, MB | search, ms: p50 | p99 | exact distances, ms: p50 | "
        f"searching while inserting, ms: p50 | p99 | inserted per s | in the first {TOP}, exhaustively | "
        f"in {CANDIDATES} candidates | of the former, in candidates |"
    )
    print("|" + "---:|" * 13)
    for row in rows:
        cells = [
            f"{row.signers:,}",
            f"{row.build_s:.0f}",
            f"{row.index_bytes / 1e6:.0f}",
            f"{row.process_bytes / 1e6:.0f}",
            *_percentiles(row.search_s),
            f"{1e3 * np.median(row.exact_s):.1f}",
            *_percentiles(row.inserting_s),
            f"{row.inserted_per_s:.0f}",
            f"{row.in_top:.3f}",
            f"{row.in_candidates:.3f}",
            f"{row.recall:.3f}",
        ]
        print(f"| {' | '.join(cells)} |")


def _percentiles(seconds: NDArray[np.float64]) -> list[str]:
    return [f"{1e3 * np.quantile(seconds, q):.1f}" for q in (0.5, 0.99)]
