"""The worker process: reads uploads from stdin and writes what it found to stdout, until stdin is closed.

A request names an operation: ``prepare`` answers with one signature on the canvas of the network, ``prepare-all``
with all signatures of the page, ``turn`` with one signature at several angles, ``extract`` with all signatures of the
page as PNG images, ``picture`` with one signature for a person to look at, ``page`` with the whole page.

It ends when the service ends, and not earlier: a signal to the whole process group stops the service, which still
needs its last uploads decoded.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import resource
import signal
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.decoding.formats import Format, UploadLimits, detect_format
from app.decoding.frames import read_frame, write_frame
from app.decoding.libtiff import silence_libtiff
from app.decoding.uploads import count_pages, read_upload
from app.domain.errors import UploadRefused
from model.errors import SeveralSignatures, UnusableSignature
from model.preprocessing.box import Box
from model.preprocessing.extraction import Region, extract_signatures, isolate_signature, isolate_signatures
from model.preprocessing.finder import SignatureFinder
from model.preprocessing.ink import Canvas, fit
from model.preprocessing.scan import Scan
from model.preprocessing.turning import turn

PDF_PROCESSOR_S = 4
"""Maximum seconds of processor time for a page of a PDF document.

The cost of an image is limited by its header, but that of a page only by this. Ordinary pages take less than a
second.
"""

PICTURE_SIDE, PAGE_SIDE = 800, 1600
"""Longest side of the picture of a signature and of a page, in pixels."""


def main() -> None:
    """Answer uploads one after the other.

    The command line has two limits, MiB of memory of the process and seconds of processor time per upload, and the
    path of the segmentation network.
    """
    memory_mb, processor_s = map(int, sys.argv[1:3])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would write an image to the disk
    if memory_mb:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb << 20, memory_mb << 20))
    cv2.setNumThreads(1)
    silence_libtiff()
    finder = SignatureFinder(Path(sys.argv[3]))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries goes to stderr, not between the answers
    with contextlib.suppress(EOFError, OSError):  # the service has ended
        write_frame(answers, {"ready": True})
        while True:
            request, data = read_frame(sys.stdin.buffer, 1 << 32)
            if processor_s:
                is_pdf = detect_format(data) is Format.PDF
                _limit_processor_time(min(processor_s, PDF_PROCESSOR_S) if is_pdf else processor_s)
            write_frame(answers, *answer(request, data, finder))


def _limit_processor_time(processor_s: int) -> None:
    """Let the kernel end the process with SIGXCPU after another `processor_s` seconds of processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime) + processor_s
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def answer(request: dict[str, Any], data: bytes, finder: SignatureFinder) -> tuple[dict[str, Any], bytes]:
    """Decode an upload; return durations and the result of the operation, or why it is refused."""
    begin = time.perf_counter()
    try:
        scan = read_upload(data, request["name"], UploadLimits(**request["limits"]), request["page"])
        decoded = time.perf_counter()
        found, content = _OPERATIONS[request["operation"]](scan, request, finder)
        if request["operation"] in _WITH_PAGES:
            found["pages"] = count_pages(data)
    except UploadRefused as error:
        return {"refused": error.code, "message": str(error)}, b""
    except UnusableSignature as error:
        advice = " ".join(part for part in (error.advice, _describe_pages(data, request["page"])) if part)
        regions = error.regions if isinstance(error, SeveralSignatures) else ()
        return {"refused": error.code, "message": error.fact, "advice": advice, "regions": regions}, b""
    except Exception as error:  # noqa: BLE001 - sent to the service, which raises DecoderFault
        if isinstance(error, MemoryError) or getattr(error, "code", None) == cv2.Error.StsNoMem:
            return {"out_of_memory": True}, b""
        return {"failed": traceback.format_exc()}, b""
    seconds = {"decode": decoded - begin, "isolate": time.perf_counter() - decoded}
    return {"seconds": seconds, **found}, content


def _prepare(scan: Scan, request: dict[str, Any], finder: SignatureFinder) -> tuple[dict[str, Any], bytes]:
    """Put one signature on the canvas; return its quality and the pixels."""
    ink = isolate_signature(scan, finder, _region(request))
    return {"quality": asdict(ink.quality)}, fit(ink.density, Canvas(**request["canvas"])).tobytes()


