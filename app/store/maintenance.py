"""Maintenance of the store: erasure of restored records, and purging of expired data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.domain.records import now
from app.settings import Settings
from app.store import idempotency, questioned_images, questioned_templates
from app.store.erasure import tombstones
from app.store.erasure.log import ErasureLog
from app.store.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Purged:
    """Numbers of deleted rows."""

    questioned_images: int
    questioned_templates: int
    answers: int


@dataclass(frozen=True)
class Retention:
    """How long data that expire are kept.

    Attributes
    ----------
    questioned_days : float
        Images of questioned signatures.
    forged_days : float
        Images of those that are known forgeries.
    template_days : float
        Templates of questioned signatures that are no known forgeries.
    answers_hours : float
        Answers for an Idempotency-Key.
    """

    questioned_days: float
    forged_days: float
    template_days: float
    answers_hours: float

    @classmethod
    def of(cls, settings: Settings) -> Retention:
        """Return the retention that is configured."""
        forged_days = settings.keep_forged_days
        return cls(
            questioned_days=settings.keep_questioned_days,
            forged_days=settings.keep_questioned_days if forged_days is None else forged_days,
            template_days=settings.keep_questioned_templates_days,
            answers_hours=settings.keep_answers_hours,
        )


class ErasureWatch:
    """Synchronizes the table of tombstones with the erasure log and erases restored records again.

    Neither is read while both are unchanged. After a backup was restored, the table lacks tombstones that are in the
    log. Only then, and on the first call, are all signers and references compared with the tombstones.

    Parameters
    ----------
    store : Store
    record_erasure : callable
        Records an erasure in the audit, as the last step of its transaction.
    compared : bool
        Whether all records have just been compared, so that the first call does not compare them again.
    """

    def __init__(
        self,
        store: Store,
        record_erasure: Callable[[Session, tombstones.RestoredRecord], None],
        *,
        compared: bool = False,
    ) -> None:
        self._store = store
        self._record_erasure = record_erasure
        self._last_state: tuple[int, tuple[int, int] | None] | None = (-1, None) if compared else None

    def synchronize(self) -> int:
        """Synchronize table and log, and erase restored records; return their number. Raises OSError."""
        log = self._store.erasure_log
        state = self._state(log)
        if state == self._last_state:
            return 0
        missing: list[tombstones.Erasure] = []
        if log is not None:
            stored = self._store.read_now(tombstones.all_tombstones)
            logged = log.read()
            logged_digests = {erasure.digest for erasure in logged}
            log.append(erasure for erasure in stored if erasure.digest not in logged_digests)
            stored_digests = {erasure.digest for erasure in stored}
            missing = [erasure for erasure in logged if erasure.digest not in stored_digests]
        erased = self._erase_restored(missing) if missing or self._last_state is None else 0
        if missing:
            # Inserted last: until then, another process finishes the erasures if this one fails.
            self._store.write_now(tombstones.add_all, missing)
        self._last_state = state  # the next call processes later changes, including those of this call
        return erased

    def _state(self, log: ErasureLog | None) -> tuple[int, tuple[int, int] | None]:
        return self._store.read_now(tombstones.count), None if log is None else log.state()

    def _erase_restored(self, missing: Sequence[tombstones.Erasure]) -> int:
        restored = self._store.read_now(tombstones.find_restored, missing)

        def erase(session: Session, record: tombstones.RestoredRecord) -> None:
            if tombstones.erase_again(session, record):
                self._record_erasure(session, record)

        for record in restored:
            self._store.write_now(erase, record)
        if restored:
            _log.warning("erased %d signers and references again that a backup had restored", len(restored))
            self._store.sweep()
        return len(restored)


def purge(store: Store, retention: Retention) -> Purged:
    """Delete the questioned images, their templates and the kept answers whose retention period has ended."""
    current_time = now()

    def since(**period: float) -> datetime:
        return current_time - timedelta(**period)

    images = _repeat(
        store,
        questioned_images.purge,
        since(days=retention.questioned_days),
        since(days=retention.forged_days),
    )
    templates = _repeat(store, questioned_templates.purge, since(days=retention.template_days))
    answers = _repeat(store, idempotency.purge, since(hours=retention.answers_hours))
    if images or templates:
        store.sweep()
    store.sweep_again()
    return Purged(images, templates, answers)


def _repeat(store: Store, delete_some: Callable[..., int], *before: datetime) -> int:
    """Delete in transactions of limited size until none is left; return the number."""
    total = 0
    while count := store.write_now(delete_some, *before):
        total += count
    return total
