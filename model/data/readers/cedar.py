"""Reader for CEDAR: ``full_org/original_W_N.png`` and ``full_forg/forgeries_W_N.png``, 55 writers.

Genuine signatures and forgeries have backgrounds of different grey, which alone separates them (AUC of the median
grey: 1.00). Results are meaningful on isolated ink only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from model.data.readers.numbered import NumberedDataset
from model.data.specimens import images_in
from model.types import Terms


class Cedar(NumberedDataset):
    """55 writers with 24 genuine signatures and 24 skilled forgeries each."""

    name = "cedar"
    terms: Terms = "research"
    citation = (
        "M. Kalera, S. Srihari, A. Xu, Offline signature verification and identification using distance statistics, "
        "IJPRAI 18 (2004); research use"
    )
    expected = "full_org/original_W_N.png and full_forg/forgeries_W_N.png"

    def _scan(self, root: Path) -> Iterable[tuple[Path, str, int, bool]]:
        for folder, stem in (("full_org", "original"), ("full_forg", "forgeries")):
            for path in images_in(root / folder):
                parts = re.fullmatch(rf"{stem}_(\d+)_(\d+)", path.stem)
                if parts:
                    yield path, f"{int(parts[1]):02d}", int(parts[2]), stem == "original"
