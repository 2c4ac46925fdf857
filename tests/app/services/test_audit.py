"""The audit: what goes on it, in the same transaction, in order; and that every change to it is found."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from app.domain.audit_chain import Anchor, ChainKeys, Entry, Verifier, start_of
from app.services.audit.trail import Trail
from app.services.open_store import open_store
from app.settings import Settings
from app.store import audit
from app.store.store import Store
from tests.app.keyed import Commands, Draw, Serve
from tests.app.logged import Log
from tests.app.test_api import enrol, verify

pytestmark = pytest.mark.both_databases
SECRET = "a-secret-of-the-operators-40-letters-long"
TRIGGERS = ("audit_no_update ON audit", "audit_no_delete ON audit", "audit_heads_forward ON audit_heads")


class Intruder:
    """Somebody who can write the database, past the service."""

    def __init__(self, settings: Settings) -> None:
        self._engine = create_engine(settings.database_url)

    def run(self, statement: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            for one in statement.split("; "):
                connection.execute(text(one), values)

    def ask(self, query: str) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(query)))

    def disarm(self) -> None:
        """Take the triggers away, as the database's owner can."""
        for trigger in (*TRIGGERS, "audit_heads_no_delete ON audit_heads"):
            self.run(
                f"DROP TRIGGER {trigger.split()[0] if self._engine.dialect.name == 'sqlite' else trigger}"
            )

    def entries(self) -> list[Entry]:
        return [Entry(**row._mapping) for row in self.ask("SELECT * FROM audit ORDER BY sequence")]


@pytest.fixture
def intruder(settings: Settings) -> Intruder:
    return Intruder(settings)


@pytest.fixture
def written(settings: Settings) -> None:
    """A chain of ten entries, without a service."""
    store, trail = open_store(settings), Trail(settings.chain_keys())
    for n in range(10):
        store.write_now(trail.append, trail.entry("compare", decision="reject", distance=n / 10))
    store.close()


@pytest.fixture
def busy(client: TestClient, draw: Draw) -> TestClient:
    """A service on which everything that goes on record was done."""
    enrol(client, "anna.karenina@example.org", draw(1, 0), draw(1, 1))
    enrol(client, "b", draw(2, 0))
    told = verify(client, "anna.karenina@example.org", draw(1, 2)).json()
    client.put(f"/verifications/{told['verification_id']}/outcome", json={"outcome": "genuine", "note": "x"})
    client.post("/identify", files={"signature": draw(1, 3)})
    client.post("/compare", files=[("references", draw(1, 0)), ("signature", draw(1, 4))])
    client.patch("/signers/b", json={"fixed_threshold": 0.5})
    listed = client.get("/signers/anna.karenina@example.org/references").json()["references"]
    path = f"/signers/anna.karenina@example.org/references/{listed[0]['reference_id']}"
    client.get(f"{path}/image")
    client.delete(path)
    client.delete("/signers/b")
    return client


def faults(commands: Commands, *words: str) -> list[str]:
    result = commands.run("audit", "verify", *words)
    assert result.exit_code in {0, 1}, (result.output, result.exception)
    found = [line for line in result.output.splitlines() if line.startswith("FAULT")]
    assert bool(found) == bool(result.exit_code)
    return found


def actions(client: TestClient) -> list[str]:
    return [entry["action"] for entry in reversed(client.get("/audit").json()["entries"])]


def test_every_act_is_on_the_audit_once_and_in_order(busy: TestClient, commands: Commands) -> None:
    assert actions(busy) == [
        "enrol",
        "enrol",
        "verify",
        "outcome",
        "identify",
        "compare",
        "policy",
        "view-image",
        "erase-reference",
        "erase-signer",
    ]
    assert faults(commands) == []


def test_an_entry_says_who_when_what_with_which_model_threshold_and_result(
    serve: Serve, commands: Commands, draw: Draw
) -> None:
    key = commands.key("teller", "enrol", "verify")
    admin = commands.key("auditor", "admin")
    client = serve(key_refresh_s=0.05)
    enrol(client, "a", draw(1, 0), headers=key)
    response = verify(client, "a", draw(1, 1), headers=key)
    told = response.json()
    entry = client.get("/audit", headers=admin, params={"action": "verify"}).json()["entries"][0]
    assert (entry["actor"], entry["signer_id"]) == ("teller", "a")
    assert entry["key_id"]
    assert entry["request_id"] == response.headers["X-Request-ID"]
    assert entry["record_id"] == told["verification_id"]
    for name in ("decision", "distance", "threshold", "log_likelihood_ratio", "model_version"):
        assert entry["details"][name] == told[name]
    made = client.get("/audit", headers=admin, params={"action": "key-create"}).json()["entries"]
    assert [e["details"]["name"] for e in made] == ["auditor", "teller"]
    assert all(e["actor"].startswith("command-line") for e in made)
    by_signer = client.get("/audit", headers=admin, params={"signer_id": "a"}).json()["entries"]
    assert [e["action"] for e in by_signer] == ["verify", "enrol"]
    assert client.get("/audit", headers=admin, params={"signer_id": "nobody"}).json()["entries"] == []


