"""Health check of the store: read it, write a probe, and retry the values that did not decrypt.

After a failed write, the store is unhealthy until a probe of 1 MiB has been written. No restart is needed: free disk
space, a database that is available again and a repaired row are detected by the next check.
"""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.domain.errors import CountersignError
from app.domain.records import now
from app.store import change_counters, reencryption
from app.store.condition import Condition
from app.store.encryption.cipher import Place
from app.store.store import Store
from app.store.tables import ProbeRow

PROBE_EVERY_S = 10.0
PROBE_BYTES = 1 << 20
RETRIES_PER_CHECK = 10
"""Maximum number of undecryptable values that one check retries, those not retried for the longest time first."""
_MAX_LISTED = 3


async def faults(store: Store) -> list[str]:
    """Return the faults of the store as sentences; empty if it can be read and written and all values decrypt.

    Concurrent callers share one check, and a check without faults is not repeated for `HEALTHY_FOR_S` seconds unless
    an access fails meanwhile. Frequent readiness checks therefore do not occupy the threads that serve requests.
    """
    condition = store.condition
    if condition.healthy and not store.cipher.unreadable:
        return []
    if condition.check is None or condition.check.done():
        condition.check = asyncio.create_task(store.run(partial(_check, store, condition)))
    return await asyncio.shield(condition.check)


def _check(store: Store, condition: Condition) -> list[str]:
    with condition.lock:
        try:
            _probe(store, condition)
        except CountersignError as error:
            condition.failed = True
            return [str(error)]
        problems = _unreadable(store, condition)
        if not problems and not condition.failed:
            condition.healthy_at = time.monotonic()
        return problems


def _probe(store: Store, condition: Condition) -> None:
    failed = condition.failed
    store.read_now(change_counters.sequence, "")
    if not failed and time.monotonic() - condition.probed_at < PROBE_EVERY_S:
        return
    store.write_now(_write_probe, PROBE_BYTES if failed else 0)
    if failed:
        store.write_now(_write_probe, 0)
    condition.failed = False
    condition.probed_at = time.monotonic()


def _write_probe(session: Session, size: int) -> None:
    filler = os.urandom(size)  # random, so that the database cannot compress it
    statement = update(ProbeRow).where(ProbeRow.probe_id == 1).values(written_at=now(), filler=filler)
    if session.scalar(statement.returning(ProbeRow.probe_id)) is None:
        session.add(ProbeRow(probe_id=1, written_at=now(), filler=filler))


def _unreadable(store: Store, condition: Condition) -> list[str]:
    """Retry values that did not decrypt; return a sentence for each that still does not."""
    unreadable = store.cipher.unreadable
    condition.retried_at = {
        place: retried for place, retried in condition.retried_at.items() if place in unreadable
    }
    oldest_first = sorted(unreadable, key=lambda place: condition.retried_at.get(place, float("-inf")))
    for place in oldest_first[:RETRIES_PER_CHECK]:
        condition.retried_at[place] = time.monotonic()
        if store.read_now(reencryption.is_readable, place):
            store.cipher.forget(place)
            del unreadable[place]
            if place.kind == "template":
                store.write_now(_touch_signer, place)
    problems = [
        f"{place.kind} {place.row_id} cannot be read: {reason}" for place, reason in unreadable.items()
    ]
    if len(problems) > _MAX_LISTED:
        problems = [*problems[:_MAX_LISTED], f"and {len(problems) - _MAX_LISTED} more"]
    if problems:
        problems.append("`python -m app encryption check` lists them all")
    return problems


def _touch_signer(session: Session, place: Place) -> None:
    """Make every index that skipped the signer read it again."""
    change_counters.touch(session, place.tenant_id, place.owner)
