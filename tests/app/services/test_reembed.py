"""Moving to another model while serving: nothing is mixed, lost or brought back, wherever it is stopped.

``CS_TEST_KILLS=20`` kills more often than the twice that a usual run has time for.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.commands.common import operator
from app.decoding.pool import DecoderFault, DecoderPool
from app.main import load_embedder
from app.services.audit.trail import Trail
from app.services.open_store import open_store
from app.services.reembed import CHUNK, CHUNK_BYTES, Reembedding, chunks
from app.settings import Settings
from app.store.templates import PendingReference
from model.networks.weights import load_card
from tests.app.keyed import Commands, until
from tests.app.store.conftest import Sql, enrol, verify
from tests.forked import Forked

both = pytest.mark.both_databases
KILLS = int(os.environ.get("CS_TEST_KILLS", "2"))
Serve = Callable[..., TestClient]
Draw = Callable[..., bytes]


@pytest.fixture
def new(other_model_folder: Path) -> str:
    """The version of the new model."""
    return load_card(other_model_folder).version


@pytest.fixture
def move(commands: Commands, other_model_folder: Path) -> Callable[..., Any]:
    """Run ``reembed`` towards the new model, which the service is not set to yet."""
    return lambda *words: commands.run("reembed", "--weights", str(other_model_folder), *words)


def people(client: TestClient, draw: Draw, count: int = 3, each: int = 2, **more: Any) -> None:
    for writer in range(count):
        answer = enrol(client, f"w{writer}", *(draw(writer, n) for n in range(each)), **more)
        assert answer.status_code == 201, answer.text


def templates_by_model(sql: Sql) -> dict[str, int]:
    return dict(tuple(row) for row in sql("SELECT model_version, count(*) FROM templates GROUP BY 1"))


def entries(sql: Sql, action: str = "reembed") -> list[Any]:
    return sql("SELECT * FROM audit WHERE action = :a ORDER BY tenant_id, sequence", a=action)


@both
def test_a_move_before_the_switch_lets_nobody_wait(
    serve: Serve, draw: Draw, move: Any, other_model_folder: Path, new: str, commands: Commands, sql: Sql
) -> None:
    old = serve()
    people(old, draw)
    before = verify(old, "w1", draw(1, 7)).json()
    codes: set[int] = set()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            codes.add(verify(old, "w1", draw(1, 7)).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    result = move()
    over.set()
    asking.join()
    assert result.exit_code == 0, (result.output, result.exception)
    assert "6 references moved" in result.output
    assert codes == {200}
    assert verify(old, "w1", draw(1, 7)).json()["distance"] == before["distance"], (
        "the old model's own templates"
    )

    fresh = serve(weights=other_model_folder)
    answer = verify(fresh, "w1", draw(1, 7)).json()
    assert answer["model_version"] == new
    enrol(fresh, "again", *(draw(1, n) for n in range(2)))
    again = verify(fresh, "again", draw(1, 7)).json()
    assert answer["distance"] == pytest.approx(again["distance"], abs=1e-5), (
        "as if enrolled with the new model"
    )
    assert commands.run("audit", "verify").exit_code == 0


@both
def test_until_a_signer_has_moved_entirely_nothing_is_mixed(
    serve: Serve, draw: Draw, move: Any, other_model_folder: Path, new: str, sql: Sql
) -> None:
    people(serve(), draw, count=2)
    fresh = serve(weights=other_model_folder)
    refused = verify(fresh, "w0", draw(0, 7))
    assert (refused.status_code, refused.json()["code"]) == (409, "model-version-mismatch")
    assert "python -m app reembed" in refused.json()["detail"]
    nobody = fresh.post("/identify", files={"signature": draw(0, 7)})
    assert (nobody.status_code, nobody.json()["code"]) == (409, "nobody-enrolled")
    assert "python -m app reembed" in nobody.json()["detail"]

    added = enrol(fresh, "w0", draw(0, 5))
    assert added.status_code == 201, "nothing is turned away while references are being moved"
    assert added.json()["references"][0]["model_version"] == new
    assert verify(fresh, "w0", draw(0, 7)).status_code == 409, (
        "one moved reference of three is not the signer"
    )
    enrol(fresh, "w9", draw(9, 0))
    seen = fresh.post("/identify", files={"signature": draw(0, 7)}).json()
    assert [c["signer_id"] for c in seen["candidates"]] == ["w9"]
    assert [w["code"] for w in seen["warnings"]] == ["skipped-signers"]

    assert move().exit_code == 0
    answer = verify(fresh, "w0", draw(0, 7)).json()
    assert len(answer["references"]) == 3
    seen = fresh.post("/identify", files={"signature": draw(0, 7)}).json()
    assert {c["signer_id"] for c in seen["candidates"]} == {"w0", "w1", "w9"}, "the index follows by itself"


@both
def test_what_an_old_replica_enrols_meanwhile_is_moved_by_a_later_pass(
    serve: Serve, draw: Draw, move: Any, new: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = serve()
    people(old, draw)
    embedded = Reembedding._embed
    late = iter(["w0", "newcomer"])

    def meanwhile(self: Reembedding, *rest: Any) -> Any:
        made = embedded(self, *rest)
        if (name := next(late, None)) is not None:
            assert enrol(old, name, draw(5, 5)).status_code == 201
        return made

    monkeypatch.setattr(Reembedding, "_embed", meanwhile)
    result = move()
    assert result.exit_code == 0, (result.output, result.exception)
    assert templates_by_model(sql)[new] == 8


@both
def test_what_is_erased_meanwhile_stays_erased(
    serve: Serve, draw: Draw, move: Any, new: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = serve()
    people(old, draw, each=3)
    first = old.get("/signers/w0/references").json()["references"][0]["reference_id"]
    erasing = iter([f"/signers/w0/references/{first}", "/signers/w1"])
    embedded = Reembedding._embed

    def meanwhile(self: Reembedding, *rest: Any) -> Any:
        made = embedded(self, *rest)
        if (path := next(erasing, None)) is not None:
            assert old.delete(path).status_code == 204
        return made

    monkeypatch.setattr(Reembedding, "_embed", meanwhile)
    result = move()
    assert result.exit_code == 0, (result.output, result.exception)
    assert "4 were erased meanwhile" in result.output
    assert templates_by_model(sql)[new] == 5
    assert sql("SELECT 1 FROM templates WHERE reference_id = :r", r=first) == []
    assert old.get("/signers/w1").status_code == 404


@both
def test_each_tenant_has_the_move_on_its_own_audit(
    serve: Serve, draw: Draw, commands: Commands, move: Any, sql: Sql, new: str
) -> None:
    keys = {tenant: commands.key("clerk", "enrol", tenant=tenant) for tenant in ("north", "south")}
    client = serve()
    people(client, draw, count=2, headers=keys["north"])
    people(client, draw, count=1, headers=keys["south"])
    assert move().exit_code == 0
    told = [(row.tenant_id, json.loads(row.details), row.subject) for row in entries(sql)]
    assert [tenant for tenant, *_ in told] == ["default", "north", "north", "south"]
    assert told[0][1] == {"model_version": new, "moved": 6, "dropped": {}, "failed": 0}
    signers = dict(tuple(row) for row in sql("SELECT key, tenant_id FROM signers"))
    for tenant, details, subject in told[1:]:
        assert signers[subject] == tenant
        assert len(details["references"]) == 2
    assert commands.run("audit", "verify").exit_code == 0


@both
@pytest.mark.timeout(900)
def test_kill_9_at_any_moment_and_it_goes_on_where_it_stopped(
    serve: Serve, draw: Draw, commands: Commands, other_model_folder: Path, new: str, sql: Sql
) -> None:
    chance = random.Random(seed := random.randrange(1 << 32))
    print(f"seed {seed}")
    client = serve()
    people(client, draw, count=10, each=8)
    environment = os.environ | commands.environment
    marks = sorted(chance.sample(range(4, 60), KILLS))
    for mark in marks:
        process = Forked("app", "reembed", "--weights", str(other_model_folder), environment=environment)
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            if templates_by_model(sql).get(new, 0) >= mark:
                time.sleep(chance.uniform(0, 0.05))
                break
            time.sleep(0.01)  # each look is a query
        process.kill()
        told = process.communicate()
        moved = templates_by_model(sql).get(new, 0)
        assert mark <= moved <= 80, told
        assert sum(len(json.loads(row.details)["references"]) for row in entries(sql)) == moved, (
            "all or nothing"
        )
        assert verify(client, "w3", draw(3, 9)).status_code == 200
    result = commands.run("reembed", "--weights", str(other_model_folder))
    assert result.exit_code == 0, (result.output, result.exception)
    assert templates_by_model(sql)[new] == 80
    *steps, total = sorted(
        (json.loads(row.details) for row in entries(sql)), key=lambda told: "moved" in told
    )
    ids = [reference for step in steps for reference in step["references"]]
    assert len(ids) == len(set(ids)) == 80, "none twice"
    assert total["moved"] == 80 - moved, "what was done is not done again"
    assert commands.run("audit", "verify").exit_code == 0
    fresh = serve(weights=other_model_folder)
    assert verify(fresh, "w3", draw(3, 9)).status_code == 200


@both
def test_two_at_once_do_nothing_twice(
    serve: Serve,
    draw: Draw,
    settings: Settings,
    other_model_folder: Path,
    new: str,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(serve(), draw)
    embedder = load_embedder(settings.model_copy(update={"weights": other_model_folder}))
    embedded = Reembedding._embed
    both_have_it = threading.Barrier(2, timeout=60)

    def together(self: Reembedding, *rest: Any) -> Any:
        made = embedded(self, *rest)
        both_have_it.wait()
        return made

    monkeypatch.setattr(Reembedding, "_embed", together)

    def run(_: int) -> tuple[int, int]:
        store = open_store(settings)
        readers = DecoderPool(1, patience_s=20)
        try:
            job = Reembedding(store, Trail(settings.chain_keys()), embedder, operator("default"), readers)
            for _step in job.move():
                pass
        finally:
            readers.close()
            store.close()
        return job.outcome.moved, job.outcome.passed_over

    with ThreadPoolExecutor(2) as pool:
        (moved, over), (moved_too, over_too) = pool.map(run, range(2))
    assert moved + moved_too == over + over_too == 6
    assert templates_by_model(sql)[new] == 6


def test_following_moves_what_old_replicas_enrol_until_it_is_stopped(
    serve: Serve, draw: Draw, commands: Commands, other_model_folder: Path, new: str, sql: Sql
) -> None:
    old = serve()
    people(old, draw, count=1)
    words = ("reembed", "--weights", str(other_model_folder), "--follow", "0.2")
    process = Forked("app", *words, environment=os.environ | commands.environment)
    until(lambda: templates_by_model(sql).get(new) == 2, 120)
    enrol(old, "late", draw(4, 4))
    until(lambda: templates_by_model(sql).get(new) == 3, 60)
    process.send_signal(signal.SIGTERM)  # SIGINT is ignored by what a script runs in the background
    told, errors = process.communicate(timeout=60)
    assert process.returncode == 0, (told, errors)
    assert "3 references moved" in told
    assert json.loads(entries(sql)[-1].details)["moved"] == 3


@both
def test_old_templates_are_dropped_when_no_service_is_set_to_their_model(
    serve: Serve, draw: Draw, commands: Commands, move: Any, other_model_folder: Path, new: str, sql: Sql
) -> None:
    people(serve(), draw)
    assert "needs the templates that --drop-old would delete" in commands.refused(
        "reembed", "--weights", str(other_model_folder), "--drop-old"
    )
    switched = {"COUNTERSIGN_WEIGHTS": str(other_model_folder)}
    fresh = serve(weights=other_model_folder)
    result = commands.run("reembed", "--drop-old", **switched)
    assert result.exit_code == 0, (result.output, result.exception)
    assert templates_by_model(sql) == {new: 6}
    assert verify(fresh, "w1", draw(1, 7)).status_code == 200
    shown = fresh.get("/signers/w1/references").json()["references"]
    assert {one["model_version"] for one in shown} == {new}
    assert verify(serve(), "w1", draw(1, 7)).status_code == 409, (
        "the way back is `reembed` with the old weights"
    )
    assert commands.run("reembed").exit_code == 0
    assert verify(serve(), "w1", draw(1, 7)).status_code == 200
    assert commands.run("audit", "verify").exit_code == 0


@both
def test_what_cannot_be_moved_is_named_and_keeps_its_old_template(
    serve: Serve, draw: Draw, commands: Commands, other_model_folder: Path, new: str, sql: Sql
) -> None:
    old = serve()
    people(old, draw)
    first = old.get("/signers/w0/references").json()["references"][0]["reference_id"]
    sql("UPDATE reference_images SET data = :d WHERE reference_id = :r", d=b"\x01" + b"x" * 64, r=first)
    switched = {"COUNTERSIGN_WEIGHTS": str(other_model_folder)}
    result = commands.run("reembed", "--drop-old", **switched)
    assert result.exit_code != 0
    assert "1 references cannot be moved" in str(result.exception)
    assert f"signer w0, reference {first}: The stored value" in result.output
    assert "1 signers keep their old templates" in result.output
    counts = templates_by_model(sql)
    assert counts.pop(new) == 5
    assert list(counts.values()) == [2], "both of w0, so that the old model could still be served"
    assert verify(old, "w0", draw(0, 7)).status_code == 200
    fresh = serve(weights=other_model_folder)
    assert verify(fresh, "w0", draw(0, 7)).status_code == 409
    assert verify(fresh, "w1", draw(1, 7)).status_code == 200


@both
def test_damaged_templates_are_made_anew(serve: Serve, draw: Draw, commands: Commands, sql: Sql) -> None:
    client = serve()
    people(client, draw)
    before = verify(client, "w1", draw(1, 7)).json()["distance"]
    first = client.get("/signers/w1/references").json()["references"][0]["reference_id"]
    sql("UPDATE templates SET vector = :v WHERE reference_id = :r", v=b"\x01" + b"x" * 64, r=first)
    assert verify(client, "w1", draw(1, 7)).status_code == 500
    assert "0 references moved" in commands.run("reembed").output, "what is damaged is not lacking"
    result = commands.run("reembed", "--repair")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "1 references moved" in result.output
    assert verify(client, "w1", draw(1, 7)).json()["distance"] == pytest.approx(before, abs=1e-6)
    assert client.get("/readyz").status_code == 200


def test_no_chunk_is_large() -> None:
    small = [PendingReference(str(n), 1000, 0, "whole") for n in range(CHUNK * 2 + 1)]
    assert [len(chunk) for chunk in chunks(small)] == [CHUNK, CHUNK, 1]
    half = CHUNK_BYTES // 2 + 1
    large = [
        PendingReference(str(n), size, 0, "whole")
        for n, size in enumerate([half, half, CHUNK_BYTES * 2, 1, 1])
    ]
    assert [len(chunk) for chunk in chunks(large)] == [1, 1, 1, 2]
    assert list(chunks([])) == []


def test_images_are_decoded_by_the_reading_processes_and_one_that_breaks_them_fails_alone(
    serve: Serve, draw: Draw, move: Any, new: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(serve(), draw, count=2)
    bad = draw(1, 0)
    read_by_a_process = DecoderPool.read
    read = []

    def breaks(self: DecoderPool, data: bytes, *rest: Any) -> Any:
        read.append(data)
        if data == bad:
            raise DecoderFault("two reading processes died")
        return read_by_a_process(self, data, *rest)

    monkeypatch.setattr(DecoderPool, "read", breaks)
    result = move()
    assert result.exit_code == 1
    assert "two reading processes died" in result.output
    assert set(read) == {draw(writer, n) for writer in range(2) for n in range(2)}
    assert templates_by_model(sql)[new] == 3
