"""Reader for SVC2004 (task 2) pen recordings: ``U<writer>S<n>.TXT``, S1 to S20 genuine, S21 to S40 skilled forgeries.

The first line contains the number of points, each further line x, y, time in milliseconds, pen down, azimuth,
altitude and pressure. The y axis of the tablet points upwards and is inverted. D.-Y. Yeung et al., "SVC2004: First
International Signature Verification Competition", ICBA 2004.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from model.data.readers.recorded import RecordedDataset
from model.errors import DataError
from model.synthetic.pen import Trajectory
from model.types import Terms

PRESSURE_LEVELS = 1023.0
COLUMNS = 7
FIRST_FORGERY = 21
"""S1 to S20 are genuine, S21 to S40 skilled forgeries."""


def read_trajectory(path: Path) -> Trajectory:
    """Read one recording.

    Repeated points are dropped. Where the recorded time decreases, it is replaced by a step of 1 ms.

    Raises
    ------
    DataError
        The file is not a valid recording, contains fewer than two points, or no point with the pen down.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        rows = [[float(value) for value in line.split()] for line in lines[1:] if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an SVC2004 recording: {error}.") from error
    if len(rows) < 2 or any(len(row) != COLUMNS for row in rows):
        raise DataError(f"{path} is not an SVC2004 recording: lines must contain {COLUMNS} numbers.")
    points = np.array(rows, dtype=np.float64)
    moved = np.any(np.diff(points[:, [0, 1, 3]], axis=0) != 0.0, axis=1)
    points = points[np.concatenate([[True], moved])]
    if len(points) < 2:
        raise DataError(f"{path} contains fewer than two points.")
    seconds = np.maximum(np.diff(points[:, 2]) / 1000.0, 0.001)
    pen_down = points[:, 3] > 0
    if not pen_down.any():
        raise DataError(f"{path} contains no point with the pen down.")
    return Trajectory(
        xy=np.stack([points[:, 0], -points[:, 1]], axis=1),
        t=np.concatenate([[0.0], np.cumsum(seconds)]),
        pressure=np.clip(points[:, 6] / PRESSURE_LEVELS, 0.0, 1.0),
        pen_down=pen_down,
    )


class SVC2004(RecordedDataset):
    """40 signers, ``01`` to ``40``, with 20 genuine signatures and 20 skilled forgeries each."""

    name = "svc2004"
    terms: Terms = "research"
    citation = "Yeung et al., SVC2004: First International Signature Verification Competition, ICBA 2004"
    expected = "U<person>S<n>.TXT"

    def read(self, path: Path) -> Trajectory:
        """Read one recording. Raises DataError."""
        return read_trajectory(path)

    def _scan(self, root: Path) -> Iterable[tuple[Path, str, int, bool]]:
        for path in sorted(root.iterdir()):
            parts = re.fullmatch(r"U(\d+)S(\d+)\.TXT", path.name, re.IGNORECASE)
            if parts:
                number = int(parts[2])
                yield path, f"{int(parts[1]):02d}", number, number < FIRST_FORGERY
