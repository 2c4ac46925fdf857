"""Whether the store can serve: it is written to, not only asked, and what did not decrypt is tried again.

A write that failed leaves a mark; the mark goes when a probe of a mebibyte is on disk. That needs no restart: room on
the disk, the database's return or a repaired row are noticed at the next look.
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
LOOKS_PER_PROBE = 10
"""Values that did not decrypt and are tried again at one look; the others keep their turn."""
_SHOWN = 3


async def faults(store: Store) -> list[str]:
    """What keeps the store from serving, in sentences; empty when it can be read and written and everything decrypts.

    Concurrent callers share one check, and the result of a check that found nothing stands for :data:`HEALTHY_FOR_S`
    seconds unless an access fails meanwhile: frequent probes keep no thread from the requests.
    """
    condition = store.condition
    if condition.well and not store.cipher.unreadable:
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
        found = _unreadable(store, condition)
        if not found and not condition.failed:
            condition.well_at = time.monotonic()
        return found


def _probe(store: Store, condition: Condition) -> None:
    failed = condition.failed
    store.read_now(change_counters.sequence, "")
    if not failed and time.monotonic() - condition.probed_at < PROBE_EVERY_S:
        return
    store.write_now(_write, PROBE_BYTES if failed else 0)
    if failed:
        store.write_now(_write, 0)
    condition.failed = False
    condition.probed_at = time.monotonic()


def _write(session: Session, size: int) -> None:
    filler = os.urandom(size)  # what a database cannot press into less
    written = update(ProbeRow).where(ProbeRow.probe_id == 1).values(written_at=now(), filler=filler)
    if session.scalar(written.returning(ProbeRow.probe_id)) is None:
        session.add(ProbeRow(probe_id=1, written_at=now(), filler=filler))


def _unreadable(store: Store, condition: Condition) -> list[str]:
    known = store.cipher.unreadable
    condition.tried = {place: at for place, at in condition.tried.items() if place in known}
    longest_ago = sorted(known, key=lambda place: condition.tried.get(place, float("-inf")))
    for place in longest_ago[:LOOKS_PER_PROBE]:
        condition.tried[place] = time.monotonic()
        if store.read_now(reencryption.opens, place):
            store.cipher.forget(place)
            del known[place]
            if place.kind == "template":
                store.write_now(_look_again, place)
    left = [f"{place.kind} {place.row_id} cannot be read: {why}" for place, why in known.items()]
    if len(left) > _SHOWN:
        left = [*left[:_SHOWN], f"and {len(left) - _SHOWN} more"]
    if left:
        left.append("`python -m app encryption check` lists them all")
    return left


def _look_again(session: Session, place: Place) -> None:
    """Have every index read the signer again that left them out."""
    change_counters.touch(session, place.tenant_id, place.owner)
