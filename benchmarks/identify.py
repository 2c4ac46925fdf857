"""Identification among many signers: ``python -m benchmarks.identify [--signers N ...] [--stored N] [--index N]``.

Tables, each for some numbers of signers; an option without numbers omits its table.

1. ``--signers``: an SQLite store is filled with signers of three random templates each. Measured are a search that
   loads the whole exhaustive index, one after all signers have changed, and one after no change. The time for each
   signer should not grow with the number of signers.
2. ``--stored``: both indexes on an SQLite store with synthetic signers: loading them from the store, loading the
   index of candidates from its file, and searches with the exact distances of what they return.
3. ``--index``: candidates from an exhaustive search, the library usearch alone, the index in memory, and pgvector,
   with the recall of the true signer (:mod:`benchmarks.candidates`); and what a whole search takes with pgvector
   (:mod:`benchmarks.pgvector_store`), for which a PostgreSQL with pgvector is started. ``--kinds`` selects some.

With ``OPENBLAS_NUM_THREADS=1`` in the environment, NumPy computes on one core, as the other searches do.

Synthetic signers have the spread of the people of the data sets, or of synthetic writers where there are none
(:mod:`benchmarks.synthetic_signers`).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from app.domain.ids import new_id
from app.domain.records import NewReference, now
from app.services.gallery import CANDIDATES, Gallery, Reductions
from app.services.open_store import open_snapshots, open_store
from app.settings import RELEASED_WEIGHTS, Settings
from app.store import references, signer_locks, signers
from app.store.store import Store
from benchmarks import candidates, pgvector_store
from benchmarks.synthetic_signers import BLOCK, Floats, People, Population, people
from model.evaluation.features import InkCache, WeightsFeatures
from model.networks.embedder import Embedder

DIMENSION = 512
REFERENCES = 3
BATCH = 200
TENANT, VERSION = "default", "benchmark@0"
STARTED = time.perf_counter()
KINDS = ("exhaustive", "usearch", "memory", "pgvector")


def random_templates(count: int) -> Iterable[Floats]:
    """Draw random templates, some signers at a time; the values have no effect on the timings."""
    rng = np.random.default_rng(0)
    for first in range(0, count, BATCH):
        yield rng.normal(size=(min(BATCH, count - first), REFERENCES, DIMENSION)).astype(np.float32)


def enrol(store: Store, batches: Iterable[Floats]) -> None:
    """Enrol signers with templates (signers, references, dimension)."""
    first = 0
    for batch in batches:

        def add(session: object, first: int = first, batch: Floats = batch) -> None:
            for n, rows in enumerate(batch, first):
                new = [
                    NewReference(
                        new_id(),
                        b"x",
                        f"{n:032d}{k:032d}",
                        "image/png",
                        0,
                        "whole",
                        {},
                        (),
                        VERSION,
                        template,
                    )
                    for k, template in enumerate(rows)
                ]
                signer = signer_locks.lock_or_create(session, TENANT, f"s{n}", None, now())  # type: ignore[arg-type]
                references.add(session, signer, new, now(), REFERENCES)  # type: ignore[arg-type]

        store.write_now(add)
        first += len(batch)


def change(store: Store, count: int) -> None:
    """Change the policy of every signer."""

    def set_policies(session: object) -> None:
        for n in range(count):
            signer = signer_locks.lock_by_id(session, TENANT, f"s{n}")  # type: ignore[arg-type]
            signers.set_policy(session, signer, {"target_far": 0.05})  # type: ignore[arg-type]

    store.write_now(set_policies)


async def search_s(gallery: Gallery) -> float:
    """Return the seconds that a search takes, including the refresh of the index."""
    start = time.perf_counter()
    await gallery.nearest(TENANT, np.zeros(DIMENSION, np.float32), 1)
    return time.perf_counter() - start


async def measure(count: int) -> tuple[float, float, float]:
    """Return the seconds of the first search, of one after all signers have changed, and of one after no change."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, database_url=f"sqlite:///{Path(folder) / 'bench.db'}")  # type: ignore[call-arg]
        store = open_store(settings)
        gallery = Gallery(store, VERSION, Reductions(unreduced, unreduced), sys.maxsize)
        try:
            enrol(store, random_templates(count))
            first = await search_s(gallery)
            change(store, count)
            return first, await search_s(gallery), await search_s(gallery)
        finally:
            gallery.close()
            store.close()


def unreduced(templates: Floats) -> Floats:
    """Return templates as they are."""
    return np.asarray(templates, np.float32)


@dataclass(frozen=True)
class Stored:
    """Durations in seconds of one kind of index on a store."""

    signers: int
    kind: str
    loaded_s: float
    from_file_s: float
    search_s: list[float]


