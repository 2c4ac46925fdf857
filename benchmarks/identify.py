"""What it costs to keep the index for identification up to date, beside a search in it.

``python -m benchmarks.identify [--signers 10000]``: enrols signers with three random templates each in a temporary
SQLite store, then changes 1, a tenth and all of them, and times the next search each time. No data and no weights are
needed.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time

import numpy as np
from sqlalchemy.orm import Session

from app.domain import NewReference, now
from app.services.gallery import Gallery
from app.store import changes, references, signers
from app.store.cipher import Cipher
from app.store.data_keys import DataKeys, new_key_text
from app.store.store import Store

DIMENSION = 1569
MODEL = "benchmark@0"


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--signers", type=int, default=10_000)
    count = parser.parse_args().signers
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"sqlite:///{folder}/store.db", 2, Cipher(DataKeys([new_key_text()])))
        try:
            asyncio.run(_measure(store, count))
        finally:
            store.close()


async def _measure(store: Store, count: int) -> None:
    rng = np.random.default_rng(0)
    keys = [store.write_now(_enrol, f"signer-{number:06d}", rng) for number in range(count)]
    gallery = Gallery(store, MODEL, lambda rows: np.asarray(rows, np.float32))
    question = rng.normal(size=DIMENSION).astype(np.float32)

    async def search() -> float:
        begin = time.perf_counter()
        await gallery.nearest("default", question, 20)
        return time.perf_counter() - begin

    first = await search()
    plain = min([await search() for _ in range(5)])
    print(
        f"| signers that changed (of {count:,}) | the next search takes, s | beside a search without changes |"
    )
    print("|---:|---:|---:|")
    print(f"| none | {plain:.4f} | 1.0 |")
    for changed in (1, count // 10, count):
        store.write_now(
            lambda session, some=keys[:changed]: [changes.touch(session, "default", k) for k in some]
        )
        took = await search()
        print(f"| {changed:,} | {took:.4f} | {took / plain:.1f} |")
    print(f"\nThe first search, which reads everything, took {first:.2f} s.")
    gallery.close()


def _enrol(session: Session, signer_id: str, rng: np.random.Generator) -> str:
    new = [
        NewReference(
            reference_id=f"{signer_id}-{position}",
            data=b"",
            sha256=f"{position:064d}",
            media_type="image/png",
            page=0,
            quality={},
            warnings=(),
            model_version=MODEL,
            template=rng.normal(size=DIMENSION).astype(np.float32),
        )
        for position in range(3)
    ]
    references.add(session, "default", signer_id, new, now(), 100)
    key = signers.key_of(session, "default", signer_id)
    assert key is not None
    return key


if __name__ == "__main__":
    main()
