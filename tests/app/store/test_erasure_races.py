"""Erased is erased: whatever happens at the same moment, nothing of the signer is written afterwards."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.domain.records import QuestionedImage
from app.services import enrol as enrolling
from app.services import identify as identifying
from app.services import verify as verifying
from app.settings import Settings
from app.store import (
    change_counters,
    questioned_images,
    questioned_templates,
    references,
    signer_locks,
    signers,
    templates,
)
from app.store import store as store_module
from app.store.tables import (
    ReferenceRow,
    RetryRow,
    SignerRow,
    VerificationRow,
)
from tests.app.http.test_load import enrol_async
from tests.app.keyed import Draw
from tests.app.promises import BIOMETRIC, REQUESTS, enrolled, kept_answers, rows
from tests.postgres import Postgres


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
