"""Invented people as a data set of scans: held-out writers to calibrate on, where only free data may be used.

They are other people than :class:`model.training.sources.SyntheticSource` trains on, and their scans go through the
whole of :mod:`model.preprocessing.ink`, which training's canvases do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.data.specimens import Specimen
from model.errors import DataError
from model.synthetic.writer import Habits, Writer
from model.types import Terms

WRITERS = 120
GENUINE = 14
FORGERIES = 12
FORGERS = 6
FIRST_SEED = 3_000_000
HEIGHT_PX = 160
HABITS = Habits(variation=1.25, diversity=0.24, error=0.9)
"""Those of real people, as far as distances tell: ``python -m benchmarks.likeness``.

The people to learn from are steadier and their forgers clumsier, which is easier to learn from; a calibration on such
people would promise more than real ones keep.
"""


def _grey(writer: Writer, forger: int | None, number: int) -> NDArray[np.uint8]:
    if forger is None:
        return writer.genuine_image(number, HEIGHT_PX)
    return writer.forgery_image(forger, number, HEIGHT_PX)


class SyntheticDataset:
    """120 invented people, 14 genuine signatures and 12 skilled forgeries by 6 forgers each; no files."""

    name = "synthetic"
    terms: Terms = "permissive"
    citation = "drawn by this project's sigma-lognormal synthetic writer"

    def __init__(self, root: Path | None = None, habits: Habits = HABITS) -> None:
        del root
        self._writers = {
            f"{number:03d}": Writer(FIRST_SEED + number, habits) for number in range(1, WRITERS + 1)
        }

    def signers(self) -> Sequence[str]:
        """All invented people, sorted."""
        return sorted(self._writers)

    def genuine(self, signer: str) -> Sequence[Specimen]:
        """Each drawn with the writer's habitual pen."""
        writer = self._of(signer)
        return [
            Specimen(f"synthetic/{signer}/genuine-{n:02d}", signer, True, partial(_grey, writer, None, n))
            for n in range(GENUINE)
        ]

    def forgeries(self, signer: str) -> Sequence[Specimen]:
        """By six forgers in turn, with pens like the victim's."""
        writer = self._of(signer)
        return [
            Specimen(
                f"synthetic/{signer}/forged-{n:02d}",
                signer,
                False,
                partial(_grey, writer, n % FORGERS, n // FORGERS),
            )
            for n in range(FORGERIES)
        ]

    def _of(self, signer: str) -> Writer:
        if signer not in self._writers:
            raise DataError(f"There is no person {signer!r} among the invented ones.")
        return self._writers[signer]
