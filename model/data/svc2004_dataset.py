"""SVC2004 as a data set: the recordings of :mod:`model.data.svc2004`, rendered with a seeded pen.

As scans (``grey``) every recording has one pen, drawn from its key: genuine signatures and forgeries from the same
population of pens, so that the pen gives nothing away. Training takes ``trajectory`` and draws anew each time.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.card import Terms
from model.data.pen import Trajectory, random_pen, render
from model.data.specimens import Specimen, require_folder
from model.data.svc2004 import read_trajectory
from model.errors import DataError

FIRST_FORGERY = 21
"""S1 to S20 are genuine, S21 to S40 skilled forgeries."""

HEIGHT_PX = 200


class SVC2004:
    """40 people, 20 genuine signatures and 20 skilled forgeries each; signers are named ``01`` to ``40``."""

    name = "svc2004"
    terms: Terms = "research"
    citation = "Yeung et al., SVC2004: First International Signature Verification Competition, ICBA 2004"

    def __init__(self, root: Path) -> None:
        require_folder(root, "SVC2004")
        self._of: dict[str, list[tuple[int, Path]]] = {}
        for path in sorted(root.iterdir()):
            parts = re.fullmatch(r"U(\d+)S(\d+)\.TXT", path.name, re.IGNORECASE)
            if parts:
                self._of.setdefault(f"{int(parts[1]):02d}", []).append((int(parts[2]), path))
        if not self._of:
            raise DataError(f"{root} holds no SVC2004 recordings (U<person>S<n>.TXT).")

    def signers(self) -> Sequence[str]:
        """All people, sorted."""
        return sorted(self._of)

    def genuine(self, signer: str) -> Sequence[Specimen]:
        """S1 to S20."""
        return self._specimens(signer, genuine=True)

    def forgeries(self, signer: str) -> Sequence[Specimen]:
        """S21 to S40."""
        return self._specimens(signer, genuine=False)

    def _specimens(self, signer: str, *, genuine: bool) -> list[Specimen]:
        if signer not in self._of:
            raise DataError(f"There is no person {signer!r} in SVC2004.")
        return [
            Specimen(
                key=path.name,
                signer=signer,
                genuine=genuine,
                grey=_scan_of(path),
                path=path,
                trajectory=_trajectory_of(path),
            )
            for number, path in sorted(self._of[signer])
            if (number < FIRST_FORGERY) == genuine
        ]


def _trajectory_of(path: Path) -> Callable[[], Trajectory]:
    return lambda: read_trajectory(path)


def _scan_of(path: Path) -> Callable[[], NDArray[np.uint8]]:
    def scan() -> NDArray[np.uint8]:
        rng = np.random.default_rng(zlib.crc32(path.name.upper().encode()))
        return render(read_trajectory(path), random_pen(rng), HEIGHT_PX, rng)

    return scan
