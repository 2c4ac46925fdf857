"""What the store does by itself: encrypts what is plain, erases again what came back, lets go of what is overdue."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from app.domain import now
from app.store import erasures, questioned, reencryption, retries
from app.store.erasure_log import ErasureLog
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
    for shelf in reencryption.SHELVES:
        waiting = store.read_now(reencryption.plain, shelf)
        if waiting:
            _log.warning("encrypting %d values (%s) that were stored plain", len(waiting), shelf.kind)
        for outcome in reencryption.renew(store, shelf, waiting):
            done += outcome.done
    if done:
        store.compact(*reencryption.TABLES)
    return done


def reapply_erasures(
    store: Store, log: ErasureLog | None, note: Callable[[Session, erasures.Returned], None]
) -> int:
    """Bring tombstones and log into step, and erase again what has a tombstone; how many things came back.

    Parameters
    ----------
    note : callable
        Puts an erasure on record, as the last step of its transaction.

    Raises
    ------
    OSError
        When the log cannot be read or written.
    """
    if log is not None:
        stones = store.read_now(erasures.everything)
        logged = log.read()
        known = {stone.digest for stone in logged}
        log.append(stone for stone in stones if stone.digest not in known)
        standing = {stone.digest for stone in stones}
        if fresh := [stone for stone in logged if stone.digest not in standing]:
            store.write_now(erasures.add_all, fresh)
    back = store.read_now(erasures.returned)

    def erase(session: Session, one: erasures.Returned) -> None:
        erasures.erase_again(session, one)
        note(session, one)

    for one in back:
        store.write_now(erase, one)
    if back:
        _log.warning("erased %d signers and references again that a backup had brought back", len(back))
        store.sweep()
    return len(back)


def purge(store: Store, keep_questioned_days: float, keep_answers_hours: float) -> Purged:
    """Let go of questioned images and kept answers whose time is over."""
    moment = now()
    images = answers = 0
    while count := store.write_now(questioned.purge, moment - timedelta(days=keep_questioned_days)):
        images += count
    while count := store.write_now(retries.purge, moment - timedelta(hours=keep_answers_hours)):
        answers += count
    if images:
        store.sweep()
    store.sweep_again()
    return Purged(images, answers)
