"""The reading process: uploads come on stdin, isolated ink goes to stdout, until stdin ends.

It ends with the service, however that ends, and only then: a signal to the whole process group stops the service,
which still wants its last uploads read.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import sys
import time
import traceback
from dataclasses import asdict
from typing import Any

import cv2

from app.decoding.frames import put, take
from app.decoding.structure import count_pages
from app.decoding.uploads import UploadLimits, hush_libtiff, read_upload
from app.domain.errors import UploadRefused
from model.errors import UnusableSignature
from model.preprocessing.ink import Canvas, prepare


def main() -> None:
    """Answer one upload after the other, each within the limits given: MiB of memory, seconds of processor time."""
    memory_mb, processor_s = map(int, sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not put an image on the disk
    if memory_mb:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb << 20, memory_mb << 20))
    cv2.setNumThreads(1)
    hush_libtiff()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    with contextlib.suppress(EOFError, OSError):  # the service is gone
        put(answers, {"ready": True})
        while True:
            asked, data = take(sys.stdin.buffer, 1 << 32)
            if processor_s:
                _allow(processor_s)
            put(answers, *answer(asked, data))


def _allow(processor_s: int) -> None:
    """From now on, so much processor time; beyond it the kernel ends the process with SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime) + processor_s
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def answer(asked: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """What is said to an upload: times, quality and the canvas' pixels; or why it is not read."""
    begin = time.perf_counter()
    try:
        grey = read_upload(data, asked["name"], UploadLimits(**asked["limits"]), asked["page"])
        decoded = time.perf_counter()
        prepared = prepare(grey, Canvas(**asked["canvas"]))
    except UploadRefused as error:
        return {"refused": error.code, "why": str(error)}, b""
    except UnusableSignature as error:
        return {"refused": error.code, "why": f"{error}{_other_pages(data, asked['page'])}"}, b""
    except Exception as error:  # noqa: BLE001 - told to the service, which raises it there
        if isinstance(error, MemoryError) or getattr(error, "code", None) == cv2.Error.StsNoMem:
            return {"memory": True}, b""
        return {"failed": traceback.format_exc()}, b""
    times = {"decode": decoded - begin, "isolate": time.perf_counter() - decoded}
    return {"seconds": times, "quality": asdict(prepared.quality)}, prepared.canvas.tobytes()


def _other_pages(data: bytes, page: int) -> str:
    """A sentence on the other pages of the file, where there are any."""
    pages = count_pages(data)
    if pages == 1:
        return ""
    return f" The file has {pages} pages and page {page} was read; set `page`, counted from 0, to read another one."


if __name__ == "__main__":
    main()
