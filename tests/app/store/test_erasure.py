"""Erasure: erased data are removed from the files, and erased again after a backup has been restored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.domain.records import now
from app.store import engine
from app.store.encryption.data_keys import new_key_text
from app.store.erasure.log import ErasureLog
from app.store.erasure.tombstones import Erasure
from tests.app.store.conftest import Draw, Sql, enrol, verify
from tests.fixtures import TEST_KEY, Database
from tests.postgres import Postgres

pytestmark = pytest.mark.both_databases
Backup = Callable[[], Callable[[], None]]


@pytest.fixture
def backup(database: Database, request: pytest.FixtureRequest) -> Iterator[Backup]:
    """``restore = backup()`` copies the database, ``restore()`` restores it; the service must be stopped for both."""
    dropped: list[str] = []

    def sqlite() -> Callable[[], None]:
        copy = Path(f"{database.name}.backup")
        shutil.copy(database.name, copy)

        def restore() -> None:
            for rest in ("-wal", "-shm"):
                Path(database.name + rest).unlink(missing_ok=True)
            shutil.copy(copy, database.name)

        return restore

    def server() -> Callable[[], None]:
        postgres: Postgres = request.getfixturevalue("postgres")
        copy = postgres.new_database(database.name)
        dropped.append(copy)

        def restore() -> None:
            postgres.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
            postgres.execute(f"CREATE DATABASE {database.name} TEMPLATE {copy}")

        return restore

    yield sqlite if database.is_sqlite else server
    for name in dropped:
        request.getfixturevalue("postgres").execute(f"DROP DATABASE {name} WITH (FORCE)")


class Restarts:
    """Runs one service after another on the same store."""

    def __init__(self, serve: Callable[..., Any]) -> None:
        self._serve = serve
        self.client: TestClient | None = None

    def start(self, **changes: object) -> TestClient:
        self.client = self._serve(**changes)
        return self.client

    def stop(self) -> None:
        assert self.client is not None
        self.client.__exit__(None, None, None)


@pytest.fixture
def restarts(settings: Any) -> Iterator[Restarts]:
    from app.main import create_app  # noqa: PLC0415

    def serve(**changes: object) -> TestClient:
        made = TestClient(create_app(settings.model_copy(update=changes)), client=("127.0.0.1", 50_000))
        made.__enter__()
        return made

    restarts = Restarts(serve)
    yield restarts
    if restarts.client is not None:
        restarts.stop()


def test_erased_signers_are_erased_again_after_a_backup_is_restored(
    restarts: Restarts, backup: Backup, draw: Draw, tmp_path: Path, sql: Sql
) -> None:
    days = {"keep_questioned_days": 30}
    client = restarts.start(**days)
    for name in ("alice", "bob"):
        enrol(client, name, draw(1, 0), draw(1, 1), headers={"Idempotency-Key": name})
        verify(client, name, draw(1, 3))
    kept = client.get("/signers/bob/references").json()["references"][0]["reference_id"]
    restarts.stop()
    restore = backup()

    client = restarts.start(**days)
    assert client.delete("/signers/alice").status_code == 204
    assert client.delete(f"/signers/bob/references/{kept}").status_code == 204
    restarts.stop()
    restore()
    assert {row[0] for row in sql("SELECT signer_id FROM signers")} == {"alice", "bob"}, (
        "the backup contains them"
    )
    assert sql("SELECT * FROM tombstones") == [], "the backup is older than the erasures"

    client = restarts.start(**days)
    assert client.get("/signers/alice").status_code == 404
    assert client.get("/signers/bob").json()["references"] == 1
    found = client.post("/identify", files={"signature": draw(1, 2)}).json()
    assert [c["signer_id"] for c in found["candidates"]] == ["bob"]
    assert len(sql("SELECT 1 FROM reference_images")) == len(sql("SELECT 1 FROM templates")) == 1
    assert len(sql("SELECT 1 FROM questioned_images")) == 1
    repeated = enrol(client, "alice", draw(1, 0), draw(1, 1), headers={"Idempotency-Key": "alice"})
    assert repeated.json()["code"] == "idempotency-conflict", "a late retry does not enrol the signer again"
    log = (tmp_path / "erasures").read_text()
    assert len(log.splitlines()) == 2
    assert "alice" not in log
    assert kept not in log


def test_doctor_reports_erased_data_in_a_restored_backup_and_the_named_command_erases_them(
    restarts: Restarts, backup: Backup, command: Callable[..., Any], draw: Draw, sql: Sql
) -> None:
    client = restarts.start()
    enrol(client, "alice", draw(1, 0))
    restarts.stop()
    restore = backup()
    client = restarts.start()
    client.delete("/signers/alice")
    restarts.stop()
    restore()

    ran = command("doctor", "--json")
    assert ran.returncode == 1
    (fault,) = [found for found in map(json.loads, ran.stdout.splitlines()) if found["fix"]]
    assert "1 erased" in fault["what"]
    assert sql("SELECT signer_id FROM signers") == [("alice",)], "doctor changes nothing"
    assert command(*fault["fix"].removeprefix("python -m app ").split()).returncode == 0
    assert sql("SELECT signer_id FROM signers") == []
    assert command("doctor").returncode == 0


def test_a_signer_enrolled_again_after_the_erasure_is_not_affected(
    restarts: Restarts, command: Callable[..., Any], draw: Draw
) -> None:
    client = restarts.start()
    enrol(client, "alice", draw(1, 0))
    client.delete("/signers/alice")
    enrol(client, "alice", draw(1, 0))
    restarts.stop()
    client = restarts.start()
    assert client.get("/signers/alice").json()["references"] == 1
    applied = command("erasures", "apply")
    assert applied.stdout.startswith("1 erasures are on record; 0 "), applied.stderr
    assert client.get("/signers/alice").json()["references"] == 1


def test_a_log_in_another_place_is_applied_by_command(
    restarts: Restarts, backup: Backup, command: Callable[..., Any], draw: Draw, tmp_path: Path
) -> None:
    client = restarts.start()
    enrol(client, "alice", draw(1, 0))
    restarts.stop()
    restore = backup()
    restarts.start().delete("/signers/alice")
    restarts.stop()
    restore()
    elsewhere = tmp_path / "elsewhere"
    shutil.move(tmp_path / "erasures", elsewhere)  # as if the log had been lost, or restored as well
    client = restarts.start()
    assert client.get("/signers/alice").status_code == 200
    applied = command("erasures", "apply", "--log", str(elsewhere))
    assert "1 erasures are on record; 1 " in applied.stdout, applied.stderr
    assert client.get("/signers/alice").status_code == 404
    assert len(ErasureLog(tmp_path / "erasures").read()) == 1


def test_tombstones_survive_a_rotation_and_a_missing_key_is_reported(
    restarts: Restarts, backup: Backup, command: Callable[..., Any], draw: Draw
) -> None:
    client = restarts.start()
    enrol(client, "alice", draw(1, 0))
    enrol(client, "bob", draw(2, 0))
    restarts.stop()
    restore = backup()
    restarts.start().delete("/signers/alice")
    restarts.stop()
    restore()
    client = restarts.start(encryption_keys=SecretStr(f"{TEST_KEY},{new_key_text()}"))
    assert client.get("/signers/alice").status_code == 404
    client.delete("/signers/bob")
    applied = command("erasures", "apply")
    assert applied.returncode == 1
    assert "cannot be applied: add the key" in applied.stderr


def test_an_erasure_that_could_not_be_logged_is_reported_and_logged_later(
    restarts: Restarts, draw: Draw, tmp_path: Path
) -> None:
    client = restarts.start()
    enrol(client, "alice", draw(1, 0))
    log = tmp_path / "erasures"
    log.mkdir()
    response = client.delete("/signers/alice")
    assert (response.status_code, response.json()["code"]) == (500, "erasure-not-logged")
    assert "erased" in response.json()["detail"]
    assert client.get("/signers/alice").status_code == 404
    restarts.stop()
    log.rmdir()
    restarts.start()
    assert len(ErasureLog(log).read()) == 1


def test_an_incomplete_line_of_the_log_does_not_affect_others(
    tmp_path: Path, restarts: Restarts, draw: Draw
) -> None:
    log = tmp_path / "erasures"
    log.write_text('{"kind": "signer", "dige')
    client = restarts.start()
    enrol(client, "alice", draw(1, 0))
    assert client.delete("/signers/alice").status_code == 204
    assert len(ErasureLog(log).read()) == 1


def test_an_erasure_that_is_appended_twice_is_logged_once(tmp_path: Path) -> None:
    log = ErasureLog(tmp_path / "erasures")
    tombstone = Erasure("signer", "digest", "key", now())
    for _ in range(2):
        log.append([tombstone])
    assert len(log.path.read_text().splitlines()) == 1
    assert log.read() == [tombstone]


def test_erased_bytes_are_removed_from_the_files(
    restarts: Restarts,
    draw: Draw,
    sql: Sql,
    files_of: Callable[[], bytes],
    database: Database,
    command: Callable[..., Any],
) -> None:
    client = restarts.start(keep_questioned_days=30)
    for name, writer in (("alice", 1), ("bob", 2)):
        enrol(client, name, draw(writer, 0), draw(writer, 1), headers={"Idempotency-Key": name})
        verify(client, name, draw(writer, 3))
    hers = [
        bytes(row[0])
        for statement in (
            (
                'SELECT i.data FROM reference_images i JOIN "references" r USING (reference_id) '
                "JOIN signers s ON s.key = r.signer_key WHERE s.signer_id = 'alice'"
            ),
            (
                'SELECT t.vector FROM templates t JOIN "references" r USING (reference_id) '
                "JOIN signers s ON s.key = r.signer_key WHERE s.signer_id = 'alice'"
            ),
            (
                "SELECT q.data FROM questioned_images q JOIN verifications v USING (verification_id) "
                "WHERE v.signer_id = 'alice'"
            ),
            "SELECT sealed FROM idempotency WHERE signer_id = 'alice'",
        )
        for row in sql(statement)
    ]
    assert len(hers) == 6
    needles = [data[start : start + 64] for data in hers for start in (0, len(data) // 2, len(data) - 64)]
    before = files_of()
    assert sum(needle in before for needle in needles) > len(needles) // 2
    assert client.delete("/signers/alice").status_code == 204
    if database.is_sqlite:
        after = files_of()
    else:  # PostgreSQL rewrites tables only on command; its write-ahead log keeps pages until it is recycled
        assert command("erasures", "compact").returncode == 0
        after = files_of_tables(files_of, sql)
    assert not any(needle in after for needle in needles)
    assert client.get("/signers/bob").json()["references"] == 2
    assert len(client.get("/verifications").json()["verifications"]) == 2


def files_of_tables(files_of: Callable[[], bytes], sql: Sql) -> bytes:
    """Return the contents of the PostgreSQL tables, without the write-ahead log."""
    tables = ("reference_images", "templates", "questioned_images", "questioned_templates", "idempotency")
    found = b""
    for table in tables:
        ((size,),) = sql(f"SELECT pg_total_relation_size('{table}')")
        assert size > 0
        toast = sql(f"SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = '{table}'::regclass")[0][
            0
        ]
        for relation in (table, toast):
            if relation != "-":
                ((path,),) = sql(f"SELECT pg_read_binary_file(pg_relation_filepath('{relation}'))")
                found += bytes(path)
    return found


def test_a_write_ahead_log_in_use_is_truncated_later(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch, opened: Callable[..., Any]
) -> None:
    tried: list[bool] = []

    def busy(_: object) -> bool:
        tried.append(True)
        return len(tried) > 1

    monkeypatch.setattr("app.store.store.truncate_write_ahead_log", busy)
    store = opened()
    tried.clear()
    store.sweep()
    store.sweep_again()
    store.sweep_again()
    assert len(tried) == 2
    assert engine.truncate_write_ahead_log(store._writer)
