"""Bulk jobs: every row has its result or its error, exactly once, also when the process is killed."""

from __future__ import annotations

import csv
import os
import random
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

pytest.importorskip("pyarrow", reason="the extra `bulk` is not installed")
import pyarrow as pa
from pyarrow import parquet

from app.domain.errors import StoreUnavailable
from app.services.bulk import job as jobs
from app.services.bulk.errors import BulkRefused, RowRefused
from app.services.bulk.images import open_images
from app.services.bulk.operations import operation
from app.services.bulk.results import Results
from app.store import references
from tests.app.keyed import Commands
from tests.app.store.conftest import Sql
from tests.forked import Forked

Draw = Callable[..., bytes]
Table = list[dict[str, Any]]
KILLS = int(os.environ.get("CS_TEST_KILLS", "2"))


@pytest.fixture
def scans(tmp_path: Path, draw: Draw) -> Path:
    """A folder of signatures of three writers: ``w0/0.png`` to ``w2/3.png``."""
    folder = tmp_path / "scans"
    for writer in range(3):
        (folder / f"w{writer}").mkdir(parents=True)
        for n in range(4):
            (folder / f"w{writer}" / f"{n}.png").write_bytes(draw(writer, n))
    return folder


def write_csv(path: Path, rows: Table) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def enrolments(numbers: range = range(2)) -> Table:
    return [{"signer_id": f"w{w}", "image": f"w{w}/{n}.png"} for n in numbers for w in range(3)]


def run(commands: Commands, *words: object) -> str:
    result = commands.run("bulk", *map(str, words))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def results(path: Path) -> Table:
    rows: Table = parquet.read_table(path).to_pylist()
    assert [row["row"] for row in rows] == list(range(len(rows)))
    return rows


def enrol(commands: Commands, scans: Path, tmp_path: Path) -> Table:
    manifest = write_csv(tmp_path / "enrol.csv", enrolments())
    run(commands, "enrol", manifest, "--output", tmp_path / "enrolled.parquet", "--images", scans)
    return results(tmp_path / "enrolled.parquet")


def test_enrolment_and_verification_give_the_answers_of_the_service(
    commands: Commands, scans: Path, tmp_path: Path, client: TestClient, draw: Draw
) -> None:
    enrolled = enrol(commands, scans, tmp_path)
    assert {row["status"] for row in enrolled} == {"done"}
    assert len({row["reference_id"] for row in enrolled}) == 6
    rows = [
        {"id": f"cheque-{w}", "signer_id": f"w{w}", "image": f"w{w}/3.png", "bank": "x"} for w in range(3)
    ]
    manifest = write_csv(scans / "verify.csv", rows)  # the images are beside the manifest
    printed = run(commands, "verify", manifest, "-o", tmp_path / "out.parquet")
    assert "3 rows, 0 with an error" in printed
    for writer, row in enumerate(results(tmp_path / "out.parquet")):
        answer = client.post(
            "/verify", data={"signer_id": f"w{writer}"}, files={"signature": draw(writer, 3)}
        ).json()
        assert row["id"] == f"cheque-{writer}"
        for name in ("decision", "distance", "threshold", "review_threshold", "log_likelihood_ratio"):
            assert row[name] == answer[name]
        assert row["frr"] == pytest.approx(answer["operating_point"]["frr"], rel=1e-5)
        assert row["warnings"] == [warning["code"] for warning in answer["warnings"]]
        stored = client.get(f"/verifications/{row['verification_id']}").json()
        assert stored["distance"] == row["distance"]
    actions = client.get("/audit").json()["entries"]
    assert {entry["actor"].split(":")[0] for entry in actions if entry["action"] == "enrol"} == {
        "command-line"
    }


