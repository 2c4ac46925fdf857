"""Extraction: the signatures on a page, without comparing them."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

from app.decoding.formats import UploadLimits
from app.decoding.pool import PageReading
from app.domain.errors import CountersignError, FileRefused
from app.domain.records import Upload
from app.services.core import Core


async def extract(core: Core, upload: Upload) -> PageReading:
    """Find the signatures on a page; only an audit entry is stored. Raises FileRefused."""
    reading = await find_signatures(core, upload)
    entry = core.trail.entry("extract", signatures=len(reading.signatures))
    await core.store.write(core.trail.append, entry)
    return reading


async def find_signatures(core: Core, upload: Upload) -> PageReading:
    """Find the signatures on a page. Raises FileRefused."""
    limits = UploadLimits(max_bytes=core.settings.max_upload_bytes, max_pixels=core.settings.max_pixels)

    def read() -> PageReading:
        try:
            return core.readers.extract(upload.data, upload.name, upload.page, limits)
        except CountersignError as error:
            raise FileRefused(error, upload.field, upload.position, upload.name) from error

    loop = asyncio.get_running_loop()
    reading = await loop.run_in_executor(core.readers.threads, copy_context().run, read)
    core.metrics.stages_elsewhere(reading.seconds)
    return reading
