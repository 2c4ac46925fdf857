"""SVC2004 as a data set: the recordings of :mod:`model.data.svc2004`, rendered with a seeded pen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from model.card import Terms
from model.data.pen import Trajectory
from model.data.recorded import RecordedDataset
from model.data.svc2004 import read_trajectory

FIRST_FORGERY = 21
"""S1 to S20 are genuine, S21 to S40 skilled forgeries."""


class SVC2004(RecordedDataset):
    """40 people, 20 genuine signatures and 20 skilled forgeries each; signers are named ``01`` to ``40``."""

    name = "svc2004"
    terms: Terms = "research"
    citation = "Yeung et al., SVC2004: First International Signature Verification Competition, ICBA 2004"
    expected = "U<person>S<n>.TXT"

    def read(self, path: Path) -> Trajectory:
        """As :func:`model.data.svc2004.read_trajectory`."""
        return read_trajectory(path)

    def _scan(self, root: Path) -> Iterable[tuple[Path, str, int, bool]]:
        for path in sorted(root.iterdir()):
            parts = re.fullmatch(r"U(\d+)S(\d+)\.TXT", path.name, re.IGNORECASE)
            if parts:
                number = int(parts[2])
                yield path, f"{int(parts[1]):02d}", number, number < FIRST_FORGERY
