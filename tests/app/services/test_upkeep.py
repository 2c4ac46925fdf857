"""What the service does by itself: a start that fails, tombstones after a restored backup, readiness."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any
from unittest.mock import Mock

import psutil
import pytest

from app.decoding.pool import DecoderPool
from app.domain.errors import StartRefused, StoreUnavailable
from app.settings import Settings
from app.store import (
    condition,
    health,
    maintenance,
    reencryption,
    signers,
)
from app.store.encryption.cipher import Place
from app.store.erasure import tombstones
from tests.app.http.test_load import enrol_async, running
from tests.app.keyed import Draw
from tests.app.promises import BIOMETRIC, enrolled, rows


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


def test_frequent_probes_of_readiness_examine_the_store_once(
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
