"""The command line: exit statuses, files with secrets, and warnings."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from app.domain.api_keys import bootstrap_key
from app.settings import Settings
from tests.app.keyed import Commands
from tests.forked import run

Draw = Callable[..., bytes]


@pytest.fixture
def commands(settings: Settings) -> Commands:
    return Commands(settings)


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("keys", "create", "x", "--scope", "verfy"), 2, "unknown scope verfy"),
        (
            ("keys", "create", "x", "--scope", "verify", "--expires", "soon"),
            2,
            "'soon' is not a time of expiry",
        ),
        (("keys", "create", "x", "--scope", "verify", "--expires", "2001-01-01"), 2, "in the past"),
        (("keys", "create", "x", "--scope", "verify", "--rate-limit", "much"), 2, "'much' is not a rate"),
        (("keys", "create", "x y", "--scope", "verify"), 2, "'x y' is not a valid name"),
        (("keys", "create", "x", "--scope", "verify", "--tenant", "a b"), 2, "'a b' is not a valid name"),
        (("keys", "revoke", "nobody"), 1, "nobody"),
        (("keys", "nonsense"), 2, "No such command"),
        (("audit", "verify", "--anchors", "/nowhere"), 2, "/nowhere cannot be read"),
        (("audit", "verify", "--export", "/nowhere"), 2, "/nowhere cannot be read"),
        (("encryption", "retire", "k1"), 1, "COUNTERSIGN_ENCRYPTION_KEYS"),
        (("index", "build"), 2, "COUNTERSIGN_CANDIDATE_INDEX"),
        (("index", "drop"), 2, "PostgreSQL"),
        (("inference", "deploy", "--min-replicas", "3"), 2, "--max-replicas"),
        (("reembed", "--drop-old", "--follow", "1"), 2, "--drop-old"),
        (("reembed", "--weights", "/nowhere"), 2, "/nowhere"),
        (("bulk", "verify", "empty.csv", "-o", "out.parquet"), 2, "has no column 'image'"),
        (("bulk", "extract", "rows.csv", "-o", "out.parquet", "--images", "nowhere"), 2, "neither a folder"),
        (("bulk", "extract", "rows.csv", "-o", "rows.csv"), 2, "rows.csv exists"),
        (("serve", "--port", "70000"), 2, "65535"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_the_exit_status_is_2_for_what_is_wrong_in_the_command(
    commands: Commands,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    status: int,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.csv").write_text("name\na\n")
    (tmp_path / "rows.csv").write_text("image\na.png\n")
    ran = run("app", *words, environment=os.environ | commands.environment)
    assert ran.returncode == status, ran.stderr
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("url", "status"),
    [("sqlite:////nowhere/store.db", 1), ("sqlite:////proc/x.db", 1), ("mysql://x", 2), ("x", 2)],
)
def test_a_store_that_cannot_be_opened_ends_with_status_1(commands: Commands, url: str, status: int) -> None:
    environment = os.environ | commands.environment | {"COUNTERSIGN_DATABASE_URL": url}
    assert run("app", "keys", "list", environment=environment).returncode == status


def test_the_database_is_checked_before_the_keys(commands: Commands) -> None:
    told = commands.refused(
        "keys", "list", COUNTERSIGN_DATABASE_URL="mysql://x", COUNTERSIGN_ENCRYPTION_KEYS=""
    )
    assert "names the database 'mysql', which is not supported; set sqlite:///FILE or postgresql://" in told


@pytest.mark.parametrize(
    "words", [("keys", "generate"), ("audit", "new-key"), ("keys", "create", "teller", "--scope", "verify")]
)
def test_a_file_with_a_secret_is_made_for_its_owner_only(
    commands: Commands, tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = tmp_path / "secrets" / "one"
    made = commands.run(*words, "--file", str(file))
    assert (made.exit_code, made.stdout) == (0, ""), made.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in made.stderr
    text = file.read_text()
    assert len(text.splitlines()) == 1
    assert text.strip() not in made.output
    if words[0] == "keys":
        bootstrap_key(text.strip(), "default")
    assert f"{file} exists" in commands.refused(*words, "--file", str(file))
    assert file.read_text() == text, "a secret that is in use is not replaced"


def test_a_key_that_is_not_stored_leaves_no_file(commands: Commands, tmp_path: Path) -> None:
    commands.key("teller", "verify")
    file = tmp_path / "teller"
    commands.refused("keys", "create", "teller", "--scope", "verify", "--file", str(file))
    assert not file.exists()


def test_doctor_names_the_command_that_makes_a_private_file(commands: Commands, tmp_path: Path) -> None:
    file = tmp_path / "audit-key"
    environment = {"COUNTERSIGN_AUDIT_KEY": "", "COUNTERSIGN_AUDIT_KEY_FILE": str(file)}
    assert f"audit new-key --file {file}" in commands.run("doctor", **environment).output
    commands.run("audit", "new-key", "--file", str(file))
    assert f"{file}, readable by its owner only" in commands.run("doctor", **environment).output


def test_a_tenant_without_a_key_and_data_is_pointed_out(
    commands: Commands, draw: Draw, tmp_path: Path
) -> None:
    first = commands.run("keys", "create", "x", "--scope", "verify", "--tenant", "north")
    assert "the tenant 'north' has no key and no data yet" in first.stderr
    again = commands.run("keys", "create", "y", "--scope", "verify", "--tenant", "north")
    assert "no data" not in again.stderr
    misspelt = commands.run("keys", "create", "x", "--scope", "verify", "--tenant", "nroth")
    assert (misspelt.exit_code, "Did you mean 'north'?" in misspelt.stderr) == (0, True)
    assert "no data" not in commands.run("keys", "create", "x", "--scope", "verify").stderr
    for words in (("keys", "list"), ("audit", "export")):
        assert "has no key and no data yet" in commands.run(*words, "--tenant", "nosuch").stderr
        assert "has no key" not in commands.run(*words, "--tenant", "north").stderr
    (tmp_path / "a.png").write_bytes(draw(1, 0))
    (tmp_path / "rows.csv").write_text("image,signer_id\na.png,a\n")
    for tenant, is_new in (("nosuch", True), ("north", False)):
        job = commands.run(
            *("bulk", "verify", str(tmp_path / "rows.csv"), "-o", str(tmp_path / f"{tenant}.parquet")),
            *("--tenant", tenant),
        )
        assert job.exit_code == 0, job.output
        assert ("has no key and no data yet" in job.stderr) == is_new
