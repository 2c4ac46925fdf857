"""The run of a bulk job, chunk by chunk: in this process, or in workers on several machines (`app.commands.bulk`).

Every row is carried out exactly once, although the process may be killed at any time. Its request has an idempotency
key made of the job and the number of the row, so a row that was stored before a kill, but whose result was not yet
on disk, gets the stored answer when its chunk is run again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from app.decoding.pool import DecoderFault
from app.domain.errors import CountersignError, OutcomeUnknown, Unavailable
from app.domain.records import Upload
from app.services.bulk.errors import BulkRefused
from app.services.bulk.images import Images
from app.services.bulk.manifests import Manifest, Row
from app.services.bulk.operations import Operation, Values
from app.services.bulk.results import Results
from app.services.context import AppContext

T = TypeVar("T")
Finished = Callable[[int], object]
"""Called with the number of rows that have been finished since the last call."""

CarryOut = Callable[[list[Row], Finished], Awaitable[list[Values]]]
"""Carries out the rows of a chunk and returns the result of each. Raises BulkRefused."""

CHUNKS_AT_ONCE = 2
"""Chunks that are in progress, so that the processes are busy while the last rows of a chunk finish."""
ATTEMPTS = 6
FIRST_PAUSE_S = 0.5
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One bulk job.

    Attributes
    ----------
    manifest : Manifest
    results : Results
        Entered.
    chunk_rows : int
        Rows whose results are written together.
    """

    manifest: Manifest
    results: Results
    chunk_rows: int

    @property
    def chunks(self) -> int:
        """Number of chunks of the manifest."""
        return -(-len(self.manifest) // self.chunk_rows)

    async def run(self, carry_out: CarryOut, chunks_at_once: int, finished: Finished) -> None:
        """Carry out all rows that have no result yet, and write the output.

        Parameters
        ----------
        carry_out : callable
        chunks_at_once : int
            Chunks that are in progress.
        finished : callable

        Raises
        ------
        BulkRefused
            The store or the images stayed unavailable; the job continues when it is run again.
        """
        waiting = iter(range(self.chunks))

        async def work() -> None:
            for chunk in waiting:
                rows = self.manifest.rows(chunk * self.chunk_rows, self.chunk_rows)
                if self.results.has(chunk):
                    finished(len(rows))
                    continue
                results = await carry_out(rows, finished)
                await asyncio.to_thread(self.results.write, chunk, results)

        with first_error():
            async with asyncio.TaskGroup() as tasks:
                for _ in range(chunks_at_once):
                    tasks.create_task(work())
        await asyncio.to_thread(self.results.join, self.chunks)


class RowRunner:
    """Carries out rows in this process, many at once.

    Parameters
    ----------
    context : AppContext
    tenant_id : str
    operation : Operation
    images : Images
    job_id : str
        That of the results; it makes the idempotency keys.
    """

    def __init__(
        self, context: AppContext, tenant_id: str, operation: Operation, images: Images, job_id: str
    ) -> None:
        self._context, self._tenant_id, self._operation = context, tenant_id, operation
        self._images, self._job_id = images, job_id
        self._at_once = asyncio.Semaphore(
            4 * context.settings.workers[0] + context.settings.batch(context.embedder.device)
        )

    async def run(self, rows: list[Row], finished: Finished) -> list[Values]:
        """Carry out the rows of a chunk. Raises BulkRefused."""
        results: dict[int, Values] = {}

        async def run_some(some: list[Row]) -> None:
            for row in some:
                async with self._at_once:
                    results[row.number] = await self._run_row(row)
                finished(1)

        with first_error():
            async with asyncio.TaskGroup() as tasks:
                for some in together(rows, in_order=self._operation.in_order):
                    tasks.create_task(run_some(some))
        return [results[row.number] for row in rows]

    async def _run_row(self, row: Row) -> Values:
        values: Values = {"row": row.number, "id": row.id, "signer_id": row.signer_id, "image": row.image}
        try:
            result = await _repeat(lambda: self._carry_out(row))
        except (DecoderFault, CountersignError) as error:
            if isinstance(error, BulkRefused):
                raise
            code = error.code if isinstance(error, CountersignError) else "internal-error"
            return values | {"status": "error", "code": code, "detail": str(error)}
        return values | {"status": "done", **result}

    async def _carry_out(self, row: Row) -> Values:
        page, region = row.checked_page(), row.checked_region()
        data = await asyncio.to_thread(self._images.read, row.image)
        upload = Upload(data, row.image, "image", 1, page, region)
        key = f"bulk-{self._job_id}-{row.number}"
        return await self._operation.run(self._context, self._tenant_id, row, upload, key)


def together(rows: list[Row], *, in_order: bool) -> list[list[Row]]:
    """Group the rows that must be carried out one after the other: those of one signer, or none."""
    if not in_order:
        return [[row] for row in rows]
    by_signer = sorted(rows, key=lambda row: row.signer_id)  # keeps the order of each signer's rows
    return [list(group) for _, group in groupby(by_signer, key=lambda row: row.signer_id)]


async def _repeat(attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Repeat an attempt that failed for a temporary reason, such as a busy store.

    Raises
    ------
    BulkRefused
        After the last attempt, because a temporary failure is not the result of a row.
    """
    pause = FIRST_PAUSE_S
    for number in range(1, ATTEMPTS + 1):
        try:
            return await attempt()
        except (Unavailable, OutcomeUnknown, OSError) as error:
            if number == ATTEMPTS:
                raise BulkRefused(f"The job stopped: {error} Run the command again to continue.") from error
            _log.warning("a row is tried again: %s", error)
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 # nosec B311 - spreads the attempts
        pause *= 2
    raise AssertionError("unreachable")


@contextmanager
def first_error() -> Iterator[None]:
    """Raise the first error of a task group itself, and not a group of errors."""
    try:
        yield
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
