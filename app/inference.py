"""A bounded queue and micro-batches in front of the embedder. Knows nothing of HTTP.

One worker takes whatever waits, up to a batch, and runs the network on its own thread; while it runs, the next
batch gathers. Nobody waits for a batch to fill: alone, a signature goes at once, and under load batches grow by
themselves. A caller whose signatures do not fit into the queue gets `Busy` straight away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import Busy, NotReady

Canvas = NDArray[np.uint8]
Embedding = NDArray[np.float32]


class Embeds(Protocol):
    """What is needed of an embedder."""

    def embed(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, height, width) uint8, ink = 255 -> (n, dimension) float32."""


@dataclass(frozen=True)
class _Waiting:
    canvas: Canvas
    answer: asyncio.Future[Embedding]


class InferenceQueue:
    """Signatures waiting for the network.

    Parameters
    ----------
    embedder : Embeds
    batch_size : int
        Most signatures in one pass.
    capacity : int
        Most signatures that wait.
    observe : callable, optional
        Called with the size of each batch.
    """

    def __init__(
        self,
        embedder: Embeds,
        batch_size: int,
        capacity: int,
        observe: Callable[[int], object] = lambda _: None,
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

    @property
    def depth(self) -> int:
        """How many signatures wait."""
        return len(self._waiting)

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

        Accepted as a whole or not at all.

        Raises
        ------
        Busy
            When they do not fit into the queue.
        NotReady
            When the queue is closing.
        """
        if self._closing:
            raise NotReady("The service is shutting down; try again.")
        # An empty queue takes any request, or one larger than the whole queue would never be served.
        if self._waiting and len(self._waiting) + len(canvases) > self._capacity:
            raise Busy(
                f"{len(self._waiting)} signatures wait for the network already; try again in a moment."
            )
        loop = asyncio.get_running_loop()
        entries = [_Waiting(canvas, loop.create_future()) for canvas in canvases]
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
        self._observe(len(batch))
        canvases = np.stack([entry.canvas for entry in batch])
        try:
            embeddings = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._embedder.embed, canvases
            )
        except Exception as error:  # noqa: BLE001 - belongs to the callers, the worker must live on
            for entry in batch:
                if not entry.answer.done():
                    entry.answer.set_exception(error)
            return
        for entry, embedding in zip(batch, embeddings, strict=True):
            if not entry.answer.done():
                entry.answer.set_result(embedding)
