"""The store as the use cases see it: pieces of work, each in one transaction, on threads beside the event loop.

The pieces of work are the functions of `signers`, `references`, `verifications`, `changes` and `retries`; their
first argument is the session. What a transaction wrote is on disk when `write` returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.deadline import point_of_no_return
from app.errors import StoreUnavailable
from app.store.engine import forget_erased, open_engine

P = ParamSpec("P")
R = TypeVar("R")
Work = Callable[Concatenate[Session, P], R]


class Store:
    """A database that is open and up to date."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._writer = engine
        self._reader = engine.execution_options(writes=False)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store")

    @classmethod
    def open(cls, url: str, threads: int = 8) -> Store:
        """Open the database and migrate it; raise StartRefused with one clear line when that fails."""
        return cls(open_engine(url, threads), threads)

    async def read(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` in a transaction that only reads."""
        return await self._run(partial(self.read_now, work, *args, **kwargs))

    async def write(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` in a transaction that writes; it is on disk, as a whole, when this returns.

        Raises
        ------
        DeadlinePassed
            When the request's time is over; once `work` has begun it is not stopped any more.
        """
        point_of_no_return()
        return await self._run(partial(self._write_now, work, *args, **kwargs))

    def read_now(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Like `read`, on the calling thread."""
        try:
            with Session(self._reader) as session:
                return work(session, *args, **kwargs)
        except DBAPIError as error:
            raise _unavailable(error) from error

    async def erase(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Like `write`, and see to it that no copy of what was deleted stays in the database's files."""
        result = await self.write(work, *args, **kwargs)
        await self._run(partial(forget_erased, self._writer))
        return result

    async def reachable(self) -> bool:
        """Whether the database answers."""

        def ask(session: Session) -> None:
            session.execute(text("SELECT 1"))

        try:
            await self.read(ask)
        except (StoreUnavailable, SQLAlchemyError):
            return False
        return True

    async def run(self, work: Callable[[], R]) -> R:
        """Run `work`, which reads the store by `read_now`, on one of the store's threads."""
        return await self._run(work)

    def close(self) -> None:
        """Let running work finish, then close all connections."""
        self._threads.shutdown(wait=True)
        self._writer.dispose()

    def _write_now(self, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            try:
                with Session(self._writer) as session, session.begin():
                    return work(session, *args, **kwargs)
            except IntegrityError:
                # Two requests made the same row at the same moment: the second now finds it made.
                with Session(self._writer) as session, session.begin():
                    return work(session, *args, **kwargs)
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise _unavailable(error) from error

    async def _run(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _unavailable(error: DBAPIError) -> StoreUnavailable:
    reason = str(error.orig).splitlines()[0] if error.orig and str(error.orig) else type(error).__name__
    return StoreUnavailable(
        f"The store cannot be used at the moment ({reason}); nothing was stored. Try again."
    )
