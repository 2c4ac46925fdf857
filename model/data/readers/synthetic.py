"""Synthetic writers as a data set of scans, used to calibrate weights where only permissive data are allowed.

These writers differ from those that :class:`model.training.sources.SyntheticSource` trains on. Their ink is isolated
from rendered scans, whereas training renders trajectories directly on the canvas.
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
"""Parameters chosen so that the distances resemble those of real writers (``python -m benchmarks.likeness``).

The synthetic writers for training vary less and their forgers are less skilled, because this is easier to learn. A
calibration on such writers would underestimate the error rates.
"""


def _render(writer: Writer, forger: int | None, number: int) -> NDArray[np.uint8]:
    if forger is None:
        return writer.genuine_image(number, HEIGHT_PX)
    return writer.forgery_image(forger, number, HEIGHT_PX)


class SyntheticDataset:
    """120 synthetic writers with 14 genuine signatures and 12 skilled forgeries by 6 forgers each; not stored."""

    name = "synthetic"
    terms: Terms = "permissive"
    citation = "drawn by this project's sigma-lognormal synthetic writer"

    def __init__(self, root: Path | None = None, habits: Habits = HABITS) -> None:
        del root
        self._writers = {
            f"{number:03d}": Writer(FIRST_SEED + number, habits) for number in range(1, WRITERS + 1)
        }

    def signers(self) -> Sequence[str]:
        """Return the names of all synthetic writers, sorted."""
        return sorted(self._writers)

    def genuine(self, signer: str) -> Sequence[Specimen]:
        """Return the genuine specimens, all with the pen of the writer."""
        writer = self._writer(signer)
        return [
            Specimen(f"synthetic/{signer}/genuine-{n:02d}", signer, True, partial(_render, writer, None, n))
            for n in range(GENUINE)
        ]

    def forgeries(self, signer: str) -> Sequence[Specimen]:
        """Return the skilled forgeries, by six forgers in turn, with pens similar to that of the writer."""
        writer = self._writer(signer)
        return [
            Specimen(
                f"synthetic/{signer}/forged-{n:02d}",
                signer,
                False,
                partial(_render, writer, n % FORGERS, n // FORGERS),
            )
            for n in range(FORGERIES)
        ]

    def _writer(self, signer: str) -> Writer:
        if signer not in self._writers:
            raise DataError(f"There is no synthetic writer {signer!r}.")
        return self._writers[signer]
