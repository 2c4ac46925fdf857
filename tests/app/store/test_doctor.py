"""``python -m app doctor`` detects each fault and names the command that fixes it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.settings import Settings
from tests.app.store.conftest import Sql

Command = Callable[..., subprocess.CompletedProcess[str]]


def findings(ran: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    return {found["check"]: found for found in map(json.loads, ran.stdout.splitlines())}


@pytest.mark.both_databases
def test_doctor_reports_no_fault_of_an_intact_service(enrolled: TestClient, command: Command) -> None:
    ran = command("doctor", "--json")
    assert ran.returncode == 0, (ran.stdout, ran.stderr)
    found = findings(ran)
    assert not [one for one in found.values() if one["fix"]]
    assert {"settings", "weights", "calibration", "store", "stored values: image", "audit"} <= set(found)
    assert "ok    weights" in command("doctor").stdout


@pytest.mark.both_databases
def test_values_that_do_not_decrypt_are_reported_and_the_named_command_repairs_templates(
    enrolled: TestClient, command: Command, sql: Sql
) -> None:
    sql("UPDATE templates SET vector = :junk", junk=b"\x00" * 64)
    ran = command("doctor", "--json")
    assert ran.returncode == 1
    broken = findings(ran)["stored values: template"]
    assert broken["fix"] == "python -m app reembed --repair"
    fixed = command("reembed", "--repair")
    assert fixed.returncode == 0, (fixed.stdout, fixed.stderr)
    assert command("doctor").returncode == 0

    sql("UPDATE reference_images SET data = :junk", junk=b"\x00" * 64)
    assert "backup" in findings(command("doctor", "--json"))["stored values: image"]["fix"]


@pytest.mark.both_databases
def test_a_store_of_another_release_is_reported_and_not_changed(
    enrolled: TestClient, command: Command, sql: Sql
) -> None:
    ((head,),) = sql("SELECT version_num FROM alembic_version")
    sql("UPDATE alembic_version SET version_num = '9999'")
    assert "install the release" in findings(command("doctor", "--json"))["store"]["fix"]
    assert sql("SELECT version_num FROM alembic_version") == [("9999",)]
    sql("UPDATE alembic_version SET version_num = :head", head=head)
    assert command("doctor").returncode == 0


def test_doctor_does_not_create_a_missing_store(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    url = f"sqlite:///{folder}/test.db"

    def fixes() -> list[tuple[str, str]]:
        ran = command("doctor", "--json", database_url=url, encryption_keys="-", erasure_log="-")
        return [(found["check"], found["fix"]) for found in findings(ran).values() if found["fix"]]

    assert fixes() == [("store", f"mkdir -p {folder}, or correct COUNTERSIGN_DATABASE_URL")]
    assert not folder.exists()
    folder.mkdir()
    assert fixes() == [("store", "python -m app migrate")]
    assert not list(folder.iterdir())
    assert command("migrate", database_url=url, encryption_keys="-", erasure_log="-").returncode == 0
    ran = command("doctor", "--json", database_url=url, encryption_keys="-", erasure_log="-")
    assert ran.returncode == 0, ran.stdout


def test_references_of_another_model_are_reported(
    enrolled: TestClient, command: Command, other_model_folder: Path
) -> None:
    ran = command("doctor", "--json", weights=str(other_model_folder))
    assert ran.returncode == 1
    assert findings(ran)["model of the templates"]["fix"] == "python -m app reembed"


def test_damaged_weights_and_a_missing_calibration_are_reported(
    command: Command, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(settings.weights, folder)
    (folder / "calibration.json").unlink()
    found = findings(command("doctor", "--json", weights=str(folder)))
    assert found["calibration"]["fix"] == f"python -m model calibrate {folder}"
    tensors = folder / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\xff")
    assert findings(command("doctor", "--json", weights=str(folder)))["weights"]["fix"]


def test_a_key_file_readable_by_others_is_reported(command: Command, tmp_path: Path) -> None:
    secret = tmp_path / "audit-secret"
    secret.write_text("a secret of more than thirty-two characters, certainly\n")
    secret.chmod(0o644)
    found = findings(command("doctor", "--json", audit_key_file=str(secret)))
    assert found["audit key"]["fix"] == f"chmod 600 {secret}"


def test_a_modified_audit_is_reported(enrolled: TestClient, command: Command, sql: Sql) -> None:
    for trigger in [row[0] for row in sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")]:
        sql(f"DROP TRIGGER {trigger}")
    sql("UPDATE audit SET action = 'verify' WHERE sequence = 1")
    ran = command("doctor", "--json")
    assert ran.returncode == 1
    assert "audit verify" in findings(ran)["audit"]["fix"]


def test_unknown_settings_are_reported(command: Command) -> None:
    ran = command("doctor", "--json", no_such_thing="1")
    assert ran.returncode == 1
    assert "config" in findings(ran)["settings"]["fix"]
