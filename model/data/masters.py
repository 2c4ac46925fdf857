"""Master images: the specimens of a data set at one size, from which a GPU renders training canvases.

A master is the isolated ink on a canvas that is larger than the network's by a margin and has a higher resolution
(:func:`master_canvas`). The masters of a data set are one file of a few megabytes, which can be copied to a machine
that does not have the data set. Recorded trajectories and synthetic writers are drawn with random pens; the stroke
width of masters does not matter, because the renderer (:mod:`model.training.rendering`) changes it anyway.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from model.data.packing import DEFAULT_CACHE, pack
from model.data.specimens import Dataset, Specimen
from model.data.synthetic_population import recipe_population, synthetic_data
from model.errors import DataError
from model.networks.card import TrainingData
from model.preprocessing.ink import Canvas, fit
from model.synthetic.pen import draw, evenly_spaced, perturb, random_pen
from model.synthetic.pool import Population
from model.synthetic.writer import Writer

Pixels = NDArray[np.uint8]

DEFAULT_MASTERS = Path(".cache/masters")

RESOLUTION = 1.25
"""Pixels of a master per pixel of the network's canvas."""

MARGIN = 11 / 7
"""Side of a master in pixels, as a multiple of the side of the canvas. It shows a quarter more than the canvas."""

QUALITY = 60
"""WebP quality of the stored images; a signature takes some 2 KB."""

PERTURBATION = 0.3
"""Strength of :func:`model.synthetic.pen.perturb` in the drawings of a recorded trajectory."""


@dataclass(frozen=True)
class Masters:
    """The masters of a data set.

    Attributes
    ----------
    about : TrainingData
        Entry for the card of the weights. Its counts are those of the whole file.
    canvas : Canvas
        The canvas of the images, from :func:`master_canvas`.
    keys, signers : tuple of str
        Key and signer of each specimen. A specimen can have several drawings.
    genuine : bool (n,)
    drawings : int64 (n,)
        Number of drawings of each specimen, which follow each other in ``images``.
    images : uint8 (sum of drawings, height, width)
        Ink = 255, centroid of the ink in the centre.
    """

    about: TrainingData
    canvas: Canvas
    keys: tuple[str, ...]
    signers: tuple[str, ...]
    genuine: NDArray[np.bool_]
    drawings: NDArray[np.int64]
    images: Pixels


def master_canvas(canvas: Canvas) -> Canvas:
    """Return the canvas of the masters for the canvas of a network; its sides are multiples of four."""
    height, width = (4 * round(side * MARGIN / 4) for side in (canvas.height, canvas.width))
    fill = RESOLUTION * canvas.fill * min(canvas.height / height, canvas.width / width)
    return Canvas(height, width, canvas.method, fill)


def make_masters(dataset: Dataset, canvas: Canvas, cache: Path = DEFAULT_CACHE, drawings: int = 2) -> Masters:
    """Make the masters of a data set.

    Parameters
    ----------
    canvas : Canvas
        The canvas of the network, with the method ``moments``.
    cache : Path
        Where isolated ink is cached.
    drawings : int
        Drawings of each recorded trajectory, with different pens.

    Raises
    ------
    DataError
        The data set has no usable specimen, or the canvas has another method.
    """
    if canvas.method != "moments":
        raise DataError(f"Masters need a canvas with the method moments, not {canvas.method}.")
    size = master_canvas(canvas)
    specimens = [
        specimen
        for signer in dataset.signers()
        for specimen in (*dataset.genuine(signer), *dataset.forgeries(signer))
    ]
    if specimens and specimens[0].trajectory is not None:
        keys, signers = [s.key for s in specimens], [s.signer for s in specimens]
        genuine = np.array([s.genuine for s in specimens])
        counts = np.full(len(specimens), drawings)
        images = [_drawn(specimen, size, number) for specimen in specimens for number in range(drawings)]
    else:
        packed = pack(dataset, cache)
        keys, signers, genuine = list(packed.keys), list(packed.signers), packed.genuine
        counts = np.ones(len(packed), dtype=np.int64)
        images = [fit(packed.density(index), size) for index in range(len(packed))]
    about = TrainingData(
        name=dataset.name,
        terms=dataset.terms,
        signers=len(set(signers)),
        signatures=len(keys),
        citation=dataset.citation,
    )
    return Masters(about, size, tuple(keys), tuple(signers), genuine, counts, np.stack(images))


