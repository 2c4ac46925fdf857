"""Reader of SVC2004 (task 2) pen recordings: ``U<person>S<n>.TXT``, S1 to S20 genuine, S21 to S40 skilled forgeries.

The first line holds the number of points; each further line x, y, time, pen down, azimuth, altitude, pressure. The
tablet's y axis points upwards and is turned round here. D.-Y. Yeung et al., "SVC2004: First International Signature
Verification Competition", ICBA 2004.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.data.pen import Trajectory
from model.errors import DataError

PRESSURE_LEVELS = 1023.0
COLUMNS = 7


def read_trajectory(path: Path) -> Trajectory:
    """Read one recording.

    Points that repeat the last one are dropped, and time runs on where the clock jumped back.

    Raises
    ------
    DataError
        Not such a file, or fewer than two points in it.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        rows = [[float(value) for value in line.split()] for line in lines[1:] if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as an SVC2004 recording: {error}.") from error
    if len(rows) < 2 or any(len(row) != COLUMNS for row in rows):
        raise DataError(f"{path} is not an SVC2004 recording: it needs lines of {COLUMNS} numbers.")
    points = np.array(rows, dtype=np.float64)
    moved = np.any(np.diff(points[:, [0, 1, 3]], axis=0) != 0.0, axis=1)
    points = points[np.concatenate([[True], moved])]
    if len(points) < 2:
        raise DataError(f"{path} holds a single point, not a signature.")
    seconds = np.maximum(np.diff(points[:, 2]) / 1000.0, 0.001)
    pen_down = points[:, 3] > 0
    if not pen_down.any():
        raise DataError(f"{path} holds no point with the pen down.")
    return Trajectory(
        xy=np.stack([points[:, 0], -points[:, 1]], axis=1),
        t=np.concatenate([[0.0], np.cumsum(seconds)]),
        pressure=np.clip(points[:, 6] / PRESSURE_LEVELS, 0.0, 1.0),
        pen_down=pen_down,
    )
