"""What the store does by itself: encrypts what is plain, erases again what came back, lets go of what is overdue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from app.domain.records import now
from app.store import idempotency, questioned_images, reencryption
from app.store.erasure import tombstones
from app.store.erasure.log import ErasureLog
from app.store.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Purged:
    """What was let go of."""

    questioned_images: int
    answers: int


def encrypt_plain(store: Store) -> int:
    """Encrypt what an earlier release stored plain, and sweep the plaintext out of the files; how many values."""
    done = 0
    for column in reencryption.SEALED_COLUMNS:
        waiting = store.read_now(reencryption.plain, column)
        if waiting:
            _log.warning("encrypting %d values (%s) that were stored plain", len(waiting), column.kind)
        for outcome in reencryption.renew(store, column, waiting):
            done += outcome.done
    if done:
        store.compact(*reencryption.TABLES)
    return done


class ErasureWatch:
    """Keeps the table of tombstones and the erasure log in step, without reading either while they do not change.

    Something that was erased comes back with a backup. Then the table lacks tombstones that the log has: only then,
    and the first time, are all signers and references compared with the tombstones.

    Parameters
    ----------
    store : Store
    note : callable
        Puts an erasure on record, as the last step of its transaction.
    compared : bool
        Whether everything has been compared just now, so that the first time it is not.
    """

    def __init__(
        self, store: Store, note: Callable[[Session, tombstones.Returned], None], *, compared: bool = False
    ) -> None:
        self._store = store
        self._note = note
        self._seen: tuple[int, tuple[int, int] | None] | None = (-1, None) if compared else None

    def look(self) -> int:
        """Bring table and log into step, and erase again what came back; how much did. Raises OSError."""
        log = self._store.erasure_log
        state = self._state(log)
        if state == self._seen:
            return 0
        missing: list[tombstones.Erasure] = []
        if log is not None:
            known_tombstones = self._store.read_now(tombstones.everything)
            logged = log.read()
            known = {tombstone.digest for tombstone in logged}
            log.append(tombstone for tombstone in known_tombstones if tombstone.digest not in known)
            standing = {tombstone.digest for tombstone in known_tombstones}
            missing = [tombstone for tombstone in logged if tombstone.digest not in standing]
        back = self._erase_what_came_back(missing) if missing or self._seen is None else 0
        if missing:
            # Last of all: as long as the table lacks them, any process will finish what this one did not.
            self._store.write_now(tombstones.add_all, missing)
        self._seen = state  # what has changed since, by this look too, is looked at the next time
        return back

    def _state(self, log: ErasureLog | None) -> tuple[int, tuple[int, int] | None]:
        return self._store.read_now(tombstones.count), None if log is None else log.state()

    def _erase_what_came_back(self, missing: Sequence[tombstones.Erasure]) -> int:
        back = self._store.read_now(tombstones.returned, missing)

        def erase(session: Session, one: tombstones.Returned) -> None:
            if tombstones.erase_again(session, one):
                self._note(session, one)

        for one in back:
            self._store.write_now(erase, one)
        if back:
            _log.warning("erased %d signers and references again that a backup had brought back", len(back))
            self._store.sweep()
        return len(back)


def purge(store: Store, keep_questioned_days: float, keep_answers_hours: float) -> Purged:
    """Let go of questioned images and kept answers whose time is over."""
    moment = now()
    images = answers = 0
    while count := store.write_now(questioned_images.purge, moment - timedelta(days=keep_questioned_days)):
        images += count
    while count := store.write_now(idempotency.purge, moment - timedelta(hours=keep_answers_hours)):
        answers += count
    if images:
        store.sweep()
    store.sweep_again()
    return Purged(images, answers)
