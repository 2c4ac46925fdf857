"""Start, stop and kill of the service as a separate process."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.forked import interpreter, run
from tests.service import Service

Draw = Callable[..., bytes]


def corrupt(model_folder: Path, tmp_path: Path, how: str) -> Path:
    """Copy the weights folder with the fault `how`."""
    copy = tmp_path / how
    shutil.copytree(model_folder, copy)
    tensors = copy / "model.safetensors"
    if how == "damaged":
        data = bytearray(tensors.read_bytes())
        data[-1] ^= 1
        tensors.write_bytes(bytes(data))
    elif how == "mismatched":
        card = json.loads((copy / "card.json").read_text())
        card["network_options"]["cell"] = 5
        (copy / "card.json").write_text(json.dumps(card))
    elif how == "no-calibration":
        (copy / "calibration.json").unlink()
    elif how == "foreign-calibration":
        calibration = json.loads((copy / "calibration.json").read_text())
        calibration["weights_sha256"] = "0" * 64
        (copy / "calibration.json").write_text(json.dumps(calibration))
    return copy


@pytest.mark.parametrize("how", ["damaged", "mismatched", "no-calibration", "foreign-calibration"])
def test_faulty_weights_are_refused(
    start: Callable[..., Service], model_folder: Path, tmp_path: Path, how: str
) -> None:
    assert_refused(
        start(weights=str(corrupt(model_folder, tmp_path, how))),
        "alibration" if "calibration" in how else how,
    )


@pytest.mark.parametrize(
    ("changes", "word", "status"),
    [
        ({"weights": "/nowhere"}, "/nowhere", 2),
        ({"device": "cuda"}, "CUDA", 2),
        (
            {"database_url": "sqlite:////srv/countersing/store.db"},
            "The folder /srv/countersing of the store does not exist: create it, or correct COUNTERSIGN_DATABASE_URL",
            1,
        ),
        ({"database_url": "sqlite:///nowhere/store.db"}, "relative to the working directory", 1),
        ({"database_url": "sqlite:////proc/store.db"}, "cannot be opened", 1),
        ({"database_url": "nonsense"}, "DATABASE_URL", 2),
        (
            {"database_url": "mysql://x"},
            "COUNTERSIGN_DATABASE_URL names the database 'mysql', which is not",
            2,
        ),
        ({"host": "0.0.0.0", "encryption_keys": "k1:" + "A" * 43}, "API key", 2),
        ({"host": "0.0.0.0"}, "no encryption key is configured", 2),
        ({"host": "203.0.113.9"}, "COUNTERSIGN_HOST=203.0.113.9 is no address of this machine", 2),
        ({"target_far": "0.5", "review_far": "0.2"}, "REVIEW_FAR=0.2", 2),
        ({"target_far": "0.0000001"}, "is not supported", 2),
        ({"encryption_key_file": "/nowhere/keys"}, "/nowhere/keys", 2),
        ({"audit_key": "short"}, "COUNTERSIGN_AUDIT_KEY", 2),
    ],
    ids=[
        "no weights",
        "no cuda",
        "folder of the store is missing",
        "relative folder of the store is missing",
        "store cannot be created",
        "invalid url",
        "database that is not supported",
        "public without keys",
        "public without an encryption key",
        "address of another machine",
        "contradictory rates",
        "unsupported rate",
        "no key file",
        "short audit key",
    ],
)
def test_refused_start_prints_one_line_with_the_reason(
    start: Callable[..., Service], changes: dict[str, str], word: str, status: int
) -> None:
    import torch  # noqa: PLC0415

    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert_refused(start(**changes), word, status)


def assert_refused(service: Service, word: str, expected: int = 2) -> None:
    status, out = service.finish()
    assert status == expected, out
    assert word in out
    assert "Traceback" not in out
    lines = [line for line in out.splitlines() if word in line]
    assert len(lines) == 1, out


def test_a_port_in_use_is_found_before_the_slow_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        store = tmp_path / "store.db"
        ran = run(
            "app",
            *("serve", "--port", str(port)),
            environment=os.environ | {"COUNTERSIGN_DATABASE_URL": f"sqlite:///{store}"},
        )
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        (
            f"countersign: Port {port} of 127.0.0.1 cannot be opened: Address already in use. Choose another one "
            "with --port or COUNTERSIGN_PORT, or stop the process that uses it."
        )
    ]
    assert not store.exists()


def test_restarted_service_has_all_stored_data(start: Callable[..., Service], draw: Draw) -> None:
    first = start(program=interpreter).ready()  # the others are forked
    httpx.post(
        f"{first.url}/signers/a/references", files=[("files", draw(1, 0))], timeout=60
    ).raise_for_status()
    status, out = first.finish(signal.SIGTERM)
    assert status in {0, -signal.SIGTERM, 128 + signal.SIGTERM}
    assert "Traceback" not in out
    second = start().ready()
    answer = httpx.post(
        f"{second.url}/verify", data={"signer_id": "a"}, files={"signature": draw(1, 1)}, timeout=60
    )
    assert answer.status_code == 200
    assert str(draw(1, 0)[:20]) not in out, "no image is logged"


def test_sigkill_loses_no_acknowledged_enrolment(start: Callable[..., Service], draw: Draw) -> None:
    images = [draw(n % 5, n) for n in range(40)]
    acknowledged: dict[str, list[str]] = {}
    client = httpx.Client(timeout=30)  # each new one loads the certificates again
    for delay_s in (0.15, 0.4):
        service = start().ready()
        answered = threading.Event()

        def enrol(
            thread: int,
            url: str = service.url,
            delay_s: float = delay_s,
            answered: threading.Event = answered,
        ) -> None:
            for n in range(thread, len(images), 4):
                signer = f"s{delay_s}-{n}"
                files = [("files", images[n]), ("files", images[(n + 1) % 40])]
                try:
                    answer = client.post(f"{url}/signers/{signer}/references", files=files)
                except httpx.TransportError:
                    return
                if answer.status_code == 201:
                    acknowledged[signer] = [r["sha256"] for r in answer.json()["references"]]
                    answered.set()

        threads = [threading.Thread(target=enrol, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        assert answered.wait(60)  # long enough for a busy machine
        time.sleep(delay_s)
        service.finish(signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert acknowledged
    restarted = start().ready()
    listed: list[Any] = client.get(f"{restarted.url}/signers", params={"limit": 500}).json()["signers"]
    assert {s["signer_id"] for s in listed} >= set(acknowledged)
    assert all(s["references"] == 2 for s in listed), "no request may be stored in part"
    for signer, digests in acknowledged.items():
        kept = client.get(f"{restarted.url}/signers/{signer}/references").json()["references"]
        assert sorted(r["sha256"] for r in kept) == sorted(digests)
        for reference in kept:
            image = client.get(
                f"{restarted.url}/signers/{signer}/references/{reference['reference_id']}/image"
            )
            assert image.content in images


def test_connection_remains_usable_after_head(start: Callable[..., Service]) -> None:
    service = start().ready()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    for path, status in (("/livez", 200), ("/docs", 200), ("/signers/nobody", 404), ("/verify", 405)):
        for method in ("HEAD", "GET", "HEAD"):
            connection.request(method, path)
            answer = connection.getresponse()
            assert answer.status == status, (method, path)
            assert bool(answer.read()) == (method == "GET")
    connection.close()
    _, output = service.finish(signal.SIGTERM)
    assert '"level": "error"' not in output, output
