"""From uploaded files to templates: decoded, checked, isolated and embedded, all of a request or none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextvars import copy_context
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.decoding.uploads import UploadLimits
from app.domain.errors import CountersignError, FileRefused, TooManyFiles
from app.domain.records import ResultWarning, Upload, Vector
from app.observability.tracing import span
from app.services.core import Core
from app.services.warnings import quality_notes
from model.errors import UnusableSignature
from model.preprocessing.ink import Prepared

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"RIFF", "image/webp"),
)


@dataclass(frozen=True)
class Signature:
    """A signature that was read and embedded."""

    upload: Upload
    sha256: str
    quality: dict[str, Any]
    notes: tuple[ResultWarning, ...]
    template: Vector


async def read_signatures(core: Core, uploads: Sequence[Upload]) -> list[Signature]:
    """Read and embed the files of a request.

    Raises
    ------
    FileRefused
        Naming the first file that is not taken.
    TooManyFiles, Busy
    """
    if len(uploads) > core.settings.max_files:
        raise TooManyFiles(
            f"The request has {len(uploads)} files; at most {core.settings.max_files} are taken at once."
        )
    loop = asyncio.get_running_loop()
    since = time.perf_counter()
    # Each on a copy of the request's context, so that its log lines and spans on those threads belong to it.
    readings = [
        loop.run_in_executor(core.readers.threads, copy_context().run, _read, core, upload, since)
        for upload in uploads
    ]
    try:
        read = await asyncio.gather(*readings)
    except BaseException:
        for reading in readings:
            reading.cancel()  # those that have not begun
        raise
    with span("network"):
        templates = await core.queue.embed([item.prepared.canvas for item in read])
    return [
        _signature(upload, item, template)
        for upload, item, template in zip(uploads, read, templates, strict=True)
    ]


async def read_signature(core: Core, upload: Upload) -> Signature:
    """Read and embed one file."""
    return (await read_signatures(core, [upload]))[0]


def media_type(data: bytes) -> str:
    """The media type of an image that was accepted, from its first bytes."""
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), "application/octet-stream")


@dataclass(frozen=True)
class _ReadUpload:
    sha256: str
    prepared: Prepared


def _read(core: Core, upload: Upload, since: float) -> _ReadUpload:
    """Have a file decoded and its ink isolated, on a thread of the readers'."""
    settings = core.settings
    limits = UploadLimits(max_bytes=settings.max_upload_bytes, max_pixels=settings.max_pixels)
    core.metrics.stages.labels("wait").observe(time.perf_counter() - since)
    try:
        read = core.readers.read(upload.data, upload.name, upload.page, limits, core.embedder.canvas)
    except (CountersignError, UnusableSignature) as error:
        raise FileRefused(error, upload.field, upload.position, upload.name) from error
    core.metrics.stages_elsewhere(read.seconds)
    return _ReadUpload(upload.sha256, read.prepared)


def _signature(upload: Upload, read: _ReadUpload, template: NDArray[np.float32]) -> Signature:
    return Signature(
        upload=upload,
        sha256=read.sha256,
        quality=asdict(read.prepared.quality),
        notes=quality_notes(read.prepared.quality),
        template=template,
    )
