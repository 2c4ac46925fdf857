"""The pool of worker processes that decode uploads, and the recovery from their crashes."""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess  # nosec B404 - starts `python -m app.decoding` only
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.decoding.formats import Format, UploadLimits, detect_format
from app.decoding.frames import read_frame, write_frame
from app.domain.errors import Busy, StartRefused, TooExpensive, UploadRefused
from app.domain.records import UploadRegion
from app.settings import PAGE_NETWORK, ROOT
from model.errors import SeveralSignatures, UnusableSignature
from model.preprocessing.ink import Canvas, Prepared, Quality
from model.preprocessing.search import MAX_SIGNATURES

T = TypeVar("T")
MAX_IMAGES_BYTES = 16 << 20
"""Maximum size of the images of all signatures of a page."""
_log = logging.getLogger(__name__)
_INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL")
"""Environment variables that a worker process inherits; all others, secrets included, are withheld."""
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc keeps the memory of an ordinary upload: requesting it for each upload takes a fifth of the decoding time.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
START_TIMEOUT_S = 60.0
"""Seconds that a worker process has to start: importing the decoders takes long on a busy machine."""
_WALL_CLOCK_FACTOR = 2.0
"""Wall-clock timeout of an upload as a multiple of its limit of processor time.

It is larger than 1 so that an upload that is too expensive reaches the limit of processor time first; the wall-clock
timeout then means that the machine is overloaded.
"""
_PIPE_ERRORS = (OSError, EOFError)
"""Exceptions that mean that the worker process has ended."""
_INVALID_ANSWER_ERRORS = (ValueError, KeyError, TypeError)
"""Exceptions that mean that the answer of a worker process is malformed."""
_ABORTING_FORMATS = frozenset({Format.PDF, Format.HEIC})
"""Formats whose decoders (PDFium, libde265) end the process by SIGABRT when they cannot allocate memory."""
_REFUSALS: dict[str, type[UploadRefused] | type[UnusableSignature]] = {
    kind.code: kind for base in (UploadRefused, UnusableSignature) for kind in (base, *base.__subclasses__())
}


@dataclass(frozen=True)
class Reading:
    """A decoded upload, and the seconds that the stages ``decode`` and ``isolate`` took."""

    prepared: Prepared
    seconds: dict[str, float]


