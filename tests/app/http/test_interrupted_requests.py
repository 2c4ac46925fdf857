"""Statuses and the store agree: 503 means that nothing was stored, and what is stored is answered."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.domain import deadline
from app.domain.errors import StartRefused
from app.http.admission import AdmissionMiddleware, InflightLimit
from app.http.problem_codes import PROBLEMS
from app.services import verify as verifying
from app.settings import Settings
from app.store.tables import (
    ReferenceRow,
    RetryRow,
    SignerRow,
    VerificationRow,
)
from tests.app.http.test_load import multipart
from tests.app.keyed import Draw
from tests.app.promises import REQUESTS, enrolled, rows


class Interrupted(Coroutine[Any, Any, Any]):
    """A coroutine whose task is interrupted at its n-th suspension, while it waits."""

    def __init__(self, inner: Coroutine[Any, Any, Any], position: int, how: str) -> None:
        self._inner, self._position, self._how = inner, position, how
        self.suspensions = 0

    def send(self, value: Any) -> Any:
        waiting_for = self._inner.send(value)
        self.suspensions += 1
        if self.suspensions == self._position:
            task, request = asyncio.current_task(), deadline.current()
            assert task is not None
            interrupt = request.expire if self._how == "deadline" and request is not None else task.cancel
            asyncio.get_running_loop().call_soon(interrupt)
        return waiting_for

    def throw(self, *error: Any) -> Any:
        return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()


async def interrupted(
    app: Any, request: httpx.Request, position: int, how: str
) -> tuple[int | None, str | None, bool]:
    """Status and problem code of the answer, None where the connection broke, and whether it was interrupted."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("127.0.0.1", 1))
    coroutine = Interrupted(transport.handle_async_request(request), position, how)
    try:
        response = await asyncio.create_task(coroutine)
        await response.aread()
    except asyncio.CancelledError:
        return None, None, True
    code = response.json().get("code") if response.content else None
    return response.status_code, code, coroutine.suspensions >= position


CALLS: dict[str, tuple[Callable[[Draw, int], httpx.Request], type, int]] = {
    "verify": (
        lambda draw, n: httpx.Request(
            "POST",
            "http://localhost/verify",
            data={"signer_id": "a"},
            files={"signature": draw(1, 1)},
            headers={"Idempotency-Key": f"verify-{n}"},
        ),
        VerificationRow,
        1,
    ),
    "enrol": (
        lambda draw, n: httpx.Request(
            "POST",
            f"http://localhost/signers/new-{n}/references",
            files={"files": draw(1, 2)},
            headers={"Idempotency-Key": f"enrol-{n}"},
        ),
        ReferenceRow,
        1,
    ),
    "erase": (lambda draw, n: httpx.Request("DELETE", "http://localhost/signers/b"), SignerRow, -1),
}


@pytest.mark.parametrize("how", ["shutdown", "deadline"])
@pytest.mark.parametrize("call", CALLS)
def test_status_and_store_agree_wherever_a_request_is_interrupted(
    settings: Settings, draw: Draw, call: str, how: str
) -> None:
    make, table, step = CALLS[call]

    async def scenario() -> set[tuple[int | None, str | None]]:
        seen = set()
        async with enrolled(settings, draw) as (app, client):
            for position in range(1, 200):
                if call == "erase":
                    files = {"files": draw(2, 0)}
                    assert (await client.post("/signers/b/references", files=files)).status_code in {201, 409}
                before = rows(app, table)
                status, code, was_interrupted = await interrupted(app, make(draw, position), position, how)
                # A write that was not waited for would end after its request: let it.
                app.state.context.store._threads.submit(lambda: None).result(20)
                await asyncio.sleep(0.05)
                written = rows(app, table) - before
                where = f"{call}, interrupted at suspension {position}: {status} {code}, {written} rows more"
                if status is None or code == "answer-lost":
                    assert how == "shutdown", where
                if code == "answer-lost" or (status is not None and status < 300):
                    assert written == step, where
                if status == 503:
                    assert written == 0, where
                assert status in {None, 200, 201, 204, 503} or code == "answer-lost", where
                again = await client.send(make(draw, position))
                assert again.status_code in {200, 201, 204}, f"{where}; repeated: {again.text}"
                assert rows(app, table) - before == step, f"{where}; repeated, it is done once"
                seen.add((status, code))
                if not was_interrupted:
                    assert status in {200, 201, 204}, where
                    return seen
        raise AssertionError("never got to the end")

    seen = asyncio.run(scenario())
    if call != "erase":  # which writes at once
        assert (503, "not-ready" if how == "shutdown" else "deadline-passed") in seen


