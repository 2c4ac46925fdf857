"""Reader for SUSIG pen recordings: ``{visual,blind}/NNN_{g,f}_MM.sig``.

After two header lines, each line contains x, y, time in milliseconds, pressure, and 1 for the last point of a stroke.
Movements with the pen up are not recorded. In ``visual``, y points upwards and the maximum pressure is 255; in
``blind``, y points downwards and the maximum pressure is 1023. A. Kholmatov and B. Yanikoglu, "SUSIG: an on-line
signature database, associated protocols and benchmark results", Pattern Analysis and Applications 12 (2009).
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

COLUMNS = 5
HEADER_LINES = 2
PRESSURE_LEVELS = {"visual": 255.0, "blind": 1023.0}


def read_trajectory(path: Path, *, upwards: bool, pressure_levels: float) -> Trajectory:
    """Read one recording.

    Repeated points are dropped. A point with the pen up is inserted after each stroke, so that strokes are not
    connected.

    Parameters
    ----------
    path : Path
    upwards : bool
        Whether y points upwards in the file; in a :class:`Trajectory` it points downwards.
    pressure_levels : float
        The maximum pressure of the tablet.

    Raises
    ------
    DataError
        The file is not a valid recording or contains fewer than two points.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()[HEADER_LINES:]
        rows = [[float(value) for value in line.split()] for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a SUSIG recording: {error}.") from error
    if len(rows) < 2 or any(len(row) != COLUMNS for row in rows):
        raise DataError(f"{path} is not a SUSIG recording: lines must contain {COLUMNS} numbers.")
    points = np.array(rows, dtype=np.float64)
    ends = np.flatnonzero(points[:, 4] > 0)
    kept = np.concatenate([[True], np.any(np.diff(points[:, :2], axis=0) != 0.0, axis=1)])
    kept[ends] = True
    lifted = points[ends]
    down = np.concatenate([np.ones(int(kept.sum()), bool), np.zeros(len(lifted), bool)])
    at = np.concatenate([np.flatnonzero(kept).astype(float), ends + 0.5])
    order = np.argsort(at, kind="stable")
    points, down = np.concatenate([points[kept], lifted])[order], down[order]
    if int(down.sum()) < 2:
        raise DataError(f"{path} contains fewer than two points.")
    seconds = np.maximum(np.diff(points[:, 2]) / 1000.0, 0.001)
    return Trajectory(
        xy=np.stack([points[:, 0], -points[:, 1] if upwards else points[:, 1]], axis=1),
        t=np.concatenate([[0.0], np.cumsum(seconds)]),
        pressure=np.clip(points[:, 3] / pressure_levels, 0.0, 1.0),
        pen_down=down,
    )


class SUSIG(RecordedDataset):
    """104 (visual) and 90 (blind) signers with 8 to 20 genuine signatures and 10 skilled forgeries each.

    Signer names are ``NNN/visual`` and ``NNN/blind``. The same number may be the same person in both parts. Names
    therefore begin with the number, so that these are not used as random forgeries of each other.
    """

    name = "susig"
    terms: Terms = "research"
    citation = (
        "A. Kholmatov, B. Yanikoglu, SUSIG: an on-line signature database, associated protocols and benchmark "
        "results, Pattern Analysis and Applications 2009; research use"
    )
    expected = "{visual,blind}/NNN_{g,f}_MM.sig"

    def read(self, path: Path) -> Trajectory:
        """Read one recording of either part. Raises DataError."""
        part = path.parent.name
        return read_trajectory(path, upwards=part == "visual", pressure_levels=PRESSURE_LEVELS[part])

    def _scan(self, root: Path) -> Iterable[tuple[Path, str, int, bool]]:
        for part in PRESSURE_LEVELS:
            folder = root / part
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                parts = re.fullmatch(r"(\d+)_([gf])_(\d+)\.sig", path.name, re.IGNORECASE)
                if parts:
                    yield path, f"{int(parts[1]):03d}/{part}", int(parts[3]), parts[2].lower() == "g"
