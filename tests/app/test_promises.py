"""What a status promises: erased is erased, 503 means that nothing was stored, and what is stored is answered."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from unittest.mock import Mock

import httpx
import numpy as np
import psutil
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.decoding.pool import DecoderPool
from app.domain import deadline
from app.domain.errors import StartRefused, StoreUnavailable
from app.domain.records import QuestionedImage
from app.http.admission import AdmissionMiddleware, InflightLimit
from app.http.problems import PROBLEMS
from app.services import enrol as enrolling
from app.services import identify as identifying
from app.services import verify as verifying
from app.settings import Settings
from app.store import (
    change_counters,
    condition,
    health,
    maintenance,
    questioned_images,
    questioned_templates,
    reencryption,
    references,
    signer_locks,
    signers,
    templates,
)
from app.store import store as store_module
from app.store.encryption.cipher import Place
from app.store.erasure import tombstones
from app.store.forgery_tables import QuestionedTemplateRow
from app.store.tables import (
    ImageRow,
    QuestionedRow,
    ReferenceRow,
    RetryRow,
    SignerRow,
    TemplateRow,
    VerificationRow,
)
from tests.app.http.test_load import enrol_async, multipart, running
from tests.postgres import Postgres

Draw = Callable[..., bytes]
BIOMETRIC = (ReferenceRow, ImageRow, TemplateRow, QuestionedRow, QuestionedTemplateRow)


def rows(app: Any, table: type) -> int:
    def count(session: Session) -> int:
        return session.scalar(select(func.count()).select_from(table)) or 0

    found: int = app.state.context.store.read_now(count)
    return found


def kept_answers(app: Any) -> int:
    def count(session: Session) -> int:
        query = select(func.count()).select_from(RetryRow).where(RetryRow.sealed.is_not(None))
        return session.scalar(query) or 0

    found: int = app.state.context.store.read_now(count)
    return found


@asynccontextmanager
async def enrolled(
    settings: Settings, draw: Draw, **changes: object
) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
    """A service that keeps questioned images, with signer ``a``."""
    async with running(settings, keep_questioned_days=30, **changes) as (app, client):
        await enrol_async(client, draw(1, 0))
        yield app, client


# Erasure

REQUESTS: dict[str, Callable[[httpx.AsyncClient, Draw], Any]] = {
    "verify": lambda client, draw: client.post(
        "/verify", data={"signer_id": "a"}, files={"signature": draw(1, 1)}, headers={"Idempotency-Key": "k"}
    ),
    "enrol": lambda client, draw: client.post(
        "/signers/a/references", files={"files": draw(1, 2)}, headers={"Idempotency-Key": "k"}
    ),
}


@pytest.mark.both_databases
@pytest.mark.parametrize("back", [False, True], ids=["erased", "erased and enrolled anew"])
@pytest.mark.parametrize("call", REQUESTS)
def test_nothing_is_written_of_a_signer_who_was_erased_meanwhile(
    settings: Settings, draw: Draw, monkeypatch: pytest.MonkeyPatch, call: str, back: bool
) -> None:
    """The signer is erased, acknowledged, when the request has read everything and has written nothing."""

    async def scenario() -> None:
        async with enrolled(settings, draw) as (app, client):
            module = {"verify": verifying, "enrol": enrolling}[call]
            reading = "read_signature" if call == "verify" else "read_signatures"
            read = getattr(module, reading)

            async def read_then_erase(*args: Any) -> Any:
                found = await read(*args)
                monkeypatch.setattr(module, reading, read)
                assert (await client.delete("/signers/a")).status_code == 204
                if back:
                    await enrol_async(client, draw(1, 5))
                return found

            monkeypatch.setattr(module, reading, read_then_erase)
            answer = await REQUESTS[call](client, draw)
            assert (answer.status_code, answer.json()["code"]) == (409, "signer-erased"), answer.text
            assert [rows(app, table) for table in BIOMETRIC] == ([1, 1, 1, 0, 0] if back else [0] * 5)
            assert (rows(app, VerificationRow), rows(app, RetryRow)) == (0, 0)
            assert (await client.get("/signers/a")).status_code == (200 if back else 404)

    asyncio.run(scenario())


def copy_of(row: Any, **changes: Any) -> Any:
    """A new row with the columns of another one, some changed."""
    columns = {column.name: getattr(row, column.name) for column in row.__table__.columns}
    return type(row)(**columns | changes)


def write_verification(session: Session, key: str, other: str) -> None:
    """What `app.services.verify` writes of a signer, in its order."""
    held = signer_locks.lock(session, "default", "a", key)
    verification = session.scalar(select(VerificationRow))
    assert verification is not None
    session.add(copy_of(verification, verification_id=other))
    image = QuestionedImage(b"image", "image/png", 0, "auto")
    questioned_images.add(session, held, other, image, verification.created_at)
    questioned_templates.add(session, held, other, "model", np.zeros(4, np.float32), verification.created_at)


def write_reference(session: Session, key: str, other: str) -> None:
    """What `app.services.enrol` does for a signer that it has seen."""
    signer_locks.lock_exclusively(session, "default", "a", key)
    reference = session.scalar(select(ReferenceRow))
    assert reference is not None
    session.add(copy_of(reference, reference_id=other, sha256="0" * 64))
    session.flush()
    change_counters.touch(session, "default", key)


def write_policy(session: Session, key: str, other: str) -> None:
    """What ``PATCH /signers/a`` does."""
    held = signer_locks.lock_by_id(session, "default", "a")
    signers.set_policy(session, held, {"target_far": 0.05})


def write_template(session: Session, key: str, other: str) -> None:
    """What re-embedding does."""
    waiting = templates.lacking_of(session, templates.Owner(key, "default", "a"), other)
    templates.add(
        session,
        templates.Owner(key, "default", "a"),
        other,
        {one.reference_id: references.templates_so_far(session, "default", "a", "none") for one in waiting},
    )


@pytest.mark.both_databases
@pytest.mark.parametrize("write", [write_verification, write_reference, write_policy, write_template])
@pytest.mark.parametrize("first", ["the write", "the erasure"])
def test_an_erasure_and_a_write_at_the_same_moment_leave_nothing(
    settings: Settings, draw: Draw, write: Callable[[Session, str, str], None], first: str
) -> None:
    """Two transactions overlap: the second begins while the first has done its work and has not committed."""

    async def scenario() -> None:
        async with enrolled(settings, draw) as (app, client):
            await REQUESTS["verify"](client, draw)
            store = app.state.context.store
            key = store.read_now(signers.key_of, "default", "a")
            started, go_on = threading.Event(), threading.Event()

            def slowly(work: Callable[[Session], Any]) -> Callable[[Session], Any]:
                def slow(session: Session) -> Any:
                    done = work(session)
                    session.flush()
                    started.set()
                    assert go_on.wait(20)
                    return done

                return slow

            def erase(session: Session) -> Any:
                held = signer_locks.lock_by_id_exclusively(session, "default", "a")
                assert held is not None
                return signers.erase(session, held)

            def write_it(session: Session) -> None:
                write(session, key, "01a20000-0000-7000-8000-000000000000")

            one, two = (write_it, erase) if first == "the write" else (erase, write_it)
            slow = asyncio.create_task(asyncio.to_thread(store.write_now, slowly(one)))
            await asyncio.to_thread(started.wait, 20)
            quick = asyncio.create_task(asyncio.to_thread(store.write_now, two))
            await asyncio.sleep(0.3)
            assert not quick.done(), "the second waits for the first"
            go_on.set()
            await asyncio.gather(slow, quick, return_exceptions=True)
            assert not any(rows(app, table) for table in (SignerRow, *BIOMETRIC))
            assert kept_answers(app) == 0

    asyncio.run(scenario())


@pytest.mark.both_databases
@pytest.mark.parametrize("back", [False, True], ids=["erased", "erased and enrolled anew"])
def test_who_is_erased_amid_an_identification_is_not_on_its_record(
    settings: Settings, draw: Draw, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    """The nearest signer is erased after the ranking; the others are ranked again."""

    async def scenario() -> None:
        async with enrolled(settings, draw) as (app, client):
            await client.post("/signers/b/references", files={"files": draw(2, 0)})
            rank = identifying._rank_exactly
            loop = asyncio.get_running_loop()

            async def erase() -> None:
                assert (await client.delete("/signers/a")).status_code == 204
                if back:
                    await client.post("/signers/a/references", files={"files": draw(3, 0)})

            def rank_then_erase(*args: Any) -> Any:
                found = rank(*args)
                assert found[0][1].signer_id == "a"
                monkeypatch.setattr(identifying, "_rank_exactly", rank)
                asyncio.run_coroutine_threadsafe(erase(), loop).result(20)
                return found

            monkeypatch.setattr(identifying, "_rank_exactly", rank_then_erase)
            answer = await client.post("/identify", files={"signature": draw(1, 0)})
            assert answer.status_code == 200, answer.text
            (entry,) = (await client.get("/audit?action=identify")).json()["entries"]
            first = answer.json()["candidates"][0]["signer_id"]
            assert entry["signer_id"] == first
            assert entry["subject"] == app.state.context.store.read_now(signers.key_of, "default", first)
            assert back or first == "b"

    asyncio.run(scenario())


@pytest.mark.both_databases
def test_enrolments_of_one_signer_at_the_same_moment_do_not_lock_each_other_out(
    settings: Settings, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_hold = threading.Barrier(2, timeout=1)
    add, may_repeat = references.add, store_module.repeatable
    lost: list[bool] = []

    def add_together(*args: Any) -> Any:
        with suppress(
            threading.BrokenBarrierError
        ):  # one waits for the other before it gets here, as it should
            both_hold.wait()
        return add(*args)

    def repeatable(error: Any) -> bool:
        lost.append(may_repeat(error))
        return lost[-1]

    async def scenario() -> None:
        async with enrolled(settings, draw) as (app, client):
            monkeypatch.setattr(references, "add", add_together)
            monkeypatch.setattr(store_module, "repeatable", repeatable)
            answers = await asyncio.gather(
                *(client.post("/signers/a/references", files={"files": draw(1, n)}) for n in (2, 3))
            )
            assert [answer.status_code for answer in answers] == [201, 201]
            assert lost == []
            assert rows(app, ReferenceRow) == 3

    asyncio.run(scenario())


def test_an_erasure_sees_what_it_waited_for_whatever_the_server_s_isolation_level_is(
    settings: Settings, draw: Draw, postgres: Postgres
) -> None:
    name = postgres.new_database()
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")

    async def scenario() -> None:
        async with enrolled(settings, draw, database_url=postgres.url(name)) as (app, client):
            await REQUESTS["verify"](client, draw)
            store = app.state.context.store
            key = store.read_now(signers.key_of, "default", "a")
            started, go_on = threading.Event(), threading.Event()

            def write(session: Session) -> None:
                write_verification(session, key, "01a20000-0000-7000-8000-000000000000")
                started.set()
                assert go_on.wait(20)

            writing = asyncio.create_task(asyncio.to_thread(store.write_now, write))
            await asyncio.to_thread(started.wait, 20)
            erasing = asyncio.create_task(client.delete("/signers/a"))
            await asyncio.sleep(0.3)
            go_on.set()
            await writing
            assert (await erasing).status_code == 204
            assert not any(rows(app, table) for table in (SignerRow, *BIOMETRIC))

    asyncio.run(scenario())


# What 503 and 500 promise


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


# What the service does by itself


@pytest.mark.parametrize(
    "stage",
    [
        "app.store.engine._probe",
        "app.store.maintenance.ErasureWatch.synchronize",
        "app.services.api_keys.ApiKeyCache.open",
        "app.main.DecoderPool",
        "app.main.load_embedder",
        "app.main.DecoderPool.check",
        "app.services.audit.anchors.AnchorWriter.open",
        "app.main.InferenceQueue.start",
    ],
)
def test_a_start_that_fails_half_way_leaves_nothing_open(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    refusal = StartRefused if "store" not in stage else RuntimeError  # whatever it is that fails

    def fails(*_: Any, **__: Any) -> None:
        raise refusal("no")

    monkeypatch.setattr("app.main.DecoderPool", DecoderPool)  # not the one that the tests share
    monkeypatch.setattr(stage, fails)
    traces = Mock()
    monkeypatch.setattr("app.main.open_traces", lambda *_: traces)
    threads = set(threading.enumerate())
    children = set(psutil.Process().children())

    async def scenario() -> None:
        with pytest.raises(refusal, match="no"):
            async with running(settings, otlp_endpoint="http://localhost:4318"):
                pass

    asyncio.run(scenario())
    traces.shutdown.assert_called_once()
    assert set(psutil.Process().children()) == children
    left = [thread for thread in set(threading.enumerate()) - threads if "watch" not in thread.name]
    for thread in left:
        thread.join(1.0)  # the rate limits have a timer of ten milliseconds
    assert not [thread.name for thread in left if thread.is_alive()]
    database = settings.database_url.removeprefix("sqlite:///")
    assert database not in {file.path for file in psutil.Process().open_files()}


def test_upkeep_compares_everything_with_the_tombstones_only_when_a_backup_may_be_back(
    settings: Settings, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    find_restored = tombstones.find_restored
    monkeypatch.setattr(tombstones, "find_restored", lambda *args: compared.append(1) or find_restored(*args))

    async def scenario() -> None:
        async with enrolled(settings, draw) as (app, client):
            store = app.state.context.store
            watch = maintenance.ErasureWatch(store, app.state.context.trail.erased_again)
            compared.clear()
            assert (watch.synchronize(), watch.synchronize(), len(compared)) == (0, 0, 1), "the first time"
            await enrol_async(client, draw(2, 0))
            key = store.read_now(signers.key_of, "default", "a")
            tombstone = store.read_now(
                lambda session: tombstones.add_tombstone(session, "signer", key)
            )  # in the log alone
            assert (await client.delete("/signers/none")).status_code == 204
            assert (watch.synchronize(), len(compared)) == (0, 1)
            store.erasure_log.append([tombstone])
            assert (watch.synchronize(), len(compared)) == (1, 2), "as after a backup"
            assert (await client.get("/signers/a")).status_code == 404
            watch.synchronize()  # which sees what the look before has done
            monkeypatch.setattr(store.erasure_log, "read", lambda: pytest.fail("nothing has changed"))
            watch.synchronize()

    asyncio.run(scenario())


def test_what_came_back_is_erased_also_where_the_first_attempt_failed(
    settings: Settings, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whichever process looks next, as its own start has compared everything already."""
    erase = tombstones.erase_again

    def fails(*_: Any) -> None:
        raise StoreUnavailable("The store cannot be used at the moment.")

    async def scenario() -> None:
        async with enrolled(settings, draw) as (app, client):
            store, note = app.state.context.store, app.state.context.trail.erased_again
            one, two = (maintenance.ErasureWatch(store, note, compared=True) for _ in range(2))
            key = store.read_now(signers.key_of, "default", "a")
            store.erasure_log.append(
                [store.read_now(lambda session: tombstones.add_tombstone(session, "signer", key))]
            )
            monkeypatch.setattr(tombstones, "erase_again", fails)
            with pytest.raises(StoreUnavailable):
                one.synchronize()
            monkeypatch.setattr(tombstones, "erase_again", erase)
            assert (two.synchronize(), one.synchronize()) == (1, 0)
            assert (await client.get("/signers/a")).status_code == 404
            assert not any(rows(app, table) for table in BIOMETRIC)

    asyncio.run(scenario())


