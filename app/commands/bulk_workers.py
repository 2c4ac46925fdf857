"""Workers of a bulk job in a Ray cluster: Ray actors, each with the store, decoding processes and the network.

They are plain actors, and not a Ray Data pipeline, for three reasons. The results of a chunk must be stored together
with the fact that the chunk is done, so that a job continues after a kill; a Ray Data pipeline whose driver was
killed begins again. The rows of one signer must be enrolled in their order; Ray Data does not keep rows together. And
the parts must be the rows of the manifest in their order, whatever the number of workers.

The command keeps the manifest and writes the results, as without Ray. A worker that dies is started again by Ray, on
another node if its own is lost, and the chunk is run again; rows that it had stored are answered from the store.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import ray
from ray.exceptions import RayError
from sqlalchemy.engine import make_url

from app.commands.cluster import join_cluster
from app.domain.callers import Caller
from app.domain.errors import StartRefused
from app.domain.request_context import begin_request, set_caller
from app.main import open_core_for_commands
from app.services.bulk.errors import BulkRefused
from app.services.bulk.images import open_images
from app.services.bulk.job import Finished, RowRunner, first_error, together
from app.services.bulk.manifests import Row
from app.services.bulk.operations import Name, Values, operation
from app.settings import Settings

RESTARTS = 8
"""How often a worker is started again."""

RETRIES = 3
"""How often a chunk is run again whose worker died."""


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
        self._opening = asyncio.Lock()
        self._rows: RowRunner | None = None

    async def run(self, rows: list[Row]) -> list[Values]:
        """Carry out rows. Raises BulkRefused or StartRefused."""
        set_caller(self._work.caller)
        begin_request(f"bulk-{self._work.job_id}")
        async with self._opening:
            if self._rows is None:
                self._rows = await self._open()
        return await self._rows.run(rows, lambda _: None)

    async def _open(self) -> RowRunner:
        work = self._work
        images = self._opened.enter_context(open_images(work.images, self._settings.max_upload_bytes + 1))
        core = await self._opened.enter_async_context(open_core_for_commands(self._settings))
        chosen = operation(work.operation, crops=work.crops)
        return RowRunner(core, work.caller.tenant_id, chosen, images, work.job_id)


class Workers:
    """The workers of a job.

    Parameters
    ----------
    actors : list of actor handles
    in_order : bool
        Whether the rows of one signer are carried out one after the other, by one worker.
    """

    def __init__(self, actors: list[Any], *, in_order: bool) -> None:
        self._actors, self._in_order = actors, in_order
        self._busy = [0] * len(actors)

    @property
    def count(self) -> int:
        """Number of workers."""
        return len(self._actors)

    async def carry_out(self, rows: list[Row], finished: Finished) -> list[Values]:
        """Carry out the rows of a chunk. Raises BulkRefused."""
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

    async def _run(self, rows: list[Row], finished: Finished) -> list[Values]:
        """Let the worker with the least to do carry out rows."""
        number = self._busy.index(min(self._busy))
        self._busy[number] += 1
        try:
            results: list[Values] = await self._actors[number].run.remote(rows)
        except (BulkRefused, StartRefused):
            raise
        except RayError as error:
            raise BulkRefused(
                f"The job stopped: a worker failed again and again ({type(error).__name__}: {error}). Run the "
                "command again to continue."
            ) from error
        finally:
            self._busy[number] -= 1
        finished(len(rows))
        return results


@contextmanager
def open_workers(address: str, count: int, settings: Settings, work: Work) -> Iterator[Workers]:
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
            raise StartRefused("An SQLite file cannot be shared between machines: use PostgreSQL.")
        count = count or max(1, int(ray.cluster_resources().get("CPU", 1)))
        alone = settings.model_copy(
            update={
                "reading_processes": settings.reading_processes or 1,
                "network_threads": settings.network_threads or 1,
            }
        )
        actor: Any = ray.remote(num_cpus=1, max_restarts=RESTARTS, max_task_retries=RETRIES)(Worker)
        chosen = operation(work.operation, crops=work.crops)
        yield Workers([actor.remote(alone, work) for _ in range(count)], in_order=chosen.in_order)
    finally:
        ray.shutdown()
