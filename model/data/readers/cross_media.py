"""Reader for the cross-media data set of Chinese names: ``ROOT/WRITER/nameNN-MEDIUM.jpg``.

98 writers wrote the same ten names, once on each of four media. A signer is a pair of writer and name,
``012/name03``, because only specimens of the same name by the same writer are specimens of one signature. There are
no skilled forgeries, but the same name by another writer is a more difficult random forgery than another name, so
samplers can combine writers of the same name in one batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from model.data.readers.numbered import NumberedDataset
from model.data.specimens import images_in
from model.types import Terms

MEDIA = ("ipad", "paper", "phone-hand", "phone-table")


class CrossMediaChinese(NumberedDataset):
    """980 signers with one genuine specimen on each of :data:`MEDIA`."""

    name = "cross-media-chinese"
    terms: Terms = "permissive"
    citation = "Cross-media Chinese signatures, doi:10.1002/aisy.202300439; MIT licence"
    expected = "WRITER/nameNN-MEDIUM.jpg"

    def _scan(self, root: Path) -> Iterable[tuple[Path, str, int, bool]]:
        for folder in sorted(p for p in root.iterdir() if p.is_dir()):
            for path in images_in(folder):
                parts = re.fullmatch(r"(name\d+)-(.+)", path.stem)
                if parts and parts[2] in MEDIA:
                    yield path, f"{folder.name}/{parts[1]}", MEDIA.index(parts[2]), True
