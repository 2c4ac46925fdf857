"""The Ray Serve application that holds the network. `python -m app inference deploy` starts it, its nodes import it.

Requests and responses are described in :mod:`app.inference.wire`. Each replica computes one batch at a time, of the
requests that have arrived meanwhile, as :mod:`app.inference.batching` does in the process of the service.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from app.inference.wire import EMBEDDINGS, MODEL, NETWORK_S, OTHER_MODEL, ROUTE
from model.networks.embedder import Embedder

NAME = "countersign"
STALLED_S = 60.0
"""Seconds that a batch may take before the replica counts as unhealthy and is replaced."""


@dataclass(frozen=True)
class Scale:
    """Size of the deployment.

    Attributes
    ----------
    min_replicas, max_replicas : int
        The number of replicas follows the number of requests in progress.
    upscale_delay_s, downscale_delay_s : float
        Seconds for which there must have been enough requests for more replicas, or for fewer, until their number
        changes.
    cpus, gpus : float
        Of each replica.
    batch_size : int
        Maximum number of signatures in one forward pass.
    queue_size : int
        Maximum number of requests that wait in one proxy; further ones get a 503.
    """

    min_replicas: int
    max_replicas: int
    cpus: float
    gpus: float
    batch_size: int
    queue_size: int
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0


class Network:
    """One replica: the network with its weights.

    Parameters
    ----------
    weights : str
        The weights folder, on every node.
    device : {"auto", "cpu", "cuda"}
    precision : {"auto", "float32"}
    threads : int
        Threads of the network on the CPU.
    batch_size : int
        Maximum number of signatures in one forward pass.
    """

    def __init__(
        self,
        weights: str,
        device: Literal["auto", "cpu", "cuda"],
        precision: Literal["auto", "float32"],
        threads: int,
        batch_size: int,
    ) -> None:
        torch.set_num_threads(threads)
        self._embedder = Embedder.load(Path(weights), device, precision)
        self._embedder.warm_up()
        self._batch_size = batch_size
        # The event loop stays free for health checks.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._busy_since: float | None = None
        self._embed.set_max_batch_size(batch_size)

    def check_health(self) -> None:
        """Raise RuntimeError when the network hangs in a batch; Ray Serve then replaces the replica."""
        if self._busy_since is not None and time.monotonic() - self._busy_since > STALLED_S:
            raise RuntimeError("the network hangs in a batch")

    async def __call__(self, request: Request) -> Response:
        """Answer a request of the service."""
        version = self._embedder.version
        if request.method == "GET":
            return Response(headers={MODEL: version})
        if request.headers.get(MODEL) != version:
            return Response(status_code=OTHER_MODEL, headers={MODEL: version})
        body = await request.body()
        canvas = self._embedder.canvas
        count, rest = divmod(len(body), canvas.height * canvas.width)
        if rest or not count:
            return Response("the body is not a number of canvases", 400, headers={MODEL: version})
        canvases = np.frombuffer(body, np.uint8).reshape(count, canvas.height, canvas.width)
        embeddings, seconds = await self._embed(canvases)
        headers = {MODEL: version, NETWORK_S: f"{seconds:.6f}"}
        return Response(embeddings.astype(EMBEDDINGS).tobytes(), headers=headers)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _embed(self, requests: list[NDArray[np.uint8]]) -> list[tuple[NDArray[np.float32], float]]:
        """Embed the canvases of several requests together; return those of each, and the seconds it took."""
        self._busy_since = begin = time.monotonic()
        try:
            embeddings = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._forward, np.concatenate(requests)
            )
        finally:
            self._busy_since = None
        seconds = time.monotonic() - begin
        ends = np.cumsum([len(canvases) for canvases in requests])[:-1]
        return [(part, seconds) for part in np.split(embeddings, ends)]

    def _forward(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        # A request may have more signatures than a batch.
        starts = range(0, len(canvases), self._batch_size)
        return np.concatenate(
            [self._embedder.embed(canvases[start : start + self._batch_size]) for start in starts]
        )


def deploy(
    weights: Path,
    device: Literal["auto", "cpu", "cuda"],
    precision: Literal["auto", "float32"],
    scale: Scale,
    host: str,
    port: int,
) -> None:
    """Start the deployment on the Ray cluster that this process is connected to, or update it, and wait for it.

    Parameters
    ----------
    weights : Path
        The weights folder, at this path on every node.
    device, precision
        As in the settings of the service.
    scale : Scale
    host, port
        Address of the HTTP proxies, one on each node.

    Raises
    ------
    RuntimeError
        The replicas do not start.
    """
    serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
    deployment: Any = serve.deployment(
        Network,
        name="Network",
        ray_actor_options={"num_cpus": scale.cpus, "num_gpus": scale.gpus},
        autoscaling_config={
            "min_replicas": scale.min_replicas,
            "max_replicas": scale.max_replicas,
            "target_ongoing_requests": scale.batch_size,
            "upscale_delay_s": scale.upscale_delay_s,
            "downscale_delay_s": scale.downscale_delay_s,
            # Requests are averaged over this time; with a longer one, the shorter delay would have no effect.
            "look_back_period_s": min(30.0, max(1.0, scale.upscale_delay_s)),
            "metrics_interval_s": min(10.0, max(0.5, scale.upscale_delay_s / 3)),
        },
        # One batch is computed while the next one waits.
        max_ongoing_requests=2 * scale.batch_size,
        max_queued_requests=scale.queue_size,
        health_check_period_s=2.0,
        health_check_timeout_s=30.0,
    )
    threads = max(1, int(scale.cpus))
    serve.run(
        deployment.bind(str(weights.resolve()), device, precision, threads, scale.batch_size),
        name=NAME,
        route_prefix=ROUTE,
    )


def delete() -> None:
    """Stop the deployment; the proxies remain."""
    serve.delete(NAME)
