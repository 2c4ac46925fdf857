"""Whether the store can serve: it is written to, not only asked, and what did not decrypt is tried again.

A write that failed leaves a mark; the mark goes when a probe of a mebibyte is on disk. That needs no restart: room on
the disk, the database's return or a mended row are noticed at the next look.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.domain import now
from app.errors import CountersignError
from app.store import changes, reencryption
from app.store.cipher import Place
from app.store.tables import ProbeRow

if TYPE_CHECKING:
    from app.store.store import Store

PROBE_EVERY_S = 10.0
PROBE_BYTES = 1 << 20
WELL_FOR_S = 1.0
"""A look that found nothing answers for so long."""
LOOKS_PER_PROBE = 10
"""Values that did not decrypt and are tried again at one look; the others keep their turn."""
_SHOWN = 3


class Condition:
    """What is known of the database between two looks."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.failed = False
        self.probed_at = float("-inf")
        self.tried: dict[Place, float] = {}
        self.well_at = float("-inf")

    @property
    def well(self) -> bool:
        """Whether a look found nothing a moment ago, and nothing has failed since."""
        return time.monotonic() - self.well_at < WELL_FOR_S

    def read_failed(self) -> None:
        """Have the next one who asks look again."""
        self.well_at = float("-inf")

    def write_failed(self) -> None:
        """Leave the mark."""
        self.failed = True
        self.well_at = float("-inf")


def faults(store: Store, condition: Condition) -> list[str]:
    """What keeps the store from serving, in sentences."""
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
    store.read_now(changes.sequence, "")
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
    changes.touch(session, place.tenant_id, place.owner)
