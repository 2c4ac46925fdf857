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
from app.domain.records import MOVED, ResultWarning, Upload, UploadRegion, Vector
from app.observability.tracing import span
from app.services.context import AppContext
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


async def read_signatures(context: AppContext, uploads: Sequence[Upload]) -> list[Signature]:
    """Decode and embed the files of a request, with one signature each.

    Raises
    ------
    FileRefused
        Names the first refused file.
    TooManyFiles, Busy
    """
    refuse_too_many(len(uploads), context.settings.max_files)
    prepared = await read_parallel(context, uploads, _decode)
    return await embed_signatures(context, list(zip(uploads, prepared, strict=True)))


def refuse_too_many(count: int, maximum: int) -> None:
    """Raise TooManyFiles when a request has more files, or more signatures on them, than are allowed."""
    if count > maximum:
        raise TooManyFiles(f"The request has {count} files; the maximum is {maximum} per request.")


async def read_parallel(
    context: AppContext, uploads: Sequence[Upload], decode: Callable[[AppContext, Upload], T]
) -> list[T]:
    """Decode uploads, as many at once as the pool has processes. Raises FileRefused, Busy."""
    tasks = [start_reading(context, upload, partial(decode, context, upload)) for upload in uploads]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()  # those that have not started
        raise


async def embed_signatures(
    context: AppContext, signatures: Sequence[tuple[Upload, Prepared]]
) -> list[Signature]:
    """Embed prepared signatures in one batch. Raises Busy."""
    with span("network"):
        templates = await context.inference.embed([prepared.canvas for _, prepared in signatures])
    return [
        Signature(
            upload=upload,
            region=_resolve_region(upload, prepared.quality),
            sha256=upload.sha256,
            quality=asdict(prepared.quality),
            warnings=quality_warnings(prepared.quality),
            template=template,
        )
        for (upload, prepared), template in zip(signatures, templates, strict=True)
    ]


async def read_signature(context: AppContext, upload: Upload) -> Signature:
    """Decode and embed one file."""
    return (await read_signatures(context, [upload]))[0]


def _resolve_region(upload: Upload, quality: Quality) -> UploadRegion:
    """Return the region in which the same signature is found again, also by later networks."""
    if upload.region == "auto" and not MOVED.isdisjoint(quality.warnings):
        return "auto"
    return quality.region or "whole"


def start_reading(context: AppContext, upload: Upload, read: Callable[[], T]) -> asyncio.Future[T]:
    """Start reading an upload on a thread of the decoder pool.

    It runs in a copy of the request's context, so that its log lines and spans carry the request's ids. The future
    raises FileRefused where `read` raises CountersignError or UnusableSignature.
    """
    queued_at = time.perf_counter()

    def run() -> T:
        context.metrics.stages.labels("wait").observe(time.perf_counter() - queued_at)
        try:
            return read()
        except (CountersignError, UnusableSignature) as error:
            raise FileRefused(
                error, upload.field, upload.position, upload.name, takes_region=upload.takes_region
            ) from error

    loop = asyncio.get_running_loop()
    return loop.run_in_executor(context.decoders.threads, copy_context().run, run)


def find_repetition(keys: Iterable[Hashable]) -> tuple[int, int] | None:
    """Find the first key that repeats an earlier one; return the numbers of both, counted from 1."""
    first_numbers: dict[Hashable, int] = {}
    for number, key in enumerate(keys, 1):
        if (first := first_numbers.setdefault(key, number)) != number:
            return first, number
    return None


def _decode(context: AppContext, upload: Upload) -> Prepared:
    """Decode a file and isolate its ink."""
    reading = context.decoders.read(
        upload.data, upload.name, upload.page, context.upload_limits, context.embedder.canvas, upload.region
    )
    context.metrics.stages_elsewhere(reading.seconds)
    _ = upload.sha256  # a cached property: hash here rather than on the event loop
    return reading.prepared