def _prepare_all(
    scan: Scan, request: dict[str, Any], finder: SignatureFinder
) -> tuple[dict[str, Any], bytes]:
    """Put all signatures on the canvas; return their quality and the pixels, one canvas after the other."""
    inks = isolate_signatures(scan, finder, _region(request))
    canvas = Canvas(**request["canvas"])
    pixels = b"".join(fit(ink.density, canvas).tobytes() for ink in inks)
    return {"qualities": [asdict(ink.quality) for ink in inks]}, pixels


def _turn(scan: Scan, request: dict[str, Any], finder: SignatureFinder) -> tuple[dict[str, Any], bytes]:
    """Put one signature on the canvas at each of the angles; return the pixels, one canvas after the other."""
    ink = isolate_signature(scan, finder, _region(request))
    canvas = Canvas(**request["canvas"])
    turned = [fit(turn(ink.density, degrees), canvas).tobytes() for degrees in request["angles"]]
    return {}, b"".join(turned)


def _region(request: dict[str, Any]) -> Region | Box:
    region = request["region"]
    return Box(*region) if isinstance(region, list) else region


def _extract(scan: Scan, request: dict[str, Any], finder: SignatureFinder) -> tuple[dict[str, Any], bytes]:
    """Find all signatures; return the size of the page, boxes and confidences, and the crops as PNG, one by one."""
    del request
    signatures, crops = [], []
    extracted = extract_signatures(scan, finder)
    for found, ink in extracted.found:
        crops.append(_png(Image.fromarray(255 - ink.density)))
        signatures.append(
            {"box": found.box.as_tuple(), "confidence": found.confidence, "bytes": len(crops[-1])}
        )
    size = [scan.grey.shape[1], scan.grey.shape[0]]
    return {"size": size, "signatures": signatures, "turned": extracted.turned}, b"".join(crops)


def _picture(scan: Scan, request: dict[str, Any], finder: SignatureFinder) -> tuple[dict[str, Any], bytes]:
    """Draw one signature alone on white paper; return its size, where its ink is, and a PNG image."""
    density = _reduced(isolate_signature(scan, finder, _region(request)).density, PICTURE_SIDE)
    rows, columns = np.arange(density.shape[0]), np.arange(density.shape[1])
    by_row, by_column = density.sum(axis=1, dtype=np.float64), density.sum(axis=0, dtype=np.float64)
    y, x = float(np.average(rows, weights=by_row)), float(np.average(columns, weights=by_column))
    variance = np.average((rows - y) ** 2, weights=by_row) + np.average((columns - x) ** 2, weights=by_column)
    stated = {"size": [density.shape[1], density.shape[0]], "centre": [x, y], "spread": math.sqrt(variance)}
    return stated, _png(Image.fromarray(255 - density))


def _page(scan: Scan, request: dict[str, Any], finder: SignatureFinder) -> tuple[dict[str, Any], bytes]:
    """Draw the page with a frame around the region that was compared; return its size and a PNG image."""
    del finder
    reduced = _reduced(scan.grey, PAGE_SIDE)
    image = Image.fromarray(reduced).convert("RGB")
    if isinstance(request["region"], list):
        scale = image.width / scan.grey.shape[1]
        box = Box(*request["region"]).clipped(scan.grey.shape)
        ImageDraw.Draw(image).rectangle([side * scale for side in box.as_tuple()], outline="#c62828", width=3)
    return {"size": list(image.size)}, _png(image)


def _reduced(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Reduce an image (height, width) so that its longer side has at most `side` pixels."""
    scale = side / max(image.shape)
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


_OPERATIONS = {
    "prepare": _prepare,
    "prepare-all": _prepare_all,
    "turn": _turn,
    "extract": _extract,
    "picture": _picture,
    "page": _page,
}
_WITH_PAGES = ("extract", "page")
"""Operations whose answer states the number of pages of the file."""


def _describe_pages(data: bytes, page: int) -> str:
    """Return a sentence about the other pages of the file; empty when there are none."""
    pages = count_pages(data)
    if pages == 1:
        return ""
    return f"The file has {pages} pages and page {page} was read; set `page`, counted from 0, to read another one."


if __name__ == "__main__":
    main()
