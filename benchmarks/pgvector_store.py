"""The index of pgvector on a PostgreSQL with many signers, measured for :mod:`benchmarks.identify`.

The database has all signers and their vectors, but the templates of those only who are candidates of a question:
those of a million signers would have 38 GB. Half of the questions of a tenant are searched as ``/identify`` does it,
with the templates of the candidates, decrypted, and their exact distances. A second tenant has a hundredth as many
signers in the same table.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import psycopg
from numpy.typing import NDArray
from pydantic import SecretStr
from sqlalchemy.orm import Session

from app.domain.ids import new_id
from app.domain.records import NewReference, now
from app.services.gallery import CANDIDATES, Reductions
from app.services.open_store import open_store
from app.services.pgvector_index import PgvectorIndex
from app.settings import Settings
from app.store import candidate_vectors, references, signer_locks
from app.store.candidate_vectors import Writer
from app.store.encryption import sealing
from app.store.store import Store
from app.store.tables import ReferenceRow
from benchmarks.candidates import REFERENCES, Measured, Question, found_in, numbers_of, search_while
from benchmarks.synthetic_signers import BLOCK, Floats
from tests.postgres import Postgres

LARGE, SMALL = "large", "small"
VERSION = "benchmark@0"
EXHAUSTIVE_SIGNERS = 10_000
BUILD_MEMORY_MB = 2048
OPTIONS = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "2GB", "max_wal_size": "4GB"}
OPTIONS |= {"autovacuum": "on", "max_parallel_maintenance_workers": "1"}


@dataclass(frozen=True)
class Tenants:
    """What was measured of a store with a large and a small tenant.

    Attributes
    ----------
    large, small : Measured
        The size of the first one is that of its graph, of the second one that of its part of the table.
    table_bytes : int
        Of the table of vectors without its graphs.
    answered_s : (searches,) float64
        Seconds of a search with the templates of the candidates and their exact distances.
    read_s : float
        Median seconds of reading and decrypting these templates.
    cpu_s : float
        Mean seconds of processor time of such a search, of this process and of the database together.
    """

    large: Measured
    small: Measured
    table_bytes: int
    answered_s: NDArray[np.float64]
    read_s: float
    cpu_s: float


@contextmanager
def running_server() -> Iterator[Postgres]:
    """Run a PostgreSQL with pgvector. Raises LookupError when there is none."""
    server = Postgres(**OPTIONS)
    server.start()
    try:
        if not server.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"):
            raise LookupError("NO PGVECTOR: the PostgreSQL that was found has no extension pgvector")
        yield server
    finally:
        server.close()


def measure(server: Postgres, question: Question, small: Question, inserts: int = 500) -> Tenants:
    """Fill a database with both tenants, and measure their searches."""
    name = server.new_database()
    key = f"benchmark:{base64.b64encode(bytes(32)).decode()}"
    settings = Settings(  # type: ignore[call-arg]
        _env_file=None, database_url=server.url(name), encryption_keys=SecretStr(key)
    )
    store = open_store(settings)
    embedder = question.embedder
    store.index_writer = writer = Writer(VERSION, embedder.candidate_vectors)
    reductions = Reductions(embedder.search_vectors, embedder.candidate_vectors)
    index = PgvectorIndex(store, writer, reductions, EXHAUSTIVE_SIGNERS)
    try:
        start = time.perf_counter()
        with psycopg.connect(server.url(name), autocommit=True) as connection:
            _copy(connection, LARGE, question.means)
            _copy(connection, SMALL, small.means)
            connection.execute("VACUUM ANALYZE")
        copied_s = time.perf_counter() - start
        start = time.perf_counter()
        index.build_graphs(BUILD_MEMORY_MB)
        build_s = copied_s + time.perf_counter() - start
        table_bytes, graph_bytes = _sizes(server, name)
        of_small = _searched(store, SMALL, small)
        of_large = _searched(store, LARGE, question)
        answered_s, read_s, cpu_s = _answered(store, index, question, server)
        inserting_s, inserted_per_s = _while_enrolling(store, question, inserts)
        rows = len(question.means)
        per_row = table_bytes / (rows + len(small.means))
        return Tenants(
            Measured(
                rows, "pgvector", build_s, graph_bytes, of_large[1], inserting_s, inserted_per_s,
                of_large[0], question.in_top,
            ),
            Measured(
                len(small.means), f"pgvector, beside {rows:,}", 0.0, int(per_row * len(small.means)), of_small[1],
                np.zeros(0), 0.0, of_small[0], small.in_top,
            ),
            table_bytes,
            answered_s,
            read_s,
            cpu_s,
        )  # fmt: skip
    finally:
        store.close()
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def print_table(rows: Iterable[Tenants], exact_s: float) -> None:
    """Print what a whole search takes as a table in Markdown."""
    print(
        "| signers | table, MB | graph, MB | candidates, ms: p50 | p99 | templates read, ms | exact distances, ms "
        "| in all, ms: p50 | p99 | processor time in all, ms |"
    )
    print("|" + "---:|" * 10)
    for row in rows:
        cells = [
            f"{row.large.signers:,}",
            f"{row.table_bytes / 1e6:.0f}",
            f"{row.large.index_bytes / 1e6:.0f}",
            *(f"{1e3 * np.quantile(row.large.search_s, q):.1f}" for q in (0.5, 0.99)),
            f"{1e3 * row.read_s:.1f}",
            f"{1e3 * exact_s:.1f}",
            *(f"{1e3 * np.quantile(row.answered_s, q):.1f}" for q in (0.5, 0.99)),
            f"{1e3 * row.cpu_s:.1f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def _key(tenant: str, number: int) -> str:
    return f"{'00000000' if tenant == LARGE else '00000001'}-0000-7000-8000-{number:012d}"


def _copy(connection: psycopg.Connection[Any], tenant: str, means: NDArray[np.float16]) -> None:
    cursor = connection.cursor()
    with cursor.copy("COPY signers (key, tenant_id, signer_id, created_at) FROM STDIN") as copy:
        for n in range(len(means)):
            copy.write_row((_key(tenant, n), tenant, f"s{n}", "2026-01-01T00:00:00Z"))
    with cursor.copy(
        "COPY candidate_vectors (signer_key, model_version, tenant_id, vector) FROM STDIN"
    ) as copy:
        for n, row in enumerate(means):
            values = ",".join(map("{:.5g}".format, row.tolist()))
            copy.write(f"{_key(tenant, n)}\t{VERSION}\t{tenant}\t[{values}]\n")


def _sizes(server: Postgres, database: str) -> tuple[int, int]:
    """Return the bytes of the table with its B-trees, and of all graphs."""
    ((total, graphs),) = server.execute(
        "SELECT pg_total_relation_size('candidate_vectors'), coalesce(sum(pg_relation_size(indexrelid)), 0) "
        "FROM pg_index WHERE indrelid = 'candidate_vectors'::regclass "
        "AND starts_with(indexrelid::regclass::text, 'ix_candidate_vectors_graph_')",
        database,
    )
    assert isinstance(total, int)
    return total - int(str(graphs)), int(str(graphs))


def _searched(store: Store, tenant: str, question: Question) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Search for the candidates of all questions, twice; return whether they were found, and the second durations."""
    for _ in range(2):
        found: list[NDArray[np.int64]] = []
        durations: list[float] = []
        for vector in question.vectors:
            start = time.perf_counter()
            keys = store.read_now(candidate_vectors.nearest, tenant, VERSION, vector, CANDIDATES)
            durations.append(time.perf_counter() - start)
            found.append(numbers_of(keys))
    return found_in(question, found), np.array(durations)


