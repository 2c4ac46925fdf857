"""From the files of a document to its questioned signatures: crops of one signature each, or whole pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.decoding.pool import PreparedPage
from app.domain.errors import DuplicateSignature
from app.domain.records import Upload
from app.services.context import AppContext
from app.services.preparation import (
    Signature,
    embed_signatures,
    find_repetition,
    read_parallel,
    refuse_too_many,
)
from model.preprocessing.ink import Prepared


async def read_questioned_signatures(context: AppContext, uploads: Sequence[Upload]) -> list[Signature]:
    """Return the signatures of a document, embedded: all that are found on a page, in the order of the files.

    Every file is decoded once, in parallel.

    Raises
    ------
    DuplicateSignature
        Two files are the same: one signature would count for two people.
    FileRefused, TooManyFiles, Busy
    """
    _refuse_identical_files(uploads)
    refuse_too_many(len(uploads), context.settings.max_files)
    pages = await read_parallel(context, uploads, _decode_all)
    signatures: list[tuple[Upload, Prepared]] = []
    for upload, page in zip(uploads, pages, strict=True):
        several = len(page.signatures) > 1
        signatures += [
            # By its region, the signature is found again among the others of the file.
            (replace(upload, region=prepared.quality.region or "whole") if several else upload, prepared)
            for prepared in page.signatures
        ]
    refuse_too_many(len(signatures), context.settings.max_files)
    return await embed_signatures(context, signatures)


def _decode_all(context: AppContext, upload: Upload) -> PreparedPage:
    """Decode a file and isolate the ink of all its signatures."""
    page = context.decoders.read_all(
        upload.data, upload.name, upload.page, context.upload_limits, context.embedder.canvas, upload.region
    )
    context.metrics.stages_elsewhere(page.seconds)
    _ = upload.sha256  # a cached property: hash here rather than on the event loop
    return page


def _refuse_identical_files(uploads: Sequence[Upload]) -> None:
    repetition = find_repetition((upload.data, upload.page, upload.region) for upload in uploads)
    if repetition is not None:
        first, second = repetition
        raise DuplicateSignature(
            f"Files {first} and {second} of `{uploads[second - 1].field}` are byte for byte the same; nothing was "
            "stored. Send each signature once."
        )
