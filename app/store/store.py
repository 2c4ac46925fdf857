"""The asynchronous interface of the database: every call runs one function in one transaction.

The function takes a session and runs on a thread of the store. If it raises, the transaction is rolled back. If it
returns, the transaction is committed and on disk before `write` returns.
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
from app.store.change_counters import INDEX_WRITER, IndexWriter
from app.store.condition import Condition
from app.store.database_errors import is_commit_uncertain, repeatable, store_unavailable
from app.store.encryption.cipher import Cipher, session_info
from app.store.engine import BUSY_TIMEOUT_S, compact, open_engine, read_only, truncate_write_ahead_log
from app.store.erasure.log import ErasureLog
from app.store.erasure.tombstones import Erasure

P = ParamSpec("P")
R = TypeVar("R")
Work = Callable[Concatenate[Session, P], R]
ATTEMPTS = 5
_log = logging.getLogger(__name__)


class Store:
    """An open database whose tables are up to date.

    Parameters
    ----------
    engine : Engine
    threads : int
        Number of threads, equal to the engine's number of pooled connections.
    cipher : Cipher
        Encrypts and decrypts images, templates and answers.
    erasure_log : ErasureLog or None
        The file that erasures are appended to, in addition to the tombstones in the database.

    Attributes
    ----------
    index_writer : IndexWriter or None
        An index in the database, which every change of a signer updates in its transaction.
    """

    def __init__(
        self, engine: Engine, threads: int, cipher: Cipher, erasure_log: ErasureLog | None = None
    ) -> None:
        self._writer = engine
        self._reader = read_only(engine)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store")
        self._single_writer = engine.dialect.name == "sqlite"
        self._write_lock = threading.Lock()
        self.condition = Condition()
        self._sweep_pending = False
        self.cipher = cipher
        self.erasure_log = erasure_log
        self.index_writer: IndexWriter | None = None

    @classmethod
    def open(cls, url: str, threads: int, cipher: Cipher, erasure_log: ErasureLog | None = None) -> Store:
        """Open and migrate the database; raises StartRefused with a message of one line.

        `app.services.open_store.open_store` opens the store from the settings, with the steps that follow.
        """
        return cls(open_engine(url, threads), threads, cipher, erasure_log)

    async def read(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` in a read-only transaction."""
        return await self._run(partial(self.read_now, work, *args, **kwargs))

    async def write(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` in a writing transaction, which is committed and on disk when this returns.

        Cancellation has no effect after `work` has begun: the request continues and is answered.

        Raises
        ------
        DeadlinePassed
            If the deadline of the request passed before `work` began; nothing was stored.
        OutcomeUnknown
            If the commit failed in a way that does not show whether it took effect.
        """
        return await self._run_to_completion(lambda begin: self._write(begin, work, *args, **kwargs))

    async def erase(
        self, work: Work[P, Erasure | None], /, *args: P.args, **kwargs: P.kwargs
    ) -> Erasure | None:
        """Like `write`, then append the erasure to the log and remove the deleted bytes from the database's files.

        Raises
        ------
        ErasureNotLogged
            If the record was erased but the log could not be written; maintenance appends the erasure later.
        """

        def erase(begin: Callable[[], None]) -> Erasure | None:
            erased = self._write(begin, work, *args, **kwargs)
            try:
                if erased is not None and self.erasure_log is not None:
                    self._log_erasure(self.erasure_log, erased)
            finally:
                self.sweep()
            return erased

        return await self._run_to_completion(erase)

    def read_now(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Like `read`, on the calling thread."""
        try:
            with Session(self._reader, info=session_info(self.cipher)) as session:
                return work(session, *args, **kwargs)
        except DataError as error:
            raise _invalid_value() from error
        except SQLAlchemyError as error:
            self.condition.read_failed()
            raise store_unavailable(error) from error

    def write_now(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Like `write`, on the calling thread."""
        return self._write(lambda: None, work, *args, **kwargs)

    def _write(self, begin: Callable[[], None], work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` in a writing transaction, after `begin`.

        If two requests create the same row at the same time, or deadlock, the database fails one of them. Its
        transaction is retried and then finds the row that the other one created.
        """
        for attempt in range(1, ATTEMPTS + 1):
            committing = False
            try:
                with (
                    self._one_writer_at_a_time(),
                    Session(self._writer, info=self._info()) as session,
                ):
                    with session.begin():
                        session.connection()  # waits for a connection and, with SQLite, for the write lock
                        begin()
                        result = work(session, *args, **kwargs)
                        session.flush()
                        committing = True
                    return result
            except DataError as error:
                raise _invalid_value() from error
            except SQLAlchemyError as error:
                if committing and is_commit_uncertain(error):
                    self.condition.write_failed()
                    raise OutcomeUnknown(
                        "The database failed during the commit: the request was stored either completely or not at "
                        "all. Retry it with the same Idempotency-Key; without one, check what is stored first."
                    ) from error
                lost_race = isinstance(error, IntegrityError) or repeatable(error)
                if not lost_race or attempt == ATTEMPTS:
                    self.condition.write_failed()
                    raise store_unavailable(error) from error
                time.sleep(random.uniform(0, 0.01 * attempt))  # noqa: S311 # nosec B311 - jitter before the retry
        raise AssertionError("unreachable")

    def sweep(self) -> None:
        """Remove deleted bytes from SQLite's write-ahead log; :meth:`sweep_again` retries if that fails."""
        try:
            self._sweep_pending = not truncate_write_ahead_log(self._writer)
        except (SQLAlchemyError, sqlite3.Error) as error:
            self._sweep_pending = True
            _log.warning("the write-ahead log could not be truncated after an erasure: %s", error)

    def sweep_again(self) -> None:
        """Truncate the write-ahead log if the last attempt failed."""
        if self._sweep_pending:
            self.sweep()

    def compact(self, *tables: str) -> None:
        """Rewrite the tables without the space of deleted rows; locks each table meanwhile."""
        try:
            compact(self._writer, tables)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise store_unavailable(error) from error

    @property
    def engine(self) -> Engine:
        """The engine, for statements that cannot run in a transaction."""
        return self._writer

    async def run(self, work: Callable[[], R]) -> R:
        """Run `work` on a thread of the store; it may call :meth:`read_now` and :meth:`write_now`."""
        return await self._run(work)

    def close(self) -> None:
        """Wait for running work, then close all connections."""
        self._threads.shutdown(wait=True)
        self._writer.dispose()

    def _info(self) -> dict[str, object]:
        """Return the `info` of a writing session."""
        return {**session_info(self.cipher), INDEX_WRITER: self.index_writer}

    async def _run(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _run_to_completion(self, job: Callable[[Callable[[], None]], R]) -> R:
        """Run a writing job on a thread and wait for it, even if the request is cancelled after the write has begun.

        The job calls its argument when it begins to write.
        """
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
    def _one_writer_at_a_time(self) -> Iterator[None]:
        """Serialize the writes of this process if the database is SQLite.

        SQLite's busy handler sleeps and retries in no particular order, so that some writers would wait for many
        others, and each sleep takes longer than a transaction. A thread that has waited here as long as SQLite's busy
        timeout proceeds without the lock, so that SQLite reports the error.
        """
        acquired = self._single_writer and self._write_lock.acquire(timeout=BUSY_TIMEOUT_S)
        try:
            yield
        finally:
            if acquired:
                self._write_lock.release()

    def _log_erasure(self, log: ErasureLog, erased: Erasure) -> None:
        try:
            log.append([erased])
        except OSError as error:
            _log.error("an erasure could not be appended to %s: %s", log.path, error)
            raise ErasureNotLogged(
                "The record was erased, but the erasure log could not be written; the service will retry. Until "
                "then, restoring a backup may restore the record."
            ) from error


def _invalid_value() -> MalformedRequest:
    return MalformedRequest("A value of the request cannot be stored or looked up, such as a NUL character.")
