"""Workers of a bulk job in a Ray cluster: Ray actors, each with the store, decoding processes and the network.

They are plain actors, and not a Ray Data pipeline, for three reasons. The results of a chunk must be stored together
with the fact that the chunk is done, so that a job continues after a kill; a Ray Data pipeline whose driver was
killed begins again. The rows of one signer must be enrolled in their order; Ray Data does not keep rows together. And
the parts must be the rows of the manifest in their order, whatever the number of workers.

The command keeps the manifest and writes the results, as without Ray. When a worker dies, its chunks are run again by
the others, and a new one is started where the cluster has room. Rows that the dead one had stored are answered from
the store.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from sqlalchemy.engine import make_url

from app.commands.cluster import join_cluster
from app.domain.callers import Caller
from app.domain.errors import CountersignError, InvalidSettings
from app.domain.request_context import begin_request, set_caller
from app.main import open_context_for_commands
from app.services.bulk.errors import BulkRefused
from app.services.bulk.images import open_images
from app.services.bulk.job import Finished, RowRunner, first_error, together
from app.services.bulk.manifests import Row
from app.services.bulk.operations import Name, Values, operation
from app.settings import Settings

ATTEMPTS = 4
"""How often a chunk is run whose worker dies: it may be the cause."""

START_S = 600.0
"""Seconds to wait for a worker while there is none."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """What the workers do with a row.

    Attributes
    ----------
    operation : {"verify", "enrol", "extract"}
    crops : bool
        Whether extraction returns images.
    images : str
        Folder, archive or URL of the images.
    job_id : str
    caller : Caller
        The actor of audit entries, and the tenant.
    """

    operation: Name
    crops: bool
    images: str
    job_id: str
    caller: Caller


class Worker:
    """A Ray actor that carries out chunks."""

    def __init__(self, settings: Settings, work: Work) -> None:
        self._settings, self._work = settings, work
        self._opened = AsyncExitStack()
        self._rows: RowRunner | None = None

    async def open(self) -> None:
        """Open the store, the model and the images. Raises StartRefused or BulkRefused."""
        work = self._work
        images = self._opened.enter_context(open_images(work.images, self._settings.max_upload_bytes + 1))
        context = await self._opened.enter_async_context(open_context_for_commands(self._settings))
        chosen = operation(work.operation, crops=work.crops)
        self._rows = RowRunner(context, work.caller.tenant_id, chosen, images, work.job_id)

    async def run(self, rows: list[Row]) -> list[Values]:
        """Carry out rows. Raises BulkRefused."""
        assert self._rows is not None  # noqa: S101 - opened  # nosec B101
        set_caller(self._work.caller)
        begin_request(f"bulk-{self._work.job_id}")
        return await self._rows.run(rows, lambda _: None)


class Workers:
    """The workers of a job.

    Parameters
    ----------
    start : callable
        Starts an actor.
    count : int
        Number of workers.
    in_order : bool
        Whether the rows of one signer are carried out one after the other, by one worker.
    """

    def __init__(self, start: Callable[[], Any], count: int, *, in_order: bool) -> None:
        self._start, self.count, self._in_order = start, count, in_order
        self._changed = asyncio.Condition()
        self._chunks: dict[Any, int] = {}
        """Workers that are ready, and the number of chunks that each has."""
        self._fault: CountersignError | None = None
        self._starting = {asyncio.create_task(self._add()) for _ in range(count)}

    async def carry_out(self, rows: list[Row], finished: Finished) -> list[Values]:
        """Carry out the rows of a chunk. Raises BulkRefused, or StartRefused when workers cannot be opened."""
        parts = [rows]
        if self._in_order:  # a chunk at a time, so all workers share it
            signers = together(rows, in_order=True)
            shares = (signers[n :: self.count] for n in range(min(self.count, len(signers))))
            parts = [list(chain.from_iterable(share)) for share in shares]
        with first_error():
            async with asyncio.TaskGroup() as tasks:
                started = [tasks.create_task(self._run(part, finished)) for part in parts]
        results = [values for task in started for values in task.result()]
        return sorted(results, key=lambda values: int(values["row"]))

    def close(self) -> None:
        """Wait for no more workers."""
        for task in self._starting:
            task.cancel()

    async def _run(self, rows: list[Row], finished: Finished) -> list[Values]:
        """Let the worker with the least to do carry out rows, and another one if it dies."""
        for attempt in range(1, ATTEMPTS + 1):
            actor = await self._take()
            try:
                results: list[Values] = await actor.run.remote(rows)
            except RayTaskError as error:
                raise _cause(error) from None
            except (ActorDiedError, ActorUnavailableError) as error:
                _log.warning("a worker died: %s", error)
                await self._replace(actor)
                if attempt == ATTEMPTS:
                    raise BulkRefused(
                        f"The job stopped: {ATTEMPTS} workers died with the rows from {rows[0].number} on "
                        f"({type(error).__name__}). Run the command again to continue."
                    ) from error
            else:
                finished(len(rows))
                return results
            finally:
                await self._release(actor)
        raise AssertionError("unreachable")

    async def _add(self) -> None:
        """Start a worker, and make it available when it is ready; the cluster may have no room for a while."""
        try:
            actor = self._start()
            await actor.open.remote()
        except (ActorDiedError, ActorUnavailableError) as error:
            self._fault = BulkRefused(f"The job stopped: a worker died while it started ({error}).")
        except RayTaskError as error:
            self._fault = _cause(error)
        async with self._changed:
            if self._fault is None:
                self._chunks[actor] = 0
            self._changed.notify_all()

    async def _take(self) -> Any:
        """Return the worker with the least to do, when there is one. Raises BulkRefused or StartRefused."""
        async with self._changed:
            try:
                async with asyncio.timeout(START_S):
                    await self._changed.wait_for(lambda: self._chunks or self._fault)
            except TimeoutError:
                raise BulkRefused(
                    f"The job stopped: the cluster has had no room for a worker for {START_S:g} s. Run the "
                    "command again to continue."
                ) from None
            if self._fault is not None:
                raise self._fault
            actor = min(self._chunks, key=lambda ready: self._chunks[ready])
            self._chunks[actor] += 1
            return actor

    async def _release(self, actor: Any) -> None:
        async with self._changed:
            if actor in self._chunks:
                self._chunks[actor] -= 1

    async def _replace(self, actor: Any) -> None:
        """Start another worker instead of one that died; several chunks may notice it."""
        async with self._changed:
            if self._chunks.pop(actor, None) is None:
                return
        ray.kill(actor)  # if it was only unreachable
        task = asyncio.create_task(self._add())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)


def _cause(error: RayTaskError) -> CountersignError:
    """Return the error of a worker without the traceback that Ray adds to its text."""
    cause = error.cause
    return cause if isinstance(cause, CountersignError) else BulkRefused(f"A worker failed: {error}")


@asynccontextmanager
async def open_workers(address: str, count: int, settings: Settings, work: Work) -> AsyncIterator[Workers]:
    """Join a Ray cluster and start workers there; they end with this process.

    Parameters
    ----------
    address : str
        As of :func:`app.commands.cluster.join_cluster`.
    count : int
        Number of workers; 0: one for each CPU of the cluster.
    settings : Settings
        Those of the workers, too. They travel to the nodes, secrets included.

    Raises
    ------
    StartRefused
        The cluster cannot be joined, or has several machines and the store is an SQLite file.
    """
    join_cluster(address)
    try:
        hosts = {node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
        sqlite = make_url(settings.database_url).get_backend_name() == "sqlite"
        if sqlite and hosts != {socket.gethostname()}:
            raise InvalidSettings("An SQLite file cannot be shared between machines: use PostgreSQL.")
        alone = settings.model_copy(
            update={
                "reading_processes": settings.reading_processes or 1,
                "network_threads": settings.network_threads or 1,
            }
        )
        actor: Any = ray.remote(num_cpus=1)(Worker)
        workers = Workers(
            lambda: actor.remote(alone, work),
            count or max(1, int(ray.cluster_resources().get("CPU", 1))),
            in_order=operation(work.operation, crops=work.crops).in_order,
        )
        try:
            yield workers
        finally:
            workers.close()
    finally:
        ray.shutdown()
