"""Decoding in worker processes: the results do not change, and the service survives faults of a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.decoding import pool, uploads
from app.decoding.formats import UploadLimits
from app.decoding.pool import DecoderFault, DecoderPool, Reading
from app.decoding.uploads import read_upload
from app.domain.errors import Busy, DamagedImage, NoSuchPage, StartRefused, TooExpensive, UploadTooLarge
from app.settings import PAGE_NETWORK
from model.errors import BlankImage
from model.preprocessing.ink import Canvas, fit, isolate
from tests.app.http.test_problems import paper, picture
from tests.app.keyed import until
from tests.app.test_api import enrol, verify
from tests.app.test_start import Service
from tests.decoders import SharedPool, stop_shared_pools
from tests.processes import reading_processes

Draw = Callable[..., bytes]
LIMITS = UploadLimits(max_bytes=10**6, max_pixels=10**6)
CANVAS = Canvas(64, 128, "moments", 0.8)


@pytest.fixture
def deaths() -> list[None]:
    """One item for each worker process that died while decoding an upload."""
    return []


@pytest.fixture(autouse=True)
def _own_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the service of each test a worker process of its own, which the tests kill or replace."""
    monkeypatch.setattr(SharedPool, "keeps_results", False)
    stop_shared_pools()
    yield
    stop_shared_pools()


@pytest.fixture
def decoders(deaths: list[None]) -> Iterator[DecoderPool]:
    """A pool with one worker process."""
    pool_of_one = DecoderPool(1, patience_s=20, on_death=lambda: deaths.append(None))
    pool_of_one.check()
    yield pool_of_one
    pool_of_one.close()


def read(decoders: DecoderPool, data: bytes, page: int = 0) -> Reading:
    return decoders.read(data, "scan.png", page, LIMITS, CANVAS)


def worker_of(owner: int | None = None) -> psutil.Process:
    """Return the only worker process of the service in process `owner`, by default in this process."""
    (worker,) = reading_processes(owner)
    return worker


def test_result_equals_decoding_without_a_worker_process(decoders: DecoderPool, draw: Draw) -> None:
    for n in range(3):
        reading = read(decoders, draw(1, n))
        ink = isolate(read_upload(draw(1, n), None, LIMITS).grey)
        assert np.array_equal(reading.prepared.canvas, fit(ink.density, CANVAS))
        assert reading.prepared.quality == ink.quality
        assert all(0 < reading.seconds[stage] < 5 for stage in ("decode", "isolate"))


@pytest.mark.parametrize(
    ("corrupt", "kind", "word"),
    [
        (lambda data: data[:200], DamagedImage, "truncated"),
        (lambda data: data + b"\0" * 10**6, UploadTooLarge, "1,000,000"),
        (lambda data: data, NoSuchPage, "page"),
    ],
)
def test_refusals_keep_their_type_and_message(
    decoders: DecoderPool, draw: Draw, deaths: list[None], corrupt: Any, kind: type[Exception], word: str
) -> None:
    with pytest.raises(kind, match=word):
        read(decoders, corrupt(draw(1, 0)), page=3 if kind is NoSuchPage else 0)
    assert not deaths


def test_unusable_signature_keeps_its_type(decoders: DecoderPool) -> None:
    with pytest.raises(BlankImage):
        read(decoders, picture(paper()))


def test_upload_is_decoded_by_a_new_process_when_the_first_is_killed(
    decoders: DecoderPool, draw: Draw, deaths: list[None]
) -> None:
    first = worker_of()
    first.suspend()
    killer = threading.Timer(0.3, first.kill)
    killer.start()
    assert read(decoders, draw(1, 0)).prepared.canvas.any()
    assert len(deaths) == 1
    assert worker_of().pid != first.pid


def test_process_that_died_while_idle_is_replaced_and_not_counted(
    decoders: DecoderPool, draw: Draw, deaths: list[None]
) -> None:
    kill([worker_of()])
    assert read(decoders, draw(1, 0)).prepared.canvas.any()
    assert not deaths


def kill(processes: list[psutil.Process]) -> None:
    """Kill worker processes and wait until they have ended; they are zombies until the pool asks for their status."""
    for process in processes:
        process.kill()
    until(lambda: all(process.status() == psutil.STATUS_ZOMBIE for process in processes))


