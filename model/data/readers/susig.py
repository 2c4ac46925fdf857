"""Reader of SUSIG pen recordings: ``{visual,blind}/NNN_{g,f}_MM.sig``.

Two header lines, then x, y, time in milliseconds, pressure, and 1 at the last point of a stroke; movements in the air
are not recorded. In ``visual`` y points upwards and the pressure goes to 255, in ``blind`` y points downwards and the
pressure goes to 1023. A. Kholmatov and B. Yanikoglu, "SUSIG: an on-line signature database, associated protocols and
benchmark results", Pattern Analysis and Applications 12 (2009).
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

    Points that repeat the one before are dropped, and a point with the pen lifted is put after each stroke, so that
    no line is drawn from one stroke to the next.

    Parameters
    ----------
    path : Path
    upwards : bool
        Whether y grows upwards in the file; it grows downwards in a :class:`Trajectory`.
    pressure_levels : float
        The largest pressure that the tablet reports.

    Raises
    ------
    DataError
        Not such a file, or fewer than two points in it.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()[HEADER_LINES:]
        rows = [[float(value) for value in line.split()] for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a SUSIG recording: {error}.") from error
    if len(rows) < 2 or any(len(row) != COLUMNS for row in rows):
        raise DataError(f"{path} is not a SUSIG recording: it needs lines of {COLUMNS} numbers.")
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
        raise DataError(f"{path} holds a single point, not a signature.")
    seconds = np.maximum(np.diff(points[:, 2]) / 1000.0, 0.001)
    return Trajectory(
        xy=np.stack([points[:, 0], -points[:, 1] if upwards else points[:, 1]], axis=1),
        t=np.concatenate([[0.0], np.cumsum(seconds)]),
        pressure=np.clip(points[:, 3] / pressure_levels, 0.0, 1.0),
        pen_down=down,
    )


class SUSIG(RecordedDataset):
    """104 and 90 people, 8 to 20 genuine signatures and 10 skilled forgeries each.

    Signers are named ``NNN/visual`` and ``NNN/blind``: equal numbers may be one person, and nobody is compared with
    themselves as a stranger.
    """

    name = "susig"
    terms: Terms = "research"
    citation = (
        "A. Kholmatov, B. Yanikoglu, SUSIG: an on-line signature database, associated protocols and benchmark "
        "results, Pattern Analysis and Applications 2009; research use"
    )
    expected = "{visual,blind}/NNN_{g,f}_MM.sig"

    def read(self, path: Path) -> Trajectory:
        """As :func:`read_trajectory`, by the part that the file lies in."""
        part = path.parent.name
        return read_trajectory(path, upwards=part == "visual", pressure_levels=PRESSURE_LEVELS[part])

    def _scan(self, root: Path) -> Iterable[tuple[Path, str, int, bool]]:
        for part in PRESSURE_LEVELS:
            folder = root / part
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                parts = re.fullmatch(r"(\d+)_([gf])_(\d+)\.sig", path.name, re.IGNORECASE)
                if parts:
                    yield path, f"{int(parts[1]):03d}/{part}", int(parts[3]), parts[2].lower() == "g"
