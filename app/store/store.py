"""The store as the use cases see it: async calls in front of a database, one transaction each.

Work is a function of a session. It runs on a thread of the store's own; if it raises, nothing of it remains, and what
it wrote is on disk when `write` returns.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.domain import deadline
from app.domain.errors import ErasureNotLogged, MalformedRequest, OutcomeUnknown
from app.store.condition import Condition
from app.store.database_errors import repeatable, unavailable, unsure
from app.store.encryption.cipher import Cipher, carry
from app.store.engine import BUSY_TIMEOUT_S, compact, forget_erased, open_engine, reading
from app.store.erasure.log import ErasureLog
from app.store.erasure.tombstones import Erasure

P = ParamSpec("P")
R = TypeVar("R")
Work = Callable[Concatenate[Session, P], R]
ATTEMPTS = 5
_log = logging.getLogger(__name__)


class Store:
    """A database that is open and up to date.

    Parameters
    ----------
    engine : Engine
    threads : int
        As many as the engine has connections.
    cipher : Cipher
        Seals and opens images, templates and answers.
    erasure_log : ErasureLog or None
        Where erasures are repeated outside the database.
    """

    def __init__(
        self, engine: Engine, threads: int, cipher: Cipher, erasure_log: ErasureLog | None = None
    ) -> None:
        self._writer = engine
        self._reader = reading(engine)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store")
        self._one_writer = engine.dialect.name == "sqlite"
        self._turn = threading.Lock()
        self.condition = Condition()
        self._unswept = False
        self.cipher = cipher
        self.erasure_log = erasure_log

    @classmethod
    def open(cls, url: str, threads: int, cipher: Cipher, erasure_log: ErasureLog | None = None) -> Store:
        """Open the database and migrate it; raise StartRefused with one clear line when that fails.

        `app.services.open_store.open_store` does this and all that belongs to it, from the settings.
        """
        return cls(open_engine(url, threads), threads, cipher, erasure_log)

    async def read(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` in a transaction that only reads."""
        return await self._run(partial(self.read_now, work, *args, **kwargs))

    async def write(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` in a transaction that writes; it is on disk, as a whole, when this returns.

        Once `work` has begun it is not stopped any more: a request that is cancelled then goes on and is answered.

        Raises
        ------
        DeadlinePassed
            When the deadline of the request passed before `work` began; nothing was stored.
        OutcomeUnknown
            When the database broke off while it committed.
        """
        return await self._to_the_end(lambda begin: self._write(begin, work, *args, **kwargs))

    async def erase(
        self, work: Work[P, Erasure | None], /, *args: P.args, **kwargs: P.kwargs
    ) -> Erasure | None:
        """Like `write`, then repeat the erasure in the log and sweep what was deleted out of the database's files.

        Raises
        ------
        ErasureNotLogged
            When it was erased and could not be noted in the log; upkeep makes up for that.
        """

        def erase(begin: Callable[[], None]) -> Erasure | None:
            erased = self._write(begin, work, *args, **kwargs)
            try:
                if erased is not None and self.erasure_log is not None:
                    self._note(self.erasure_log, erased)
            finally:
                self.sweep()
            return erased

        return await self._to_the_end(erase)

    def read_now(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Like `read`, on the calling thread."""
        try:
            with Session(self._reader, info=carry(self.cipher)) as session:
                return work(session, *args, **kwargs)
        except DataError as error:
            raise _not_storable() from error
        except SQLAlchemyError as error:
            self.condition.read_failed()
            raise unavailable(error) from error

    def write_now(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Like `write`, on the calling thread."""
        return self._write(lambda: None, work, *args, **kwargs)

    def _write(self, begin: Callable[[], None], work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` in a transaction that writes, after `begin`.

        Two requests that make the same row at the same moment, or lock each other out, are the database's to tell:
        the one that was refused runs again, and now finds what the other one made.
        """
        for attempt in range(1, ATTEMPTS + 1):
            committing = False
            try:
                with self._in_turn(), Session(self._writer, info=carry(self.cipher)) as session:
                    with session.begin():
                        session.connection()  # waits for a connection, and with SQLite for its lock
                        begin()
                        result = work(session, *args, **kwargs)
                        session.flush()
                        committing = True
                    return result
            except DataError as error:
                raise _not_storable() from error
            except SQLAlchemyError as error:
                if committing and unsure(error):
                    self.condition.write_failed()
                    raise OutcomeUnknown(
                        "The database broke off while it stored the request, as a whole or not at all. Repeat it "
                        "with the same Idempotency-Key; without one, look at what is stored before you repeat it."
                    ) from error
                lost_race = isinstance(error, IntegrityError) or repeatable(error)
                if not lost_race or attempt == ATTEMPTS:
                    self.condition.write_failed()
                    raise unavailable(error) from error
                time.sleep(random.uniform(0, 0.01 * attempt))  # noqa: S311 # nosec B311 - to step aside
        raise AssertionError("unreachable")

    def sweep(self) -> None:
        """Cut what was deleted out of SQLite's write-ahead log; `sweep_again` makes up for what could not be."""
        try:
            self._unswept = not forget_erased(self._writer)
        except (SQLAlchemyError, sqlite3.Error) as error:
            self._unswept = True
            _log.warning("the write-ahead log could not be cut after an erasure: %s", error)

    def sweep_again(self) -> None:
        """Cut the write-ahead log when an earlier attempt failed."""
        if self._unswept:
            self.sweep()

    def compact(self, *tables: str) -> None:
        """Write the tables anew, without the room that deleted rows took; blocks them meanwhile."""
        try:
            compact(self._writer, tables)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise unavailable(error) from error

    async def run(self, work: Callable[[], R]) -> R:
        """Run `work`, which reads the store by `read_now`, on one of the store's threads."""
        return await self._run(work)

    def close(self) -> None:
        """Let running work finish, then close all connections."""
        self._threads.shutdown(wait=True)
        self._writer.dispose()

    async def _run(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _to_the_end(self, job: Callable[[Callable[[], None]], R]) -> R:
        """Run a job that writes, which calls its argument when it begins to, and wait for it also when cancelled."""
        request = deadline.current()
        begin = (lambda: None) if request is None else request.begin_write
        future = asyncio.get_running_loop().run_in_executor(self._threads, job, begin)
        while True:
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if future.cancelled() or task is None or request is None or request.cancel():
                    future.cancel()
                    raise
                task.uncancel()
            except (OutcomeUnknown, ErasureNotLogged):
                raise
            except Exception:
                if request is not None:
                    request.abort_write()
                raise

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Let one thread at a time write to SQLite.

        Left to itself, a writer that finds it locked naps and tries again, in no order, so that some wait for many
        others; and each nap is longer than a transaction. Whoever waits here for as long as SQLite would is let
        through, and hears from SQLite what is wrong.
        """
        taken = self._one_writer and self._turn.acquire(timeout=BUSY_TIMEOUT_S)
        try:
            yield
        finally:
            if taken:
                self._turn.release()

    def _note(self, log: ErasureLog, erased: Erasure) -> None:
        try:
            log.append([erased])
        except OSError as error:
            _log.error("an erasure could not be noted in %s: %s", log.path, error)
            raise ErasureNotLogged(
                "It is erased, but could not be noted in the erasure log; the service will try again. Until then, a "
                "backup that is restored may bring it back."
            ) from error


def _not_storable() -> MalformedRequest:
    return MalformedRequest("A value of the request cannot be stored or looked up, such as a NUL character.")
