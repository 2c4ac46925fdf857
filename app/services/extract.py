"""Extraction: the signatures on a page, without comparing them."""

from __future__ import annotations

from app.decoding.pool import PageReading
from app.domain.records import Upload
from app.services.core import Core
from app.services.preparation import start_reading


async def extract(core: Core, upload: Upload) -> PageReading:
    """Find the signatures on a page; only an audit entry is stored. Raises FileRefused."""
    reading = await find_signatures(core, upload)
    entry = core.trail.entry("extract", signatures=len(reading.signatures))
    await core.store.write(core.trail.append, entry)
    return reading


async def find_signatures(core: Core, upload: Upload) -> PageReading:
    """Find the signatures on a page. Raises FileRefused."""

    def read() -> PageReading:
        return core.readers.extract(upload.data, upload.name, upload.page, core.upload_limits)

    reading = await start_reading(core, upload, read)
    core.metrics.stages_elsewhere(reading.seconds)
    return reading
