"""Uploads are read in processes of their own: what comes of it is the same, what goes wrong in there stays there."""

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
from app.decoding.pool import DecoderFault, DecoderPool, Reading
from app.decoding.uploads import UploadLimits, read_upload
from app.domain.errors import Busy, DamagedImage, NoSuchPage, StartRefused, TooExpensive, UploadTooLarge
from model.errors import BlankImage
from model.preprocessing.ink import Canvas, fit, isolate
from tests.app.http.test_problems import paper, picture
from tests.app.test_api import enrol, verify
from tests.app.test_start import Service
from tests.processes import reading_processes

Draw = Callable[..., bytes]
LIMITS = UploadLimits(max_bytes=10**6, max_pixels=10**6)
CANVAS = Canvas(64, 128, "moments", 0.8)


@pytest.fixture
def deaths() -> list[None]:
    """One item for each process that died over an upload."""
    return []


@pytest.fixture
def readers(deaths: list[None]) -> Iterator[DecoderPool]:
    """One process."""
    one = DecoderPool(1, patience_s=20, died=lambda: deaths.append(None))
    one.check()
    yield one
    one.close()


def read(readers: DecoderPool, data: bytes, page: int = 0) -> Reading:
    return readers.read(data, "scan.png", page, LIMITS, CANVAS)


def process_of(owner: int | None = None) -> psutil.Process:
    """The only reading process of a process, of this one by default."""
    (found,) = reading_processes(owner)
    return found


def test_what_is_read_is_what_training_would_see(readers: DecoderPool, draw: Draw) -> None:
    for n in range(3):
        reading = read(readers, draw(1, n))
        ink = isolate(read_upload(draw(1, n), None, LIMITS))
        assert np.array_equal(reading.prepared.canvas, fit(ink.density, CANVAS))
        assert reading.prepared.quality == ink.quality
        assert all(0 < reading.seconds[stage] < 5 for stage in ("decode", "isolate"))


@pytest.mark.parametrize(
    ("spoil", "kind", "word"),
    [
        (lambda data: data[:200], DamagedImage, "breaks off"),
        (lambda data: data + b"\0" * 10**6, UploadTooLarge, "1,000,000"),
        (lambda data: data, NoSuchPage, "page"),
    ],
)
def test_refusals_come_across_as_what_they_are(
    readers: DecoderPool, draw: Draw, deaths: list[None], spoil: Any, kind: type[Exception], word: str
) -> None:
    with pytest.raises(kind, match=word):
        read(readers, spoil(draw(1, 0)), page=3 if kind is NoSuchPage else 0)
    assert not deaths


def test_an_unusable_signature_comes_across(readers: DecoderPool) -> None:
    with pytest.raises(BlankImage):
        read(readers, picture(paper()))


def test_an_upload_whose_process_is_killed_is_read_by_the_next(
    readers: DecoderPool, draw: Draw, deaths: list[None]
) -> None:
    first = process_of()
    first.suspend()
    killer = threading.Timer(0.3, first.kill)
    killer.start()
    assert read(readers, draw(1, 0)).prepared.canvas.any()
    assert len(deaths) == 1
    assert process_of().pid != first.pid


def test_a_process_that_died_while_idle_costs_nobody_anything(
    readers: DecoderPool, draw: Draw, deaths: list[None]
) -> None:
    process_of().kill()
    time.sleep(0.2)
    assert read(readers, draw(1, 0)).prepared.canvas.any()
    assert not deaths