def replace_program(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let worker processes that start from now on report that they are ready, and then run `code`."""

    def start() -> subprocess.Popen[bytes]:
        program = (
            "import os, sys, time\nfrom app.decoding.frames import read_frame, write_frame\n"
            "out = sys.stdout.buffer\n"
            "def receive(): return read_frame(sys.stdin.buffer, 10**7)\n"
            "def send(*frame): write_frame(out, *frame)\n"
            "send({'ready': True})\n" + code
        )
        return subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    monkeypatch.setattr(pool, "_start", lambda *_: start())


def replace_running(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Kill the worker processes of the running service; the next ones report that they are ready and run `code`."""
    replace_program(monkeypatch, code)
    kill(reading_processes())


@pytest.mark.parametrize(
    ("code", "deaths_counted", "message"),
    [
        (
            "receive(); os.kill(os.getpid(), 11)",
            2,
            "died while decoding.*exit status -11",
        ),
        (
            "receive(); os.kill(os.getpid(), 9)",
            2,
            "died while decoding.*exit status -9",
        ),
        (
            "receive(); out.write(b'not a frame at all'); out.flush(); sys.stdin.read()",
            1,
            "malformed answer",
        ),
        (
            "receive(); send({'seconds': {}, 'quality': {}}, b'small'); sys.stdin.read()",
            1,
            "malformed answer",
        ),
        (
            "receive(); send({'refused': 'start-refused', 'message': ''}); sys.stdin.read()",
            1,
            "malformed answer",
        ),
    ],
)
def test_fault_of_worker_processes_raises_decoder_fault(
    monkeypatch: pytest.MonkeyPatch,
    draw: Draw,
    deaths: list[None],
    code: str,
    deaths_counted: int,
    message: str,
) -> None:
    with monkeypatch.context() as patched:
        replace_program(patched, code)
        decoders = DecoderPool(1, patience_s=20, on_death=lambda: deaths.append(None))
        with pytest.raises(DecoderFault, match=message):
            read(decoders, draw(1, 0))
        assert len(deaths) == deaths_counted
    decoders = DecoderPool(1, patience_s=20, on_death=lambda: deaths.append(None))
    assert read(decoders, draw(1, 0)).prepared.canvas.any()
    decoders.close()
    assert len(deaths) == deaths_counted


def test_image_that_needs_too_much_memory_is_refused(draw: Draw, deaths: list[None]) -> None:
    decoders = DecoderPool(1, patience_s=20, on_death=lambda: deaths.append(None), memory_mb=192)
    limits = UploadLimits(max_bytes=10**8, max_pixels=4 * 10**7)
    with pytest.raises(TooExpensive, match="more memory"):
        decoders.read(picture(np.full((6000, 5000), 255, np.uint8)), None, 0, limits, CANVAS)
    assert read(decoders, draw(1, 0)).prepared.canvas.any(), "decoded by the same process"
    assert not deaths
    decoders.close()


def test_image_that_needs_too_much_processor_time_is_refused(
    monkeypatch: pytest.MonkeyPatch, draw: Draw, deaths: list[None]
) -> None:
    replace_program(
        monkeypatch,
        "from app.decoding.__main__ import _limit_processor_time\n"
        "receive(); _limit_processor_time(1)\nwhile True: pass",
    )
    decoders = DecoderPool(1, patience_s=60, on_death=lambda: deaths.append(None))
    with pytest.raises(TooExpensive, match="processor time"):
        read(decoders, draw(1, 0))
    assert len(deaths) == 1
    decoders.close()


def test_image_is_refused_for_memory_only_after_a_new_process_ran_out_too(
    monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    """A process whose memory was taken by earlier uploads must not refuse all later ones."""
    out_of_memory = "while True: receive(); send({'out_of_memory': True})"
    with monkeypatch.context() as patched:
        replace_program(patched, f"receive(); send({{'failed': 'once'}})\n{out_of_memory}")
        decoders = DecoderPool(1, patience_s=20)
        with pytest.raises(DecoderFault, match="once"):
            read(decoders, draw(1, 0))
    monkeypatch.setattr(decoders._processes[0], "_start", lambda: pool._start(0, 20, PAGE_NETWORK))
    assert read(decoders, draw(1, 0)).prepared.canvas.any()
    decoders.close()
    with monkeypatch.context() as patched:
        replace_program(patched, out_of_memory)
        decoders = DecoderPool(1, patience_s=20)
        with pytest.raises(TooExpensive, match="more memory"):
            read(decoders, draw(1, 0))
        decoders.close()


def test_stalled_process_is_killed_and_the_answer_is_busy(
    draw: Draw, deaths: list[None], caplog: pytest.LogCaptureFixture
) -> None:
    """A process that has used no processor time was stalled by the machine, not by the image."""
    decoders = DecoderPool(1, patience_s=0.5, on_death=lambda: deaths.append(None))
    decoders.check()
    worker_of().suspend()
    begin = time.monotonic()
    with pytest.raises(Busy, match="try again"):
        read(decoders, draw(1, 0))
    assert time.monotonic() - begin < 15
    assert "Traceback" in caplog.text
    assert len(deaths) == 1
    decoders.close()


def test_bug_in_a_worker_process_is_raised_with_its_traceback(
    decoders: DecoderPool, draw: Draw, deaths: list[None]
) -> None:
    with pytest.raises(RuntimeError, match="TypeError"):
        decoders.read(draw(1, 0), None, 0, LIMITS, Canvas(64, 128, "moments", fill="much"))  # type: ignore[arg-type]
    assert not deaths
    assert read(decoders, draw(1, 0)).prepared.canvas.any()


def test_worker_processes_that_cannot_be_started_are_reported(
    monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    decoders = DecoderPool(1, patience_s=20)
    with pytest.raises(StartRefused, match=r"app\.decoding.*ended immediately"):
        decoders.check()
    with pytest.raises(Busy):
        read(decoders, draw(1, 0))
    monkeypatch.undo()
    assert read(decoders, draw(1, 0)).prepared.canvas.any(), "the pool recovers"
    decoders.close()


def test_worker_process_has_no_secret_and_ends_with_the_service(
    model_folder: Path, tmp_path: Path, draw: Draw
) -> None:
    service = Service(
        {
            "COUNTERSIGN_WEIGHTS": str(model_folder),
            "COUNTERSIGN_DATABASE_URL": f"sqlite:///{tmp_path / 'store.db'}",
            "COUNTERSIGN_DEVICE": "cpu",
            "COUNTERSIGN_READING_PROCESSES": "1",
        }
    )
    try:
        service.ready()
        worker = worker_of(service.process.pid)
        assert not [name for name in worker.environ() if name.startswith("COUNTERSIGN")]
        assert not worker.net_connections()
        assert {Path(file.path).suffix for file in worker.open_files()} <= {".py", ".log", ""}
        assert str(tmp_path / "store.db") not in {file.path for file in worker.open_files()}
        os.kill(worker.pid, signal.SIGTERM)
        os.kill(worker.pid, signal.SIGINT)
        time.sleep(0.2)
        assert worker.is_running(), "only the service reacts to signals to the process group"
    finally:
        service.finish(signal.SIGKILL)
    assert psutil.wait_procs([worker], timeout=60)[1] == []


def test_worker_deaths_are_counted_and_logged(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enrol(client, "a", draw(1, 0))
    replace_running(monkeypatch, "receive(); os.kill(os.getpid(), 11)")
    with caplog.at_level("ERROR"):
        answer = verify(client, "a", draw(1, 1))
    assert answer.status_code == 500, answer.text
    assert answer.json()["code"] == "internal-error"
    assert "DecoderFault: two worker processes died" in caplog.text, "with a traceback"
    assert "countersign_reader_deaths_total 2.0" in client.get("/metrics").text


def test_fault_in_a_worker_process_is_answered_with_500_and_its_traceback_is_logged(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enrol(client, "a", draw(1, 0))
    traceback = "Traceback (most recent call last):\\nKeyError: in the worker process"
    replace_running(
        monkeypatch,
        f"receive(); send({{'failed': '{traceback}'}}); sys.stdin.read()",
    )
    with caplog.at_level("ERROR"):
        answer = verify(client, "a", draw(1, 1))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert "KeyError: in the worker process" in caplog.text
    assert "KeyError" not in answer.text


def test_image_that_needs_too_much_memory_is_answered_with_413(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(client, "a", draw(1, 0))
    replace_running(
        monkeypatch,
        "receive(); send({'out_of_memory': True}); sys.stdin.read()",
    )
    answer = verify(client, "a", draw(1, 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too-expensive")


@pytest.mark.parametrize("kind", [KeyError, TypeError, ValueError, RuntimeError])
@pytest.mark.parametrize("part", ["pixel_cost", "to_scan"])
def test_exception_of_our_own_code_is_not_a_damaged_image(
    monkeypatch: pytest.MonkeyPatch, draw: Draw, part: str, kind: type[Exception]
) -> None:
    def broken(*_: object) -> None:
        raise kind("ours")

    monkeypatch.setattr(uploads, part, broken)
    with pytest.raises(kind, match="ours"):
        read_upload(draw(1, 0), None, LIMITS)


@pytest.mark.parametrize("kind", [KeyError, TypeError, ValueError, RuntimeError])
def test_exception_of_a_decoder_is_a_damaged_image(
    monkeypatch: pytest.MonkeyPatch, draw: Draw, kind: type[Exception]
) -> None:
    def broken(*_: object) -> None:
        raise kind("Pillow's")

    monkeypatch.setattr(Image, "_getdecoder", broken)
    with pytest.raises(DamagedImage):
        read_upload(draw(1, 0), None, LIMITS)


def test_tiff_truncated_in_its_header_is_damaged() -> None:
    with pytest.raises(DamagedImage):
        read_upload(b"II*\0\x08", None, LIMITS)
