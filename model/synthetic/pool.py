"""Cache of the trajectories of synthetic writers, which training renders in every epoch.

Generating a forgery takes ten times as long as rendering it. The trajectories of all writers of a recipe are
therefore generated once, in parallel processes, and memory-mapped afterwards. The cache is a folder under
``.cache/synthetic``, named by a hash of the parameters and of the source code of the generator. It can be deleted
at any time.
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
_BATCH = 32  # writers per task


@dataclass(frozen=True)
class Population:
    """Parameters of a population of synthetic writers.

    Attributes
    ----------
    writers : int
    genuine : int
        Genuine specimens per writer.
    forgeries : int
        Skilled forgeries per writer.
    forgers : int
        Forgers per writer, who make the forgeries in turn.
    seed : int
        Seed of the first writer; each further writer has the next integer.
    habits : Habits
    """

    writers: int
    genuine: int
    forgeries: int
    forgers: int
    seed: int
    habits: Habits = field(default_factory=Habits)

    def specimens(self, writer: Writer) -> Iterator[Trajectory]:
        """Yield all specimens of a writer: first the genuine ones, then the forgeries."""
        for number in range(self.genuine):
            yield writer.genuine(number)
        for number in range(self.forgeries):
            yield writer.forgery(number % self.forgers, number // self.forgers)


class Pool:
    """The trajectories of a population.

    Parameters
    ----------
    samples : float32 (n, 4)
        x, y, pressure and pen down (0 or 1) of all trajectories, concatenated.
    ends : int64 (writers * (genuine + forgeries),)
        End index of each trajectory in ``samples``.
    """

    def __init__(self, population: Population, samples: NDArray[np.float32], ends: NDArray[np.int64]) -> None:
        self._each = population.genuine + population.forgeries
        self._genuine = population.genuine
        self._samples = samples
        self._starts = np.concatenate([[0], ends[:-1]])
        self._ends = ends

    def trajectory(self, identity: int, number: int, *, forged: bool) -> Trajectory:
        """Return a specimen of writer number ``identity``; times are equidistant, in arbitrary units."""
        index = identity * self._each + number + (self._genuine if forged else 0)
        part = np.asarray(self._samples[self._starts[index] : self._ends[index]], dtype=np.float64)
        return Trajectory(part[:, :2], np.arange(float(len(part))), part[:, 2], part[:, 3] > 0.5)


def open_pool(population: Population, folder: Path = DEFAULT_POOL) -> Pool:
    """Read the trajectories of a population from the cache, or generate them."""
    target = folder / _key(population)
    if not target.is_dir():
        _write(target, population)
    samples = np.load(target / "samples.npy", mmap_mode="r")
    return Pool(population, samples, np.load(target / "ends.npy"))


def _write(target: Path, population: Population) -> None:
    firsts = range(0, population.writers, _BATCH)
    bar = tqdm(total=population.writers, desc="generating writers", unit="writer", leave=False)
    parts, lengths = [], []
    with ProcessPoolExecutor() as processes:
        for samples, counts in processes.map(_generate, repeat(population), firsts):
            parts.append(samples)
            lengths.append(counts)
            bar.update(_BATCH)
    bar.close()
    # Renamed when complete, so that an interrupted run does not leave an incomplete cache.
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    partial.mkdir(parents=True)
    np.save(partial / "samples.npy", np.concatenate(parts))
    np.save(partial / "ends.npy", np.cumsum(np.concatenate(lengths)))
    try:
        partial.rename(target)
    except OSError:  # another process has written it
        shutil.rmtree(partial)


def _generate(population: Population, first: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    columns, lengths = [], []
    for identity in range(first, min(first + _BATCH, population.writers)):
        for t in population.specimens(Writer(population.seed + identity, population.habits)):
            columns.append(np.column_stack([t.xy, t.pressure, t.pen_down]).astype(np.float32))
            lengths.append(len(columns[-1]))
    return np.concatenate(columns), np.array(lengths, dtype=np.int64)


def _key(population: Population) -> str:
    return hashlib.sha256(f"{_source_code()}{sorted(asdict(population).items())}".encode()).hexdigest()[:16]


@cache
def _source_code() -> str:
    modules = (model.synthetic.kinematics, model.synthetic.motor_plans, model.synthetic.writer)
    return "".join(inspect.getsource(module) for module in modules)
