"""Data sets by name: ``open_dataset("cedar", root)``, ``open_dataset("sigcomp2011-dutch/validation", root)``.

``root`` is a folder that contains each corpus in a folder of its name, or the folder of one corpus.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import cast, get_args

from model.data.readers.bhsig260 import BHSig260, Script
from model.data.readers.cedar import Cedar
from model.data.readers.cross_media import CrossMediaChinese
from model.data.readers.folder import FolderDataset
from model.data.readers.sigcomp2009 import SigComp2009
from model.data.readers.sigcomp2011 import SigComp2011
from model.data.specimens import Dataset
from model.data.splits import Split, split
from model.errors import DataError


def _svc2004(root: Path) -> Dataset:
    from model.data.readers.svc2004 import SVC2004  # noqa: PLC0415  other readers do not need the renderer

    return SVC2004(root)


def _susig(root: Path) -> Dataset:
    from model.data.readers.susig import SUSIG  # noqa: PLC0415  as above

    return SUSIG(root)


def _bhsig260_part(script: Script) -> Callable[[Path], Dataset]:
    def read(root: Path) -> Dataset:
        return BHSig260(root, script)

    return read


def _self30(root: Path) -> Dataset:
    return FolderDataset(
        root, "self-30", "permissive", "self-30, thirty people, ten signatures each; Apache-2.0"
    )


def _synthetic(root: Path) -> Dataset:
    from model.data.readers.synthetic import SyntheticDataset  # noqa: PLC0415  as above

    return SyntheticDataset(root)


READERS: dict[str, Callable[[Path], Dataset]] = {
    "bhsig260": BHSig260,
    "bhsig260-bengali": _bhsig260_part("Bengali"),
    "bhsig260-hindi": _bhsig260_part("Hindi"),
    "cedar": Cedar,
    "cross-media-chinese": CrossMediaChinese,
    "folder": FolderDataset,
    "self-30": _self30,
    "sigcomp2009": SigComp2009,
    "sigcomp2011-dutch": SigComp2011,
    "susig": _susig,
    "svc2004": _svc2004,
    "synthetic": _synthetic,
}


FOLDERS = {"bhsig260-bengali": "bhsig260", "bhsig260-hindi": "bhsig260"}
"""Folders of data sets that are parts of a corpus."""


def data_root() -> Path:
    """Return the default folder of data sets: ``SIGNATURE_DATA``, or else ``../shared/data`` next to the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("SIGNATURE_DATA") or beside)


def open_dataset(name: str, root: Path | None = None) -> Dataset:
    """Open a data set, or one split of it.

    Parameters
    ----------
    name : str
        A name in :data:`READERS`; ``NAME/SPLIT`` with a split of :mod:`model.data.splits`; or the path of a folder,
        absolute or beginning with a dot, for :class:`~model.data.readers.folder.FolderDataset`. Other names are read
        as the folder ``root/NAME``, with research terms.
    root : Path or None
        The folder that contains ``NAME``, or the corpus itself; :func:`data_root` by default.

    Raises
    ------
    DataError
        The folder or the split does not exist, or the folder does not contain the corpus.
    """
    if Path(name).is_absolute() or name.startswith("."):
        return FolderDataset(Path(name), Path(name).resolve().name)
    base, _, part = name.partition("/")
    root = data_root() if root is None else root
    below = root / FOLDERS.get(base, base)
    where = below if below.is_dir() else root
    if base in READERS:
        dataset = READERS[base](where)
    elif below.is_dir():
        dataset = FolderDataset(below, base)
    else:
        known = ", ".join(sorted(READERS))
        raise DataError(
            f"There is no data set {base!r} in {root}, and no reader of that name; the readers are {known}."
        )
    if not part:
        return dataset
    if part not in get_args(Split):
        raise DataError(f"Unknown split {part!r} of {base}; choose from {', '.join(get_args(Split))}.")
    return split(dataset, cast("Split", part))
