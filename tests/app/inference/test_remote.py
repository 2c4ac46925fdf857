"""The client of a Ray Serve deployment, against a server that fails as proxies and replicas do."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from app.domain.errors import Busy, NotReady, StartRefused
from app.inference.interface import Batch
from app.inference.remote import RemoteInference
from app.inference.wire import MODEL, NETWORK_S, ROUTE
from app.main import load_embedder
from app.settings import Settings
from model.networks.embedder import Embedder
from model.networks.weights import load_card
from tests.app.keyed import Commands
from tests.service import free_port

VERSION = "tiny@0123456789ab"
CANVASES = [np.full((4, 8), n, np.uint8) for n in (3, 5)]
Faults = list[str]


class Deployment:
    """A server that has a list of faults, one for each request, and then answers."""

    def __init__(self) -> None:
        self.faults: Faults = []
        self.version = VERSION
        self.requests = 0
        self.slow_s = 1.5
        deployment = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(200, b"")

            def do_POST(self) -> None:
                assert self.path == ROUTE
                deployment.requests += 1
                body = self.rfile.read(int(self.headers["content-length"]))
                fault = deployment.faults.pop(0) if deployment.faults else ""
                if fault == "broken":
                    self.close_connection = True
                elif fault == "slow":
                    time.sleep(deployment.slow_s)
                    self.close_connection = True
                elif fault:
                    self.answer(int(fault), b"")
                elif self.headers[MODEL] != deployment.version:
                    self.answer(409, b"")
                else:
                    canvases = np.frombuffer(body, np.uint8).reshape(-1, 32)
                    self.answer(200, canvases[:, :2].astype("<f4").tobytes())

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header(MODEL, deployment.version)
                self.send_header(NETWORK_S, "0.002")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    started = Deployment()
    yield started
    started.server.shutdown()
    started.server.server_close()


def embed(
    deployment: Deployment, *, before: tuple[str, ...] = (), capacity: int = 100, deadline_s: float = 2.0
) -> tuple[np.ndarray, list[Batch]]:
    """Embed two signatures, with other addresses before that of the deployment."""
    seen: list[Batch] = []

    async def scenario() -> np.ndarray:
        remote = RemoteInference((*before, deployment.address), VERSION, 2, capacity, deadline_s, seen.append)
        try:
            return await remote.embed(CANVASES)
        finally:
            await remote.close()

    return asyncio.run(scenario()), seen


def test_canvases_become_embeddings_and_durations_are_recorded(deployment: Deployment) -> None:
    embeddings, seen = embed(deployment)
    assert embeddings.tolist() == [[3.0, 3.0], [5.0, 5.0]]
    assert embeddings.dtype == np.float32
    assert seen[0].network_s == pytest.approx(0.002)
    assert len(seen[0].waited_s) == 2


@pytest.mark.parametrize(
    "faults", [["500"], ["502", "500"], ["broken", "broken"], ["503"], ["slow"], ["404"]]
)
def test_a_request_that_was_lost_is_sent_again(deployment: Deployment, faults: Faults) -> None:
    deployment.faults, deployment.slow_s = list(faults), 3.0  # an attempt may take half of the deadline
    embeddings, _ = embed(deployment, deadline_s=4.0)
    assert embeddings[:, 0].tolist() == [3.0, 5.0]
    assert deployment.requests == len(faults) + 1


def test_the_next_proxy_is_asked_when_a_node_is_gone(deployment: Deployment) -> None:
    gone = tuple(f"127.0.0.1:{free_port()}" for _ in range(2))
    begin = time.monotonic()
    embeddings, _ = embed(deployment, before=gone, deadline_s=60.0)
    assert embeddings[:, 0].tolist() == [3.0, 5.0]
    assert time.monotonic() - begin < 30, "long before the deadline"


def test_a_deployment_that_does_not_answer_is_given_up_at_the_deadline(deployment: Deployment) -> None:
    deployment.faults = ["500"] * 1000
    begin = time.monotonic()
    with pytest.raises(NotReady, match=r"status 500.*nothing was stored"):
        embed(deployment, deadline_s=0.5)
    assert 0.4 < time.monotonic() - begin < 15.0
    assert deployment.requests > 2


def test_an_overloaded_deployment_is_busy(deployment: Deployment) -> None:
    deployment.faults = ["503"] * 1000
    begin = time.monotonic()
    with pytest.raises(Busy, match="no room"):
        embed(deployment, deadline_s=6.0)
    assert time.monotonic() - begin < 5.0, "callers learn it before the deadline"


def test_embeddings_of_other_weights_are_refused(deployment: Deployment) -> None:
    deployment.version = "other@ba9876543210"
    with pytest.raises(NotReady, match="other@ba9876543210"):
        embed(deployment)
    assert deployment.requests == 1

    async def connect(address: str) -> None:
        await RemoteInference([address], VERSION, 2, 10, 0.5).connect()

    with pytest.raises(StartRefused, match="deploy the same weights"):
        asyncio.run(connect(deployment.address))
    with pytest.raises(StartRefused, match="does not answer"):
        asyncio.run(connect(f"127.0.0.1:{free_port()}"))


def test_signatures_beyond_the_capacity_are_refused_and_closing_waits_for_the_others(
    deployment: Deployment,
) -> None:
    deployment.faults = ["slow"]

    async def scenario() -> None:
        remote = RemoteInference([deployment.address], VERSION, 2, 3, 5.0)
        first = asyncio.create_task(remote.embed(CANVASES))
        await asyncio.sleep(0.2)
        assert remote.depth == 2
        with pytest.raises(Busy):
            await remote.embed(CANVASES)
        closing = asyncio.create_task(remote.close())
        await asyncio.sleep(0)
        with pytest.raises(NotReady, match="shutting down"):
            await remote.embed(CANVASES)
        assert (await first)[:, 0].tolist() == [3.0, 5.0]
        await closing
        assert remote.depth == 0
        assert not remote.alive

    asyncio.run(scenario())


def test_a_process_that_does_not_embed_loads_no_reduced_precision_and_runs_no_network(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Mock(wraps=Embedder.load)
    warmed = Mock()
    monkeypatch.setattr(Embedder, "load", loaded)
    monkeypatch.setattr(Embedder, "warm_up", warmed)
    embedder = load_embedder(settings, embeds=False)
    assert embedder.precision == "float32"
    assert loaded.call_args.args[2] == "float32"
    warmed.assert_not_called()
    load_embedder(settings)
    assert loaded.call_args.args[2] == settings.precision
    warmed.assert_called_once_with()


def test_doctor_asks_the_deployment(commands: Commands, deployment: Deployment, model_folder: Path) -> None:
    address = {"COUNTERSIGN_INFERENCE": f"ray://{deployment.address}"}
    printed = commands.run("doctor", **address).output
    assert (
        f"FAULT inference: COUNTERSIGN_INFERENCE: The inference deployment has the model {VERSION}" in printed
    )
    assert "fix: python -m app inference deploy" in printed
    deployment.version = load_card(model_folder).version
    assert (
        f"ok    inference: the deployment has {deployment.version}"
        in commands.run("doctor", **address).output
    )


@pytest.mark.parametrize(
    ("text", "addresses"),
    [("local", ()), ("ray://a:8000", ("a:8000",)), ("ray://a:8000,b:1", ("a:8000", "b:1"))],
)
def test_addresses_of_the_setting(text: str, addresses: tuple[str, ...]) -> None:
    assert Settings(_env_file=None, inference=text).inference_addresses == addresses


@pytest.mark.parametrize(
    "text", ["", "ray", "ray://", "ray://a", "ray://a:b", "http://a:8000", "ray://u@a:1"]
)
def test_other_values_of_the_setting_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="inference"):
        Settings(_env_file=None, inference=text)
