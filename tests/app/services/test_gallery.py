"""The index for identification: its order, what a change costs, and that a large one keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.services.exhaustive_index import Entry, ExhaustiveIndex
from app.services.gallery import PAGE, Gallery, Reductions
from app.store import change_counters, references
from app.store.references import Indexed


class FakeStore:
    """Signers in a dictionary, with the two questions that the gallery asks a store."""

    def __init__(self) -> None:
        self.signers: dict[tuple[str, str], Indexed] = {}
        self.log: list[tuple[str, str]] = []
        self.signers_read = 0
        self.before_reading: Callable[[str], object] = lambda tenant_id: None

    def put(self, tenant_id: str, key: str, *templates: list[float] | None) -> None:
        present = [np.float16(template) for template in templates if template is not None]
        whole = np.stack(present) if present and len(present) == len(templates) else None
        self.signers[tenant_id, key] = Indexed(key, f"signer-{key}", None, None, whole)
        if not templates:
            del self.signers[tenant_id, key]
        self.log.append((tenant_id, key))

    def read_now(self, work: object, tenant_id: str, *args: Any) -> Any:
        if work is change_counters.sequence:
            return sum(tenant == tenant_id for tenant, _ in self.log)
        if work is change_counters.changed_since:
            mine = [key for tenant, key in self.log if tenant == tenant_id]
            return list(dict.fromkeys(mine[args[0] :]))
        assert work is references.for_index
        self.before_reading(tenant_id)
        _, keys = args
        assert len(keys) <= PAGE
        rows = [self.signers[tenant_id, key] for key in sorted(keys) if (tenant_id, key) in self.signers]
        self.signers_read += len(rows)
        return rows


def opened(store: FakeStore) -> Gallery:
    return Gallery(store, "tiny@0", Reductions(unchanged, unchanged), 10**9)  # type: ignore[arg-type]  # a stand-in


def unchanged(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.asarray(rows, np.float32)


def found(gallery: Gallery, tenant_id: str, template: list[float], count: int = 3) -> list[str]:
    neighbours = asyncio.run(gallery.nearest(tenant_id, np.float32(template), count))
    return [entry.signer_id for entry in neighbours.entries]


def test_the_nearest_reference_of_each_signer_counts() -> None:
    store = FakeStore()
    store.put("t", "a", [0.0, 0.0], [9.0, 9.0])
    store.put("t", "b", [5.0, 5.0])
    store.put("t", "c", [8.0, 8.0], None)  # a reference without a template: the signer is skipped
    store.put("u", "d", [9.0, 9.0])
    gallery = opened(store)
    assert found(gallery, "t", [9.0, 9.0]) == ["signer-a", "signer-b"]
    neighbours = asyncio.run(gallery.nearest("t", np.float32([5.0, 5.0]), 1))
    assert [e.signer_id for e in neighbours.entries] == ["signer-b"]
    assert (neighbours.compared, neighbours.skipped) == (2, 1)
    among = asyncio.run(gallery.nearest("t", np.float32([5.0, 5.0]), 9, {"signer-a", "signer-c"}))
    assert ([e.signer_id for e in among.entries], among.compared, among.skipped) == (["signer-a"], 1, 1)


def test_a_change_reads_what_changed_and_nothing_else() -> None:
    store = FakeStore()
    for number in range(2 * PAGE + 7):
        store.put("t", f"{number:05d}", [float(number), 0.0])
    gallery = opened(store)
    assert found(gallery, "t", [3.1, 0.0], 1) == ["signer-00003"]
    assert store.signers_read == 2 * PAGE + 7
    store.put("t", "00003", [5000.0, 0.0], [6000.0, 0.0])
    store.put("t", "00004")  # erased
    assert found(gallery, "t", [3.1, 0.0], 2) == ["signer-00002", "signer-00005"]
    assert found(gallery, "t", [5999.0, 0.0], 1) == ["signer-00003"]
    assert store.signers_read == 2 * PAGE + 8


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_changes_ranks_like_a_plain_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    index, truth = ExhaustiveIndex(unchanged), {}
    for _ in range(400):
        key = str(rng.integers(40))
        if rng.random() < 0.3:
            truth.pop(key, None)
            index.apply({key: None})
        else:
            vectors = rng.normal(size=(int(rng.integers(1, 4)), 3)).astype(np.float16)
            truth[key] = vectors
            index.apply({key: Entry(key, key, None, None, vectors)})
        if rng.random() < 0.2:
            index.compact()
        question = rng.normal(size=3).astype(np.float32)
        order = sorted(truth, key=lambda k: float(np.linalg.norm(truth[k] - question, axis=1).min()))
        assert [e.signer_id for e in index.nearest(question, 5, None).entries] == order[:5]
    assert index._used <= 2 * sum(len(v) for v in truth.values()) + 64  # stale rows do not pile up


def test_a_large_refresh_with_many_who_wait_for_it_keeps_no_other_tenant_waiting() -> None:
    store = FakeStore()
    store.put("large", "a", [0.0, 0.0])
    store.put("small", "b", [0.0, 0.0])
    reading, go_on = threading.Event(), threading.Event()

    def pause(tenant_id: str) -> None:
        if tenant_id == "large":
            reading.set()
            assert go_on.wait(10)

    store.before_reading = pause
    gallery = opened(store)

    async def both() -> list[str]:
        large, gone, *waiting = [
            asyncio.create_task(gallery.nearest("large", np.float32([0.0, 0.0]), 1)) for _ in range(6)
        ]
        await asyncio.to_thread(reading.wait, 10)
        gone.cancel()
        large.cancel()  # its thread goes on
        await asyncio.sleep(0)
        large = waiting.pop()
        small = await asyncio.wait_for(gallery.nearest("small", np.float32([0.0, 0.0]), 1), 10)
        assert not large.done()
        go_on.set()
        return [n.entries[0].signer_id for n in (small, await large)]

    assert asyncio.run(both()) == ["signer-b", "signer-a"]
    gallery.close()


class CountedKey(str):
    """A signer's key that counts how often any of its kind is hashed or compared."""

    operations = 0

    def __hash__(self) -> int:
        CountedKey.operations += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        CountedKey.operations += 1
        return super().__eq__(other)


def test_the_work_of_a_refresh_is_linear_in_the_changed_signers() -> None:
    """Operations on keys are counted: time would depend on the machine, too."""

    def operations(changed: int) -> tuple[int, int]:
        store = FakeStore()
        gallery = opened(store)
        counted = []
        for _ in ("enrolled", "changed"):
            for number in range(changed):
                store.put("t", CountedKey(f"{number:05d}"), [float(number), 0.0])
            CountedKey.operations = 0
            assert found(gallery, "t", [3.1, 0.0], 1) == ["signer-00003"]
            counted.append(CountedKey.operations)
        gallery.close()
        return counted[0], counted[1]

    few, many = operations(PAGE), operations(8 * PAGE)
    assert few[0] >= PAGE
    assert many[0] <= 8.1 * few[0]
    assert many[1] <= 8.1 * few[1]
