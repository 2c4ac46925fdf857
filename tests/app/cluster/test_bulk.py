"""Bulk jobs in a Ray cluster: the results of a local run, each row once, although a node or the command is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from tests.app.cluster.conftest import TwoNodes
from tests.app.keyed import Commands
from tests.app.services.test_bulk import enrolments, results, run, scans, write_csv  # noqa: F401 - a fixture
from tests.app.store.conftest import Sql

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
Draw = Callable[..., bytes]
ROWS = 150
OWN = ("reference_id", "verification_id")
"""Columns that differ between two runs."""


def begin(commands: Commands, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "app", "bulk", *map(str, words)],
        env=os.environ | commands.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in OWN} for row in rows]


def test_rows_are_carried_out_once_although_a_node_and_the_command_are_killed(
    two_nodes: TwoNodes,
    commands: Commands,
    settings: Settings,
    scans: Path,  # noqa: F811
    tmp_path: Path,
    sql: Sql,
) -> None:
    assert settings.database_url.startswith("sqlite"), "one machine"
    cluster = ("--ray", two_nodes.address)
    manifest = write_csv(
        tmp_path / "enrol.csv", enrolments() + enrolments(range(1))
    )  # the last are duplicates
    enrolling = ("enrol", manifest, "-o", tmp_path / "enrolled.parquet", *cluster)
    process = begin(commands, *enrolling, "--images", tmp_path / "nowhere")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "nowhere is neither a folder nor a tar archive" in errors
    assert "Traceback" not in errors
    shutil.rmtree(tmp_path / "enrolled.parquet.job")
    finish(begin(commands, *enrolling, "--images", scans))
    enrolled = results(tmp_path / "enrolled.parquet")
    assert [row["code"] for row in enrolled] == [None] * 6 + ["duplicate-reference"] * 3
    assert len({row["reference_id"] for row in enrolled[:6]}) == 6

    rows = [
        {"id": str(n), "signer_id": f"w{n % 3}", "image": f"w{n % 3}/{2 + n % 2 if n % 10 else 9}.png"}
        for n in range(ROWS)
    ]
    manifest = write_csv(tmp_path / "verify.csv", rows)
    run(commands, "verify", manifest, "-o", tmp_path / "local.parquet", "--images", scans)
    local = results(tmp_path / "local.parquet")
    assert {row["code"] for row in local} == {None, "image-not-found"}

    def count() -> int:
        return int(sql("SELECT count(*) FROM verifications")[0][0])

    before, output = count(), tmp_path / "out.parquet"
    words = ("verify", manifest, "-o", output, "--images", scans, "--part-rows", "10", *cluster)

    def wait_for(process: subprocess.Popen[str], rows_done: int) -> None:
        give_up = time.monotonic() + 300
        while count() < before + rows_done and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()

    process = begin(commands, *words)
    wait_for(process, 15)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not output.exists()
    process = begin(commands, *words)
    wait_for(process, 50)
    two_nodes.kill_one()
    finish(process)
    found = results(output)
    assert comparable(found) == comparable(local)
    done = {row["verification_id"] for row in found if row["status"] == "done"}
    assert len(done) == ROWS - ROWS // 10
    assert count() - before == len(done), "no row was carried out twice"
    assert not list(tmp_path.glob("*.job"))
