"""From the files of a document to its questioned signatures.

Each file is a crop of one signature. Whoever reads signatures from a whole document replaces
:func:`read_questioned_signatures` only: the callers take any number of signatures for any number of files.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.errors import DuplicateSignature
from app.domain.records import Upload
from app.services.core import Core
from app.services.preparation import Signature, read_signatures


async def read_questioned_signatures(core: Core, uploads: Sequence[Upload]) -> list[Signature]:
    """Return the signatures of a document, embedded.

    Raises
    ------
    DuplicateSignature
        Two files are the same: one signature would be there for two people.
    FileRefused, TooManyFiles, Busy
    """
    signatures = await read_signatures(core, uploads)
    first_numbers: dict[tuple[str, int], int] = {}
    for number, signature in enumerate(signatures, 1):
        first = first_numbers.setdefault((signature.sha256, signature.upload.page), number)
        if first != number:
            raise DuplicateSignature(
                f"Files {first} and {number} of `{signature.upload.field}` are byte for byte the same; nothing was "
                "stored. Send each signature once."
            )
    return signatures
