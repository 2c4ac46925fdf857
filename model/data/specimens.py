"""What a data set is to the rest of the code: signers, their genuine specimens, and forgeries of them.

A reader is a class with the attributes and the three methods of :class:`Dataset`; forty lines for a new corpus.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from model.errors import DataError
from model.preprocessing.grey import read_grey
from model.synthetic.pen import Trajectory
from model.types import Terms

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


@dataclass(frozen=True)
class Specimen:
    """One signature on paper.

    Attributes
    ----------
    key : str
        Unique within its data set and stable over time: caches and error pages name it.
    signer : str
        Who signed, or whose signature was forged.
    genuine : bool
        False: a skilled forgery of ``signer``'s signature by somebody else.
    grey : callable
        Reads or renders the scan: (height, width) uint8, 255 = white.
    path : Path or None
        The file behind it.
    trajectory : callable or None
        The pen's path, where the data set has it: training then draws it anew each time, with other pens.
    """

    key: str
    signer: str
    genuine: bool
    grey: Callable[[], NDArray[np.uint8]] = field(repr=False, compare=False)
    path: Path | None = field(default=None, compare=False)
    trajectory: Callable[[], Trajectory] | None = field(default=None, repr=False, compare=False)


@runtime_checkable
class Dataset(Protocol):
    """Signers and their specimens.

    Attributes
    ----------
    name : str
        As in recipes and on cards.
    terms : {"research", "permissive"}
        What weights trained on it may be used for.
    citation : str
        What to cite, with the licence.
    """

    name: str
    terms: Terms
    citation: str

    def signers(self) -> Sequence[str]:
        """All signers, sorted."""

    def genuine(self, signer: str) -> Sequence[Specimen]:
        """The genuine specimens of a signer, sorted by key."""

    def forgeries(self, signer: str) -> Sequence[Specimen]:
        """The skilled forgeries of a signer's signature, sorted by key; empty where there are none."""


def image_specimen(root: Path, path: Path, signer: str, *, genuine: bool) -> Specimen:
    """A specimen backed by an image file; its key is the path below ``root``."""
    return Specimen(
        key=path.relative_to(root).as_posix(),
        signer=signer,
        genuine=genuine,
        grey=lambda: read_grey(path),
        path=path,
    )


def images_in(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted by name; empty when there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
    )


def without_repeats(paths: Sequence[Path]) -> frozenset[Path]:
    """The files of one signer less those that repeat an earlier one byte for byte.

    Corpora circulate with hundreds of repeats. One among references and questioned signatures has distance zero, and
    makes every error rate too small.
    """
    sizes = Counter(path.stat().st_size for path in paths)
    kept: dict[bytes, Path] = {}
    for path in paths:
        single = sizes[path.stat().st_size] == 1
        kept.setdefault(str(path).encode() if single else hashlib.sha256(path.read_bytes()).digest(), path)
    return frozenset(kept.values())


def require_folder(root: Path, what: str) -> Path:
    """Return ``root`` if it is a folder; DataError otherwise."""
    if not root.is_dir():
        raise DataError(f"There is no folder {root} to read {what} from.")
    return root