def synthetic_masters(options: Mapping[str, object], canvas: Canvas) -> Masters:
    """Draw the specimens of synthetic writers, in one process per core.

    Parameters
    ----------
    options : mapping
        The options of :func:`model.data.synthetic_population.recipe_population`.

    Raises
    ------
    TypeError
        An option is unknown.
    """
    population = recipe_population(**options)  # type: ignore[arg-type]  # values come from a recipe
    size = master_canvas(canvas)
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        images = list(
            processes.map(partial(_draw_writer, population, size), range(population.writers), chunksize=8)
        )
    each = population.genuine + population.forgeries
    signers = [f"{writer:06d}" for writer in range(population.writers) for _ in range(each)]
    return Masters(
        synthetic_data(population),
        size,
        tuple(f"{signer}/{number % each}" for number, signer in enumerate(signers)),
        tuple(signers),
        np.tile(np.arange(each) < population.genuine, population.writers),
        np.ones(population.writers * each, dtype=np.int64),
        np.concatenate(images),
    )


def save_masters(masters: Masters, path: Path) -> None:
    """Write masters to a file, with lossy compression of the images. Complete or not at all."""
    coded = [
        cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].ravel()
        for image in masters.images
    ]
    meta = {
        "about": masters.about.model_dump(),
        "canvas": [masters.canvas.height, masters.canvas.width, masters.canvas.fill],
        "keys": masters.keys,
        "signers": masters.signers,
    }
    partial_path = path.with_name(f"{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial_path.open("wb") as file:
        np.savez(
            file,
            meta=np.frombuffer(zlib.compress(json.dumps(meta).encode()), dtype=np.uint8),
            genuine=masters.genuine,
            drawings=masters.drawings,
            ends=np.cumsum([len(part) for part in coded]),
            coded=np.concatenate(coded),
        )
    partial_path.rename(path)


def load_masters(path: Path, canvas: Canvas) -> Masters:
    """Read masters from a file.

    Parameters
    ----------
    canvas : Canvas
        The canvas of the network.

    Raises
    ------
    DataError
        The file is missing, or was made for another canvas.
    """
    if not path.is_file():
        raise DataError(f"There are no masters in {path}: run `python -m model pack RECIPE` first.")
    with np.load(path) as content:
        meta = json.loads(zlib.decompress(content["meta"].tobytes()))
        genuine, drawings, ends, coded = (content[name] for name in ("genuine", "drawings", "ends", "coded"))
    size = master_canvas(canvas)
    if canvas.method != "moments" or not np.allclose(meta["canvas"], [size.height, size.width, size.fill]):
        raise DataError(f"The masters in {path} were made for another canvas than the recipe's.")
    starts = np.concatenate([[0], ends[:-1]])
    images = np.empty((len(ends), size.height, size.width), dtype=np.uint8)

    def decode(index: int) -> None:
        images[index] = np.asarray(cv2.imdecode(coded[starts[index] : ends[index]], cv2.IMREAD_GRAYSCALE))

    in_threads(decode, len(ends))
    return Masters(
        TrainingData(**meta["about"]),
        size,
        tuple(meta["keys"]),
        tuple(meta["signers"]),
        genuine,
        drawings,
        images,
    )


def of_signers(masters: Masters, signers: Sequence[str]) -> Masters:
    """Return the masters of some signers. Raises DataError if there are none."""
    wanted = np.isin(np.array(masters.signers), np.array(signers))
    if not wanted.any():
        raise DataError(f"The masters of {masters.about.name} contain none of the signers.")
    rows = np.flatnonzero(wanted)
    about = masters.about.model_copy(
        update={"signers": len({masters.signers[row] for row in rows}), "signatures": len(rows)}
    )
    return Masters(
        about,
        masters.canvas,
        tuple(masters.keys[row] for row in rows),
        tuple(masters.signers[row] for row in rows),
        masters.genuine[rows],
        masters.drawings[rows],
        masters.images[np.repeat(wanted, masters.drawings)],
    )


def in_threads(task: Callable[[int], None], count: int) -> None:
    """Run ``task`` for 0 to ``count - 1`` in one thread per core; OpenCV releases the interpreter lock."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(task, range(count)):
            pass


def _drawn(specimen: Specimen, canvas: Canvas, number: int) -> Pixels:
    if specimen.trajectory is None:
        raise DataError(f"{specimen.key} has no trajectory.")
    rng = np.random.default_rng([zlib.crc32(specimen.key.encode()), number])
    trajectory = perturb(evenly_spaced(specimen.trajectory()), rng, PERTURBATION)
    return draw(trajectory, random_pen(rng), canvas)


def _draw_writer(population: Population, canvas: Canvas, identity: int) -> Pixels:
    """Draw all specimens of a writer: uint8 (genuine + forgeries, height, width)."""
    writer = Writer(population.seed + identity, population.habits)
    rng = np.random.default_rng([population.seed, identity])
    return np.stack(
        [draw(trajectory, random_pen(rng), canvas) for trajectory in population.specimens(writer)]
    )