def test_a_row_that_fails_has_its_error_and_the_others_their_results(
    commands: Commands, scans: Path, tmp_path: Path
) -> None:
    enrol(commands, scans, tmp_path)
    (scans / "text.png").write_text("no image")
    (tmp_path / "secret.png").write_bytes((scans / "w0" / "3.png").read_bytes())
    cases = [
        ({"signer_id": "w0", "image": "w0/3.png"}, None),
        ({"signer_id": "w0", "image": "w0/9.png"}, "image-not-found"),
        ({"signer_id": "w0", "image": "w0"}, "image-not-found"),
        ({"signer_id": "nobody", "image": "w0/3.png"}, "signer-not-found"),
        ({"signer_id": "w0", "image": "text.png"}, "not-an-image"),
        ({"signer_id": "w0", "image": "w0/3.png", "page": "-1"}, "malformed-row"),
        ({"signer_id": "w0", "image": "w0/3.png", "page": "7"}, "no-such-page"),
        ({"signer_id": "w0", "image": "w0/3.png", "region": "5,5,1,1"}, "malformed-row"),
        ({"signer_id": "", "image": "w0/3.png"}, "malformed-row"),
        ({"signer_id": "w0", "image": ""}, "malformed-row"),
        ({"signer_id": "w0", "image": "../secret.png"}, "malformed-row"),
        ({"signer_id": "w0", "image": str(tmp_path / "secret.png")}, "malformed-row"),
        ({"signer_id": "w1", "image": "w1/3.png", "region": "whole"}, None),
    ]
    manifest = write_csv(tmp_path / "verify.csv", [row for row, _ in cases])
    printed = run(commands, "verify", manifest, "-o", tmp_path / "out.parquet", "--images", scans)
    rows = results(tmp_path / "out.parquet")
    assert [row["code"] for row in rows] == [code for _, code in cases]
    for row in rows:
        assert (row["status"] == "done") == (row["code"] is None) == (row["decision"] is not None)
        assert (row["detail"] is None) == (row["status"] == "done")
    assert "13 rows, 11 with an error" in printed
    assert "malformed-row: 6" in printed


def test_parquet_manifest_and_tar_archive(commands: Commands, scans: Path, tmp_path: Path) -> None:
    archive = tmp_path / "scans.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(scans, ".")
    manifest = tmp_path / "enrol.parquet"
    parquet.write_table(pa.Table.from_pylist([row | {"page": 0} for row in enrolments()]), manifest)
    run(commands, "enrol", manifest, "-o", tmp_path / "out.parquet", "--images", archive, "--part-rows", 4)
    rows = results(tmp_path / "out.parquet")
    assert [row["status"] for row in rows] == ["done"] * 6
    again = write_csv(tmp_path / "again.csv", [{"signer_id": "w0", "image": "w0/0.png"}])
    run(commands, "enrol", again, "-o", tmp_path / "again.parquet", "--images", archive)
    assert results(tmp_path / "again.parquet")[0]["code"] == "duplicate-reference"


def test_extraction(commands: Commands, scans: Path, tmp_path: Path) -> None:
    manifest = write_csv(
        tmp_path / "pages.csv", [{"image": "w0/0.png"}, {"image": "w1/0.png", "region": "whole"}]
    )
    for crops in ((), ("--crops",)):
        output = tmp_path / f"out{len(crops)}.parquet"
        run(commands, "extract", manifest, "-o", output, "--images", scans, *crops)
        found, refused = results(output)
        assert found["width"] > 0
        (signature,) = found["signatures"]
        left, top, right, bottom = signature["region"]
        assert 0 <= left < right <= found["width"]
        assert 0 <= top < bottom <= found["height"]
        assert (signature["image"] or b"").startswith(b"\x89PNG" if crops else b"")
        assert bool(signature["image"]) == bool(crops)
        assert refused["code"] == "malformed-row"


