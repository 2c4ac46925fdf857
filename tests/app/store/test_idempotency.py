"""Retries get the answer of the first request: at other replicas, after restarts and concurrently."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.store.conftest import Draw, Sql, enrol, verify

pytestmark = pytest.mark.both_databases
Serve = Callable[..., TestClient]
KEY = {"Idempotency-Key": "card-4711"}


def test_another_replica_returns_the_first_answer(serve: Serve, draw: Draw, sql: Sql) -> None:
    one, two = serve(), serve()
    first = enrol(one, "a", draw(1, 0), draw(1, 1), headers=KEY)
    again = enrol(two, "a", draw(1, 0), draw(1, 1), headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    cheque = {"Idempotency-Key": "cheque-1"}
    told = verify(two, "a", draw(1, 2), headers=cheque)
    assert verify(one, "a", draw(1, 2), headers=cheque).content == told.content
    assert len(sql("SELECT 1 FROM verifications")) == 1
    assert len(sql('SELECT 1 FROM "references"')) == 2


@pytest.mark.parametrize("changed", ["file", "signer", "order", "call"])
def test_a_changed_request_under_the_same_key_is_a_conflict(
    serve: Serve, draw: Draw, sql: Sql, changed: str
) -> None:
    one, two = serve(), serve()
    images = [draw(1, 0), draw(1, 1)]
    enrol(one, "a", *images, headers=KEY)
    response = {
        "file": lambda: enrol(two, "a", draw(1, 0), draw(1, 2), headers=KEY),
        "signer": lambda: enrol(two, "b", *images, headers=KEY),
        "order": lambda: enrol(two, "a", *reversed(images), headers=KEY),
        "call": lambda: verify(two, "a", draw(1, 0), headers=KEY),
    }[changed]()
    assert (response.status_code, response.json()["code"]) == (409, "idempotency-conflict")
    assert len(sql('SELECT 1 FROM "references"')) == 2
    assert sql("SELECT 1 FROM verifications") == []


@pytest.mark.parametrize("call", ["enrol", "verify"])
def test_concurrent_identical_requests_at_two_replicas_are_carried_out_once(
    serve: Serve, draw: Draw, sql: Sql, call: str
) -> None:
    replicas = [serve(), serve()]
    if call == "verify":
        enrol(replicas[0], "a", draw(1, 0))
    rounds, callers = 5, 6
    for n in range(rounds):
        key = {"Idempotency-Key": f"key-{n}"}
        barrier = threading.Barrier(callers)

        def send(which: int, n: int = n, key: Any = key, barrier: threading.Barrier = barrier) -> Any:
            barrier.wait()
            client = replicas[which % 2]
            if call == "enrol":
                return enrol(client, f"new-{n}", draw(2, n), draw(3, n), headers=key)
            return verify(client, "a", draw(1, 1 + n), headers=key)

        with ThreadPoolExecutor(callers) as pool:
            answers = list(pool.map(send, range(callers)))
        assert {a.status_code for a in answers} == {201 if call == "enrol" else 200}, [
            a.text for a in answers
        ]
        assert len({a.content for a in answers}) == 1
    if call == "enrol":
        assert len(sql('SELECT 1 FROM "references"')) == 2 * rounds
        assert len(sql("SELECT 1 FROM signers")) == rounds
    else:
        assert len(sql("SELECT 1 FROM verifications")) == rounds


def test_of_two_concurrent_requests_with_the_same_key_one_is_refused(
    serve: Serve, draw: Draw, sql: Sql
) -> None:
    replicas = [serve(), serve()]
    barrier = threading.Barrier(2)

    def send(which: int) -> int:
        barrier.wait()
        return int(enrol(replicas[which], "a", draw(1, which), headers=KEY).status_code)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(send, range(2))) == [201, 409]
    assert len(sql('SELECT 1 FROM "references"')) == 1


def test_answers_survive_a_restart(start: Callable[..., Any], draw: Draw) -> None:
    import httpx  # noqa: PLC0415

    first = start().ready()
    with httpx.Client(base_url=first.url, timeout=60) as client:
        told = enrol(client, "a", draw(1, 0), headers=KEY)
    first.process.kill()  # the client may not have received the answer
    first.finish()
    with httpx.Client(base_url=start().ready().url, timeout=60) as client:
        again = enrol(client, "a", draw(1, 0), headers=KEY)
        assert again.json() == told.json()
        assert client.get("/signers/a").json()["references"] == 1


def test_the_key_of_a_failed_request_can_be_used_again(enrolled: TestClient, draw: Draw) -> None:
    assert enrol(enrolled, "writer-1", draw(1, 0), headers=KEY).json()["code"] == "duplicate-reference"
    assert enrol(enrolled, "writer-1", draw(1, 6), headers=KEY).status_code == 201


def test_a_damaged_answer_is_reported_and_the_request_is_not_repeated(
    enrolled: TestClient, draw: Draw, sql: Sql
) -> None:
    verify(enrolled, "writer-1", draw(1, 5), headers=KEY)
    sql("UPDATE idempotency SET sealed = :data", data=b"\x01damaged")
    response = verify(enrolled, "writer-1", draw(1, 5), headers=KEY)
    assert (response.status_code, response.json()["code"]) == (500, "stored-data-damaged")
    assert len(sql("SELECT 1 FROM verifications")) == 1