def _answered(
    store: Store, index: PgvectorIndex, question: Question, server: Postgres
) -> tuple[NDArray[np.float64], float, float]:
    """Store the templates of the candidates of some questions, then search with exact distances."""
    some = range(0, len(question.vectors), 4)
    wanted: set[int] = set()
    for n in some:
        keys = store.read_now(candidate_vectors.nearest, LARGE, VERSION, question.vectors[n], CANDIDATES)
        wanted.update(numbers_of(keys).tolist())
    _store_templates(store, question, np.array(sorted(wanted)))

    async def search() -> list[float]:
        durations: list[float] = []
        for _ in range(2):
            durations.clear()
            for n in some:
                one = question.questioned[n]
                start = time.perf_counter()
                found = await index.nearest(LARGE, one, 25)
                templates = [entry.templates for entry in found.entries if entry.templates is not None]
                question.embedder.compare_one(one, np.concatenate(templates))
                durations.append(time.perf_counter() - start)
        return durations

    processes = [psutil.Process(), *server_processes(server)]
    before = _cpu_s(processes)
    answered_s = asyncio.run(search())
    cpu_s = (_cpu_s([psutil.Process(), *server_processes(server)]) - before) / (2 * len(some))
    read_s = []
    for n in some:
        keys = store.read_now(candidate_vectors.nearest, LARGE, VERSION, question.vectors[n], CANDIDATES)
        start = time.perf_counter()
        store.read_now(references.for_index, LARGE, VERSION, keys)
        read_s.append(time.perf_counter() - start)
    return np.array(answered_s), float(np.median(read_s)), cpu_s


