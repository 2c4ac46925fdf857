"""From uploaded files to templates: decode, check, isolate and embed all files of a request, or refuse it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextvars import copy_context
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

from app.domain.errors import CountersignError, FileRefused, TooManyFiles
from app.domain.records import ResultWarning, Upload, UploadRegion, Vector
from app.observability.tracing import span
from app.services.core import Core
from app.services.warnings import quality_warnings
from model.errors import UnusableSignature
from model.preprocessing.ink import Prepared, Quality

T = TypeVar("T")


@dataclass(frozen=True)
class Signature:
    """A decoded and embedded signature; ``region`` is where it was found, or ``whole``."""

    upload: Upload
    region: UploadRegion
    sha256: str
    quality: dict[str, Any]
    warnings: tuple[ResultWarning, ...]
    template: Vector


async def read_signatures(core: Core, uploads: Sequence[Upload]) -> list[Signature]:
    """Decode and embed the files of a request.

    Raises
    ------
    FileRefused
        Names the first refused file.
    TooManyFiles, Busy
    """
    if len(uploads) > core.settings.max_files:
        raise TooManyFiles(
            f"The request has {len(uploads)} files; the maximum is {core.settings.max_files} per request."
        )
    tasks = [start_reading(core, upload, partial(_decode, core, upload)) for upload in uploads]
    try:
        prepared = await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()  # those that have not started
        raise
    with span("network"):
        templates = await core.queue.embed([item.canvas for item in prepared])
    return [
        Signature(
            upload=upload,
            region=_resolve_region(upload, item.quality),
            sha256=upload.sha256,
            quality=asdict(item.quality),
            warnings=quality_warnings(item.quality),
            template=template,
        )
        for upload, item, template in zip(uploads, prepared, templates, strict=True)
    ]


async def read_signature(core: Core, upload: Upload) -> Signature:
    """Decode and embed one file."""
    return (await read_signatures(core, [upload]))[0]


def _resolve_region(upload: Upload, quality: Quality) -> UploadRegion:
    """Return the region that gives the same signature again, whatever later networks find on the page."""
    if upload.region == "auto" and "sheet-rectified" in quality.warnings:
        return "auto"  # a box in the image is not quite the same after the sheet was put right
    return quality.region or "whole"


def start_reading(core: Core, upload: Upload, read: Callable[[], T]) -> asyncio.Future[T]:
    """Start reading an upload on a thread of the decoder pool.

    It runs in a copy of the request's context, so that its log lines and spans carry the request's ids. The future
    raises FileRefused where `read` raises CountersignError or UnusableSignature.
    """
    queued_at = time.perf_counter()

    def run() -> T:
        core.metrics.stages.labels("wait").observe(time.perf_counter() - queued_at)
        try:
            return read()
        except (CountersignError, UnusableSignature) as error:
            raise FileRefused(error, upload.field, upload.position, upload.name) from error

    loop = asyncio.get_running_loop()
    return loop.run_in_executor(core.readers.threads, copy_context().run, run)


def find_repetition(keys: Iterable[Hashable]) -> tuple[int, int] | None:
    """Find the first key that repeats an earlier one; return the numbers of both, counted from 1."""
    first_numbers: dict[Hashable, int] = {}
    for number, key in enumerate(keys, 1):
        if (first := first_numbers.setdefault(key, number)) != number:
            return first, number
    return None


def _decode(core: Core, upload: Upload) -> Prepared:
    """Decode a file and isolate its ink."""
    reading = core.readers.read(
        upload.data, upload.name, upload.page, core.upload_limits, core.embedder.canvas, upload.region
    )
    core.metrics.stages_elsewhere(reading.seconds)
    _ = upload.sha256  # a cached property: hash here rather than on the event loop
    return reading.prepared
