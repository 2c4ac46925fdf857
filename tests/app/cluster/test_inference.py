"""The network in a Ray Serve deployment on two nodes: one of them is killed, replicas are added and removed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.domain.errors import StartRefused
from app.inference.interface import Inference
from app.main import create_app
from app.settings import Settings
from model.networks.embedder import Embedder
from tests.app.cluster.conftest import TwoNodes
from tests.app.http.test_load import enrol_async, running, verify_async
from tests.app.keyed import Commands
from tests.app.store.conftest import Sql
from tests.service import free_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
Draw = Callable[..., bytes]
Answers = list[httpx.Response]
REQUESTS = 60
INTERVAL_S = 0.1
IN_PROGRESS = 32
"""Requests in progress: four times as many as one replica is meant to have."""
CHANGED_WITHIN_S = 120.0


def deployed(commands: Commands, settings: Settings, nodes: TwoNodes, *options: str) -> Settings:
    """Deploy the network with a command; return settings of a service that uses the deployment."""
    port = free_port()
    words = ["--ray", nodes.address, "--port", str(port), *options]
    completed = subprocess.run(
        [sys.executable, "-m", "app", "inference", "deploy", *words],
        env=os.environ | commands.environment | {"COUNTERSIGN_PRECISION": "float32"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert completed.returncode == 0, completed.stderr
    assert f"ray://HOST:{port}" in completed.stdout
    # With 8-bit integers, an embedding depends a little on the batch that it was computed in.
    changes = {
        "precision": "float32",
        "inference": f"ray://127.0.0.1:{port}",
        "deadline_s": 30.0,
        "queue_size": 2000,
    }
    return settings.model_copy(update=changes)


async def verified_locally(settings: Settings, draw: Draw) -> dict[str, Any]:
    """Enrol a signer, and verify a signature without the deployment."""
    async with running(settings) as (_, client):
        for n in range(3):
            await enrol_async(client, draw(1, n))
        answer: dict[str, Any] = (await verify_async(client, draw(1, 4))).json()
        return answer


async def start_with(settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        raise AssertionError("it has started")


async def while_a_node_dies(
    queue: Inference, embedder: Embedder, client: httpx.AsyncClient, signature: bytes, nodes: TwoNodes
) -> Answers:
    """Kill a node while verifications are asked for, and other requests keep both replicas busy."""
    shape = (200, embedder.canvas.height, embedder.canvas.width)
    canvases = np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8) * 255
    expected = embedder.embed(canvases)
    finished = asyncio.Event()

    async def keep_busy() -> int:
        count = 0
        while not finished.is_set():
            # Embeddings are rounded to half precision, in which neighbours differ by 6e-5.
            assert np.allclose(await queue.embed(list(canvases)), expected, atol=3e-4)
            count += 1
        return count

    async def one(n: int) -> httpx.Response:
        await asyncio.sleep(INTERVAL_S * n)
        return await verify_async(client, signature)

    busy = [asyncio.create_task(keep_busy()) for _ in range(4)]
    pending = [asyncio.create_task(one(n)) for n in range(REQUESTS)]
    await asyncio.sleep(INTERVAL_S * REQUESTS / 3)
    await asyncio.to_thread(nodes.kill_one)
    answers = list(await asyncio.gather(*pending))
    finished.set()
    assert min(await asyncio.gather(*busy)) > 0
    return answers


async def verified_at_last(client: httpx.AsyncClient, signature: bytes) -> httpx.Response:
    end = time.monotonic() + 60
    while (answer := await verify_async(client, signature)).status_code != 200:
        assert time.monotonic() < end, answer.text
    return answer


def test_no_acknowledged_request_is_lost_with_a_node(
    commands: Commands,
    settings: Settings,
    two_nodes: TwoNodes,
    draw: Draw,
    sql: Sql,
    caplog: pytest.LogCaptureFixture,
    other_model_folder: Path,
) -> None:
    remote = deployed(commands, settings, two_nodes, "--min-replicas", "2", "--max-replicas", "2")
    with pytest.raises(StartRefused, match="deploy the same weights"):
        asyncio.run(start_with(remote.model_copy(update={"weights": other_model_folder, "deadline_s": 1.0})))
    expected = asyncio.run(verified_locally(settings.model_copy(update={"precision": "float32"}), draw))
    stored_before = {row[0] for row in sql("SELECT verification_id FROM verifications")}

    async def scenario() -> tuple[httpx.Response, Answers]:
        async with running(remote) as (app, client):
            context = app.state.context
            assert (await client.get("/readyz")).status_code == 200
            first = await verify_async(client, draw(1, 4))
            answers = await while_a_node_dies(
                context.inference, context.embedder, client, draw(1, 4), two_nodes
            )
            return first, [*answers, await verified_at_last(client, draw(1, 4))]

    first, answers = asyncio.run(scenario())
    for name in ("decision", "threshold", "model_version"):
        assert first.json()[name] == expected[name]
    assert first.json()["distance"] == pytest.approx(expected["distance"], abs=1e-4)
    assert "signatures are sent to the network again" in caplog.text
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > REQUESTS / 2, "the replica that is left answers"
    # Everything that was acknowledged is stored, and nothing else.
    acknowledged = [answer.json()["verification_id"] for answer in (first, *answers) if answer.is_success]
    stored = {row[0] for row in sql("SELECT verification_id FROM verifications")} - stored_before
    assert stored == set(acknowledged)
    assert len(stored) == len(acknowledged)


class Replicas:
    """The replicas of the deployment, as the cluster counts them."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> Replicas:
        import ray  # noqa: PLC0415 - an extra

        ray.init(address=self._address, log_to_driver=False)
        return self

    def __exit__(self, *_: object) -> None:
        import ray  # noqa: PLC0415

        ray.shutdown()

    def running(self) -> int:
        """Return the number of replicas that answer requests."""
        from ray import serve  # noqa: PLC0415

        states = serve.status().applications["countersign"].deployments["Network"].replica_states
        return int(sum(count for state, count in states.items() if state == "RUNNING"))

    async def wait_for(self, count: int) -> None:
        """Wait until there are exactly this many."""
        end = time.monotonic() + CHANGED_WITHIN_S
        while (running := await asyncio.to_thread(self.running)) != count:
            assert time.monotonic() < end, f"{running} replicas, {count} expected"
            await asyncio.sleep(0.2)