def server_processes(server: Postgres) -> list[psutil.Process]:
    """Return the processes of the server."""
    assert server.process is not None
    main = psutil.Process(server.process.pid)
    return [main, *main.children(recursive=True)]


def _cpu_s(processes: Iterable[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _store_templates(store: Store, question: Question, numbers: NDArray[np.int64]) -> None:
    """Store three references, without images, of some signers of the large tenant; their vectors stay."""

    def add(session: Session, some: NDArray[np.int64], templates: Floats) -> None:
        session.connection().exec_driver_sql("SET LOCAL session_replication_role = replica")  # no triggers
        for number, rows in zip(some.tolist(), templates, strict=True):
            key = _key(LARGE, number)
            for template in rows:
                reference = new_id()
                session.add(
                    ReferenceRow(
                        reference_id=reference, signer_key=key, created_at=now(), sha256=new_id(),
                        media_type="image/png", size=0, page=0, region="whole", quality={}, warnings=[],
                        model_version=VERSION,
                    )
                )  # fmt: skip
                session.add(sealing.template_row(session, LARGE, key, reference, VERSION, template))

    for block in np.unique(numbers // BLOCK):
        some = numbers[numbers // BLOCK == block]
        templates = question.population.templates(int(block), some % BLOCK)[:, :REFERENCES]
        store.write_now(add, some, templates)


def _while_enrolling(store: Store, question: Question, inserts: int) -> tuple[NDArray[np.float64], float]:
    """Search for candidates while another thread enrols signers, each in a transaction of its own."""
    first = -(-len(question.means) // BLOCK) + 10
    blocks = [question.population.templates(first + n, slice(None)) for n in range(-(-inserts // BLOCK))]
    templates = np.concatenate(blocks)[:inserts, :REFERENCES]

    def enrol(session: Session, number: int, rows: Floats) -> None:
        new = [
            NewReference(new_id(), b"x", new_id(), "image/png", 0, "whole", {}, (), VERSION, template)
            for template in rows
        ]
        signer = signer_locks.lock_or_create(session, LARGE, f"new{number}", None, now())
        references.add(session, signer, new, now(), REFERENCES)

    def enrol_all() -> None:
        for number, rows in enumerate(templates):
            store.write_now(enrol, number, rows)

    def search(vector: Floats) -> None:
        store.read_now(candidate_vectors.nearest, LARGE, VERSION, vector, CANDIDATES)

    return search_while(enrol_all, inserts, search, question.vectors)
