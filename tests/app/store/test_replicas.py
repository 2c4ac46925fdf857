"""Replicas on one database: no write is lost or duplicated, and every replica sees the changes of the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.domain.ids import new_id
from app.domain.records import now
from app.store import change_counters, signer_locks
from app.store.engine import open_engine
from tests.app.store.conftest import Draw, Sql, enrol, verify
from tests.fixtures import Database
from tests.forked import server
from tests.postgres import Postgres

pytestmark = pytest.mark.both_databases
Serve = Callable[..., TestClient]


def test_concurrent_enrolments_of_one_new_signer_at_two_replicas_are_all_stored(
    serve: Serve, draw: Draw, sql: Sql
) -> None:
    replicas = [serve(), serve()]
    images = [draw(n % 6, n) for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: enrol(replicas[n % 2], "new", images[n]), range(len(images))))
    assert {a.status_code for a in answers} == {201}
    assert len(sql("SELECT 1 FROM signers")) == 1
    for replica in replicas:
        assert replica.get("/signers/new").json()["references"] == len(images)
        assert len(verify(replica, "new", draw(1, 1)).json()["references"]) == len(images)
    ((sequence,),) = sql("SELECT sequence FROM tenants WHERE tenant_id = 'default'")
    assert sequence == len(images), "each change has its own number"


def test_the_same_image_enrolled_at_two_replicas_is_one_reference(serve: Serve, draw: Draw, sql: Sql) -> None:
    replicas = [serve(), serve()]
    for n in range(4):
        with ThreadPoolExecutor(4) as pool:
            codes = list(
                pool.map(lambda i, n=n: enrol(replicas[i % 2], "a", draw(1, n)).status_code, range(4))
            )
        assert sorted(codes) == [201, 409, 409, 409]
    assert len(sql('SELECT 1 FROM "references"')) == 4


def test_concurrent_erasure_and_enrolment_leave_no_partial_data(serve: Serve, draw: Draw, sql: Sql) -> None:
    replicas = [serve(), serve()]
    for n in range(6):
        enrol(replicas[0], "a", draw(1, n))
        with ThreadPoolExecutor(2) as pool:
            erased = pool.submit(replicas[0].delete, "/signers/a")
            added = pool.submit(enrol, replicas[1], "a", draw(2, n))
            assert erased.result().status_code == 204
            # 409 signer-erased: the enrolment had found the signer before the erasure.
            assert added.result().status_code in {201, 409}, added.result().text
        shown = replicas[1].get("/signers/a")
        if shown.status_code == 200:
            assert shown.json()["references"] == 1
        assert len(sql('SELECT 1 FROM "references"')) == len(sql("SELECT 1 FROM templates"))
        replicas[0].delete("/signers/a")
    assert sql('SELECT 1 FROM "references"') == sql("SELECT 1 FROM reference_images") == []


def test_the_index_of_every_replica_follows_all_changes(serve: Serve, draw: Draw) -> None:
    replicas = [serve(), serve(), serve()]

    def seen(replica: TestClient) -> set[str]:
        found = replica.post("/identify", files={"signature": draw(9, 9)}, data={"top_k": 100})
        return {c["signer_id"] for c in found.json().get("candidates", [])}

    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            seen(replicas[2])

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for n in range(6):
            with ThreadPoolExecutor(4) as pool:
                names = [f"s{n}-{i}" for i in range(4)]
                images = [draw(i, n) for i in range(4)]
                list(pool.map(enrol, [replicas[0], replicas[1]] * 2, names, images))
            replicas[n % 2].delete(f"/signers/s{n}-0")
            alive = {f"s{m}-{i}" for m in range(n + 1) for i in range(1, 4)}
            assert [seen(replica) for replica in replicas] == [alive] * 3
    finally:
        over.set()
        looking.join()


def test_a_change_number_is_visible_only_after_all_smaller_ones(opened: Callable[..., Any]) -> None:
    """A reader that sees number n sees all changes up to n, because numbers are assigned under a lock."""
    one, two = opened(), opened()
    order: list[int] = []
    entered, may_go = threading.Event(), threading.Event()

    def slow(session: Any) -> int:
        key = signer_locks.lock_or_create(session, "t", "slow", None, now()).key
        change_counters.touch(session, "t", key)
        entered.set()
        may_go.wait(20)
        return change_counters.sequence(session, "t")

    def quick(session: Any) -> int:
        key = signer_locks.lock_or_create(session, "t", "quick", None, now()).key
        change_counters.touch(session, "t", key)
        return change_counters.sequence(session, "t")

    one.write_now(lambda session: change_counters.touch(session, "t", new_id()))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.write_now, slow)
        assert entered.wait(10)
        second = pool.submit(two.write_now, quick)
        second.add_done_callback(lambda _: order.append(2))
        first.add_done_callback(lambda _: order.append(1))
        assert two.read_now(change_counters.sequence, "t") == 1, "uncommitted changes are not counted"
        assert not second.done()
        may_go.set()
        assert (first.result(20), second.result(20)) == (2, 3)
    assert order == [1, 2]
    assert len(two.read_now(change_counters.changed_since, "t", 1)) == 2


def open_together(url: str, barrier: Barrier) -> None:
    """Open the database at the same moment as other processes do."""
    barrier.wait(60)
    open_engine(url, 1).dispose()


def test_replicas_that_start_concurrently_migrate_once(
    database: Database, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if database.is_sqlite:
        url = f"sqlite:///{tmp_path}/fresh/store.db"
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.url(postgres.new_database())
    barrier = server().Barrier(4)
    starting = [server().Process(target=open_together, args=(url, barrier)) for _ in range(4)]
    for process in starting:
        process.start()
    for process in starting:
        process.join(60)
        process.kill()
    assert [process.exitcode for process in starting] == [0] * 4
    engine = open_engine(url, 1)
    with engine.connect() as connection:
        assert len(connection.exec_driver_sql("SELECT version_num FROM alembic_version").all()) == 1
    engine.dispose()
