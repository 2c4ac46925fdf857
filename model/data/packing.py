"""Cache of the isolated ink of a data set, so that each scan is processed once and not in every epoch.

The cache has a folder per data set under ``.cache/ink``. Its name contains a hash of the files and of the source code
of the ink isolation. The cache can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import model.preprocessing.grey
import model.preprocessing.ink
import model.preprocessing.segmentation
from model.data.specimens import Dataset, Specimen
from model.errors import DataError, UnusableSignature
from model.preprocessing.ink import isolate

DEFAULT_CACHE = Path(".cache/ink")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packed:
    """The crops of isolated ink of a data set.

    Attributes
    ----------
    name : str
        Name of the data set.
    keys : tuple of str
        Keys of the specimens.
    signers : tuple of str
        Signer of each specimen.
    genuine : bool (n,)
    refused : dict of str to str
        Key and error code of scans without a usable signature, which have no crop.
    shapes : int64 (n, 2)
        Height and width of each crop.
    offsets : int64 (n,)
        Index of the first pixel of each crop in ``pixels``.
    pixels : uint8 (total,)
        The pixels of all crops, row by row; ink = 255.
    """

    name: str
    keys: tuple[str, ...]
    signers: tuple[str, ...]
    genuine: NDArray[np.bool_]
    refused: dict[str, str]
    shapes: NDArray[np.int64]
    offsets: NDArray[np.int64]
    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.keys)

    def density(self, index: int) -> NDArray[np.uint8]:
        """Return the isolated ink of specimen ``index``: (height, width) uint8, ink = 255."""
        height, width = self.shapes[index]
        start = self.offsets[index]
        return np.asarray(self.pixels[start : start + height * width]).reshape(height, width)


def pack(dataset: Dataset, folder: Path = DEFAULT_CACHE) -> Packed:
    """Read the isolated ink of a data set from the cache, or isolate it.

    Raises
    ------
    DataError
        A scan cannot be read, or no scan is usable.
    """
    specimens = [
        specimen
        for signer in dataset.signers()
        for specimen in (*dataset.genuine(signer), *dataset.forgeries(signer))
    ]
    target = folder / f"{dataset.name.replace('/', '-')}-{_key(dataset.name, specimens)}"
    if not target.is_dir():
        _write(target, dataset.name, specimens)
    with np.load(target / "index.npz") as index:
        return Packed(
            name=dataset.name,
            keys=tuple(index["keys"].tolist()),
            signers=tuple(index["signers"].tolist()),
            genuine=index["genuine"],
            refused=dict(zip(index["refused"].tolist(), index["reasons"].tolist(), strict=True)),
            shapes=index["shapes"],
            offsets=index["offsets"],
            pixels=np.load(target / "pixels.npy", mmap_mode="r"),
        )


def _write(target: Path, name: str, specimens: list[Specimen]) -> None:
    kept: list[Specimen] = []
    crops: list[NDArray[np.uint8]] = []
    refused: dict[str, str] = {}
    for specimen in tqdm(specimens, desc=f"isolating ink of {name}", unit="scan", leave=False):
        try:
            crops.append(isolate(specimen.grey()).density)
        except UnusableSignature as error:
            refused[specimen.key] = error.code
        else:
            kept.append(specimen)
    if not kept:
        raise DataError(f"No scan of {name} contains a usable signature.")
    if refused:
        _log.warning("%s: %d of %d scans contain no usable signature", name, len(refused), len(specimens))
    shapes = np.array([crop.shape for crop in crops], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(shapes.prod(axis=1))[:-1]])
    # Renamed when complete, so that an interrupted run does not leave an incomplete cache.
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    partial.mkdir(parents=True)
    np.save(partial / "pixels.npy", np.concatenate([crop.ravel() for crop in crops]))
    np.savez(
        partial / "index.npz",
        keys=np.array([s.key for s in kept]),
        signers=np.array([s.signer for s in kept]),
        genuine=np.array([s.genuine for s in kept]),
        refused=np.array(list(refused), dtype=np.str_),
        reasons=np.array(list(refused.values()), dtype=np.str_),
        shapes=shapes,
        offsets=offsets,
    )
    try:
        partial.rename(target)
    except OSError:  # another process has written it
        shutil.rmtree(partial)


def _key(name: str, specimens: list[Specimen]) -> str:
    digest = hashlib.sha256(_source_code().encode())
    digest.update(name.encode())
    for specimen in specimens:
        digest.update(f"{specimen.key}\0{specimen.signer}\0{specimen.genuine}\0".encode())
        if specimen.path is not None:
            stat = specimen.path.stat()
            digest.update(f"{specimen.path}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


@cache
def _source_code() -> str:
    """Return the source code of the ink isolation, so that a change of it invalidates the cache."""
    return "".join(
        inspect.getsource(module)
        for module in (model.preprocessing.grey, model.preprocessing.ink, model.preprocessing.segmentation)
    )