def test_replicas_are_added_under_load_and_removed_afterwards(
    commands: Commands, settings: Settings, two_nodes: TwoNodes
) -> None:
    scale = ("--min-replicas", "1", "--max-replicas", "2", "--upscale-delay", "1", "--downscale-delay", "2")
    remote = deployed(commands, settings, two_nodes, *scale)

    async def scenario(replicas: Replicas) -> list[int]:
        async with running(remote) as (app, _):
            context = app.state.context
            shape = (20, context.embedder.canvas.height, context.embedder.canvas.width)
            canvases = list(np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8) * 255)
            finished = asyncio.Event()

            async def ask() -> int:
                count = 0
                while not finished.is_set():
                    await context.inference.embed(canvases)  # raises when a request is lost
                    count += 1
                return count

            assert replicas.running() == 1
            asking = [asyncio.create_task(ask()) for _ in range(IN_PROGRESS)]
            await replicas.wait_for(2)
            finished.set()
            counts = await asyncio.gather(*asking)
            finished.clear()
            one = asyncio.create_task(ask())  # one caller remains, while a replica is removed
            await replicas.wait_for(1)
            finished.set()
            return [*counts, await one]

    with Replicas(two_nodes.address) as replicas:
        counts = asyncio.run(scenario(replicas))
    assert min(counts[:IN_PROGRESS]) > 0
    assert counts[-1] > 0
