"""Faults: killed processes, a full disk, a stopped or locked database.

No acknowledged write is lost, no write is stored partially, and the service recovers without a restart.
``CS_TEST_KILLS=20`` kills the service more often than the default of 2.
"""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.orm import Session

from app.settings import Settings
from app.store import engine as store_engine
from app.store import reencryption
from app.store.store import Store
from tests.app.keyed import until
from tests.app.store.conftest import Draw, Sql, enrol, verify
from tests.fixtures import Database
from tests.postgres import Postgres
from tests.service import Service

both = pytest.mark.both_databases
ENROLMENTS = 200
KILLS = int(os.environ.get("CS_TEST_KILLS", "2"))
Start = Callable[..., Service]


def problem(response: Any, status: int, code: str) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (status, code), body
    return str(body["detail"])


class Clerk:
    """Enrols 200 signers with two references each, in four threads; repeats unacknowledged requests."""

    def __init__(self, images: list[bytes]) -> None:
        self.images = images
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.refused: list[str] = []
        self._changed = threading.Condition()

    def wait_for(self, count: int, threads: list[threading.Thread]) -> None:
        """Wait until `count` enrolments have been acknowledged or all threads have ended."""
        with self._changed:
            while len(self.acknowledged) < count and any(thread.is_alive() for thread in threads):
                self._changed.wait(0.5)

    def pair(self, n: int) -> tuple[bytes, bytes]:
        return self.images[n % len(self.images)], self.images[(n + 1) % len(self.images)]

    def work(self, url: str) -> list[threading.Thread]:
        def enrol_every_fourth(first: int) -> None:
            with httpx.Client(base_url=url, timeout=30) as client:
                for n in range(first, ENROLMENTS, 4):
                    name = f"s{n:03}"
                    if name in self.acknowledged:
                        continue
                    try:
                        answer = enrol(client, name, *self.pair(n), headers={"Idempotency-Key": name})
                    except httpx.TransportError:
                        return
                    if answer.status_code == 201:
                        self.acknowledged[name] = answer.json()
                        with self._changed:
                            self._changed.notify_all()
                    else:
                        self.refused.append(answer.text)

        threads = [threading.Thread(target=enrol_every_fourth, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        return threads


@both
@pytest.mark.timeout(900)
def test_sigkill_during_200_enrolments_loses_no_acknowledged_write_and_leaves_no_partial_one(
    start: Start, draw: Draw, sql: Sql, opened: Callable[..., Any]
) -> None:
    chance = random.Random(seed := random.randrange(1 << 32))
    print(f"seed {seed}")
    clerk = Clerk([small(draw(n % 4, n)) for n in range(10)])
    marks = sorted(chance.sample(range(5, ENROLMENTS - 5), KILLS))
    for mark in marks:
        service = start().ready()
        threads = clerk.work(service.url)
        clerk.wait_for(mark, threads)
        time.sleep(chance.uniform(0, 0.05))
        service.process.kill()
        service.finish()
        for thread in threads:
            thread.join()
        check_consistency(sql, clerk)
    service = start().ready()
    for thread in clerk.work(service.url):
        thread.join()
    assert clerk.refused == []
    assert len(clerk.acknowledged) == ENROLMENTS
    check_consistency(sql, clerk)
    assert len(sql('SELECT 1 FROM "references"')) == 2 * ENROLMENTS, "repeated requests add no duplicates"
    with httpx.Client(base_url=service.url, timeout=60) as client:
        for name, told in list(clerk.acknowledged.items())[::10]:
            kept = client.get(f"/signers/{name}/references").json()["references"]
            by_id = {r["reference_id"]: r for r in told["references"]}
            assert {r["reference_id"]: r for r in kept} == by_id
            fetched = [
                client.get(f"/signers/{name}/references/{r['reference_id']}/image").content for r in kept
            ]
            assert set(fetched) == set(clerk.pair(int(name[1:])))
        assert verify(client, "s000", clerk.images[2]).status_code == 200
    store = opened()
    for column in reencryption.SEALED_COLUMNS:
        for outcome in reencryption.check(store, column, store.read_now(reencryption.find_all, column)):
            assert outcome.failed == {}


def check_consistency(sql: Sql, clerk: Clerk) -> None:
    """Check that all acknowledged enrolments are stored and that no enrolment is stored partially."""
    rows = sql(
        "SELECT s.signer_id, r.reference_id, i.reference_id, t.reference_id FROM signers s "
        'LEFT JOIN "references" r ON r.signer_key = s.key '
        "LEFT JOIN reference_images i ON i.reference_id = r.reference_id "
        "LEFT JOIN templates t ON t.reference_id = r.reference_id"
    )
    found: dict[str, set[str]] = {}
    for name, reference, image, template in rows:
        assert reference is not None, name
        assert reference == image == template, name
        found.setdefault(name, set()).add(reference)
    assert {len(ids) for ids in found.values()} <= {2}
    for name, told in clerk.acknowledged.items():
        assert {r["reference_id"] for r in told["references"]} == found[name]
    ((changes,),) = sql("SELECT count(*) FROM changes")
    assert changes == len(found)
    assert sql("SELECT 1 FROM idempotency WHERE sealed IS NULL") == []
    assert len(sql("SELECT 1 FROM idempotency")) == len(found)


def small(image: bytes) -> bytes:
    """Reduce the size of an image, because only the store is tested here."""
    out = io.BytesIO()
    shown = Image.open(io.BytesIO(image)).convert("L")
    shown.thumbnail((260, 260))
    shown.save(out, "PNG")
    return out.getvalue()


def bulky(image: bytes) -> bytes:
    """Enlarge an image to half a megabyte."""
    out = io.BytesIO()
    Image.open(io.BytesIO(image)).convert("L").resize((1000, 500)).save(out, "BMP")
    return out.getvalue()


@pytest.fixture
def fill_disk(
    database: Database, request: pytest.FixtureRequest
) -> Iterator[Callable[[Service], Callable[[], None]]]:
    """``relieve = fill_disk(service)``: the files of the database cannot grow until ``relieve()`` is called.

    A limit on the file size simulates a full disk. It does not require root privileges and can be removed.
    """
    if database.is_sqlite:

        def fill(service: Service) -> Callable[[], None]:
            pid, what = service.process.pid, resource.RLIMIT_FSIZE
            _, most = resource.prlimit(pid, what)
            resource.prlimit(pid, what, (Path(database.name).stat().st_size, most))
            return lambda: resource.prlimit(pid, what, (most, most)) and None

        yield fill
        return
    server: Postgres = request.getfixturevalue("postgres")

    def fill_server(_: Service) -> Callable[[], None]:
        server.limit_files(str(1 << 20))
        return lambda: server.limit_files("unlimited")

    yield fill_server
    server.limit_files("unlimited")


@both
def test_a_full_disk_is_reported_and_the_service_recovers_when_space_is_freed(
    start: Start, draw: Draw, sql: Sql, fill_disk: Callable[[Service], Callable[[], None]]
) -> None:
    service = start().ready()
    images = [bulky(draw(n % 5, n)) for n in range(12)]
    with httpx.Client(base_url=service.url, timeout=30) as client:
        assert enrol(client, "a", draw(1, 0), draw(1, 1)).status_code == 201
        relieve = fill_disk(service)
        kept = 0
        for n, image in enumerate(images):  # the first ones may still fit
            response = enrol(client, f"b{n}", image)
            if response.status_code != 201:
                break
            kept += 1
        assert "disk is full or failing" in problem(response, 503, "store-unavailable")
        assert int(response.headers["Retry-After"]) > 0
        problem(client.get("/readyz"), 503, "store-unavailable")
        assert client.get("/livez").status_code == 200, (
            "the process is alive, because a restart would not help"
        )
        assert client.get("/signers/a").json()["references"] == 2, "stored data can be read"
        relieve()
        assert client.get("/readyz").status_code == 200
        assert enrol(client, f"b{kept}", images[kept]).status_code == 201
        assert verify(client, "a", draw(1, 2)).status_code == 200
    assert len(sql('SELECT 1 FROM "references"')) == 2 + kept + 1
    assert len(sql("SELECT 1 FROM signers")) == 1 + kept + 1, "no signer without references"
    assert service.process.poll() is None


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """A PostgreSQL server that a test may stop."""
    server = Postgres().start()
    yield server
    server.close()


def test_the_service_recovers_when_the_database_returns(
    serve: Callable[..., TestClient], own_server: Postgres, draw: Draw
) -> None:
    client = serve(database_url=own_server.url(own_server.new_database()))
    assert enrol(client, "a", draw(1, 0), draw(1, 1)).status_code == 201
    for stop_signal in (signal.SIGINT, signal.SIGQUIT):  # shutdown, crash
        own_server.stop(stop_signal)
        begin = time.monotonic()
        problem(client.get("/signers"), 503, "store-unavailable")
        problem(verify(client, "a", draw(1, 2)), 503, "store-unavailable")
        detail = problem(enrol(client, "b", draw(2, 0)), 503, "store-unavailable")
        assert "connection" in detail or "cannot be reached" in detail
        assert str(own_server.folder) not in detail, (
            "the location of the database must appear in the log only"
        )
        problem(client.get("/readyz"), 503, "store-unavailable")
        assert client.get("/livez").status_code == 200
        assert time.monotonic() - begin < 5
        own_server.start()
        assert client.get("/readyz").status_code == 200
        assert verify(client, "a", draw(1, 2)).status_code == 200
    assert enrol(client, "b", draw(2, 0)).status_code == 201


def test_acknowledged_enrolments_survive_a_crash_of_the_database(
    serve: Callable[..., TestClient], own_server: Postgres, draw: Draw
) -> None:
    name = own_server.new_database()
    client = serve(database_url=own_server.url(name))
    acknowledged: list[str] = []
    over = threading.Event()

    def work() -> None:
        n = 0
        while not over.is_set():
            signer = f"s{n}"
            if enrol(client, signer, draw(n % 5, n % 20)).status_code == 201:
                acknowledged.append(signer)
            n += 1

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(2):
        before = len(acknowledged)
        while len(acknowledged) < before + 10:
            time.sleep(0.005)
        own_server.stop(signal.SIGQUIT)
        own_server.start()
    over.set()
    worker.join()
    rows = own_server.execute(
        'SELECT s.signer_id FROM signers s JOIN "references" r ON r.signer_key = s.key '
        "JOIN reference_images USING (reference_id) JOIN templates USING (reference_id)",
        name,
    )
    assert {str(row[0]) for row in rows} >= set(acknowledged)
    assert len(rows) == own_server.execute("SELECT count(*) FROM signers", name)[0][0]


def test_terminated_connections_are_replaced(
    serve: Callable[..., TestClient], own_server: Postgres, draw: Draw
) -> None:
    client = serve(database_url=own_server.url(own_server.new_database()))
    assert enrol(client, "a", draw(1, 0)).status_code == 201
    own_server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'countersign'"
    )
    assert client.get("/signers/a").status_code == 200
    assert verify(client, "a", draw(1, 1)).status_code == 200


@both
def test_a_value_that_the_database_cannot_store_is_a_client_error(enrolled: TestClient) -> None:
    response = enrolled.get("/signers/writer-1/references/%00")
    assert response.status_code in {400, 404}
    assert enrolled.get("/verifications/%00").status_code in {400, 404}


def test_a_database_file_locked_by_another_program_is_reported_as_busy(
    settings: Settings,
    serve: Callable[..., TestClient],
    draw: Draw,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sqlite3  # noqa: PLC0415

    monkeypatch.setattr(store_engine, "BUSY_TIMEOUT_S", 0.2)
    client = serve()
    enrol(client, "a", draw(1, 0))
    intruder = sqlite3.connect(settings.database_url.removeprefix("sqlite:///"), isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    assert "busy" in problem(enrol(client, "b", draw(2, 0)), 503, "store-unavailable")
    assert client.get("/signers/a").status_code == 200
    intruder.execute("ROLLBACK")
    intruder.close()
    assert enrol(client, "b", draw(2, 0)).status_code == 201
    assert client.get("/readyz").status_code == 200


@both
def test_a_shutdown_completes_or_rolls_back_a_write_in_progress(
    start: Start, draw: Draw, sql: Sql, database: Database
) -> None:
    """Another program holds a lock until the grace period of the shutdown is over.

    On PostgreSQL, it locks a row that the transaction needs: the write has begun, and is committed or rolled back. On
    SQLite, it locks the database: the write has not begun, and must not begin.
    """
    service = start(shutdown_grace_s="4", deadline_s="4").ready()
    with httpx.Client(base_url=service.url, timeout=60) as client:
        assert enrol(client, "a", draw(1, 0)).status_code == 201
        url = make_url(database.url)
        intruder = create_engine(url if database.is_sqlite else url.set(drivername="postgresql+psycopg"))
        with intruder.connect() as connection, ThreadPoolExecutor(1) as caller:
            if database.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(text("SELECT 1 FROM signers FOR UPDATE"))
            answer = caller.submit(verify, client, "a", draw(1, 1))
            time.sleep(0.7)
            if not database.is_sqlite:
                until(lambda: sql("SELECT 1 FROM pg_locks WHERE NOT granted"), 20)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(6)
            connection.rollback()
            try:
                told = answer.result(60)
            except httpx.RemoteProtocolError:
                told = None
        intruder.dispose()
    status, output = service.finish()
    assert status in {0, -signal.SIGTERM}, output
    kept = len(sql("SELECT 1 FROM verifications"))
    if database.is_sqlite:
        assert told is not None, output
        assert (told.status_code, kept) == (503, 0), (told.text, output)
    else:  # the connection may break; then the write is stored completely or not at all
        assert told is None or (told.status_code, kept) == (200, 1), (told and told.text, output)
        assert kept == len(sql("SELECT 1 FROM audit WHERE action = 'verify'")) <= 1, output


def test_writers_of_one_process_wait_for_each_other_without_a_timeout(
    opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_engine, "BUSY_TIMEOUT_S", 0.1)
    store = opened()

    def slow(session: Session) -> None:
        session.execute(text("UPDATE tenants SET sequence = sequence WHERE tenant_id = '-nobody-'"))
        time.sleep(0.1)

    with ThreadPoolExecutor(6) as threads:
        for write in [threads.submit(store.write_now, slow) for _ in range(6)]:
            write.result()
