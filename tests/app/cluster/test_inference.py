"""The network in a Ray Serve deployment of two replicas on two nodes, one of which is killed."""

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
from app.main import create_app
from app.settings import Settings
from tests.app.cluster.conftest import TwoNodes
from tests.app.http.test_load import enrol_async, running, verify_async
from tests.app.keyed import Commands
from tests.app.store.conftest import Sql
from tests.service import free_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
Draw = Callable[..., bytes]
REQUESTS = 60


def deploy(commands: Commands, nodes: TwoNodes, port: int) -> None:
    words = ["--ray", nodes.address, "--port", str(port), "--min-replicas", "2", "--max-replicas", "2"]
    completed = subprocess.run(
        [sys.executable, "-m", "app", "inference", "deploy", *words],
        env=os.environ | commands.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert completed.returncode == 0, completed.stderr
    assert f"ray://HOST:{port}" in completed.stdout


def test_no_acknowledged_request_is_lost_with_a_node(
    two_nodes: TwoNodes,
    commands: Commands,
    settings: Settings,
    other_model_folder: Path,
    draw: Draw,
    sql: Sql,
) -> None:
    port = free_port()
    deploy(commands, two_nodes, port)
    remote = settings.model_copy(update={"inference": f"ray://127.0.0.1:{port}", "deadline_s": 30.0})
    signature = draw(1, 4)

    async def refused() -> None:
        app = create_app(remote.model_copy(update={"weights": other_model_folder, "deadline_s": 1.0}))
        async with app.router.lifespan_context(app):
            raise AssertionError("it started with other weights")

    with pytest.raises(StartRefused, match="deploy the same weights"):
        asyncio.run(refused())

    async def local() -> dict[str, Any]:
        async with running(settings) as (_, client):
            for n in range(3):
                await enrol_async(client, draw(1, n))
            answer: dict[str, Any] = (await verify_async(client, signature)).json()
            return answer

    async def in_cluster() -> tuple[dict[str, Any], list[httpx.Response], httpx.Response]:
        async with running(remote) as (app, client):
            core = app.state.core
            canvas = core.embedder.canvas
            rng = np.random.default_rng(0)
            canvases = rng.integers(0, 2, (25, canvas.height, canvas.width)).astype(np.uint8) * 255
            embeddings = await core.queue.embed(list(canvases))
            assert np.allclose(embeddings, core.embedder.embed(canvases), atol=1e-5)
            core.embedder.embed = None  # the network of this process is not used
            answer = (await verify_async(client, signature)).json()
            assert (await client.get("/readyz")).status_code == 200

            async def one(n: int) -> httpx.Response:
                await asyncio.sleep(0.1 * n)
                return await verify_async(client, signature)

            pending = [asyncio.create_task(one(n)) for n in range(REQUESTS)]
            await asyncio.sleep(0.1 * REQUESTS / 3)
            before = sum(task.done() for task in pending)
            await asyncio.to_thread(two_nodes.kill_one)
            assert before < REQUESTS
            answers = list(await asyncio.gather(*pending))
            begin = time.monotonic()
            while True:
                last = await verify_async(client, signature)
                if last.status_code == 200 or time.monotonic() - begin > 60:
                    return answer, answers, last

    expected = asyncio.run(local())
    stored_before = int(sql("SELECT count(*) FROM verifications")[0][0])
    answer, answers, last = asyncio.run(in_cluster())
    for name in ("decision", "threshold", "model_version"):
        assert answer[name] == expected[name]
    assert answer["distance"] == pytest.approx(expected["distance"], abs=1e-4)
    statuses = [response.status_code for response in answers]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > REQUESTS / 2, "requests are sent again to the replica that is left"
    assert last.status_code == 200
    # Everything that was acknowledged is stored, and nothing else.
    acknowledged = {
        response.json()["verification_id"] for response in (*answers, last) if response.status_code == 200
    }
    stored = {row[0] for row in sql("SELECT verification_id FROM verifications")}
    assert acknowledged | {answer["verification_id"]} <= stored
    assert len(stored) - stored_before == len(acknowledged) + 1
