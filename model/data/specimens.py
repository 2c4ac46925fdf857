"""The interface of data sets: signers, their genuine specimens, and skilled forgeries.

To add a corpus, write a reader with the attributes and methods of :class:`Dataset` (see :mod:`model.data.readers`).
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
    """One genuine signature or skilled forgery.

    Attributes
    ----------
    key : str
        Unique within the data set and stable over time, because caches and reports refer to it.
    signer : str
        The signer, or the signer whose signature was forged.
    genuine : bool
        False for a skilled forgery.
    grey : callable
        Reads or renders the scan: (height, width) uint8, white = 255.
    path : Path or None
        The file of the scan or recording.
    trajectory : callable or None
        Returns the recorded trajectory, if there is one; training renders it with a different pen each time.
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
        Name used in recipes and model cards.
    terms : {"research", "permissive"}
        Terms of weights that are trained on it.
    citation : str
        Citation and licence.
    """

    name: str
    terms: Terms
    citation: str

    def signers(self) -> Sequence[str]:
        """Return all signers, sorted."""

    def genuine(self, signer: str) -> Sequence[Specimen]:
        """Return the genuine specimens of a signer in a fixed order."""

    def forgeries(self, signer: str) -> Sequence[Specimen]:
        """Return the skilled forgeries of a signer's signature in a fixed order; may be empty."""


def image_specimen(root: Path, path: Path, signer: str, *, genuine: bool) -> Specimen:
    """Return the specimen of an image file; its key is the path relative to ``root``."""
    return Specimen(
        key=path.relative_to(root).as_posix(),
        signer=signer,
        genuine=genuine,
        grey=lambda: read_grey(path),
        path=path,
    )


def images_in(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, sorted by name; empty if the folder does not exist."""
    if not folder.is_dir():
        return []
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
    )


def without_repeats(paths: Sequence[Path]) -> frozenset[Path]:
    """Return the files of one signer without those that are identical to an earlier one.

    Copies of some corpora contain hundreds of duplicates. A duplicate of a reference among the questioned signatures
    has distance zero, which biases the error rates downwards.
    """
    sizes = Counter(path.stat().st_size for path in paths)
    kept: dict[bytes, Path] = {}
    for path in paths:
        single = sizes[path.stat().st_size] == 1
        kept.setdefault(str(path).encode() if single else hashlib.sha256(path.read_bytes()).digest(), path)
    return frozenset(kept.values())


def require_folder(root: Path, what: str) -> Path:
    """Return ``root``; raise DataError if it is not a folder."""
    if not root.is_dir():
        raise DataError(f"The folder {root} of the data set {what} does not exist.")
    return root
