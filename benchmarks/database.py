"""What one PostgreSQL carries: ``python -m benchmarks.database [--seconds S] [--dimension N]``.

A PostgreSQL is started, with commits on disk. Measured are the transactions of a verification without its image and
its computation: reading five templates of the signer, then writing the verification, the template of the questioned
signature and the audit entry. Some threads do it at the same time, for signers of one tenant, whose audit chain makes
the commits wait for one another, or of as many tenants. The size of the tables gives the bytes of a signer and of a
verification.
"""

from __future__ import annotations

import argparse
import base64
import os
import threading
import time
from dataclasses import dataclass

import numpy as np
import psutil
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.domain.audit_chain import ChainKeys
from app.domain.callers import Caller
from app.domain.ids import new_id
from app.domain.records import (
    Finding,
    NewReference,
    OperatingPoint,
    ReferenceDistance,
    Verification,
    now,
)
from app.services.audit.trail import Trail
from app.services.open_store import open_store
from app.settings import Settings
from app.store import questioned_templates, references, signer_locks, verifications
from app.store.store import Store
from benchmarks.pgvector_store import running_server, server_processes
from benchmarks.synthetic_signers import Floats

REFERENCES = 5
SIGNERS = 50
IMAGE_BYTES = 30_000
VERSION = "benchmark@0"
SIGNER_TABLES = ("signers", '"references"', "reference_images", "templates")
VERIFICATION_TABLES = ("verifications", "questioned_templates", "audit")


@dataclass(frozen=True)
class Row:
    """One line of the table: verifications per second, latencies in seconds, and processor seconds for each."""

    threads: int
    tenants: int
    per_s: float
    latencies: list[float]
    server_cpu_s: float
    client_cpu_s: float


def enrol(store: Store, tenant: str, dimension: int) -> None:
    """Enrol signers with random images and templates."""
    rng = np.random.default_rng(0)

    def add(session: Session, number: int) -> None:
        new = [
            NewReference(
                new_id(),
                os.urandom(IMAGE_BYTES),
                new_id(),
                "image/png",
                0,
                "whole",
                {},
                (),
                VERSION,
                template,
            )
            for template in rng.normal(size=(REFERENCES, dimension)).astype(np.float32)
        ]
        signer = signer_locks.lock_or_create(session, tenant, f"s{number}", None, now())
        references.add(session, signer, new, now(), REFERENCES)

    for number in range(SIGNERS):
        store.write_now(add, number)


def verify(store: Store, trail: Trail, caller: Caller, signer_id: str, template: Floats) -> None:
    """Do the transactions of a verification."""
    specimens = store.read_now(references.specimens, caller.tenant_id, signer_id, VERSION)
    finding = Finding(
        "accept",
        0.7,
        0.76,
        0.82,
        1.2,
        OperatingPoint(0.1, 0.0005, 0.13),
        tuple(ReferenceDistance(reference, 0.7) for reference in specimens.reference_ids),
        (),
        VERSION,
        now(),
    )
    basis = {"target_far": 0.1, "spread": 0.5, "among": [0.5] * 10, "quality": {"ink": 0.1}}
    verification = Verification(new_id(), signer_id, finding, "0" * 64, basis)
    entry = trail.entry(
        "verify", record_id=verification.verification_id, by=caller, decision="accept", distance=0.7
    )

    def write(session: Session) -> None:
        locked = signer_locks.lock(session, caller.tenant_id, signer_id, specimens.signer.key)
        verifications.add(session, locked, verification)
        questioned_templates.add(
            session, locked, verification.verification_id, VERSION, template, finding.created_at
        )
        trail.append(session, entry, locked.key)

    store.write_now(write)


def measure(
    store: Store, processes: list[psutil.Process], threads: int, tenants: int, seconds: float, dimension: int
) -> Row:
    """Verify with some threads for some seconds."""
    trail = Trail(ChainKeys.parse("0" * 32))
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds

    def run(number: int) -> None:
        rng = np.random.default_rng(number)
        caller = Caller("benchmark", f"t{number % tenants}", frozenset())
        template = rng.normal(size=dimension).astype(np.float32)
        while (start := time.perf_counter()) < deadline:
            verify(store, trail, caller, f"s{rng.integers(SIGNERS)}", template)
            latencies.append(time.perf_counter() - start)

    def cpu_s(of: list[psutil.Process]) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in of)

    me = [psutil.Process()]
    server_before, client_before, start = cpu_s(processes), cpu_s(me), time.perf_counter()
    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    count, elapsed = len(latencies), time.perf_counter() - start
    return Row(
        threads,
        tenants,
        count / elapsed,
        latencies,
        (cpu_s(processes) - server_before) / count,
        (cpu_s(me) - client_before) / count,
    )


def size(store: Store, tables: tuple[str, ...]) -> int:
    """Return the bytes of tables with their indexes."""

    def read(session: Session) -> int:
        return sum(
            int(session.scalar(text(f"SELECT pg_total_relation_size('{table}')")) or 0) for table in tables
        )

    return store.read_now(read)


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--dimension", type=int, default=6273)
    args = parser.parse_args()
    with running_server() as server:
        key = f"benchmark:{base64.b64encode(bytes(32)).decode()}"
        settings = Settings(  # type: ignore[call-arg]
            _env_file=None, database_url=server.url(server.new_database()), encryption_keys=SecretStr(key)
        )
        store = open_store(settings)
        try:
            empty = size(store, SIGNER_TABLES)
            for number in range(8):
                enrol(store, f"t{number}", args.dimension)
            signer_bytes = (size(store, SIGNER_TABLES) - empty) / (8 * SIGNERS)
            before, rows = size(store, VERIFICATION_TABLES), []
            for threads, tenants in ((1, 1), (8, 1), (8, 8)):
                measure(store, [], threads, tenants, 1.0, args.dimension)  # opens the connections
                rows.append(
                    measure(store, server_processes(server), threads, tenants, args.seconds, args.dimension)
                )
            stored = store.read_now(
                lambda session: session.scalar(text("SELECT count(*) FROM verifications"))
            )
            verification_bytes = (size(store, VERIFICATION_TABLES) - before) / int(stored or 1)
        finally:
            store.close()
    print(f"`python -m benchmarks.database --seconds {args.seconds:g}`, {psutil.cpu_count()} cores\n")
    print(
        "| connections | tenants | verifications per second | latency, ms: p50 | p99 "
        "| processor time of the database, ms | of the service, ms |"
    )
    print("|" + "---:|" * 7)
    for row in rows:
        p50, p99 = (1e3 * np.quantile(row.latencies, q) for q in (0.5, 0.99))
        print(
            f"| {row.threads} | {row.tenants} | {row.per_s:.0f} | {p50:.1f} | {p99:.1f} | "
            f"{1e3 * row.server_cpu_s:.2f} | {1e3 * row.client_cpu_s:.2f} |"
        )
    print(
        f"\n{signer_bytes / 1e3:.0f} KB for a signer with {REFERENCES} references of {IMAGE_BYTES / 1e3:.0f} KB, "
        f"{verification_bytes / 1e3:.1f} KB for a verification without its image"
    )


if __name__ == "__main__":
    main()
