"""From uploaded files to templates: decode, check, isolate and embed all files of a request, or refuse it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import asdict, dataclass
from typing import Any

from app.decoding.formats import UploadLimits
from app.domain.errors import CountersignError, FileRefused, TooManyFiles
from app.domain.records import ResultWarning, Upload, UploadRegion, Vector
from app.observability.tracing import span
from app.services.core import Core
from app.services.warnings import quality_warnings
from model.errors import UnusableSignature
from model.preprocessing.ink import Prepared, Quality


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
    loop = asyncio.get_running_loop()
    queued_at = time.perf_counter()
    # Each runs in a copy of the request's context, so that its log lines and spans carry the request's ids.
    tasks = [
        loop.run_in_executor(core.readers.threads, copy_context().run, _decode, core, upload, queued_at)
        for upload in uploads
    ]
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


def _decode(core: Core, upload: Upload, queued_at: float) -> Prepared:
    """Decode a file and isolate its ink; runs on a thread of the decoder pool."""
    settings = core.settings
    limits = UploadLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
    core.metrics.stages.labels("wait").observe(time.perf_counter() - queued_at)
    try:
        reading = core.readers.read(
            upload.data, upload.name, upload.page, limits, core.embedder.canvas, upload.region
        )
    except (CountersignError, UnusableSignature) as error:
        raise FileRefused(error, upload.field, upload.position, upload.name) from error
    core.metrics.stages_elsewhere(reading.seconds)
    _ = upload.sha256  # a cached property: hash here rather than on the event loop
    return reading.prepared