@dataclass(frozen=True)
class PreparedPage:
    """All signatures of a decoded upload, at least one, and the seconds that the stages took."""

    signatures: tuple[Prepared, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class PageSignature:
    """A signature that was found on a page.

    Attributes
    ----------
    box : tuple of four ints
        Left, top, right and bottom in pixels of the page; right and bottom are the first pixels outside.
    confidence : float
        In [0, 1].
    image : bytes
        The signature alone on white paper, as PNG.
    """

    box: tuple[int, int, int, int]
    confidence: float
    image: bytes


@dataclass(frozen=True)
class PageReading:
    """The signatures of a page of ``width`` x ``height`` pixels, and the seconds that the stages took.

    `pages` is the number of pages of the file, `turned` the degrees by which the page was turned, counter-clockwise.
    """

    width: int
    height: int
    pages: int
    turned: int
    signatures: tuple[PageSignature, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Picture:
    """A signature alone on white paper, for a person to look at.

    Attributes
    ----------
    image : bytes
        PNG of ``width`` x ``height`` pixels, cropped to the ink.
    centre : tuple of two floats
        Mean position of the ink, x and y in pixels.
    spread : float
        Standard deviation of the ink around it, in pixels. Both align pictures of different sizes.
    """

    image: bytes
    width: int
    height: int
    centre: tuple[float, float]
    spread: float


@dataclass(frozen=True)
class PagePicture:
    """A page, in PNG of ``width`` x ``height`` pixels."""

    image: bytes
    width: int
    height: int


class DecoderFault(RuntimeError):
    """Decoding failed because of a fault of the service, not of the upload; answered with 500 and logged."""


class _OutOfMemory(Exception):
    """A worker process reached its memory limit."""


class DecoderPool:
    """Worker processes that decode uploads and isolate their ink, with one thread for each.

    Parameters
    ----------
    processes : int
        Number of worker processes.
    patience_s : float
        Limit of processor time for one upload in seconds. A worker process that is still busy after twice that time
        on the wall clock is killed.
    on_death : callable
        Called for each worker process that died or was killed while decoding an upload.
    memory_mb : int
        Limit of the memory of a worker process in MiB; 0: no limit.
    page_network : Path
        The segmentation network that finds signatures on pages.

    Attributes
    ----------
    threads : ThreadPoolExecutor
        One thread per worker process, to call :meth:`read` on.
    """

    def __init__(
        self,
        processes: int,
        patience_s: float,
        on_death: Callable[[], object] = lambda: None,
        memory_mb: int = 0,
        page_network: Path = PAGE_NETWORK,
    ) -> None:
        self.threads = ThreadPoolExecutor(processes, thread_name_prefix="decoding")
        self._processor_limit_s = patience_s
        self._on_death = on_death
        try:
            self._processes = [
                _Process(
                    lambda: _start(memory_mb, math.ceil(patience_s), page_network),
                    _WALL_CLOCK_FACTOR * patience_s,
                )
                for _ in range(processes)
            ]
        except OSError as error:
            raise StartRefused(f"A worker process for decoding cannot be started: {error}.") from error
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._closed = threading.Event()
        threading.Thread(target=self._enforce_timeouts, name="decoding-timeouts", daemon=True).start()

    def check(self) -> None:
        """Wait until all worker processes are ready. Raises StartRefused when one cannot be started."""
        try:
            for process in self._processes:
                process.ensure_ready()
        except (*_PIPE_ERRORS, *_INVALID_ANSWER_ERRORS) as error:
            raise StartRefused(
                "A worker process for decoding cannot be started (`python -m app.decoding`): "
                f"{str(error) or 'it ended immediately'}."
            ) from error

    def read(
        self,
        data: bytes,
        name: str | None,
        page: int,
        limits: UploadLimits,
        canvas: Canvas,
        region: UploadRegion = "auto",
    ) -> Reading:
        """Decode an upload and prepare its signature (:func:`model.preprocessing.extraction.prepare_signature`).

        An upload whose worker process dies is decoded once more in another one.

        Raises
        ------
        UploadRefused, UnusableSignature
            The subclass states the reason; `TooExpensive` when the upload exceeded the limit of processor time, or
            the memory limit of a new worker process.
        DecoderFault
            The decoder raised an unexpected exception, two worker processes died, or an answer was malformed.
        Busy
            No worker process can be started, or the wall-clock timeout passed before the limit of processor time.
        """
        request = _request("prepare", name, page, limits) | {"canvas": asdict(canvas), "region": region}
        return self._ask(request, data, canvas.height * canvas.width, partial(_parse_answer, canvas=canvas))

    def read_all(
        self,
        data: bytes,
        name: str | None,
        page: int,
        limits: UploadLimits,
        canvas: Canvas,
        region: UploadRegion,
    ) -> PreparedPage:
        """Decode an upload and prepare all its signatures, or the one of the region; raises as :meth:`read`."""
        request = _request("prepare-all", name, page, limits) | {"canvas": asdict(canvas), "region": region}
        most = MAX_SIGNATURES * canvas.height * canvas.width
        return self._ask(request, data, most, partial(_parse_prepared_page, canvas=canvas))

    def read_turned(
        self,
        data: bytes,
        name: str | None,
        page: int,
        limits: UploadLimits,
        canvas: Canvas,
        region: UploadRegion,
        angles: Sequence[int],
    ) -> list[NDArray[np.uint8]]:
        """Prepare the signature of an upload at several angles, in degrees counter-clockwise; raises as :meth:`read`.

        Returns
        -------
        list of uint8 (canvas.height, canvas.width)
        """
        request = _request("turn", name, page, limits)
        request |= {"canvas": asdict(canvas), "region": region, "angles": list(angles)}
        shape = (len(angles), canvas.height, canvas.width)

        def parse(answer: dict[str, Any], pixels: bytes) -> list[NDArray[np.uint8]]:
            del answer
            return list(np.frombuffer(pixels, np.uint8).reshape(shape))

        return self._ask(request, data, math.prod(shape), parse)

    def extract(self, data: bytes, name: str | None, page: int, limits: UploadLimits) -> PageReading:
        """Decode an upload and find its signatures; raises as :meth:`read`."""
        return self._ask(_request("extract", name, page, limits), data, MAX_IMAGES_BYTES, _parse_page)

    def draw(self, data: bytes, page: int, limits: UploadLimits, region: UploadRegion) -> Picture:
        """Decode an upload and draw its signature alone; raises as :meth:`read`."""
        request = _request("picture", None, page, limits) | {"region": region}
        return self._ask(request, data, MAX_IMAGES_BYTES, _parse_picture)

    def draw_page(self, data: bytes, page: int, limits: UploadLimits, region: UploadRegion) -> PagePicture:
        """Decode an upload and draw its page, with a frame around the region; raises as :meth:`read`."""
        request = _request("page", None, page, limits) | {"region": region}
        return self._ask(
            request,
            data,
            MAX_IMAGES_BYTES,
            lambda answer, image: PagePicture(image, *map(int, answer["size"])),
        )

    def _ask(
        self, request: dict[str, Any], data: bytes, max_data: int, parse: Callable[[dict[str, Any], bytes], T]
    ) -> T:
        process = self._idle.get()
        try:
            for is_last in (False, True):
                self._ensure_ready(process)
                is_new = process.is_new
                try:
                    return parse(*process.ask(request, data, max_data))
                except _OutOfMemory as error:
                    if is_new:
                        raise TooExpensive(
                            "Decoding the image takes more memory than the limit for one image; send it with fewer "
                            "pixels."
                        ) from error
                    # Earlier uploads may have taken the memory.
                    _log.warning("a worker process is out of memory; the upload is decoded by a new one")
                    process.kill()
                except _PIPE_ERRORS as error:
                    status = self._handle_death(process)
                    # The first process may have been killed by the system for lack of memory.
                    is_out_of_memory = status == -signal.SIGABRT and detect_format(data) in _ABORTING_FORMATS
                    if is_out_of_memory and (is_new or is_last):
                        raise TooExpensive(
                            "Decoding the file takes more memory than the limit for one file; send it with fewer "
                            "pixels, or save, print or scan it again."
                        ) from error
                    if is_last:
                        raise DecoderFault(
                            f"two worker processes died while decoding an upload of {len(data):,} bytes, the second "
                            f"with exit status {status}"
                        ) from error
                except _INVALID_ANSWER_ERRORS as error:
                    self._handle_death(process)
                    raise DecoderFault("a worker process sent a malformed answer") from error
            raise AssertionError("unreachable")
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """Finish the uploads that are being decoded, then end all worker processes."""
        self.threads.shutdown(wait=True)
        self._closed.set()
        for process in self._processes:
            process.end()

    def _ensure_ready(self, process: _Process) -> None:
        try:
            process.ensure_ready()
        except (*_PIPE_ERRORS, *_INVALID_ANSWER_ERRORS) as error:
            process.kill()
            raise Busy(
                "No worker process can be started to decode the image; try again in a moment."
            ) from error

    def _handle_death(self, process: _Process) -> int:
        """Kill a process unless it has ended, count its death, and return its exit status.

        Raises
        ------
        TooExpensive
            The upload reached the limit of processor time.
        Busy
            Only the wall-clock timeout passed, which is not the fault of the upload.
        """
        status = process.kill()
        self._on_death()
        if status == -signal.SIGXCPU:
            _log.warning("a worker process reached the limit of processor time for one upload")
            raise TooExpensive(
                "Decoding the file takes more processor time than the limit for one file; send it with fewer pixels, "
                "or save or scan it again."
            )
        if process.timed_out:
            _log.error(
                "a worker process was killed %g seconds after it got an upload, below its limit of processor time",
                _WALL_CLOCK_FACTOR * self._processor_limit_s,
                exc_info=True,
            )
            raise Busy("The image was not decoded in time because the service is overloaded; try again.")
        _log.warning("a worker process died while decoding an upload (exit status %s)", status)
        return status

    def _enforce_timeouts(self) -> None:
        while not self._closed.wait(min(1.0, self._processor_limit_s / 4)):
            for process in self._processes:
                process.kill_if_late()


class _Process:
    """A worker process, which is started again when it has ended and is needed."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], timeout_s: float) -> None:
        self.timed_out = False
        self.is_new = True  # has decoded no upload yet
        self._start = start
        self._timeout_s = timeout_s
        self._kill_at: float | None = None  # None: no answer is due
        self._lock = threading.Lock()  # between the thread that reads and the one that enforces timeouts
        self._ready = False
        self._child = start()

    def ensure_ready(self) -> None:
        """Start the process if it has ended, and wait until it is ready.

        Raises OSError, EOFError or ValueError when it cannot be started.
        """
        if self._child.poll() is not None:
            self.kill()
            self._child = self._start()
            self._ready = False
            self.is_new = True
        if not self._ready:
            with self._timeout(START_TIMEOUT_S):
                read_frame(self._child.stdout, 0)  # type: ignore[arg-type]  # a pipe
            self._ready = True

    def ask(self, request: dict[str, Any], data: bytes, max_data: int) -> tuple[dict[str, Any], bytes]:
        self.is_new = False
        with self._timeout(self._timeout_s):
            write_frame(self._child.stdin, request, data)  # type: ignore[arg-type]  # a pipe
            answer, content = read_frame(self._child.stdout, max_data)  # type: ignore[arg-type]  # a pipe
        if "refused" in answer:
            kind = _REFUSALS[answer["refused"]]
            if issubclass(kind, SeveralSignatures):
                regions = (tuple(region) for region in answer["regions"])
                raise kind(answer["message"], answer["advice"], regions)
            if issubclass(kind, UnusableSignature):
                raise kind(answer["message"], answer["advice"])
            raise kind(answer["message"])
        if "out_of_memory" in answer:
            raise _OutOfMemory
        if "failed" in answer:
            raise DecoderFault(f"decoding an upload failed:\n{answer['failed']}")
        return answer, content

    def kill_if_late(self) -> None:
        with self._lock:
            if self._kill_at is not None and self._kill_at < time.monotonic():
                self.timed_out = True
                self._child.kill()

    def kill(self) -> int:
        """Kill the process unless it has ended; return its exit status, negative for a signal."""
        try:
            status = self._child.wait(0.2)  # a crashing process ends with its own exit status
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
    def _timeout(self, timeout_s: float) -> Iterator[None]:
        with self._lock:
            self.timed_out = False
            self._kill_at = time.monotonic() + timeout_s
        try:
            yield
        finally:
            with self._lock:
                self._kill_at = None

    def _close_pipes(self) -> None:
        for pipe in (self._child.stdin, self._child.stdout):
            with suppress(OSError):  # unsent bytes cannot be flushed to a process that has ended
                pipe.close()  # type: ignore[union-attr]


def _start(memory_mb: int, processor_s: int, page_network: Path) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return subprocess.Popen(  # noqa: S603 # nosec B603 - a fixed command, two numbers and a path of ours
        [sys.executable, "-m", "app.decoding", str(memory_mb), str(processor_s), str(page_network)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment | WORKER_ENVIRONMENT,
        cwd=ROOT,
    )


def _request(operation: str, name: str | None, page: int, limits: UploadLimits) -> dict[str, Any]:
    return {"operation": operation, "name": name, "page": page, "limits": asdict(limits)}


def _parse_page(answer: dict[str, Any], images: bytes) -> PageReading:
    """Check and convert the answer of a worker process. Raises ValueError, KeyError or TypeError."""
    width, height = (int(side) for side in answer["size"])
    signatures, start = [], 0
    for found in answer["signatures"]:
        left, top, right, bottom = (int(side) for side in found["box"])
        end = start + int(found["bytes"])
        if end <= start or end > len(images):
            raise ValueError("an image of a signature is missing")
        signatures.append(
            PageSignature((left, top, right, bottom), float(found["confidence"]), images[start:end])
        )
        start = end
    return PageReading(
        width,
        height,
        int(answer["pages"]),
        int(answer["turned"]),
        tuple(signatures),
        _parse_seconds(answer),
    )


def _parse_picture(answer: dict[str, Any], image: bytes) -> Picture:
    """Check and convert the answer of a worker process. Raises ValueError, KeyError or TypeError."""
    width, height = (int(side) for side in answer["size"])
    x, y = (float(value) for value in answer["centre"])
    return Picture(image, width, height, (x, y), float(answer["spread"]))


def _parse_seconds(answer: dict[str, Any]) -> dict[str, float]:
    return {stage: float(answer["seconds"][stage]) for stage in ("decode", "isolate")}


def _parse_answer(answer: dict[str, Any], pixels: bytes, canvas: Canvas) -> Reading:
    """Check and convert the answer of a worker process. Raises ValueError, KeyError or TypeError."""
    picture = np.frombuffer(pixels, dtype=np.uint8).reshape(canvas.height, canvas.width)
    return Reading(Prepared(picture, _parse_quality(answer["quality"])), _parse_seconds(answer))


def _parse_prepared_page(answer: dict[str, Any], pixels: bytes, canvas: Canvas) -> PreparedPage:
    """Check and convert the answer of a worker process. Raises ValueError, KeyError or TypeError."""
    qualities = [_parse_quality(stated) for stated in answer["qualities"]]
    pictures = np.frombuffer(pixels, dtype=np.uint8).reshape(len(qualities), canvas.height, canvas.width)
    return PreparedPage(tuple(map(Prepared, pictures, qualities)), _parse_seconds(answer))


def _parse_quality(stated: dict[str, Any]) -> Quality:
    values = dict(stated)
    if values["region"] is not None:
        left, top, right, bottom = (int(side) for side in values["region"])
        values["region"] = (left, top, right, bottom)
    return Quality(**{**values, "warnings": tuple(map(str, values["warnings"]))})
