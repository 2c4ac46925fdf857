"""Encryption: stored values are encrypted and bound to their rows; keys are rotated while the service runs."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.domain.errors import StartRefused
from app.domain.records import Vector
from app.settings import Settings
from app.store import reencryption
from app.store.encryption.cipher import Cipher, Place
from app.store.encryption.data_keys import DataKey, DataKeys, load_data_keys, new_key_text, write_keys
from app.store.reencryption import SEALED_COLUMNS
from tests.app.store.conftest import Draw, Sql, enrol, verify
from tests.fixtures import TEST_KEY

pytestmark = pytest.mark.both_databases
Command = Callable[..., Any]
SEALED = {
    "reference_images": "data",
    "templates": "vector",
    "questioned_images": "data",
    "questioned_templates": "vector",
    "idempotency": "sealed",
}


def problem(response: Any, status: int, code: str) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    return str(body["detail"])


def test_no_plaintext_is_on_disk(
    serve: Callable[..., TestClient], draw: Draw, sql: Sql, files_of: Callable[[], bytes]
) -> None:
    client = serve(keep_questioned_days=1)
    enrol(client, "a", draw(1, 0), draw(1, 1), headers={"Idempotency-Key": "card"})
    told = verify(client, "a", draw(1, 2), headers={"Idempotency-Key": "cheque"})
    assert told.status_code == 200
    for table, column in SEALED.items():
        rows = sql(f"SELECT key_id, {column} FROM {table}")
        assert rows
        assert {row[0] for row in rows} == {"test"}, table
    kept = files_of()
    for n in range(3):
        assert draw(1, n)[40:200] not in kept
        assert draw(1, n)[-120:-20] not in kept
    assert b'"reference_distances"' not in kept, "a stored answer"
    assert sql("SELECT vector FROM templates")[0][0] in kept, "the search covers the stored values"


def test_images_are_returned_as_uploaded(enrolled: TestClient, draw: Draw) -> None:
    references = enrolled.get("/signers/writer-1/references").json()["references"]
    fetched = {
        enrolled.get(f"/signers/writer-1/references/{r['reference_id']}/image").content for r in references
    }
    assert fetched == {draw(1, 0), draw(1, 1)}


@pytest.mark.parametrize("table", ["reference_images", "templates"])
def test_a_value_moved_to_another_row_is_refused(
    enrolled: TestClient, draw: Draw, sql: Sql, table: str
) -> None:
    column = SEALED[table]
    theirs = [
        enrolled.get(f"/signers/writer-{n}/references").json()["references"][0]["reference_id"]
        for n in (1, 2)
    ]
    ((moved,),) = sql(f"SELECT {column} FROM {table} WHERE reference_id = :id", id=theirs[1])
    sql(f"UPDATE {table} SET {column} = :moved WHERE reference_id = :id", moved=moved, id=theirs[0])
    if table == "templates":
        response = verify(enrolled, "writer-1", draw(1, 5))
    else:
        response = enrolled.get(f"/signers/writer-1/references/{theirs[0]}/image")
    assert theirs[0] in problem(response, 500, "stored-data-damaged")


def test_a_reference_moved_to_another_signer_is_refused(enrolled: TestClient, draw: Draw, sql: Sql) -> None:
    sql(
        "UPDATE \"references\" SET signer_key = (SELECT key FROM signers WHERE signer_id = 'writer-2') "
        "WHERE signer_key = (SELECT key FROM signers WHERE signer_id = 'writer-1')"
    )
    problem(verify(enrolled, "writer-2", draw(1, 5)), 500, "stored-data-damaged")


def test_a_signer_moved_to_another_tenant_is_refused(enrolled: TestClient, draw: Draw, sql: Sql) -> None:
    sql("UPDATE signers SET tenant_id = 'other' WHERE signer_id = 'writer-1'")
    sql("UPDATE signers SET signer_id = 'w' WHERE signer_id = 'writer-2'")
    assert verify(enrolled, "writer-1", draw(1, 5)).status_code == 404
    sql("UPDATE signers SET tenant_id = 'default', signer_id = 'w2' WHERE signer_id = 'writer-1'")
    assert verify(enrolled, "w2", draw(1, 5)).status_code == 200, (
        "values are bound to internal keys, not to the ids of callers"
    )
    sql(
        "UPDATE templates SET model_version = 'other' WHERE reference_id IN (SELECT reference_id FROM templates)"
    )
    assert verify(enrolled, "w2", draw(1, 5)).status_code == 409


def test_a_damaged_row_makes_the_service_unready_until_it_is_restored(
    enrolled: TestClient, draw: Draw, sql: Sql
) -> None:
    reference = enrolled.get("/signers/writer-1/references").json()["references"][0]["reference_id"]
    where = "WHERE reference_id = :id"
    ((whole,),) = sql(f"SELECT vector FROM templates {where}", id=reference)
    damaged = bytes(whole[:-1]) + bytes([whole[-1] ^ 1])
    sql(f"UPDATE templates SET vector = :data {where}", data=damaged, id=reference)
    assert enrolled.get("/readyz").status_code == 200, "the row has not been read yet"
    problem(verify(enrolled, "writer-1", draw(1, 5)), 500, "stored-data-damaged")
    assert verify(enrolled, "writer-2", draw(2, 5)).status_code == 200, "other signers are not affected"
    assert f"template {reference}" in problem(enrolled.get("/readyz"), 503, "store-unavailable")
    found = enrolled.post("/identify", files={"signature": draw(1, 5)}).json()
    assert [c["signer_id"] for c in found["candidates"]] == ["writer-2"]
    assert "skipped-signers" in {w["code"] for w in found["warnings"]}
    sql(f"UPDATE templates SET vector = :data {where}", data=bytes(whole), id=reference)
    assert enrolled.get("/readyz").status_code == 200
    assert verify(enrolled, "writer-1", draw(1, 5)).status_code == 200
    found = enrolled.post("/identify", files={"signature": draw(1, 5)}).json()
    assert {c["signer_id"] for c in found["candidates"]} == {"writer-1", "writer-2"}


def test_erasing_the_damaged_reference_makes_the_service_ready_again(
    enrolled: TestClient, draw: Draw, sql: Sql
) -> None:
    reference = enrolled.get("/signers/writer-1/references").json()["references"][0]["reference_id"]
    sql("UPDATE templates SET vector = :data WHERE reference_id = :id", data=b"\x01nonsense", id=reference)
    problem(verify(enrolled, "writer-1", draw(1, 5)), 500, "stored-data-damaged")
    assert enrolled.get("/readyz").status_code == 503
    assert enrolled.delete(f"/signers/writer-1/references/{reference}").status_code == 204
    assert enrolled.get("/readyz").status_code == 200
    assert verify(enrolled, "writer-1", draw(1, 5)).status_code == 200


def test_a_missing_key_is_reported_and_can_be_added_without_a_restart(
    serve: Callable[..., TestClient], draw: Draw, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    older, newer = new_key_text(), new_key_text()
    write_keys(file, [older, newer])
    one = {"encryption_keys": None, "encryption_key_file": file}
    client = serve(**one)
    enrol(client, "a", draw(1, 0))
    write_keys(file, [older])
    enrol(client, "b", draw(2, 0))
    late = serve(**one)
    problem(verify(late, "a", draw(1, 1)), 503, "data-key-missing")
    assert verify(late, "b", draw(2, 1)).status_code == 200
    problem(late.get("/readyz"), 503, "store-unavailable")
    write_keys(file, [older, newer])
    assert verify(late, "a", draw(1, 1)).status_code == 200
    assert late.get("/readyz").status_code == 200


def test_a_store_is_not_opened_without_its_keys(
    serve: Callable[..., TestClient], opened: Callable[..., Any], draw: Draw
) -> None:
    enrol(serve(), "a", draw(1, 0))
    with pytest.raises(StartRefused, match="encrypted with key test, which is not configured"):
        opened(encryption_keys=SecretStr(new_key_text()))
    renamed = TEST_KEY.replace("test:", "test:" + "A", 1)[:-2] + "="
    opened(encryption_keys=SecretStr(renamed))  # the right id but a wrong key: detected when a value is read


@pytest.mark.timeout(900)  # several processes start one after the other
def test_rotation_while_the_service_enrols_and_verifies(
    serve: Callable[..., TestClient], command: Command, draw: Draw, tmp_path: Path, sql: Sql
) -> None:
    file = tmp_path / "keys"
    keys = {"encryption_keys": "-", "encryption_key_file": str(file)}
    write_keys(file, [new_key_text()])
    client = serve(encryption_keys=None, encryption_key_file=file, keep_questioned_days=1)
    images = [draw(1, n) for n in range(12)]
    enrol(client, "a", *images[:6], headers={"Idempotency-Key": "card"})
    seen: list[int] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            n = len(seen)
            seen.append(enrol(client, f"b{n}", images[6 + n % 6]).status_code)
            seen.append(verify(client, "a", images[7]).status_code)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        assert command("encryption", "new-key", **keys).returncode == 0
        rotated = command("encryption", "rotate", **keys)
    finally:
        over.set()
        worker.join()
    assert rotated.returncode == 0, rotated.stderr
    assert set(seen) == {200, 201}
    newest = file.read_text().splitlines()[-1].partition(":")[0]
    for table in SEALED:
        assert {row[0] for row in sql(f"SELECT DISTINCT key_id FROM {table}")} == {newest}, table
    oldest = file.read_text().partition(":")[0]
    assert command("encryption", "retire", newest, **keys).returncode == 1, "it is in use"
    assert command("encryption", "retire", oldest, **keys).returncode == 0
    assert enrol(client, "a", *images[:6], headers={"Idempotency-Key": "card"}).status_code == 201
    assert verify(client, "a", images[8]).status_code == 200
    checked = command("encryption", "check", **keys)
    assert (checked.returncode, "values decrypt" in checked.stdout) == (0, True), checked.stderr
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_interrupted_rotation_is_continued(
    client: TestClient, opened: Callable[..., Any], draw: Draw, sql: Sql
) -> None:
    enrol(client, "a", *(draw(n % 6, n) for n in range(20)))
    enrol(client, "b", *(draw(n % 6, n) for n in range(20, 40)))
    store = opened(encryption_keys=SecretStr(f"{TEST_KEY},{new_key_text()}"))
    column = SEALED_COLUMNS[1]
    waiting = store.read_now(reencryption.find_outdated, column)
    assert len(waiting) == 40
    steps = reencryption.reencrypt(store, column, waiting)
    next(steps)
    steps.close()  # as if the process had been killed between two transactions
    left = store.read_now(reencryption.find_outdated, column)
    assert len(left) == 40 - reencryption.BATCH
    done = sum(step.done for step in reencryption.reencrypt(store, column, left))
    assert (done, store.read_now(reencryption.find_outdated, column)) == (len(left), [])
    assert len(sql("SELECT 1 FROM templates WHERE key_id <> 'test'")) == 40


def test_check_lists_values_that_do_not_decrypt(enrolled: TestClient, command: Command, sql: Sql) -> None:
    reference = enrolled.get("/signers/writer-2/references").json()["references"][0]["reference_id"]
    sql("UPDATE reference_images SET data = :data WHERE reference_id = :id", data=b"\x01", id=reference)
    checked = command("encryption", "check")
    assert checked.returncode == 1
    assert f"image {reference}" in checked.stdout
    assert "Traceback" not in checked.stderr
    status = command("encryption", "status")
    assert status.stdout.split() == ["test", "8", "values", "encrypts"]


def test_modified_values_do_not_decrypt(draw: Draw) -> None:
    place = Place("template", "t", "s", "r", "m")
    cipher = Cipher(DataKeys([TEST_KEY]))
    one, two = cipher.seal(place, b"value"), cipher.seal(place, b"value")
    assert one.data != two.data, "each value has its own nonce"
    assert cipher.open(place, "test", one.data) == b"value"
    for part in range(len(one.data)):
        changed = bytearray(one.data)
        changed[part] ^= 0x80
        with pytest.raises(Exception, match="does not decrypt"):
            cipher.open(place, "test", bytes(changed))


class TestConfiguration:
    """Sources of keys; independent of the database."""

    def test_on_a_loopback_address_a_key_file_is_created_next_to_the_database(self, tmp_path: Path) -> None:
        settings = Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/new/store.db")
        first = load_data_keys(settings).active
        file = tmp_path / "new" / "store.db.key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert load_data_keys(settings).active.digest_key == first.digest_key

    def test_concurrent_starts_use_the_same_new_key(self, tmp_path: Path) -> None:
        settings = Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/store.db")
        made: list[DataKey] = []
        threads = [
            threading.Thread(target=lambda: made.append(load_data_keys(settings).active)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({key.digest_key for key in made}) == 1

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"host": "0.0.0.0"}, "no encryption key"),
            ({"database_url": "postgresql://db/countersign"}, "No encryption key"),
            ({"encryption_keys": SecretStr("nonsense")}, "ID:BASE64"),
            ({"encryption_keys": SecretStr("short:c2hvcnQ=")}, "ID:BASE64"),
            ({"encryption_keys": SecretStr(f"{TEST_KEY},{TEST_KEY}")}, "two encryption keys"),
            ({"encryption_keys": SecretStr(TEST_KEY), "encryption_key_id": "x"}, "'x'"),
            ({"encryption_key_file": Path("/nowhere/keys")}, "/nowhere/keys"),
        ],
    )
    def test_invalid_configurations_are_refused_in_one_line(
        self, tmp_path: Path, changes: dict[str, Any], word: str
    ) -> None:
        settings = Settings(_env_file=None, database_url=f"sqlite:///{tmp_path}/store.db")
        changed = settings.model_copy(update=changes)
        with pytest.raises(StartRefused, match=word) as refusal:
            changed.refuse_missing_encryption_key() if changes.get("host") else load_data_keys(changed)
        assert "\n" not in str(refusal.value)
        assert "c2hvcnQ" not in str(refusal.value)
        assert "nonsense" not in str(refusal.value)

    def test_a_new_key_can_be_distributed_before_it_is_active(self) -> None:
        other = new_key_text()
        keys = DataKeys([TEST_KEY, other], active_id="test")
        assert keys.active.key_id == "test"
        assert keys.get(other.partition(":")[0]) is not None
        assert DataKeys([TEST_KEY, other]).active.key_id != "test"


def test_templates_are_read_back_from_the_store(enrolled: TestClient, opened: Callable[..., Any]) -> None:
    from app.store import references  # noqa: PLC0415

    context = enrolled.app.state.context  # type: ignore[attr-defined]
    known = opened().read_now(references.specimens, "default", "writer-1", context.model_version)
    templates: Vector = known.templates
    assert templates.dtype == "float32"
    assert templates.shape == (2, context.embedder.card.dimension)
