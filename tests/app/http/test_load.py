"""Under load: what is let in, refused or dropped, and that all that was accepted is answered."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.inference.batching import InferenceQueue
from app.inference.interface import Batch
from app.main import create_app
from app.settings import Settings
from tests.app.keyed import until
from tests.app.test_api import enrol, verify
from tests.app.test_start import Service

Draw = Callable[..., bytes]


@asynccontextmanager
async def running(settings: Settings, **changes: object) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
    """A service and a client in this very event loop."""
    app = create_app(settings.model_copy(update=changes))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("127.0.0.1", 1))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as client,
    ):
        yield app, client


def slow_network(app: Any, seconds: float) -> None:
    embedder = app.state.context.embedder
    quick = embedder.embed

    def embed(canvases: Any) -> Any:
        time.sleep(seconds)
        return quick(canvases)

    embedder.embed = embed


@asynccontextmanager
async def held_network(app: Any, request: Coroutine[Any, Any, httpx.Response]) -> AsyncIterator[None]:
    """Send a request, which must succeed, and keep it in the network while the block runs."""
    embedder = app.state.context.embedder
    quick = embedder.embed
    reached, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def embed(canvases: Any) -> Any:
        loop.call_soon_threadsafe(reached.set)
        assert go_on.wait(60)
        return quick(canvases)

    embedder.embed = embed
    sending = asyncio.create_task(request)
    try:
        await asyncio.wait_for(reached.wait(), 60)
        yield
    finally:
        go_on.set()
        embedder.embed = quick
        answer = await sending
    assert answer.status_code == 200


def idle(app: Any) -> bool:
    """Whether nothing of a former request is held on to."""
    metrics = app.state.metrics.registry
    return all(
        metrics.get_sample_value(f"countersign_{name}") == 0
        for name in ("requests_in_hand", "bytes_in_hand", "queue_depth")
    )


async def verify_async(client: httpx.AsyncClient, image: bytes, **headers: str) -> httpx.Response:
    return await client.post("/verify", data={"signer_id": "a"}, files={"signature": image}, headers=headers)


async def enrol_async(client: httpx.AsyncClient, image: bytes) -> None:
    (await client.post("/signers/a/references", files={"files": image})).raise_for_status()


@pytest.mark.alone
def test_more_than_can_be_in_hand_is_refused_at_once_and_the_rest_is_answered(
    settings: Settings, draw: Draw
) -> None:
    async def scenario() -> None:
        async with running(settings, max_requests=4, batch_size=1) as (app, client):
            await enrol_async(client, draw(1, 0))
            slow_network(app, 0.1)
            begin = time.perf_counter()
            took: dict[int, list[float]] = {200: [], 503: []}

            async def one(n: int) -> None:
                answer = await verify_async(client, draw(1, 1 + n % 3))
                took[answer.status_code].append(time.perf_counter() - begin)
                if answer.status_code == 503:
                    assert answer.json()["code"] == "busy"
                    assert int(answer.headers["Retry-After"]) >= 1

            await asyncio.gather(*(one(n) for n in range(20)))
            assert len(took[200]) == 4
            assert len(took[503]) == 16
            assert max(took[503]) < min(took[200]), "a refusal waits for nobody"
            assert (await verify_async(client, draw(1, 1))).status_code == 200, "room again"
            kept = (await client.get("/verifications")).json()["verifications"]
            assert len(kept) == 5, "what was refused left nothing, what was answered is on record"
            assert idle(app)

    asyncio.run(scenario())


def test_a_full_service_still_says_how_it_is(settings: Settings, draw: Draw) -> None:
    async def scenario() -> None:
        async with running(settings, max_requests=1) as (app, client):
            await enrol_async(client, draw(1, 0))
            async with held_network(app, verify_async(client, draw(1, 1))):
                assert (await client.get("/readyz")).status_code == 200
                assert (await client.get("/signers")).status_code == 200
                assert "countersign_requests_in_hand 1.0" in (await client.get("/metrics")).text

    asyncio.run(scenario())


async def raw(
    app: Any,
    body: list[bytes],
    headers: dict[str, str],
    pause_s: float = 0.0,
    call: tuple[str, str] = ("POST", "/verify"),
) -> tuple[int, dict[str, Any], int]:
    """Send a body piece by piece; the status, the answer, and how many pieces were asked for."""
    asked = 0
    out: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(pause_s)
        if asked > len(body):
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": body[asked - 1], "more_body": asked < len(body)}

    async def send(message: Any) -> None:
        out.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": call[0],
        "path": call[1],
        "raw_path": call[1].encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *((k.encode(), v.encode()) for k, v in headers.items())],
        "client": ("127.0.0.1", 1),
        "server": ("t", 80),
    }
    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in out)
    return out[0]["status"], json.loads(content), asked


def multipart(image: bytes, signer: str = "a") -> tuple[bytes, dict[str, str]]:
    request = httpx.Request("POST", "http://t", data={"signer_id": signer}, files={"signature": image})
    return request.read(), {"content-type": request.headers["content-type"]}


def test_a_refusal_is_decided_before_the_body_is_read(settings: Settings, draw: Draw) -> None:
    async def scenario() -> None:
        body, headers = multipart(draw(1, 1))
        async with running(settings, max_requests=1) as (app, client):
            await enrol_async(client, draw(1, 0))
            async with held_network(app, verify_async(client, draw(1, 1))):
                status, told, asked = await raw(app, [body], headers | {"content-length": str(len(body))})
                assert (status, told["code"], asked) == (503, "busy", 0)

    asyncio.run(scenario())


@pytest.mark.parametrize("declared", [True, False])
def test_bytes_are_bounded_whether_their_number_is_declared_or_not(
    settings: Settings, draw: Draw, declared: bool
) -> None:
    async def scenario() -> None:
        body, headers = multipart(draw(1, 1))
        more = {"content-length": str(len(body))} if declared else {"transfer-encoding": "chunked"}
        async with running(settings, max_inflight_bytes=int(1.5 * len(body))) as (app, client):
            await enrol_async(client, draw(1, 0))
            async with held_network(app, verify_async(client, draw(1, 1))):
                pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
                status, told, asked = await raw(app, pieces, headers | more)
                assert (status, told["code"]) == (503, "busy"), told
                assert asked == 0 if declared else asked < len(pieces)
            assert idle(app)

    asyncio.run(scenario())


@pytest.mark.alone
def test_a_body_that_trickles_is_given_up(settings: Settings, draw: Draw) -> None:
    async def scenario() -> None:
        body, headers = multipart(draw(1, 1))
        async with running(settings, upload_timeout_s=0.2) as (app, client):
            await enrol_async(client, draw(1, 0))
            begin = time.perf_counter()
            pieces = [body[at : at + 100] for at in range(0, len(body), 100)]
            status, told, _ = await raw(app, pieces, headers | {"content-length": str(len(body))}, 0.02)
            assert (status, told["code"]) == (408, "upload-timeout")
            assert time.perf_counter() - begin < 1.0
            assert idle(app)

    asyncio.run(scenario())


@pytest.mark.alone
def test_what_waited_too_long_is_dropped_and_nothing_is_stored(settings: Settings, draw: Draw) -> None:
    async def scenario() -> None:
        async with running(settings, deadline_s=3.0, batch_size=1) as (app, client):
            await enrol_async(client, draw(1, 0))
            passes: list[int] = []
            slow_network(app, 1.2)
            inner = app.state.context.embedder.embed

            def counted(canvases: Any) -> Any:
                passes.append(len(canvases))
                return inner(canvases)

            app.state.context.embedder.embed = counted
            answers = await asyncio.gather(*(verify_async(client, draw(1, 1 + n)) for n in range(12)))
            served = [answer for answer in answers if answer.status_code == 200]
            late = [answer for answer in answers if answer.status_code == 503]
            assert len(served) + len(late) == 12
            assert 1 <= len(served) <= 3
            assert {answer.json()["code"] for answer in late} == {"deadline-passed"}
            assert all("Retry-After" in answer.headers for answer in late)
            await asyncio.sleep(1.5)
            assert len(passes) <= 4, "signatures that nobody waits for never reach the network"
            kept = (await client.get("/verifications")).json()["verifications"]
            assert {v["verification_id"] for v in kept} == {a.json()["verification_id"] for a in served}
            assert idle(app)

    asyncio.run(scenario())


def test_once_it_is_being_stored_an_answer_is_told_however_late(
    settings: Settings, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.store import verifications  # noqa: PLC0415

    add = verifications.add

    def slow_add(*args: Any) -> None:
        time.sleep(0.8)
        add(*args)

    async def scenario() -> None:
        async with running(settings, deadline_s=0.5) as (_, client):
            await enrol_async(client, draw(1, 0))
            monkeypatch.setattr(verifications, "add", slow_add)
            answer = await verify_async(client, draw(1, 1))
            assert answer.status_code == 200
            assert len((await client.get("/verifications")).json()["verifications"]) == 1

    asyncio.run(scenario())


@pytest.mark.alone
def test_the_event_loop_stays_free_while_large_scans_are_read(settings: Settings, draw: Draw) -> None:
    page = np.full((3000, 4000), 255, np.uint8)
    signature = np.asarray(Image.open(io.BytesIO(draw(1, 1))).convert("L"))
    page[500 : 500 + signature.shape[0], 700 : 700 + signature.shape[1]] = signature
    out = io.BytesIO()
    Image.fromarray(page).convert("RGB").save(out, "PNG", compress_level=1)

    async def scenario() -> None:
        async with running(settings) as (_, client):
            await enrol_async(client, draw(1, 0))
            lags: list[float] = []

            async def watch() -> None:
                while True:
                    begin = time.perf_counter()
                    await asyncio.sleep(0.005)
                    lags.append(time.perf_counter() - begin - 0.005)

            watcher = asyncio.create_task(watch())
            begin = time.perf_counter()
            answers = await asyncio.gather(*(verify_async(client, out.getvalue()) for _ in range(4)))
            took = time.perf_counter() - begin
            watcher.cancel()
            assert {answer.status_code for answer in answers} == {200}
            # Shares, as a busy machine is late for everything: on the loop, one scan alone would be a quarter.
            assert float(np.percentile(lags, 90)) < 0.05 * took, (sorted(lags)[-9:], took)
            assert max(lags) < 0.2 * took, (max(lags), took)

    asyncio.run(scenario())


def test_signatures_that_wait_together_go_in_one_pass() -> None:
    class Counting:
        def embed(self, canvases: Any) -> Any:
            time.sleep(0.05)
            return canvases.reshape(len(canvases), -1).astype(np.float32)

    async def scenario() -> None:
        seen: list[Batch] = []
        queue = InferenceQueue(Counting(), 8, 100, seen.append)
        queue.start()
        canvases = [np.full((2, 2), n, np.uint8) for n in range(21)]
        answers = await asyncio.gather(*(queue.embed([canvas]) for canvas in canvases))
        assert [int(answer[0, 0]) for answer in answers] == list(range(21)), "each gets its own"
        assert [len(batch.waited_s) for batch in seen] == [8, 8, 5]
        assert max(seen[-1].waited_s) > 0.09
        pending = asyncio.create_task(queue.embed(canvases[:3]))
        await asyncio.sleep(0)
        await queue.close()
        assert (await pending)[:, 0].tolist() == [0, 1, 2], "closing answers what was accepted"
        assert not queue.alive

    asyncio.run(scenario())


@pytest.mark.alone
def test_a_shutdown_answers_everything_that_was_accepted(start: Callable[..., Service], draw: Draw) -> None:
    service = start(max_requests="200").ready()
    httpx.post(
        f"{service.url}/signers/a/references", files={"files": draw(1, 0)}, timeout=60
    ).raise_for_status()
    images = [draw(1, n) for n in range(1, 5)]
    go = threading.Barrier(41)
    answers: list[httpx.Response] = []

    def one(n: int) -> None:
        with httpx.Client(timeout=60) as client:
            client.get(f"{service.url}/livez")  # connected before the door closes
            go.wait()
            answers.append(
                client.post(
                    f"{service.url}/verify", data={"signer_id": "a"}, files={"signature": images[n % 4]}
                )
            )

    with ThreadPoolExecutor(40) as pool:
        calls = [pool.submit(one, n) for n in range(40)]
        go.wait()
        deadline = time.monotonic() + 20
        while not answers and time.monotonic() < deadline:
            time.sleep(0.002)
        status, out = service.finish(signal.SIGTERM)
        failed = [call.exception() for call in calls if call.exception() is not None]
    assert "Traceback" not in out
    assert status in {0, -signal.SIGTERM}
    # A connection whose request had not arrived when the door closed is refused as a whole: nothing was accepted.
    assert all(isinstance(error, httpx.TransportError) for error in failed)
    assert {answer.status_code for answer in answers} == {200}
    again = start().ready()
    kept = httpx.get(f"{again.url}/verifications", params={"limit": 500}, timeout=60).json()["verifications"]
    told = {answer.json()["verification_id"] for answer in answers}
    assert {v["verification_id"] for v in kept} == told, "on record is what was told, no more and no less"
    assert len(told) >= 20


@pytest.mark.alone
def test_while_it_drains_it_is_not_ready_and_still_serves(start: Callable[..., Service], draw: Draw) -> None:
    service = start(drain_s="1.5").ready()
    httpx.post(
        f"{service.url}/signers/a/references", files={"files": draw(1, 0)}, timeout=60
    ).raise_for_status()
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    ready = httpx.get(f"{service.url}/readyz", timeout=60)
    assert (ready.status_code, ready.json()["code"]) == (503, "not-ready")
    assert httpx.get(f"{service.url}/livez", timeout=60).status_code == 200
    served = httpx.post(
        f"{service.url}/verify", data={"signer_id": "a"}, files={"signature": draw(1, 1)}, timeout=60
    )
    assert served.status_code == 200
    status, _ = service.finish()
    assert status in {0, -signal.SIGTERM}


def test_impatience_at_shutdown_is_told_to_the_caller(start: Callable[..., Service], draw: Draw) -> None:
    """With no time to finish, a caller gets a 503 instead of a connection that breaks."""
    service = start(shutdown_grace_s="1", deadline_s="1").ready()
    body, headers = multipart(draw(1, 0))
    head = f"POST /verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: {headers['content-type']}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.settimeout(30)
        connection.sendall(head.encode() + body[:100])  # and then nothing
        with httpx.Client(base_url=service.url, timeout=60) as client:
            until(lambda: "countersign_requests_in_hand 1.0" in client.get("/metrics").text)
        service.process.send_signal(signal.SIGTERM)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"not-ready"' in answer
    assert "Traceback" not in service.finish()[1]


def test_readiness_says_no_when_the_worker_or_the_network_is_stuck(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/readyz").status_code == 200
    with monkeypatch.context() as patch:
        patch.setattr(InferenceQueue, "busy_s", 100.0)
        assert client.get("/readyz").json()["code"] == "not-ready"
        assert client.get("/livez").status_code == 503, "only a restart helps"
    with monkeypatch.context() as patch:
        patch.setattr(InferenceQueue, "alive", False)
        assert client.get("/readyz").json()["code"] == "not-ready"
    assert client.get("/readyz").status_code == 200
    enrol(client, "a", draw(1, 0))
    assert verify(client, "a", draw(1, 1)).status_code == 200


@pytest.mark.parametrize(
    ("kind", "declared"),
    [
        ("application/json", True),
        ("application/json", False),
        ("text/plain", True),
        ("application/octet-stream", True),
        ("", True),
    ],
)
def test_bytes_of_every_content_type_are_bounded(
    settings: Settings, draw: Draw, kind: str, declared: bool
) -> None:
    """A body of another type without a length is read where JSON is taken, and nowhere else."""

    async def scenario() -> None:
        body, _ = multipart(draw(1, 1))
        other = b" " * len(body)
        more = {"content-length": str(len(other))} if declared else {"transfer-encoding": "chunked"}
        async with running(settings, max_inflight_bytes=int(1.5 * len(body))) as (app, client):
            await enrol_async(client, draw(1, 0))
            async with held_network(app, verify_async(client, draw(1, 1))):
                pieces = [other[at : at + 1000] for at in range(0, len(other), 1000)]
                call = ("PATCH", "/signers/anna")
                status, told, asked = await raw(app, pieces, {"content-type": kind, **more}, call=call)
                assert (status, told["code"]) == (503, "busy"), told
                assert asked == 0 if declared else asked < len(pieces)
            assert idle(app)

    asyncio.run(scenario())


def test_the_worker_outlives_whatever_a_batch_raises(caplog: pytest.LogCaptureFixture) -> None:
    class Short:
        """Answers one signature too few, once."""

        def __init__(self) -> None:
            self.passes = 0

        def embed(self, canvases: Any) -> Any:
            self.passes += 1
            return np.zeros((len(canvases) - (self.passes == 1), 2), np.float32)

    def uncountable(_: Batch) -> None:
        raise KeyError("no such label")

    async def scenario() -> None:
        queue = InferenceQueue(Short(), 8, 8, uncountable)
        queue.start()
        canvas = np.zeros((4, 4), np.uint8)
        with pytest.raises(ValueError, match="zip"):
            await queue.embed([canvas])
        with pytest.raises(ValueError, match="shape"):
            await queue.embed([canvas, np.zeros((5, 4), np.uint8)])  # cannot be stacked
        assert (await queue.embed([canvas])).shape == (1, 2)
        assert queue.alive
        await queue.close()

    asyncio.run(asyncio.wait_for(scenario(), 10.0))
    assert "recording the metrics of a batch failed" in caplog.text


def test_a_worker_that_has_ended_is_noticed_at_once(settings: Settings, draw: Draw) -> None:
    async def scenario() -> None:
        async with running(settings) as (app, client):
            await enrol_async(client, draw(1, 0))
            queue = app.state.context.inference
            queue._worker.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            dead = await client.get("/livez")
            assert (dead.status_code, dead.json()["code"]) == (503, "not-ready")
            begin = time.perf_counter()
            answer = await verify_async(client, draw(1, 1))
            assert (answer.status_code, answer.json()["code"]) == (503, "not-ready")
            assert time.perf_counter() - begin < 15.0, "and not at the deadline"
            queue.start()  # so that closing can wait for it

    asyncio.run(scenario())
