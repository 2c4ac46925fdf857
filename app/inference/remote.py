"""Inference by a Ray Serve deployment on other machines. Only canvases and embeddings travel.

Requests go over HTTP to the proxies of Ray Serve, one on each node, so this process needs neither Ray nor the Python
version of the cluster. An embedding depends on its canvas alone. A request that was lost with its replica or its node
is therefore sent again, to the next proxy, until the deadline.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import httpx
import numpy as np
from numpy.typing import NDArray

from app.domain.errors import Busy, NotReady, StartRefused
from app.inference.interface import Batch, Canvas
from app.inference.wire import EMBEDDINGS, MODEL, NETWORK_S, OTHER_MODEL, ROUTE

CONNECT_S = 1.0
"""Seconds to connect to a proxy, before the next one is tried."""

ATTEMPT_SHARE = 0.5
"""Share of the deadline that one attempt may take: a node that was lost does not answer at all."""

OVERLOADED_SHARE = 0.2
"""Share of the deadline for which a request is repeated that the deployment had no room for."""

PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
CHECK_S = 2.0
"""Seconds that the check of readiness waits for an answer."""

_log = logging.getLogger(__name__)


class RemoteInference:
    """A Ray Serve deployment of the network; an :class:`~app.inference.interface.Inference`.

    Parameters
    ----------
    addresses : sequence of str
        ``HOST:PORT`` of the proxies of Ray Serve.
    version : str
        Version of the weights that the deployment must have.
    dimension : int
        Length of an embedding.
    capacity : int
        Maximum number of signatures that wait for an answer.
    deadline_s : float
        Seconds after which a request is given up. The deadline of a request to the service may end it earlier.
    observe : callable
        Called with each answer, as a batch.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        version: str,
        dimension: int,
        capacity: int,
        deadline_s: float,
        observe: Callable[[Batch], object] = lambda _: None,
    ) -> None:
        self._urls = [f"http://{address}{ROUTE}" for address in addresses]
        self._version, self._dimension = version, dimension
        self._capacity, self._deadline_s = capacity, deadline_s
        self._observe = observe
        self._waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._first = 0
        # Never through a proxy of the environment: signatures stay inside the network of the cluster.
        self._client = httpx.AsyncClient(
            headers={MODEL: version},
            timeout=httpx.Timeout(deadline_s * ATTEMPT_SHARE, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,
        )

    @property
    def depth(self) -> int:
        """Number of signatures that wait for an answer."""
        return self._waiting

    @property
    def alive(self) -> bool:
        """Whether it is open: a restart of this process does not repair a cluster."""
        return not self._closing

    @property
    def busy_s(self) -> float:
        """0: nothing is computed in this process."""
        return 0.0

    async def connect(self) -> None:
        """Check that the deployment answers and has the same weights.

        Raises
        ------
        StartRefused
            It does not answer, or has other weights.
        """
        end = time.monotonic() + self._deadline_s
        while True:
            try:
                await self.check()
            except NotReady as error:
                if time.monotonic() > end:
                    await self._client.aclose()
                    raise StartRefused(f"COUNTERSIGN_INFERENCE: {error}") from error
                await asyncio.sleep(0.5)
            else:
                return

    async def check(self) -> None:
        """Ask a proxy for the version of the weights. Raises NotReady when it is another, or none answers."""
        fault = ""
        for url in self._in_order():
            try:
                response = await self._client.get(url, timeout=CHECK_S)
            except httpx.TransportError as error:
                fault = f"{type(error).__name__} {error}".strip()
                continue
            if response.status_code == httpx.codes.OK:
                self._refuse_other(response)
                return
            fault = f"status {response.status_code}"
        raise NotReady(f"The inference deployment at {', '.join(self._urls)} does not answer ({fault}).")

    async def embed(self, canvases: Sequence[Canvas]) -> NDArray[np.float32]:
        """As :meth:`~app.inference.interface.Inference.embed`."""
        if self._closing:
            raise NotReady("The service is shutting down; try again.")
        if self._waiting and self._waiting + len(canvases) > self._capacity:
            raise Busy(f"{self._waiting} signatures are waiting for the network; try again in a moment.")
        self._waiting += len(canvases)
        self._idle.clear()
        try:
            return await self._ask(np.stack(canvases))
        finally:
            self._waiting -= len(canvases)
            if not self._waiting:
                self._idle.set()

    async def close(self) -> None:
        """Refuse new signatures, wait for the answers to the others, and close the connections."""
        self._closing = True
        await self._idle.wait()
        await self._client.aclose()

    async def _ask(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Send canvases until there is an answer, or the deadline passes. Raises Busy or NotReady."""
        begin = time.monotonic()
        body, pause, attempt, fault = canvases.tobytes(), PAUSE_S, 0, ""
        urls = self._in_order()
        while True:
            elapsed = time.monotonic() - begin
            if elapsed >= self._deadline_s:
                self._give_up(fault)
            url = urls[attempt % len(urls)]
            try:
                response = await self._client.post(
                    url,
                    content=body,
                    timeout=httpx.Timeout(
                        min(self._deadline_s * ATTEMPT_SHARE, self._deadline_s - elapsed), connect=CONNECT_S
                    ),
                )
            except httpx.TransportError as error:
                fault = f"{type(error).__name__} {error}".strip()
            else:
                if response.status_code == httpx.codes.OK:
                    return self._read(response, len(canvases), time.monotonic() - begin)
                if response.status_code == OTHER_MODEL:
                    self._refuse_other(response)
                fault = f"status {response.status_code}"
                full = response.status_code == httpx.codes.SERVICE_UNAVAILABLE
                if full and time.monotonic() - begin > self._deadline_s * OVERLOADED_SHARE:
                    raise Busy("The inference deployment has no room; try again in a moment.")
            attempt += 1
            if attempt == 1:
                _log.warning("signatures are sent to the network again: %s: %s", url, fault)
            if attempt % len(urls) == 0:  # all proxies have failed
                await asyncio.sleep(pause)
                pause = min(2.0 * pause, LONGEST_PAUSE_S)

    def _read(self, response: httpx.Response, count: int, seconds: float) -> NDArray[np.float32]:
        """Return the embeddings of an answer, and record its durations."""
        self._refuse_other(response)
        embeddings = np.frombuffer(response.content, EMBEDDINGS)
        if embeddings.size != count * self._dimension:
            raise NotReady(
                f"The inference deployment returned {embeddings.size} numbers for {count} signatures."
            )
        network_s = min(float(response.headers.get(NETWORK_S, "0")), seconds)
        try:
            self._observe(Batch((seconds - network_s,) * count, network_s))
        except Exception:  # noqa: BLE001 - a fault of the metrics must not fail the request
            _log.exception("recording the metrics of a batch failed")
        return embeddings.reshape(count, self._dimension).astype(np.float32)

    def _refuse_other(self, response: httpx.Response) -> None:
        """Raise NotReady when an answer is from other weights: their embeddings are not comparable."""
        version = response.headers.get(MODEL, "")
        if version != self._version:
            raise NotReady(
                f"The inference deployment has the model {version or 'of another service'}, this service has "
                f"{self._version}: deploy the same weights."
            )

    def _in_order(self) -> list[str]:
        """Return the proxies, beginning with another one each time."""
        self._first = (self._first + 1) % len(self._urls)
        return self._urls[self._first :] + self._urls[: self._first]

    def _give_up(self, fault: str) -> NoReturn:
        raise NotReady(
            f"The inference deployment has not answered within {self._deadline_s:g} s ({fault}); nothing was "
            "stored. Try again."
        )
