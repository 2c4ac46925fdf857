"""Invented movements kept on disk: the synthetic writer runs once, training draws its movements in every epoch.

Inventing a forgery takes ten times as long as drawing it, so the movements of all writers of a recipe are made once,
by all processors, and mapped into memory. The cache lies under ``.cache/synthetic``, keyed by its parameters and by
the source code that made it; it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import model.synthetic.kinematics
import model.synthetic.motor_plans
import model.synthetic.writer
from model.synthetic.pen import Trajectory
from model.synthetic.writer import Habits, Writer

DEFAULT_POOL = Path(".cache/synthetic")
_BATCH = 32  # writers to a task


@dataclass(frozen=True)
class Population:
    """Who is invented: ``writers`` people from ``seed`` on, each with ``genuine`` specimens and ``forgeries``.

    The forgeries of a writer are shared out among ``forgers`` people. ``habits`` is what all of them have in common.
    """

    writers: int
    genuine: int
    forgeries: int
    forgers: int
    seed: int
    habits: Habits = field(default_factory=Habits)

    def specimens(self, writer: Writer) -> Iterator[Trajectory]:
        """All of one writer's: the genuine ones, then the forgeries, in their order."""
        for number in range(self.genuine):
            yield writer.genuine(number)
        for number in range(self.forgeries):
            yield writer.forgery(number % self.forgers, number // self.forgers)


class Pool:
    """The movements of a population.

    Parameters
    ----------
    samples : float32 (n, 4)
        x, y, pressure, pen down (0 or 1) of all movements, one after the other.
    ends : int64 (writers * (genuine + forgeries),)
        Where each movement ends.
    """

    def __init__(self, population: Population, samples: NDArray[np.float32], ends: NDArray[np.int64]) -> None:
        self._each = population.genuine + population.forgeries
        self._genuine = population.genuine
        self._samples = samples
        self._starts = np.concatenate([[0], ends[:-1]])
        self._ends = ends

    def trajectory(self, identity: int, number: int, *, forged: bool) -> Trajectory:
        """A specimen of the ``identity``-th writer; times are equidistant, at no particular rate."""
        index = identity * self._each + number + (self._genuine if forged else 0)
        part = np.asarray(self._samples[self._starts[index] : self._ends[index]], dtype=np.float64)
        return Trajectory(part[:, :2], np.arange(float(len(part))), part[:, 2], part[:, 3] > 0.5)


def open_pool(population: Population, folder: Path = DEFAULT_POOL) -> Pool:
    """Read a population's movements from the cache, or invent them."""
    target = folder / _key(population)
    if not target.is_dir():
        _write(target, population)
    samples = np.load(target / "samples.npy", mmap_mode="r")
    return Pool(population, samples, np.load(target / "ends.npy"))


def _write(target: Path, population: Population) -> None:
    firsts = range(0, population.writers, _BATCH)
    bar = tqdm(total=population.writers, desc="inventing writers", unit="writer", leave=False)
    parts, lengths = [], []
    with ProcessPoolExecutor() as processes:
        for samples, counts in processes.map(_invent, repeat(population), firsts):
            parts.append(samples)
            lengths.append(counts)
            bar.update(_BATCH)
    bar.close()
    # Written beside and renamed: a killed run leaves no half cache behind.
    beside = target.with_name(f"{target.name}.{os.getpid()}.part")
    beside.mkdir(parents=True)
    np.save(beside / "samples.npy", np.concatenate(parts))
    np.save(beside / "ends.npy", np.cumsum(np.concatenate(lengths)))
    try:
        beside.rename(target)
    except OSError:  # another process was quicker
        shutil.rmtree(beside)


def _invent(population: Population, first: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    columns, lengths = [], []
    for identity in range(first, min(first + _BATCH, population.writers)):
        for t in population.specimens(Writer(population.seed + identity, population.habits)):
            columns.append(np.column_stack([t.xy, t.pressure, t.pen_down]).astype(np.float32))
            lengths.append(len(columns[-1]))
    return np.concatenate(columns), np.array(lengths, dtype=np.int64)


def _key(population: Population) -> str:
    return hashlib.sha256(f"{_code()}{sorted(asdict(population).items())}".encode()).hexdigest()[:16]


@cache
def _code() -> str:
    modules = (model.synthetic.kinematics, model.synthetic.motor_plans, model.synthetic.writer)
    return "".join(inspect.getsource(module) for module in modules)
