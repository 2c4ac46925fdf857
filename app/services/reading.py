"""From uploaded files to templates: decoded, checked, isolated and embedded, all of a request or none."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.domain import Note, Upload, Vector
from app.errors import CountersignError, FileRefused, TooManyFiles
from app.services.core import Core
from app.services.notes import quality_notes
from app.uploads import UploadLimits, read_upload
from model.embedder import Embedder, Prepared
from model.errors import UnusableSignature

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
    notes: tuple[Note, ...]
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
    limits = UploadLimits(max_bytes=core.settings.max_upload_bytes, max_pixels=core.settings.max_pixels)
    loop = asyncio.get_running_loop()
    with core.metrics.stage("read"):
        readings = [
            loop.run_in_executor(core.readers, _read, core.embedder, upload, limits) for upload in uploads
        ]
        try:
            prepared = await asyncio.gather(*readings)
        except BaseException:
            for reading in readings:
                reading.cancel()  # those that have not begun
            raise
    with core.metrics.stage("embed"):
        templates = await core.queue.embed([item.canvas for item in prepared])
    return [
        _signature(upload, item, template)
        for upload, item, template in zip(uploads, prepared, templates, strict=True)
    ]


async def read_signature(core: Core, upload: Upload) -> Signature:
    """Read and embed one file."""
    return (await read_signatures(core, [upload]))[0]


def media_type(data: bytes) -> str:
    """The media type of an image that was accepted, from its first bytes."""
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), "application/octet-stream")


def _read(embedder: Embedder, upload: Upload, limits: UploadLimits) -> Prepared:
    try:
        return embedder.prepare(read_upload(upload.data, upload.name, limits, upload.page))
    except (CountersignError, UnusableSignature) as error:
        raise FileRefused(error, upload.field, upload.position, upload.name) from error


def _signature(upload: Upload, prepared: Prepared, template: NDArray[np.float32]) -> Signature:
    return Signature(
        upload=upload,
        sha256=hashlib.sha256(upload.data).hexdigest(),
        quality=asdict(prepared.quality),
        notes=quality_notes(prepared.quality),
        template=template,
    )
