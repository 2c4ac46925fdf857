"""The reading processes of a service, and what happens when one of them dies."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess  # nosec B404 - starts this program
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from app.decoding.frames import put, take
from app.decoding.uploads import UploadLimits
from app.domain.errors import Busy, StartRefused, TooExpensive, UploadRefused
from app.settings import ROOT
from model.errors import UnusableSignature
from model.preprocessing.ink import Canvas, Prepared, Quality

_log = logging.getLogger(__name__)
_HANDED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL")
_OF_ITS_OWN = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc keeps what an ordinary upload needs: fetching it anew each time takes a fifth of the reading.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
START_TIMEOUT_S = 60.0
"""Seconds that a process has to start: on a machine under load, importing the decoders alone takes some."""
_CLOCK = 2.0
"""Time by the clock that an upload gets, as a multiple of its processor time: longer, so that an upload that costs
too much is told from a machine that is too busy."""
_GONE = (OSError, EOFError)
"""What is raised when a process is gone."""
_NO_ANSWER = (ValueError, KeyError, TypeError)
"""What is raised for an answer that no process of ours gives."""
_REFUSALS: dict[str, type[UploadRefused] | type[UnusableSignature]] = {
    kind.code: kind for base in (UploadRefused, UnusableSignature) for kind in (base, *base.__subclasses__())
}


@dataclass(frozen=True)
class Reading:
    """An upload that was read, and the seconds that ``decode`` and ``isolate`` took."""

    prepared: Prepared
    seconds: dict[str, float]


class DecoderFault(RuntimeError):
    """Reading failed through a fault of the service, not of the upload; answered with 500 and logged."""


class _MemoryShort(Exception):
    """A process may not allocate what an upload needs."""


class DecoderPool:
    """Processes that decode uploads and isolate their ink, each at the hands of a thread.

    Parameters
    ----------
    processes : int
    patience_s : float
        Seconds of processor time that one upload may take. A process that is still busy after twice as long by the
        clock is killed.
    memory_mb : int
        Memory in MiB that a process may allocate, 0 for any.
    died : callable
        Called for each process that died or was killed over an upload.

    Attributes
    ----------
    threads : ThreadPoolExecutor
        As many threads as processes, to call :meth:`read` on.
    """

    def __init__(
        self,
        processes: int,
        patience_s: float,
        died: Callable[[], object] = lambda: None,
        memory_mb: int = 0,
    ) -> None:
        self.threads = ThreadPoolExecutor(processes, thread_name_prefix="reading")
        self._patience_s = patience_s
        self._died = died
        try:
            self._all = [
                _Process(lambda: _start(memory_mb, math.ceil(patience_s)), _CLOCK * patience_s)
                for _ in range(processes)
            ]
        except OSError as error:
            raise StartRefused(f"A process that reads images cannot be started: {error}.") from error
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._all:
            self._idle.put(process)
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="reading-watch", daemon=True).start()

    def check(self) -> None:
        """Wait until all processes are up; raises StartRefused when one cannot be."""
        try:
            for process in self._all:
                process.begin()
        except (*_GONE, *_NO_ANSWER) as error:
            raise StartRefused(
                "A process that reads images cannot be started (`python -m app.decoding`): "
                f"{str(error) or 'it ended at once'}."
            ) from error

    def read(self, data: bytes, name: str | None, page: int, limits: UploadLimits, canvas: Canvas) -> Reading:
        """Decode an upload and isolate its ink, as :func:`app.decoding.uploads.read_upload` and the embedder do.

        Raises
        ------
        UploadRefused, UnusableSignature
            The subclass says why; `TooExpensive` when it took too much processor time, or more memory than a process
            has that read nothing before.
        DecoderFault
            Reading failed in a process, two processes died over it, or one gave an answer that makes no sense.
        Busy
            No process can be started, or it took too long while the processor did other work.
        """
        process = self._idle.get()
        try:
            for is_last in (False, True):
                self._begin(process)
                is_new = process.is_new
                try:
                    return process.read(data, name, page, limits, canvas)
                except _MemoryShort as error:
                    if is_new:
                        raise TooExpensive(
                            "Reading the image takes more memory than one image may use; send it with fewer pixels."
                        ) from error
                    # Earlier uploads may have used it up.
                    _log.warning("a reading process is out of memory; the upload is read by a new one")
                    process.kill()
                except _GONE as error:
                    status = self._ended(process)
                    # The first may have been killed for want of memory, through no fault of the upload.
                    if is_last:
                        raise DecoderFault(
                            f"two reading processes died over an upload of {len(data):,} bytes, the second with exit "
                            f"status {status}"
                        ) from error
                except _NO_ANSWER as error:
                    self._ended(process)
                    raise DecoderFault("a reading process gave an answer that makes no sense") from error
            raise AssertionError("unreachable")
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """Let running work finish, then end all processes."""
        self.threads.shutdown(wait=True)
        self._closed.set()
        for process in self._all:
            process.end()

    def _begin(self, process: _Process) -> None:
        try:
            process.begin()
        except (*_GONE, *_NO_ANSWER) as error:
            process.kill()
            raise Busy("No process can be started to read the image; try again in a moment.") from error

    def _ended(self, process: _Process) -> int:
        """Make sure that a process has ended, and count it; its exit status.

        Raises
        ------
        TooExpensive
            The upload used up its processor time.
        Busy
            It took too long by the clock alone, which is no fault of the upload.
        """
        status = process.kill()
        self._died()
        if status == -signal.SIGXCPU:
            _log.warning("a reading process used up the processor time of an upload")
            raise TooExpensive(
                f"Reading the image takes more than {self._patience_s:g} seconds of processor time; send it with "
                "fewer pixels, or save or scan it again."
            )
        if process.late:
            _log.error(
                "a reading process was killed %g seconds after it got an upload, with processor time left",
                _CLOCK * self._patience_s,
                exc_info=True,
            )
            raise Busy(
                "The image was not read in time, as the service had too little processor time; try again."
            )
        _log.warning("a reading process died over an upload (exit status %s)", status)
        return status

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._patience_s / 4)):
            for process in self._all:
                process.kill_if_late()


class _Process:
    """One reading process; started again when it is needed and gone."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], patience_s: float) -> None:
        self.late = False
        self.is_new = True  # has read nothing yet
        self._start = start
        self._patience_s = patience_s
        self._due: float | None = None  # when it is killed, unless it has answered
        self._lock = threading.Lock()  # between whoever reads and whoever watches
        self._ready = False
        self._child = start()

    def begin(self) -> None:
        """See that it is up; raises OSError, EOFError or ValueError when it cannot be started."""
        if self._child.poll() is not None:
            self.kill()
            self._child = self._start()
            self._ready = False
            self.is_new = True
        if not self._ready:
            with self._watched(START_TIMEOUT_S):
                take(self._child.stdout, 0)  # type: ignore[arg-type]  # a pipe
            self._ready = True

    def read(self, data: bytes, name: str | None, page: int, limits: UploadLimits, canvas: Canvas) -> Reading:
        self.is_new = False
        asked = {"name": name, "page": page, "limits": asdict(limits), "canvas": asdict(canvas)}
        with self._watched(self._patience_s):
            put(self._child.stdin, asked, data)  # type: ignore[arg-type]  # a pipe
            told, pixels = take(self._child.stdout, canvas.height * canvas.width)  # type: ignore[arg-type]
        if "refused" in told:
            raise _REFUSALS[told["refused"]](told["why"])
        if "memory" in told:
            raise _MemoryShort
        if "failed" in told:
            raise DecoderFault(f"reading an upload failed:\n{told['failed']}")
        return _reading(told, pixels, canvas)

    def kill_if_late(self) -> None:
        with self._lock:
            if self._due is not None and self._due < time.monotonic():
                self.late = True
                self._child.kill()

    def kill(self) -> int:
        """End it at once, where it has not ended; its exit status, negative for a signal."""
        try:
            status = self._child.wait(0.2)  # one that is dying gives the status it dies with
        except subprocess.TimeoutExpired:
            self._child.kill()
            status = self._child.wait()
        self._close_pipes()
        return status

    def end(self) -> None:
        self._close_pipes()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()

    @contextmanager
    def _watched(self, patience_s: float) -> Iterator[None]:
        with self._lock:
            self.late = False
            self._due = time.monotonic() + patience_s
        try:
            yield
        finally:
            with self._lock:
                self._due = None

    def _close_pipes(self) -> None:
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(OSError):  # what was not sent yet cannot be sent any more
                pipe.close()  # type: ignore[union-attr]


def _start(memory_mb: int, processor_s: int) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}  # no key, no address
    return subprocess.Popen(  # noqa: S603 # nosec B603 - our own program and two numbers
        [sys.executable, "-m", "app.decoding", str(memory_mb), str(processor_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment | _OF_ITS_OWN,
        cwd=ROOT,
    )


def _reading(told: dict[str, Any], pixels: bytes, canvas: Canvas) -> Reading:
    """What a process told, checked; raises ValueError, KeyError or TypeError."""
    picture = np.frombuffer(pixels, dtype=np.uint8).reshape(canvas.height, canvas.width)
    quality = Quality(**{**told["quality"], "warnings": tuple(map(str, told["quality"]["warnings"]))})
    seconds = {stage: float(told["seconds"][stage]) for stage in ("decode", "isolate")}
    return Reading(Prepared(picture, quality), seconds)