async def measure_stored(
    count: int, population: Population, embedder: Embedder, searches: int
) -> list[Stored]:
    """Measure both indexes on a store with synthetic signers."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, database_url=f"sqlite:///{Path(folder) / 'bench.db'}")  # type: ignore[call-arg]
        store = open_store(settings)
        try:
            blocks = range(-(-count // BLOCK))
            enrol(
                store,
                (
                    population.templates(b, slice(min(BLOCK, count - b * BLOCK)))[:, :REFERENCES]
                    for b in blocks
                ),
            )
            questioned = population.templates(0, slice(min(searches, count)))[:, -1]

            def gallery(limit: int) -> Gallery:
                reductions = Reductions(embedder.search_vectors, embedder.candidate_vectors)
                return Gallery(store, VERSION, reductions, limit, open_snapshots(settings, store, VERSION))

            async def time_search(opened: Gallery, one: Floats) -> float:
                start = time.perf_counter()
                found = await opened.nearest(TENANT, one, 25)
                templates = [entry.templates for entry in found.entries if entry.templates is not None]
                embedder.compare_one(one, np.concatenate(templates))
                return time.perf_counter() - start

            measured = []
            for kind, limit in (("exhaustive", sys.maxsize), ("candidates", 0)):
                opened = gallery(limit)
                loaded_s = await time_search(opened, questioned[0])
                search_s = [await time_search(opened, one) for one in questioned]
                opened.close()
                again = gallery(limit)
                from_file_s = await time_search(again, questioned[0]) if limit == 0 else float("nan")
                again.close()
                measured.append(Stored(count, kind, loaded_s, from_file_s, search_s))
            return measured
        finally:
            store.close()


def print_refreshes(counts: list[int]) -> None:
    """Print the first table."""
    print(f"\nAn exhaustive index, {REFERENCES} references of {DIMENSION} dimensions each, SQLite:\n")
    print("| signers | loaded, s | all changed, s | for each changed signer, ms | nothing changed, s |")
    print("|---:|---:|---:|---:|---:|")
    for count in counts:
        loaded, changed, unchanged = asyncio.run(measure(count))
        print(f"| {count:,} | {loaded:.2f} | {changed:.2f} | {1e3 * changed / count:.3f} | {unchanged:.3f} |")


def print_stored(rows: list[Stored]) -> None:
    """Print the second table."""
    print("| signers | index | loaded from the store, s | from its file, s | search, ms: p50 | p99 |")
    print("|---:|---|---:|---:|---:|---:|")
    for row in rows:
        from_file = "" if np.isnan(row.from_file_s) else f"{row.from_file_s:.2f}"
        p50, p99 = (1e3 * np.quantile(row.search_s, q) for q in (0.5, 0.99))
        print(f"| {row.signers:,} | {row.kind} | {row.loaded_s:.1f} | {from_file} | {p50:.1f} | {p99:.1f} |")


def measure_indexes(
    population: Population, embedder: Embedder, counts: list[int], queries: int, kinds: Collection[str]
) -> None:
    """Print the third table, and the one of whole searches with pgvector."""
    stored, exact_s = [], float("nan")
    in_memory = {
        "exhaustive": candidates.measure_exhaustive,
        "usearch": candidates.measure_library,
        "memory": candidates.measure_memory,
    }
    means = candidates.draw_means(population, max(counts))
    progress(f"{len(means):,} signers drawn")
    candidates.print_header()
    for count in counts:
        question = candidates.ask(population, embedder, means[:count], queries)
        progress(f"{count:,} signers: questions searched exhaustively")
        rows = []
        for kind, measure in in_memory.items():
            if kind in kinds:
                rows.append(measure(question))
                progress(f"{count:,} signers: {kind}")
        if "pgvector" in kinds:
            small = candidates.ask(population, embedder, means[: max(CANDIDATES, count // 100)], queries)
            with pgvector_store.running_server() as server:
                stored.append(pgvector_store.measure(server, question, small))
            rows += [stored[-1].large, stored[-1].small]
            exact_s = candidates.exact_s(question)
            progress(f"{count:,} signers: pgvector")
        candidates.print_rows(rows)  # after each number of signers: a run takes long, and may be interrupted
    if stored:
        print()
        pgvector_store.print_table(stored, exact_s)


def progress(done: str) -> None:
    """Say on standard error what is done, and when."""
    print(f"{time.perf_counter() - STARTED:7.0f} s  {done}", file=sys.stderr, flush=True)


def kept_people(file: Path | None, weights: Path) -> People:
    """Read the embeddings of people from a file, or compute them and keep them there."""
    if file is not None and file.is_file():
        with np.load(file) as kept:
            return People(tuple(kept[name] for name in kept.files if name != "source"), str(kept["source"]))
    found = people(WeightsFeatures(weights, InkCache(), device="cpu"))
    if file is not None:
        rows = {f"{n:04d}": rows for n, rows in enumerate(found.embeddings)}
        np.savez(file, source=np.array(found.source), **rows)  # type: ignore[arg-type]  # names are strings
    return found


def main() -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--signers", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--stored", type=int, nargs="*", default=[10_000])
    parser.add_argument("--index", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS, help="of candidates, for --index")
    parser.add_argument(
        "--people", type=Path, help="a file that keeps the embeddings of the people, for the next run"
    )
    parser.add_argument("--weights", type=Path, default=RELEASED_WEIGHTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"`python -m benchmarks.identify {' '.join(sys.argv[1:])}`")
    if args.signers:
        print_refreshes(args.signers)
        progress("refreshes of an exhaustive index")
    if not args.stored and not args.index:
        return
    embedder = Embedder.load(args.weights, "cpu")
    base = kept_people(args.people, args.weights)
    population = Population(base, REFERENCES + 1, embedder.candidate_vectors)
    progress(f"embeddings of {base.source}")
    print(
        f"\nSynthetic signers like {base.source}, {REFERENCES} references of {embedder.dimension} dimensions each.\n"
    )
    stored = [
        row
        for count in args.stored
        for row in asyncio.run(measure_stored(count, population, embedder, args.queries))
    ]
    if stored:
        progress("indexes on a store")
        print_stored(stored)
        print()
    if args.index:
        measure_indexes(population, embedder, args.index, args.queries, args.kinds)


if __name__ == "__main__":
    main()
