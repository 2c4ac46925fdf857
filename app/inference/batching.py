"""A bounded queue in front of the embedder, emptied in micro-batches. Independent of HTTP.

One worker takes all queued signatures, up to the batch size, and runs the network on a separate thread. Meanwhile,
the queue collects the next batch. The worker does not wait for a batch to fill: a single signature is embedded
immediately, and batches grow only under load. When the signatures of a caller do not fit into the queue, the caller
gets `Busy` immediately. When a caller is cancelled (`app.domain.deadline`), its queued signatures are dropped before
they reach the network.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.domain.errors import Busy, NotReady
from app.inference.interface import Batch, Canvas

Embedding = NDArray[np.float32]

_log = logging.getLogger(__name__)


class SupportsEmbed(Protocol):
    """An embedder."""

    def embed(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed signatures: (n, height, width) uint8, ink = 255 -> (n, dimension) float32."""
        ...


@dataclass(frozen=True)
class _Job:
    """A queued signature."""

    canvas: Canvas
    result: asyncio.Future[Embedding]
    queued_at: float


class InferenceQueue:
    """Signatures queued for the network of this process; an :class:`~app.inference.interface.Inference`.

    Parameters
    ----------
    embedder : SupportsEmbed
    batch_size : int
        Maximum number of signatures in one batch.
    capacity : int
        Maximum number of queued signatures.
    observe : callable
        Called with each finished batch.
    """

    def __init__(
        self,
        embedder: SupportsEmbed,
        batch_size: int,
        capacity: int,
        observe: Callable[[Batch], object] = lambda _: None,
    ) -> None:
        self._embedder = embedder
        self._batch_size = batch_size
        self._capacity = capacity
        self._observe = observe
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._worker: asyncio.Task[None] | None = None
        self._closing = False
        self._busy_since: float | None = None

    @property
    def depth(self) -> int:
        """Number of queued signatures."""
        return len(self._jobs)

    @property
    def alive(self) -> bool:
        """Whether the worker is running."""
        return self._worker is not None and not self._worker.done()

    @property
    def busy_s(self) -> float:
        """Seconds that the current batch has taken so far; 0 when there is none."""
        return 0.0 if self._busy_since is None else time.perf_counter() - self._busy_since

    def start(self) -> None:
        """Start the worker on the running event loop."""
        self._worker = asyncio.create_task(self._work(), name="inference")

    async def check(self) -> None:
        """Raise NotReady when the worker has ended."""
        if not self.alive:
            raise NotReady("The inference worker has ended; restart the service.")

    async def close(self) -> None:
        """Refuse new signatures, embed the queued ones, then stop the worker."""
        self._closing = True
        self._arrived.set()
        if self._worker is not None:
            await self._worker
        self._thread.shutdown(wait=True)

    async def embed(self, canvases: Sequence[Canvas]) -> NDArray[np.float32]:
        """Embed signatures, each (height, width) uint8 with ink = 255 -> (n, dimension) float32.

        Raises
        ------
        Busy
            The queue has no room for all of them; none was queued.
        NotReady
            The queue is closing, or its worker has ended.
        """
        if self._closing:
            raise NotReady("The service is shutting down; try again.")
        if self._worker is not None and self._worker.done():
            raise NotReady("The inference worker has ended; restart the service.")
        # An empty queue accepts any number, or a request larger than the capacity could never be served.
        if self._jobs and len(self._jobs) + len(canvases) > self._capacity:
            raise Busy(f"{len(self._jobs)} signatures are waiting for the network; try again in a moment.")
        loop = asyncio.get_running_loop()
        now = time.perf_counter()
        jobs = [_Job(canvas, loop.create_future(), now) for canvas in canvases]
        self._jobs.extend(jobs)
        self._arrived.set()
        return np.stack(await asyncio.gather(*(job.result for job in jobs)))

    async def _work(self) -> None:
        while self._jobs or not self._closing:
            if not self._jobs:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = [self._jobs.popleft() for _ in range(min(self._batch_size, len(self._jobs)))]
            batch = [job for job in batch if not job.result.done()]  # without those of cancelled callers
            if batch:
                await self._run(batch)

    async def _run(self, batch: list[_Job]) -> None:
        self._busy_since = begin = time.perf_counter()
        try:
            canvases = np.stack([job.canvas for job in batch])
            embeddings = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._embedder.embed, canvases
            )
            for job, embedding in zip(batch, embeddings, strict=True):
                if not job.result.done():
                    job.result.set_result(embedding)
        except Exception as error:  # noqa: BLE001 - raised to the callers of this batch; the worker continues
            for job in batch:
                if not job.result.done():
                    job.result.set_exception(error)
            return
        finally:
            self._busy_since = None
        try:
            self._observe(Batch(tuple(begin - job.queued_at for job in batch), time.perf_counter() - begin))
        except Exception:  # noqa: BLE001 - the results are set; a fault of the metrics must not stop the worker
            _log.exception("recording the metrics of a batch failed")