def test_readiness_that_is_asked_for_often_looks_once(
    settings: Settings, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []
    look = health._check

    def counted(*args: Any) -> list[str]:
        looks.append(True)
        time.sleep(1.0)  # until all have asked
        return look(*args)

    async def scenario() -> None:
        async with enrolled(settings, draw) as (app, client):
            monkeypatch.setattr(health, "_check", counted)
            monkeypatch.setattr(condition, "HEALTHY_FOR_S", 30.0)

            async def ask() -> set[int]:
                answers = await asyncio.gather(*(client.get("/readyz") for _ in range(20)))
                return {answer.status_code for answer in answers}

            assert (await ask(), await ask(), len(looks)) == ({200}, {200}, 1)
            cipher = app.state.context.store.cipher
            place = Place("template", "default", "a", "r", "m")
            cipher._unreadable[place] = "damaged"
            monkeypatch.setattr(reencryption, "is_readable", lambda *_: False)
            assert (await ask(), len(looks)) == ({503}, 2), "what is damaged is told at once"
            cipher.forget(place)
            assert (await ask(), len(looks)) == ({200}, 2)
            app.state.context.store.condition.write_failed()
            assert (await ask(), len(looks)) == ({200}, 3), "a failure has it look again"

    asyncio.run(scenario())


def test_a_probe_of_readiness_decrypts_a_few_rows_and_gets_to_all(
    settings: Settings, draw: Draw, monkeypatch: Any
) -> None:
    async def scenario() -> None:
        async with enrolled(settings, draw) as (app, client):
            cipher = app.state.context.store.cipher
            for number in range(95):
                cipher._unreadable[Place("template", "default", "a", f"r{number:02d}", "m")] = "damaged"
            tried: list[Place] = []
            monkeypatch.setattr(reencryption, "is_readable", lambda _, place: tried.append(place))
            for probe in range(1, 11):
                assert (await client.get("/readyz")).status_code == 503
                assert len(tried) == min(10 * probe, 100)
            assert len(set(tried)) == 95
            monkeypatch.setattr(reencryption, "is_readable", lambda _, place: True)
            for _ in range(10):
                answer = await client.get("/readyz")
            assert answer.status_code == 200

    asyncio.run(scenario())