@pytest.mark.parametrize("told", [False, True], ids=["the server says nothing", "the server raises"])
def test_a_client_that_goes_away_leaves_everything_or_nothing(
    settings: Settings, draw: Draw, told: bool
) -> None:
    """It is gone before any piece of the body, or after the last one, when the answer finds nobody."""

    async def scenario() -> None:
        body, headers = multipart(draw(1, 1))
        pieces = [body[at : at + len(body) // 4 + 1] for at in range(0, len(body), len(body) // 4 + 1)]
        async with enrolled(settings, draw) as (app, client):
            for stays_for in range(len(pieces) + 1):
                key = {"Idempotency-Key": f"k{stays_for}"}
                before, came = rows(app, VerificationRow), iter(pieces[:stays_for])

                async def receive(came: Any = came) -> dict[str, Any]:
                    if (piece := next(came, None)) is None:
                        return {"type": "http.disconnect"}
                    return {"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]}

                async def send(_: Any) -> None:
                    if told:
                        raise OSError("the client is gone")

                scope = {
                    "type": "http",
                    "asgi": {"version": "3.0"},
                    "http_version": "1.1",
                    "method": "POST",
                    "path": "/verify",
                    "raw_path": b"/verify",
                    "root_path": "",
                    "scheme": "http",
                    "query_string": b"",
                    "headers": [
                        (name.lower().encode(), value.encode())
                        for name, value in {
                            "host": "localhost",
                            "content-length": str(len(body)),
                            **headers,
                            **key,
                        }.items()
                    ],
                    "client": ("127.0.0.1", 1),
                    "server": ("localhost", 80),
                }
                with suppress(OSError):
                    await app(scope, receive, send)
                written = rows(app, VerificationRow) - before
                assert written == (1 if stays_for == len(pieces) else 0), stays_for
                again = await client.post("/verify", content=body, headers=headers | key)
                assert again.status_code == 200, again.text
                assert rows(app, VerificationRow) - before == 1, "it is done once"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("written", "status", "code"), [(True, 500, "answer-lost"), (False, 503, "not-ready")]
)
def test_a_shutdown_between_the_write_and_the_answer_is_told_truly(
    written: bool, status: int, code: str
) -> None:
    async def application(*_: Any) -> None:
        request = deadline.current()
        assert request is not None
        request.begin_write()
        if not written:
            request.abort_write()
        await asyncio.sleep(20)

    async def scenario() -> None:
        out: list[Any] = []

        async def send(message: Any) -> None:
            out.append(message)

        admission = AdmissionMiddleware(application, InflightLimit(1, 1), 10.0, 10.0)
        scope = {"type": "http", "method": "DELETE", "path": "/", "headers": []}
        task = asyncio.create_task(admission(scope, Any, send))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        task.cancel()
        await task
        assert (out[0]["status"], json.loads(out[1]["body"])["code"]) == (status, code)

    asyncio.run(scenario())


def test_a_write_that_is_refused_is_not_said_to_have_been_carried_out(settings: Settings, draw: Draw) -> None:
    async def scenario() -> None:
        async with enrolled(settings, draw) as (app, _):

            def refused(_: Session) -> None:
                raise StartRefused("no")

            with deadline.deadline_of_request() as request:
                with pytest.raises(StartRefused):
                    await app.state.context.store.write(refused)
                assert request.cancel(), "as if it had not begun"

    asyncio.run(scenario())


def test_a_write_that_waits_for_the_lock_of_the_database_still_has_a_deadline(
    settings: Settings, draw: Draw
) -> None:
    async def scenario() -> None:
        async with enrolled(settings, draw, deadline_s=2.0) as (app, client):
            other = sqlite3.connect(settings.database_url.removeprefix("sqlite:///"), isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            late = await REQUESTS["verify"](client, draw)
            other.execute("ROLLBACK")
            other.close()
            assert (late.status_code, late.json()["code"]) == (503, "deadline-passed")
            app.state.context.store.write_now(lambda session: None)  # after the one that came too late
            assert (rows(app, VerificationRow), rows(app, RetryRow)) == (0, 0)

    asyncio.run(scenario())


def test_a_write_that_waits_for_its_turn_still_has_a_deadline(settings: Settings, draw: Draw) -> None:
    async def scenario() -> None:
        async with enrolled(settings, draw, deadline_s=1.0, shutdown_grace_s=5.0) as (app, client):
            store = app.state.context.store
            release = threading.Event()
            body, headers = multipart(draw(1, 1))
            read = verifying.compare_questioned

            async def occupy(*args: Any) -> Any:
                for _ in range(store._threads._max_workers):
                    store._threads.submit(release.wait, 20)
                return await read(*args)

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(verifying, "compare_questioned", occupy)
                late = await client.post("/verify", content=body, headers=headers)
            release.set()
            assert (late.status_code, late.json()["code"]) == (503, "deadline-passed")
            store._threads.submit(lambda: None).result(20)
            assert rows(app, VerificationRow) == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "broken", "status", "code"),
    [
        ("", True, 500, "outcome-unknown"),
        ("SQLITE_IOERR_FSYNC", False, 500, "outcome-unknown"),
        ("SQLITE_FULL", False, 503, "store-unavailable"),
    ],
)
def test_a_commit_that_fails_says_whether_something_may_be_stored(
    settings: Settings,
    draw: Draw,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    broken: bool,
    status: int,
    code: str,
) -> None:
    async def scenario() -> None:
        async with enrolled(settings, draw) as (_, client):

            def commit(*_: Any) -> None:
                cause = sqlite3.OperationalError("gone")
                cause.sqlite_errorname = name
                raise OperationalError("COMMIT", {}, cause, connection_invalidated=broken)

            with monkeypatch.context() as patched:
                patched.setattr("sqlalchemy.engine.default.DefaultDialect.do_commit", commit)
                answer = await REQUESTS["verify"](client, draw)
            assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
            assert ("nothing was stored" in answer.json()["detail"]) == (status == 503)
            assert PROBLEMS[code].stored == ("nothing" if status == 503 else "unknown")

    asyncio.run(scenario())