def test_a_killed_job_continues_and_carries_out_no_row_twice(
    commands: Commands, scans: Path, tmp_path: Path, sql: Sql
) -> None:
    enrol(commands, scans, tmp_path)
    rows = [{"id": str(n), "signer_id": f"w{n % 3}", "image": f"w{n % 3}/{2 + n % 2}.png"} for n in range(90)]
    manifest, output = write_csv(tmp_path / "verify.csv", rows), tmp_path / "out.parquet"
    words = ["bulk", "verify", manifest, "-o", output, "--images", scans, "--part-rows", "20"]

    def count() -> int:
        return int(sql("SELECT count(*) FROM verifications")[0][0])

    def begin() -> Forked:
        return Forked("app", *map(str, words), environment=os.environ | commands.environment)

    for _ in range(KILLS):
        process, before = begin(), count()
        wanted = before + random.randint(5, 25)
        give_up = time.monotonic() + 120
        while process.poll() is None and count() < wanted and time.monotonic() < give_up:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert before <= count() < 90
        assert not output.exists()
    process = begin()
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    found = results(output)
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert {row["status"] for row in found} == {"done"}
    stored = {row[0] for row in sql("SELECT verification_id FROM verifications")}
    assert len(stored) == 90
    assert {row["verification_id"] for row in found} == stored
    assert not list(tmp_path.glob("*.job"))
    assert not list(tmp_path.glob(".out*"))


def test_an_unavailable_store_stops_the_job_and_is_no_result(
    commands: Commands, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(commands, scans, tmp_path)
    monkeypatch.setattr(jobs, "FIRST_PAUSE_S", 0.001)
    manifest, output = write_csv(tmp_path / "verify.csv", enrolments(range(3, 4))), tmp_path / "out.parquet"
    words = ("bulk", "verify", str(manifest), "-o", str(output), "--images", str(scans))
    failures = iter(range(jobs.ATTEMPTS * 3))
    specimens = references.specimens

    def fail(*arguments: Any) -> Any:
        if next(failures, None) is not None:
            raise StoreUnavailable("The disk is full.")
        return specimens(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr(references, "specimens", fail)
        refused = commands.refused(*words)
        assert "The disk is full. Run the command again" in refused
        assert not output.exists()
        failures = iter(range(2))
        assert commands.run(*words).exit_code == 0
    assert [row["status"] for row in results(output)] == ["done"] * 3


def test_jobs_that_are_refused(commands: Commands, scans: Path, tmp_path: Path) -> None:
    manifest, output = write_csv(tmp_path / "m.csv", enrolments()), tmp_path / "out.parquet"
    words = ["bulk", "enrol", str(manifest), "-o", str(output), "--images"]
    assert "neither a folder nor a tar" in commands.refused(*words, str(tmp_path / "nowhere"))
    assert "cannot be opened" in commands.refused(*words, "unknown-protocol://x")
    (tmp_path / "no.tar").write_text("no archive")
    assert "cannot be read" in commands.refused(*words, str(tmp_path / "no.tar"))
    no_signer = write_csv(tmp_path / "n.csv", [{"image": "a"}])
    assert "no column 'signer_id'" in commands.refused("bulk", "verify", str(no_signer), "-o", str(output))
    (tmp_path / "bad.parquet").write_text("no parquet")
    assert "cannot be read" in commands.refused(
        "bulk", "verify", str(tmp_path / "bad.parquet"), "-o", str(output)
    )
    schema = operation("enrol").schema
    with Results(output, {"manifest_sha256": "other"}, schema):
        assert "Another process" in commands.refused(*words, str(scans))
    assert "a job with another operation" in commands.refused(*words, str(scans))
    output.write_text("earlier results")
    (tmp_path / "out.parquet.job").rename(tmp_path / "elsewhere")
    assert "exists; choose another output" in commands.refused(*words, str(scans))
    assert output.read_text() == "earlier results"


def test_object_stores_are_read_through_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/scans/a.png", b"image of some length")
    with open_images("memory://bucket/scans", 5) as images:
        assert images.read("a.png") == b"image"
        with pytest.raises(RowRefused, match="no image"):
            images.read("b.png")
    with pytest.raises(BulkRefused), open_images("memory://bucket/none", 5):
        pass
