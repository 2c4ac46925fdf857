"""Reader for BHSig260: Bengali (100 writers) and Hindi (160), ``ROOT/W/B-S-W-{G,F}-N.tif``.

One script at a time: name the root ``.../Bengali`` or ``.../Hindi``; a root that holds both reads both, and signers
are called ``B-001`` and ``H-001``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from model.card import Terms
from model.data.numbered import NumberedDataset
from model.data.specimens import IMAGE_SUFFIXES


class BHSig260(NumberedDataset):
    """24 genuine signatures and 30 forgeries of each writer."""

    name = "bhsig260"
    terms: Terms = "research"
    citation = (
        "S. Pal, A. Alaei, U. Pal, M. Blumenstein, Performance of an off-line signature verification method based on "
        "texture features on a large Indic-script signature dataset, DAS 2016; research use"
    )
    expected = "{B,H}-S-W-{G,F}-N.tif"

    def _scan(self, root: Path) -> Iterable[tuple[Path, str, int, bool]]:
        for path in sorted(root.rglob("*")):
            parts = re.fullmatch(r"([BH])-S-(\d+)-([GF])-(\d+)", path.stem)
            if parts and path.suffix.lower() in IMAGE_SUFFIXES:
                yield path, f"{parts[1]}-{int(parts[2]):03d}", int(parts[4]), parts[3] == "G"
