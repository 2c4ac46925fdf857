"""The time to load and to refresh the identification index: ``python -m benchmarks.identify [--signers N ...]``.

For each number of signers, an SQLite store is filled with signers of three random templates each. The benchmark
measures a search that loads the whole index, a search after all signers have changed, and a search after no change.
The time for each signer should not grow with the number of signers. No data sets are needed.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import numpy as np

from app.domain.records import NewReference, new_id, now
from app.services.gallery import Gallery
from app.services.open_store import open_store
from app.settings import Settings
from app.store import references, signer_locks, signers
from app.store.store import Store

DIMENSION = 512
REFERENCES = 3
BATCH = 200
TENANT, VERSION = "default", "benchmark@0"


def enrol(store: Store, count: int) -> None:
    """Enrol signers with random templates; the values have no effect on the timings."""
    rng = np.random.default_rng(0)
    for first in range(0, count, BATCH):

        def add(session: object, first: int = first) -> None:
            for n in range(first, min(first + BATCH, count)):
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
                    for k, template in enumerate(rng.normal(size=(REFERENCES, DIMENSION)).astype(np.float32))
                ]
                signer = signer_locks.lock_or_create(session, TENANT, f"s{n}", None, now())  # type: ignore[arg-type]
                references.add(session, signer, new, now(), REFERENCES)  # type: ignore[arg-type]

        store.write_now(add)


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
        gallery = Gallery(store, VERSION, lambda templates: templates)
        try:
            enrol(store, count)
            first = await search_s(gallery)
            change(store, count)
            return first, await search_s(gallery), await search_s(gallery)
        finally:
            gallery.close()
            store.close()


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--signers", type=int, nargs="+", default=[1_000, 10_000])
    args = parser.parse_args()
    print(
        f"`python -m benchmarks.identify`, {REFERENCES} references of {DIMENSION} dimensions each, SQLite\n"
    )
    print("| signers | loaded, s | all changed, s | for each changed signer, ms | nothing changed, s |")
    print("|---:|---:|---:|---:|---:|")
    for count in args.signers:
        loaded, changed, unchanged = asyncio.run(measure(count))
        print(f"| {count:,} | {loaded:.2f} | {changed:.2f} | {1e3 * changed / count:.3f} | {unchanged:.3f} |")


if __name__ == "__main__":
    main()