def speaking(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let processes started from now on say that they are up, and then run this code."""

    def start() -> subprocess.Popen[bytes]:
        program = (
            "import os, sys, time\nfrom app.decoding.frames import put, take\nout = sys.stdout.buffer\n"
            "put(out, {'ready': True})\n" + code
        )
        return subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    monkeypatch.setattr(pool, "_start", lambda *_: start())


def from_now_on(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Replace the processes of a service that runs: the next ones say that they are up, and then run this code."""
    for process in reading_processes():
        process.kill()
    speaking(monkeypatch, code)
    time.sleep(0.2)


@pytest.mark.parametrize(
    ("code", "deaths_counted", "message"),
    [
        (
            "take(sys.stdin.buffer, 10**7); os.kill(os.getpid(), 11)",
            2,
            "died over an upload.*exit status -11",
        ),
        ("take(sys.stdin.buffer, 10**7); os.kill(os.getpid(), 9)", 2, "died over an upload.*exit status -9"),
        (
            "take(sys.stdin.buffer, 10**7); out.write(b'no frame at all'); out.flush(); time.sleep(9)",
            1,
            "no sense",
        ),
        (
            "take(sys.stdin.buffer, 10**7); put(out, {'seconds': {}, 'quality': {}}, b'small'); time.sleep(9)",
            1,
            "no s",
        ),
        (
            "take(sys.stdin.buffer, 10**7); put(out, {'refused': 'start-refused', 'why': ''}); time.sleep(9)",
            1,
            "no s",
        ),
    ],
)
def test_a_fault_of_the_reading_processes_is_not_blamed_on_the_upload(
    monkeypatch: pytest.MonkeyPatch,
    draw: Draw,
    deaths: list[None],
    code: str,
    deaths_counted: int,
    message: str,
) -> None:
    with monkeypatch.context() as patched:
        speaking(patched, code)
        readers = DecoderPool(1, patience_s=20, died=lambda: deaths.append(None))
        with pytest.raises(DecoderFault, match=message):
            read(readers, draw(1, 0))
        assert len(deaths) == deaths_counted
    readers = DecoderPool(1, patience_s=20, died=lambda: deaths.append(None))
    assert read(readers, draw(1, 0)).prepared.canvas.any()
    readers.close()
    assert len(deaths) == deaths_counted


def test_an_image_that_takes_too_much_memory_is_refused(draw: Draw, deaths: list[None]) -> None:
    readers = DecoderPool(1, patience_s=20, died=lambda: deaths.append(None), memory_mb=192)
    limits = UploadLimits(max_bytes=10**8, max_pixels=4 * 10**7)
    with pytest.raises(TooExpensive, match="more memory"):
        readers.read(picture(np.full((6000, 5000), 255, np.uint8)), None, 0, limits, CANVAS)
    assert read(readers, draw(1, 0)).prepared.canvas.any(), "by the same process"
    assert not deaths
    readers.close()


def test_an_image_that_takes_too_much_processor_time_is_refused(
    monkeypatch: pytest.MonkeyPatch, draw: Draw, deaths: list[None]
) -> None:
    speaking(
        monkeypatch,
        "from app.decoding.__main__ import _allow\ntake(sys.stdin.buffer, 10**7); _allow(1)\nwhile True: pass",
    )
    readers = DecoderPool(1, patience_s=60, died=lambda: deaths.append(None))
    with pytest.raises(TooExpensive, match="processor time"):
        read(readers, draw(1, 0))
    assert len(deaths) == 1
    readers.close()


def test_an_image_is_refused_for_its_memory_only_when_a_new_process_has_too_little_too(
    monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    """A process whose memory others have used up must not refuse every image from then on."""
    used_up = "while True: take(sys.stdin.buffer, 10**7); put(out, {'memory': True})"
    with monkeypatch.context() as patched:
        speaking(patched, f"take(sys.stdin.buffer, 10**7); put(out, {{'failed': 'once'}})\n{used_up}")
        readers = DecoderPool(1, patience_s=20)
        with pytest.raises(DecoderFault, match="once"):
            read(readers, draw(1, 0))
    monkeypatch.setattr(readers._all[0], "_start", lambda: pool._start(0, 20))
    assert read(readers, draw(1, 0)).prepared.canvas.any()
    readers.close()
    with monkeypatch.context() as patched:
        speaking(patched, used_up)
        readers = DecoderPool(1, patience_s=20)
        with pytest.raises(TooExpensive, match="more memory"):
            read(readers, draw(1, 0))
        readers.close()


def test_a_process_that_never_ends_is_killed_and_the_image_is_not_blamed(
    draw: Draw, deaths: list[None], caplog: pytest.LogCaptureFixture
) -> None:
    """It used no processor time: what kept it was the machine."""
    readers = DecoderPool(1, patience_s=0.5, died=lambda: deaths.append(None))
    readers.check()
    process_of().suspend()
    begin = time.monotonic()
    with pytest.raises(Busy, match="try again"):
        read(readers, draw(1, 0))
    assert time.monotonic() - begin < 5
    assert "Traceback" in caplog.text
    assert len(deaths) == 1
    readers.close()


def test_a_fault_of_ours_in_there_is_raised_here(
    readers: DecoderPool, draw: Draw, deaths: list[None]
) -> None:
    with pytest.raises(RuntimeError, match="TypeError"):
        readers.read(draw(1, 0), None, 0, LIMITS, Canvas(64, 128, "moments", fill="much"))  # type: ignore[arg-type]
    assert not deaths
    assert read(readers, draw(1, 0)).prepared.canvas.any()


def test_processes_that_cannot_be_started_are_a_clear_refusal(
    monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    readers = DecoderPool(1, patience_s=20)
    with pytest.raises(StartRefused, match=r"app\.decoding.*ended at once"):
        readers.check()
    with pytest.raises(Busy):
        read(readers, draw(1, 0))
    monkeypatch.undo()
    assert read(readers, draw(1, 0)).prepared.canvas.any(), "as soon as they can be again"
    readers.close()


def test_a_process_has_no_secret_and_ends_with_the_service(
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
        reader = process_of(service.process.pid)
        assert not [name for name in reader.environ() if name.startswith("COUNTERSIGN")]
        assert not reader.net_connections()
        assert {Path(file.path).suffix for file in reader.open_files()} <= {".py", ".log", ""}
        assert str(tmp_path / "store.db") not in {file.path for file in reader.open_files()}
        os.kill(reader.pid, signal.SIGTERM)
        os.kill(reader.pid, signal.SIGINT)
        time.sleep(0.2)
        assert reader.is_running(), "signals to the group are the service's to answer"
    finally:
        service.finish(signal.SIGKILL)
    assert psutil.wait_procs([reader], timeout=5)[1] == []


def test_deaths_are_counted_and_logged(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enrol(client, "a", draw(1, 0))
    from_now_on(monkeypatch, "take(sys.stdin.buffer, 10**7); os.kill(os.getpid(), 11)")
    with caplog.at_level("ERROR"):
        answer = verify(client, "a", draw(1, 1))
    assert answer.status_code == 500, answer.text
    assert answer.json()["code"] == "internal-error"
    assert "DecoderFault: two reading processes died" in caplog.text, "with a traceback"
    assert "countersign_reader_deaths_total 2.0" in client.get("/metrics").text


def test_a_fault_in_a_reading_process_is_answered_with_500_and_its_traceback_is_logged(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enrol(client, "a", draw(1, 0))
    traceback = "Traceback (most recent call last):\\nKeyError: of the reading process"
    from_now_on(
        monkeypatch, f"take(sys.stdin.buffer, 10**7); put(out, {{'failed': '{traceback}'}}); time.sleep(9)"
    )
    with caplog.at_level("ERROR"):
        answer = verify(client, "a", draw(1, 1))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert "KeyError: of the reading process" in caplog.text
    assert "KeyError" not in answer.text


def test_an_image_that_costs_too_much_is_a_413(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(client, "a", draw(1, 0))
    from_now_on(monkeypatch, "take(sys.stdin.buffer, 10**7); put(out, {'memory': True}); time.sleep(9)")
    answer = verify(client, "a", draw(1, 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too-expensive")


@pytest.mark.parametrize("kind", [KeyError, TypeError, ValueError, RuntimeError])
@pytest.mark.parametrize("part", ["weight", "to_grey"])
def test_an_error_of_our_own_code_is_no_damaged_image(
    monkeypatch: pytest.MonkeyPatch, draw: Draw, part: str, kind: type[Exception]
) -> None:
    def broken(*_: object) -> None:
        raise kind("ours")

    monkeypatch.setattr(uploads, part, broken)
    with pytest.raises(kind, match="ours"):
        read_upload(draw(1, 0), None, LIMITS)


@pytest.mark.parametrize("kind", [KeyError, TypeError, ValueError, RuntimeError])
def test_an_error_of_a_decoder_is_a_damaged_image(
    monkeypatch: pytest.MonkeyPatch, draw: Draw, kind: type[Exception]
) -> None:
    def broken(*_: object) -> None:
        raise kind("Pillow's")

    monkeypatch.setattr(Image, "_getdecoder", broken)
    with pytest.raises(DamagedImage):
        read_upload(draw(1, 0), None, LIMITS)


def test_a_tiff_that_ends_in_its_header_is_damaged() -> None:
    with pytest.raises(DamagedImage):
        read_upload(b"II*\0\x08", None, LIMITS)
