"""Reader for BHSig260: Bengali (100 writers) and Hindi (160), ``ROOT/**/{B,H}-S-W-{G,F}-N.tif`` (or ``.png``).

Common copies of the corpus contain about a thousand duplicates of files of the same writer, which are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from model.data.readers.numbered import NumberedDataset
from model.data.specimens import IMAGE_SUFFIXES
from model.types import Terms

Script = Literal["Bengali", "Hindi"]


class BHSig260(NumberedDataset):
    """Up to 24 genuine signatures and 30 skilled forgeries per writer; signer names are ``B-001``, ``H-001``, etc.

    Parameters
    ----------
    root : Path
        Searched recursively.
    script : {"Bengali", "Hindi"}, optional
        Read only the writers of one script, which is then part of the name of the data set. Default: both.
    """

    name = "bhsig260"
    terms: Terms = "research"
    citation = (
        "S. Pal, A. Alaei, U. Pal, M. Blumenstein, Performance of an off-line signature verification method based on "
        "texture features on a large Indic-script signature dataset, DAS 2016; research use"
    )
    expected = "{B,H}-S-W-{G,F}-N.tif"

    def __init__(self, root: Path, script: Script | None = None) -> None:
        self._initials = script[0] if script else "BH"
        if script:
            self.name = f"bhsig260-{script.lower()}"
        super().__init__(root)

    def _scan(self, root: Path) -> Iterable[tuple[Path, str, int, bool]]:
        for path in sorted(root.rglob("*")):
            parts = re.fullmatch(r"([BH])-S-(\d+)-([GF])-(\d+)", path.stem)
            if parts and parts[1] in self._initials and path.suffix.lower() in IMAGE_SUFFIXES:
                yield path, f"{parts[1]}-{int(parts[2]):03d}", int(parts[4]), parts[3] == "G"
