"""A bounded queue and micro-batches in front of the embedder. Knows nothing of HTTP.

One worker takes whatever waits, up to a batch, and runs the network on its own thread; while it runs, the next
batch gathers. Nobody waits for a batch to fill: alone, a signature goes at once, and under load batches grow by
themselves. A caller whose signatures do not fit into the queue gets `Busy` straight away; one who stopped waiting
(`app.domain.deadline`) leaves signatures behind that are dropped before they reach the network.
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

Canvas = NDArray[np.uint8]
Embedding = NDArray[np.float32]

_log = logging.getLogger(__name__)


class Embeds(Protocol):
    """An embedder: (n, height, width) uint8, ink = 255 -> (n, dimension) float32."""

    def embed(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:  # noqa: D102 - said above
        ...


@dataclass(frozen=True)
class Batch:
    """One pass of the network, for whoever watches: how long each signature had waited, how long the pass took."""

    waited_s: tuple[float, ...]
    network_s: float


@dataclass(frozen=True)
class _Waiting:
    canvas: Canvas
    answer: asyncio.Future[Embedding]
    since: float


class InferenceQueue:
    """Signatures waiting for the network.

    `batch_size` is how many go in one pass at most, `capacity` how many wait at most; `observe` is told each batch.
    """

    def __init__(
        self,
        embedder: Embeds,
        batch_size: int,
        capacity: int,
        observe: Callable[[Batch], object] = lambda _: None,
    ) -> None:
        self._embedder = embedder
        self._batch_size = batch_size
        self._capacity = capacity
        self._observe = observe
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._worker: asyncio.Task[None] | None = None
        self._closing = False
        self._busy_since: float | None = None

    @property
    def depth(self) -> int:
        """How many signatures wait."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether somebody works on what waits."""
        return self._worker is not None and not self._worker.done()

    @property
    def busy_s(self) -> float:
        """Seconds that the pass in hand has taken so far."""
        return 0.0 if self._busy_since is None else time.perf_counter() - self._busy_since

    def start(self) -> None:
        """Begin to work, on the running event loop."""
        self._worker = asyncio.create_task(self._work(), name="inference")

    async def close(self) -> None:
        """Answer all that was accepted, then stop; whatever comes later is refused."""
        self._closing = True
        self._arrived.set()
        if self._worker is not None:
            await self._worker
        self._thread.shutdown(wait=True)

    async def embed(self, canvases: Sequence[Canvas]) -> NDArray[np.float32]:
        """Embed signatures, each (height, width) uint8 with ink = 255 -> (n, dimension) float32.

        Accepted as a whole or not at all; raises Busy when they do not fit, NotReady when the queue is closing.
        """
        if self._closing:
            raise NotReady("The service is shutting down; try again.")
        if self._worker is not None and self._worker.done():
            raise NotReady("The network's worker has ended; the process has to be restarted.")
        # An empty queue takes any request, or one larger than the whole queue would never be served.
        if self._waiting and len(self._waiting) + len(canvases) > self._capacity:
            raise Busy(
                f"{len(self._waiting)} signatures wait for the network already; try again in a moment."
            )
        loop = asyncio.get_running_loop()
        now = time.perf_counter()
        entries = [_Waiting(canvas, loop.create_future(), now) for canvas in canvases]
        self._waiting.extend(entries)
        self._arrived.set()
        return np.stack(await asyncio.gather(*(entry.answer for entry in entries)))

    async def _work(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = [self._waiting.popleft() for _ in range(min(self._batch_size, len(self._waiting)))]
            batch = [entry for entry in batch if not entry.answer.done()]  # callers that went away
            if batch:
                await self._run(batch)

    async def _run(self, batch: list[_Waiting]) -> None:
        self._busy_since = begin = time.perf_counter()
        try:
            canvases = np.stack([entry.canvas for entry in batch])
            embeddings = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._embedder.embed, canvases
            )
            for entry, embedding in zip(batch, embeddings, strict=True):
                if not entry.answer.done():
                    entry.answer.set_result(embedding)
        except Exception as error:  # noqa: BLE001 - the callers of this batch get it, and the worker goes on
            for entry in batch:
                if not entry.answer.done():
                    entry.answer.set_exception(error)
            return
        finally:
            self._busy_since = None
        try:
            self._observe(Batch(tuple(begin - entry.since for entry in batch), time.perf_counter() - begin))
        except Exception:  # noqa: BLE001 - the answers are given: a fault of the metrics stops nothing
            _log.exception("a batch could not be counted")
