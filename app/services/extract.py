"""Extraction: the signatures on a page, without comparing them."""

from __future__ import annotations

from app.decoding.pool import PageReading
from app.domain.records import Upload
from app.services.context import AppContext
from app.services.preparation import start_reading


async def extract(context: AppContext, upload: Upload) -> PageReading:
    """Find the signatures on a page; only an audit entry is stored. Raises FileRefused."""
    reading = await find_signatures(context, upload)
    entry = context.trail.entry("extract", signatures=len(reading.signatures))
    await context.store.write(context.trail.append, entry)
    return reading


async def find_signatures(context: AppContext, upload: Upload) -> PageReading:
    """Find the signatures on a page. Raises FileRefused."""

    def read() -> PageReading:
        return context.decoders.extract(upload.data, upload.name, upload.page, context.upload_limits)

    reading = await start_reading(context, upload, read)
    context.metrics.stages_elsewhere(reading.seconds)
    return reading
