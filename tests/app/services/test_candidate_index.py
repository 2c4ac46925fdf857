"""The index of candidates: recall, changes, erasure, dumps, and files that are damaged or of another store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from app.services import candidate_index
from app.services.candidate_index import CandidateIndex
from app.services.exhaustive_index import Entry
from app.store.encryption.data_keys import DataKeys
from app.store.index_snapshots import IndexSnapshots, Position, SnapshotUnusable
from tests.fixtures import TEST_KEY

DIMENSION = 24
Draw = Callable[..., bytes]
Serve = Callable[..., TestClient]


def unchanged(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(rows, np.float32)


def signers(count: int, seed: int = 0, references: int = 3) -> dict[str, Entry | None]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, 1, DIMENSION))
    templates = (centres + 0.2 * rng.normal(size=(count, references, DIMENSION))).astype(np.float16)
    return {
        f"{seed}-{n:05d}": Entry(f"{seed}-{n:05d}", str(n), None, None, rows)
        for n, rows in enumerate(templates)
    }


def filled(changes: dict[str, Entry | None]) -> CandidateIndex:
    index = CandidateIndex(unchanged)
    index.apply(changes)
    return index


def first_template(entry: Entry | None) -> NDArray[np.float32]:
    assert entry is not None
    assert entry.templates is not None
    return entry.templates[0].astype(np.float32)


def test_candidates_contain_the_signer() -> None:
    present = signers(3000)
    index = filled(present)
    assert len(index) == 3000
    found = [key in index.nearest(first_template(entry), 20) for key, entry in list(present.items())[::10]]
    assert np.mean(found) >= 0.995
    assert CandidateIndex(unchanged).nearest(np.zeros(DIMENSION, np.float32), 5) == []


def test_changed_and_removed_signers() -> None:
    present = signers(300)
    index = filled(present)
    key, other = list(present)[5:7]
    (moved,) = signers(1, seed=9).values()
    assert moved is not None
    index.apply({key: Entry(key, "moved", None, None, moved.templates), other: None})
    assert index.nearest(first_template(moved), 1) == [key]
    assert index.nearest(first_template(present[key]), 300)[0] != key
    assert other not in index.nearest(first_template(present[other]), 300)
    assert len(index) == 299
    index.apply({key: Entry(key, "unreadable", None, None, None)})
    assert index.skipped == {key}
    assert len(index) == 298
    index.apply({key: present[key]})
    assert (index.skipped, len(index)) == (set(), 299)


def test_nothing_of_an_erased_vector_is_left_in_the_index() -> None:
    present = signers(50, references=1)
    index = filled(present)
    entry = present["0-00007"]
    assert entry is not None
    assert entry.templates is not None
    vector = entry.templates[0].tobytes()
    assert vector in index.dump()
    index.erase("0-00007")
    index.erase("0-00007")  # nothing to do
    assert vector not in index.dump()
    assert len(index) == 49
    neighbour = present["0-00008"]
    assert index.nearest(first_template(neighbour), 1) == ["0-00008"]


def test_a_dump_restores_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidate_index, "_RECENT_NAMES", 10)
    index = filled(signers(30))
    index.apply({"gone": Entry("gone", "gone", None, None, None)})
    again = CandidateIndex.load(index.dump(), unchanged)
    more = signers(20, seed=1)
    for either in (index, again):
        either.apply(more)
    assert (len(again), again.skipped) == (50, {"gone"})
    for entry in (signers(30) | more).values():
        template = first_template(entry)
        assert again.nearest(template, 3) == index.nearest(template, 3)
    empty = CandidateIndex.load(CandidateIndex(unchanged).dump(), unchanged)
    assert len(empty) == 0


@pytest.mark.parametrize("length", [0, 3, 40, -20])
def test_a_damaged_dump_is_refused(length: int) -> None:
    with pytest.raises(SnapshotUnusable):
        CandidateIndex.load(filled(signers(30)).dump()[:length], unchanged)


def snapshots(folder: Path, key: str = TEST_KEY, model_version: str = "tiny@0") -> IndexSnapshots:
    return IndexSnapshots(folder, DataKeys([key]), model_version)


def test_files_are_encrypted_and_bound_to_tenant_model_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.index_snapshots._PIECE_BYTES", 1000)
    files, content = snapshots(tmp_path), np.random.default_rng(0).bytes(2500)
    assert files.read("t") is None
    at = Position(7, 3, "hash")
    files.publish("t", files.prepare("t", at, content))
    assert files.read("t") == (at, content)
    (path,) = tmp_path.glob("*.index")
    stored = path.read_bytes()
    assert content[:32] not in stored
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(SnapshotUnusable):
        snapshots(tmp_path, model_version="other@0").read("t")
    with pytest.raises(SnapshotUnusable, match="not configured"):
        snapshots(tmp_path, TEST_KEY.replace("test:", "other:")).read("t")
    for damaged in (
        stored[:-1],
        stored[:50],
        stored.replace(b'"sequence": 7', b'"sequence": 8'),
        b"",
        b"{}\n",
    ):
        path.write_bytes(damaged)
        with pytest.raises(SnapshotUnusable):
            files.read("t")
    files.delete("t")
    files.delete("t")
    assert files.read("t") is None


def enrol(client: TestClient, draw: Draw, writers: range) -> None:
    for writer in writers:
        files = [("files", draw(writer, n)) for n in range(2)]
        assert client.post(f"/signers/w{writer}/references", files=files).status_code == 201


def identify(client: TestClient, image: bytes, **fields: object) -> dict[str, object]:
    response = client.post("/identify", files={"signature": image}, data={"top_k": 3, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, object] = response.json()
    return answer


def test_both_indexes_give_the_same_answers(serve: Serve, draw: Draw) -> None:
    exhaustive = serve()
    enrol(exhaustive, draw, range(6))
    indexed = serve(exhaustive_signers=3)
    for writer in range(6):
        assert identify(indexed, draw(writer, 5)) == identify(exhaustive, draw(writer, 5))
    named = {"signer_ids": ["w1", "w4"]}
    assert identify(indexed, draw(4, 5), **named) == identify(exhaustive, draw(4, 5), **named)
    policy = {"fixed_threshold": 0.01}
    assert exhaustive.patch("/signers/w2", json=policy).status_code == 200
    assert identify(indexed, draw(2, 5)) == identify(exhaustive, draw(2, 5))


def test_a_growing_tenant_changes_to_the_index_and_other_tenants_do_not(serve: Serve, draw: Draw) -> None:
    client = serve(exhaustive_signers=3)
    enrol(client, draw, range(3))
    identify(client, draw(1, 5))
    tenants = client.app.state.context.signer_index._tenants  # type: ignore[attr-defined]
    assert not isinstance(tenants["default"].index, CandidateIndex)
    enrol(client, draw, range(3, 5))
    answer = identify(client, draw(1, 5))
    assert isinstance(tenants["default"].index, CandidateIndex)
    assert answer["compared"] == 5


@pytest.mark.parametrize("exhaustive_signers", [0, 100])
def test_an_erased_signer_is_in_no_index_and_in_no_file_when_the_erasure_is_answered(
    serve: Serve, draw: Draw, exhaustive_signers: int, tmp_path: Path
) -> None:
    client = serve(exhaustive_signers=exhaustive_signers)
    enrol(client, draw, range(4))
    identify(client, draw(1, 5))
    context = client.app.state.context  # type: ignore[attr-defined]
    tenant = context.signer_index._tenants["default"]
    context.signer_index._save("default", tenant)
    files = list(tmp_path.rglob("*.index"))
    assert len(files) == (exhaustive_signers == 0)
    assert len(tenant.index) == 4
    assert client.delete("/signers/w1").status_code == 204
    assert len(tenant.index) == 3
    assert not list(tmp_path.rglob("*.index"))
    assert "w1" not in str(identify(client, draw(1, 5)))
    reference = client.get("/signers/w2/references").json()["references"][0]["reference_id"]
    assert client.delete(f"/signers/w2/references/{reference}").status_code == 204
    assert len(tenant.index) == 2  # without the erased reference, w2 is added by the next search
    assert identify(client, draw(2, 5))["compared"] == 3


def test_a_restart_loads_the_file_and_reads_only_what_has_changed_since(
    serve: Serve, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = serve(exhaustive_signers=0)
    enrol(first, draw, range(4))
    before = identify(first, draw(1, 5))
    gallery = first.app.state.context.signer_index  # type: ignore[attr-defined]
    gallery._save("default", gallery._tenants["default"])
    enrol(first, draw, range(4, 5))
    applied: list[str] = []
    apply = CandidateIndex.apply

    def counted(index: CandidateIndex, changes: dict[str, Entry | None]) -> None:
        applied.extend(changes)
        apply(index, changes)

    monkeypatch.setattr(CandidateIndex, "apply", counted)
    second = serve(exhaustive_signers=0)
    again = identify(second, draw(1, 5))
    assert again["compared"] == 5
    assert again["candidates"][0] == before["candidates"][0]  # type: ignore[index]
    assert len(applied) == 1
    (path,) = tmp_path.rglob("*.index")
    path.write_bytes(path.read_bytes()[:-1])
    applied.clear()
    assert identify(serve(exhaustive_signers=0), draw(1, 5)) == again
    assert len(applied) == 5


def test_a_file_of_another_history_of_the_store_is_not_used(serve: Serve, draw: Draw, tmp_path: Path) -> None:
    """The store is replaced by an older backup, whose change counter then reaches the same value again."""
    first = serve(exhaustive_signers=0)
    context = first.app.state.context  # type: ignore[attr-defined]
    enrol(first, draw, range(2))
    (database,) = tmp_path.rglob("test.db")
    context.store.sweep()
    backup = database.read_bytes()
    enrol(first, draw, range(2, 4))
    identify(first, draw(2, 5))
    context.signer_index._save("default", context.signer_index._tenants["default"])
    first.__exit__(None, None, None)
    (path,) = tmp_path.rglob("*.index")
    kept = path.read_bytes()
    for left in database.parent.glob("test.db-*"):
        left.unlink()
    database.write_bytes(backup)
    second = serve(exhaustive_signers=0)
    enrol(second, draw, range(4, 6))
    path.write_bytes(kept)
    answer = identify(second, draw(4, 5))
    assert answer["compared"] == 4
    assert "w2" not in str(answer)
    assert "w4" in str(answer)


def test_the_memory_only_setting_writes_no_file(serve: Serve, draw: Draw, tmp_path: Path) -> None:
    client = serve(exhaustive_signers=0, index_files="none")
    enrol(client, draw, range(2))
    identify(client, draw(1, 5))
    client.__exit__(None, None, None)
    assert not list(tmp_path.rglob("*.index"))
    assert not list(tmp_path.rglob("*.indexes"))


def test_without_the_extra_the_search_stays_exhaustive(
    serve: Serve, draw: Draw, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(candidate_index, "is_available", lambda: False)
    client = serve(exhaustive_signers=0)
    enrol(client, draw, range(2))
    with caplog.at_level("WARNING"):
        assert identify(client, draw(1, 5))["compared"] == 2
        identify(client, draw(1, 6))
    assert caplog.text.count("install the extra") == 1
