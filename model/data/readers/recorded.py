"""Base class of readers for corpora of pen recordings with one file per signature.

``grey`` renders a recording as a scan, always with the same pen, which is chosen at random with the file name as the
seed. The pens of genuine signatures and forgeries have the same distribution, so they do not reveal a forgery.
Training uses ``trajectory`` and renders it with a different pen each time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.data.readers.numbered import NumberedDataset
from model.data.specimens import Specimen
from model.synthetic.pen import Trajectory, random_pen, render

HEIGHT_PX = 200


class RecordedDataset(NumberedDataset):
    """Signatures recorded on a tablet. Subclasses implement :meth:`read`."""

    def read(self, path: Path) -> Trajectory:
        """Read one recording. Raises DataError if the file is not valid."""
        raise NotImplementedError

    def _specimen(self, path: Path, signer: str, *, genuine: bool) -> Specimen:
        return Specimen(
            key=path.relative_to(self._root).as_posix(),
            signer=signer,
            genuine=genuine,
            grey=partial(_scan, self.read, path),
            path=path,
            trajectory=partial(self.read, path),
        )


def _scan(read: Callable[[Path], Trajectory], path: Path) -> NDArray[np.uint8]:
    rng = np.random.default_rng(zlib.crc32(path.name.upper().encode()))
    return render(read(path), random_pen(rng), HEIGHT_PX, rng)