def test_the_audit_is_paged(busy: TestClient) -> None:
    seen: list[int] = []
    cursor = None
    while True:
        page = busy.get("/audit", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [entry["sequence"] for entry in page["entries"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == list(range(10, 0, -1))
    assert busy.get("/audit", params={"cursor": "x"}).json()["code"] == "invalid-cursor"


def test_what_did_not_happen_is_not_on_the_audit(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(1, 0))
    refused = [
        verify(client, "nobody", draw(1, 0)),
        verify(client, "a", b"\x89PNG\r\n\x1a\nbroken"),
        enrol(client, "a", draw(1, 0)),
        client.patch("/signers/nobody", json={"fixed_threshold": 0.5}),
    ]
    assert all(response.status_code >= 400 for response in refused)
    assert client.delete("/signers/nobody").status_code == 204
    key = {"Idempotency-Key": "once"}
    assert (
        verify(client, "a", draw(1, 1), headers=key).json()
        == verify(client, "a", draw(1, 1), headers=key).json()
    )
    assert actions(client) == ["enrol", "verify"]


def test_an_act_and_its_entry_are_both_there_or_neither(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    enrol(client, "a", draw(1, 0))
    append = Trail.append

    def fails(*_: object) -> None:
        raise RuntimeError("the audit cannot be written")

    monkeypatch.setattr(Trail, "append", fails)
    assert enrol(client, "b", draw(2, 0)).status_code == 500
    assert verify(client, "a", draw(1, 1)).status_code == 500
    assert client.delete("/signers/a").status_code == 500
    assert client.patch("/signers/a", json={"fixed_threshold": 0.5}).status_code == 500
    monkeypatch.setattr(Trail, "append", append)
    assert client.get("/signers/b").status_code == 404
    assert client.get("/signers/a").json()["fixed_threshold"] is None
    assert client.get("/verifications").json()["verifications"] == []
    assert actions(client) == ["enrol"]
    assert faults(commands) == []


def test_no_image_no_template_no_name_and_no_secret_is_on_the_audit(
    busy: TestClient, intruder: Intruder, draw: Draw
) -> None:
    everything = str(intruder.ask("SELECT * FROM audit"))
    assert "anna" not in everything
    assert "karenina" not in everything.lower()
    assert not re.search(r"[A-Za-z0-9+/]{200,}", everything), "no image in base64"
    assert not re.search(r"(-?\d+\.\d+,\s*){8,}", everything), "no template"
    assert len(max((row.details for row in intruder.ask("SELECT details FROM audit")), key=len)) < 1000


def test_after_an_erasure_the_chain_holds_and_names_nobody(
    busy: TestClient, commands: Commands, intruder: Intruder
) -> None:
    subjects = {e["subject"] for e in busy.get("/audit").json()["entries"] if e["action"] == "enrol"}
    assert busy.delete("/signers/anna.karenina@example.org").status_code == 204
    entries = busy.get("/audit").json()["entries"]
    erased = [entry for entry in entries if entry["action"] == "erase-signer"]
    assert {entry["subject"] for entry in erased} == subjects, "whose erasure it was can still be followed"
    assert all(entry["signer_id"] is None for entry in entries if entry["subject"])
    assert faults(commands) == []


@pytest.mark.usefixtures("written")
def test_the_database_itself_refuses_to_change_the_audit(intruder: Intruder, commands: Commands) -> None:
    for statement in (
        "UPDATE audit SET actor = 'somebody' WHERE sequence = 3",
        "DELETE FROM audit WHERE sequence = 3",
        "DELETE FROM audit",
        "DELETE FROM audit_heads",
        "UPDATE audit_heads SET sequence = sequence - 1",
        "UPDATE audit_heads SET sequence = sequence + 5",
    ):
        with pytest.raises(DBAPIError, match="append-only"):
            intruder.run(statement)
    assert len(intruder.entries()) == 10
    assert faults(commands) == []


@pytest.mark.parametrize(
    ("what", "statement", "words"),
    [
        (
            "another actor",
            "UPDATE audit SET actor = 'somebody' WHERE sequence = 3",
            "3: its content was changed",
        ),
        (
            "another moment",
            "UPDATE audit SET at = '2020-01-01' WHERE sequence = 10",
            "10: its content was changed",
        ),
        (
            "another result",
            "UPDATE audit SET details = '{}' WHERE sequence = 5",
            "5: its content was changed",
        ),
        ("a gap", "DELETE FROM audit WHERE sequence IN (4, 5)", "6: a gap: 4 to 5 missing"),
        ("no beginning", "DELETE FROM audit WHERE sequence = 1", "2: a gap: 1 missing"),
        (
            "a tail cut off",
            "DELETE FROM audit WHERE sequence > 7",
            "ends at 7, the head in the store is at 10",
        ),
        ("everything gone", "DELETE FROM audit", "ends at 0, the head in the store is at 10"),
        ("no head", "DELETE FROM audit_heads", "stored head of the chain is missing"),
        (
            "another order",
            "UPDATE audit SET sequence = 0 WHERE sequence = 2; UPDATE audit SET sequence = 2 WHERE sequence = 3",
            "2: ",
        ),
        ("another tenant's", "UPDATE audit SET tenant_id = 'other' WHERE sequence = 10", "other 10: a gap"),
    ],
)
@pytest.mark.usefixtures("written")
def test_what_an_intruder_changes_is_found(
    intruder: Intruder, commands: Commands, what: str, statement: str, words: str
) -> None:
    intruder.disarm()
    intruder.run(statement)
    found = faults(commands)
    assert any(words in fault for fault in found), (what, found)
    assert any("trigger audit_no_update" in fault for fault in found), "and that the triggers are gone"


def test_a_record_that_was_changed_behind_the_audit_is_found(
    busy: TestClient, intruder: Intruder, commands: Commands, draw: Draw
) -> None:
    verify(busy, "anna.karenina@example.org", draw(1, 5))
    first, second = (row[0] for row in intruder.ask("SELECT verification_id FROM verifications ORDER BY 1"))
    intruder.run(
        "UPDATE verifications SET decision = 'accept', distance = 0.01 WHERE verification_id = :v", v=first
    )
    (fault,) = faults(commands)
    assert first in fault
    assert "distance" in fault
    intruder.run("DELETE FROM verifications WHERE verification_id = :v", v=first)
    (fault,) = faults(commands)
    assert "was deleted" in fault
    columns = [
        row
        for row in intruder.ask("SELECT * FROM verifications LIMIT 1")[0]._mapping
        if row != "verification_id"
    ]
    names = ", ".join(columns)
    intruder.run(
        f"INSERT INTO verifications (verification_id, {names}) "
        f"SELECT 'ffffffff-forged', {names} FROM verifications WHERE verification_id = :v",
        v=second,
    )
    assert any("the verification ffffffff-forged has no audit entry" in fault for fault in faults(commands))


def test_a_key_that_was_not_made_by_the_command_is_found(
    client: TestClient, commands: Commands, intruder: Intruder
) -> None:
    commands.key("teller", "verify")
    commands.key("gone", "verify")
    commands.run("keys", "revoke", "gone")
    assert faults(commands) == []
    intruder.run("UPDATE api_keys SET scopes = '[\"admin\"]' WHERE name = 'teller'")
    assert any("was changed after it was created" in fault for fault in faults(commands))
    intruder.run("UPDATE api_keys SET scopes = '[\"verify\"]' WHERE name = 'teller'")
    intruder.run("UPDATE api_keys SET revoked_at = NULL WHERE name = 'gone'")
    assert any("revoked or reactivated without an audit entry" in fault for fault in faults(commands))
    intruder.run("UPDATE api_keys SET key_id = 'own' WHERE name = 'teller'")
    assert any("the API key own has no audit entry" in fault for fault in faults(commands))


def rebuilt(entries: list[Entry], keys: ChainKeys) -> list[Entry]:
    """The chain as whoever lacks the secret would build it anew around a lie."""
    head, made = start_of(entries[0].tenant_id), []
    for entry in entries:
        changed = Entry(**{**vars(entry), "actor": "somebody else"}) if entry.sequence == 2 else entry
        sealed = keys.sealed(changed, head)
        head = Anchor(sealed.tenant_id, sealed.sequence, sealed.hash)
        made.append(sealed)
    return made


def rebuild(intruder: Intruder, keys: ChainKeys) -> None:
    chain = rebuilt(intruder.entries(), keys)
    intruder.disarm()
    for entry in chain:
        intruder.run(
            "UPDATE audit SET actor = :actor, previous = :previous, hash = :hash, sealed_with = :sealed_with "
            "WHERE sequence = :sequence",
            **{k: vars(entry)[k] for k in ("actor", "previous", "hash", "sealed_with", "sequence")},
        )
    intruder.run("UPDATE audit_heads SET hash = :hash", hash=chain[-1].hash)


def without_triggers(found: list[str]) -> list[str]:
    return [fault for fault in found if "trigger" not in fault]


@pytest.mark.usefixtures("written")
def test_without_a_secret_only_an_anchor_shows_a_chain_that_was_built_anew(
    intruder: Intruder, commands: Commands, tmp_path: Path
) -> None:
    anchors = tmp_path / "anchors"
    anchors.write_text(commands.run("audit", "anchor").stdout)
    rebuild(intruder, ChainKeys())
    assert without_triggers(faults(commands)) == [], "as the threat model says"
    assert any("chain was rebuilt" in fault for fault in faults(commands, "--anchors", str(anchors)))


@pytest.mark.parametrize("how", ["no secret", "another secret"])
def test_with_a_secret_nobody_without_it_can_build_the_chain_anew(
    serve: Serve, settings: Settings, intruder: Intruder, draw: Draw, how: str
) -> None:
    from pydantic import SecretStr  # noqa: PLC0415

    keyed = settings.model_copy(update={"audit_key": SecretStr(SECRET)})
    commands = Commands(keyed)
    client = serve(audit_key=keyed.audit_key)
    for n in range(3):
        enrol(client, f"s{n}", draw(1, n))
    assert faults(commands) == []
    rebuild(intruder, ChainKeys() if how == "no secret" else ChainKeys([b"x" * 40]))
    found = without_triggers(faults(commands))
    assert any("not sealed" in fault or "not configured" in fault for fault in found), found


def test_a_secret_that_comes_later_or_changes_seals_what_was_there(
    serve: Serve, settings: Settings, draw: Draw, intruder: Intruder
) -> None:
    from pydantic import SecretStr  # noqa: PLC0415

    enrol(serve(), "a", draw(1, 0))
    first = settings.model_copy(update={"audit_key": SecretStr(SECRET)})
    assert any("the start seals the chain" in fault for fault in faults(Commands(first)))
    enrol(serve(audit_key=first.audit_key), "b", draw(1, 1))
    assert faults(Commands(first)) == []
    both = settings.model_copy(update={"audit_key": SecretStr(f"{'n' * 40},{SECRET}")})
    enrol(serve(audit_key=both.audit_key), "c", draw(1, 2))
    assert faults(Commands(both)) == []
    new = settings.model_copy(update={"audit_key": SecretStr("n" * 40)})
    assert any("which is not configured" in fault for fault in faults(Commands(new)))
    seals = [entry.action for entry in intruder.entries()]
    assert seals == ["enrol", "audit-seal", "enrol", "audit-seal", "enrol"]
    intruder.disarm()
    intruder.run("UPDATE audit SET actor = 'somebody' WHERE sequence = 1")
    assert any("1: its content was changed" in fault for fault in faults(Commands(both)))


def test_a_tail_that_was_cut_off_with_its_head_is_found_by_an_anchor_from_the_log(
    serve: Serve,
    draw: Draw,
    intruder: Intruder,
    commands: Commands,
    tmp_path: Path,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log.configure("info", "json")
    monkeypatch.setattr("app.services.audit.anchors.INTERVAL_S", 0.05)
    client = serve()
    for n in range(3):
        enrol(client, f"s{n}", draw(1, n))
    log_file = tmp_path / "log"
    while '"sequence": 3' not in log.getvalue():
        time.sleep(0.01)
    log_file.write_text(log.getvalue())
    intruder.disarm()
    intruder.run("DELETE FROM audit WHERE sequence > 2")
    last = intruder.ask("SELECT hash FROM audit WHERE sequence = 2")[0][0]
    intruder.run("UPDATE audit_heads SET sequence = 2, hash = :hash", hash=last)
    intruder.run("DELETE FROM signers WHERE signer_id = 's2'")
    assert without_triggers(faults(commands)) == []
    found = faults(commands, "--anchors", str(log_file))
    assert any("3: an anchor names entry 3: the end of the chain was cut off" in fault for fault in found), (
        found
    )


@pytest.mark.usefixtures("written")
def test_an_export_is_verified_without_the_database(commands: Commands, tmp_path: Path) -> None:
    export = tmp_path / "audit.jsonl"
    assert commands.run("audit", "export", "-o", str(export)).exit_code == 0
    lines = export.read_text().splitlines()
    assert len(lines) == 10
    assert faults(commands, "--export", str(export)) == []
    export.write_text("\n".join(lines[:4] + lines[5:]))
    assert any("a gap: 5 missing" in fault for fault in faults(commands, "--export", str(export)))
    changed = json.loads(lines[4]) | {"action": "verify"}
    export.write_text("\n".join([*lines[:4], json.dumps(changed), *lines[5:]]))
    assert any("content was changed" in fault for fault in faults(commands, "--export", str(export)))
    whole = tmp_path / "whole"
    whole.write_text("\n".join(lines))
    export.write_text("\n".join(lines[:6]))
    assert faults(commands, "--export", str(export)) == []
    assert any("cut off" in f for f in faults(commands, "--export", str(export), "--anchors", str(whole)))
    export.write_text("{}")
    assert "not an exported audit entry" in commands.refused("audit", "verify", "--export", str(export))
    assert "no anchor" in commands.refused("audit", "verify", "--anchors", str(export))


def test_several_replicas_append_to_one_chain_without_a_gap(
    serve: Serve, draw: Draw, commands: Commands, intruder: Intruder
) -> None:
    replicas = [serve(), serve()]
    for n in range(4):
        assert enrol(replicas[0], f"s{n}", draw(1, n)).status_code == 201
    answers: list[int] = []

    def work(thread: int) -> None:
        answers.extend(verify(replicas[thread % 2], f"s{thread}", draw(1, n)).status_code for n in range(6))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 24
    assert [entry.sequence for entry in intruder.entries()] == list(range(1, 29))
    assert faults(commands) == []


def test_the_audit_can_be_verified_while_it_is_written(serve: Serve, draw: Draw, commands: Commands) -> None:
    client = serve()
    enrol(client, "a", draw(1, 0))
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            verify(client, "a", draw(1, 1))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            assert faults(commands) == []
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize("secret", ["short", "long enough, but the second is short,x"])
def test_a_secret_that_is_too_short_is_refused(commands: Commands, secret: str) -> None:
    assert "32 characters" in commands.refused("audit", "verify", COUNTERSIGN_AUDIT_KEY=secret)


def test_a_secret_is_read_from_a_file(commands: Commands, tmp_path: Path, client: TestClient) -> None:
    file = tmp_path / "secret"
    file.write_text(commands.run("audit", "new-key").stdout)
    read = {"COUNTERSIGN_AUDIT_KEY_FILE": str(file), "COUNTERSIGN_AUDIT_KEY": ""}
    assert commands.run("keys", "create", "x", "--scope", "read", **read).exit_code == 0
    assert commands.run("audit", "verify", **read).exit_code == 0
    assert commands.run("audit", "verify").exit_code == 1, "and not without it"
    missing = {"COUNTERSIGN_AUDIT_KEY_FILE": str(tmp_path / "none"), "COUNTERSIGN_AUDIT_KEY": ""}
    assert "cannot be read" in commands.refused("audit", "verify", **missing)


def test_the_chain_alone_finds_any_single_change_of_any_field() -> None:
    keys = ChainKeys([b"k" * 32])
    head, chain = start_of("t"), []
    for n in range(4):
        entry = keys.sealed(
            Entry("t", 0, f"2026-01-0{n + 1}", "verify", "me", "id", "r", "s", "v", '{"a":1}'), head
        )
        head = Anchor("t", entry.sequence, entry.hash)
        chain.append(entry)

    def check(entries: list[Entry]) -> list[Any]:
        verifier = Verifier("t", keys)
        return [*verifier.check(entries), *verifier.finish(head)]

    assert check(chain) == []
    for position, entry in enumerate(chain):
        for name, value in vars(entry).items():
            lie = value + 1 if isinstance(value, int) else f"{value}x"
            changed = Entry(**{**vars(entry), name: lie})
            assert check([*chain[:position], changed, *chain[position + 1 :]]), (position, name)


def test_the_store_appends_in_one_transaction_with_the_work(
    settings: Settings, commands: Commands, client: TestClient
) -> None:
    store: Store = open_store(settings)
    trail = Trail(ChainKeys())

    def fails(session: Any) -> None:
        trail.append(session, trail.entry("compare"))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.write_now(fails)
    assert store.read_now(audit.heads) == []
    store.write_now(trail.append, trail.entry("compare"))
    assert [head.sequence for head in store.read_now(audit.heads)] == [1]
    store.close()
