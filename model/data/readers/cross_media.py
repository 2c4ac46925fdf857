"""Reader for the cross-media Chinese names: ``ROOT/WRITER/nameNN-MEDIUM.jpg``.

98 people wrote the same ten names, once on each of four media. An identity is (writer, name), ``012/name03``: a
person writes ten different names here, and only the same name by the same hand counts as the same signature. There
are no forgeries, but the same name by another writer is an unskilled one: samplers may put them in one batch.
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
    """980 identities with one specimen on each of :data:`MEDIA`."""

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
