"""From the files of a document to its questioned signatures: crops of one signature each, or whole pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app.domain.errors import DuplicateSignature
from app.domain.records import Upload
from app.services.core import Core
from app.services.extract import find_signatures
from app.services.preparation import Signature, find_repetition, read_signatures


async def read_questioned_signatures(core: Core, uploads: Sequence[Upload]) -> list[Signature]:
    """Return the signatures of a document, embedded: all that are found on a page, in the order of the files.

    Raises
    ------
    DuplicateSignature
        Two files are the same: one signature would be there for two people.
    FileRefused, TooManyFiles, Busy
    """
    _refuse_identical_files(uploads)
    signatures: list[Upload] = []
    for upload in uploads:
        found = () if upload.region != "auto" else (await find_signatures(core, upload)).signatures
        # Without several, `read_signatures` finds the one, or says why the file has none.
        signatures += [replace(upload, region=one.box) for one in found] if len(found) > 1 else [upload]
    return await read_signatures(core, signatures)


def _refuse_identical_files(uploads: Sequence[Upload]) -> None:
    repetition = find_repetition((upload.data, upload.page, upload.region) for upload in uploads)
    if repetition is not None:
        first, second = repetition
        raise DuplicateSignature(
            f"Files {first} and {second} of `{uploads[second - 1].field}` are byte for byte the same; nothing was "
            "stored. Send each signature once."
        )
