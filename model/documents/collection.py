"""Composed pages for the training of a network, searched by the network for pages.

What is found on them is kept in files of some pages each; a run that was stopped goes on with those that are missing.
"""

from __future__ import annotations

import argparse
import io
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from model.documents.capture import Captured
from model.documents.digits import Digits, training_digits
from model.documents.elements import Drawer
from model.documents.layouts import compose_page
from model.documents.material import SignatureSource, Typefaces, training_signatures
from model.training.checkpoint import write_atomically

SHARES = {
    "crop": 0.1,
    "signature-field": 0.2,
    "cheque": 0.22,
    "letter": 0.08,
    "form": 0.2,
    "card": 0.1,
    "table": 0.02,
    "filled-part": 0.08,
    "printed-name": 0.03,
    "text": 0.01,
    "graphics": 0.03,
}
"""Shares of the layouts: more of those with dates, amounts and names written by hand."""

SHARD = 250
"""Pages to a file."""

WRITERS = 4000
"""Synthetic writers."""


@dataclass(frozen=True)
class Collection:
    """What the files of a run depend on.

    Attributes
    ----------
    weights : Path
        Folder of the network for pages.
    datasets : tuple of (str, float)
        Sources of signatures with their weights.
    data : Path or None
        Folder of the data sets; None for the default one.
    folder : Path
        Where the files are kept.
    name : str
        Of the files.
    seed : int
    """

    weights: Path
    datasets: tuple[tuple[str, float], ...]
    data: Path | None
    folder: Path
    name: str
    seed: int

    @classmethod
    def beside(cls, weights: Path, data: Path | None, folder: Path, name: str, seed: int) -> Collection:
        """Return the collection for a folder of weights, with the sources that its recipe names."""
        recipe = tomllib.loads((weights / "recipe.toml").read_text(encoding="utf-8"))
        return cls(weights, tuple(recipe["datasets"].items()), data, folder, name, seed)

    def shard(self, number: int) -> Path:
        """Return the file of the pages from ``number * SHARD`` on."""
        return self.folder / f"{self.name}-{number:05d}.npz"

    def pages(self, number: int) -> Iterator[tuple[Captured, np.random.Generator]]:
        """Compose the pages of a file; each comes with a generator for what is done with it."""
        faces, source, digits = _material(self.datasets, self.data)
        for page in range(number * SHARD, (number + 1) * SHARD):
            rng = np.random.default_rng([self.seed, page])
            _, captured = compose_page(Drawer(faces, source, rng, digits=digits), SHARES)
            yield captured, rng

    def write(self, number: int, **arrays: NDArray[Any]) -> None:
        """Write a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
        write_atomically(self.shard(number), content.getvalue())

    def complete(
        self, pages: int, collect: Callable[[Collection, int], None], processes: int
    ) -> list[np.lib.npyio.NpzFile]:
        """Write the files that are missing, and open all of them."""
        numbers = range(-(-pages // SHARD))
        missing = [number for number in numbers if not self.shard(number).is_file()]
        with ProcessPoolExecutor(processes) as executor:
            found = executor.map(collect, repeat(self), missing)
            for _ in tqdm(found, total=len(missing), desc=f"{SHARD} pages each"):
                pass
        return [np.load(self.shard(number)) for number in numbers]


def arguments(description: str | None, pages: int) -> argparse.ArgumentParser:
    """Return a parser of the arguments of a run; ``pages`` is the default of ``--pages``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, help="folder with model.onnx and recipe.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--pages", type=int, default=pages)
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    parser.add_argument("--processes", type=int, default=2, help="processes that compose pages")
    return parser


def joined(shards: list[np.lib.npyio.NpzFile], name: str) -> torch.Tensor:
    """Join the arrays of one name."""
    return torch.from_numpy(np.concatenate([shard[name] for shard in shards]))


@cache
def _material(
    datasets: tuple[tuple[str, float], ...], data: Path | None
) -> tuple[Typefaces, SignatureSource, Digits | None]:
    """Open what pages are drawn of, once in a process."""
    cv2.setNumThreads(1)
    faces = Typefaces("train", data)
    return (
        faces,
        training_signatures(faces, dict(datasets), data, WRITERS),
        training_digits(dict(datasets), data),
    )
