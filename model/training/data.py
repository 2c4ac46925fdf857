"""Opening the data that a recipe names, and loading its batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from model.data.masters import (
    Masters,
    load_masters,
    make_masters,
    of_signers,
    save_masters,
    synthetic_masters,
)
from model.data.packing import DEFAULT_CACHE
from model.data.registry import open_dataset
from model.data.specimens import Dataset
from model.data.splits import Subset, signers_of_split, split
from model.data.synthetic_population import recipe_population
from model.errors import DataError
from model.preprocessing.ink import Canvas
from model.training.plans import Plan, Plans
from model.training.recipes import DataSpec, Recipe
from model.training.samplers import Batch, Batches
from model.training.sources import Source, SyntheticSource, source_of


def open_split(spec: DataSpec, data: Path | None) -> Dataset:
    """Open the split of a data set that a recipe names. Raises DataError."""
    dataset = split(open_dataset(spec.name, data), spec.split)
    if not spec.signers:
        return dataset
    return Subset(dataset.whole, dataset.signers()[: spec.signers], f"{spec.split} of {spec.signers}")


def open_source(spec: DataSpec, recipe: Recipe, data: Path | None, cache: Path) -> Source:
    """Open a training source of a recipe: ``synthetic`` or a data set. Raises DataError."""
    canvas = recipe.canvas.canvas()
    if spec.name == "synthetic":
        try:
            return SyntheticSource(canvas, recipe.augmentation, recipe_population(**spec.options))
        except TypeError as error:
            raise DataError(f"The options of the recipe's synthetic data are invalid: {error}.") from error
    return source_of(open_split(spec, data), canvas, recipe.augmentation, cache)


def pack_masters(
    recipe: Recipe, folder: Path, data: Path | None = None, cache: Path = DEFAULT_CACHE
) -> list[Path]:
    """Write the masters of the training and validation signers of all data sets of a recipe.

    Synthetic writers are drawn when training starts, and are not written.

    Returns
    -------
    list of Path
        A file for each data set.

    Raises
    ------
    DataError
        A data set is missing or has no usable specimen.
    """
    names = dict.fromkeys(spec.name for spec in (*recipe.datasets, *recipe.validation))
    paths = []
    for name in names:
        if name == "synthetic":
            continue
        dataset = split(open_dataset(name, data), "full")
        path = folder / f"{name}.npz"
        save_masters(make_masters(dataset, recipe.canvas.canvas(), cache), path)
        paths.append(path)
    return paths


def open_masters(spec: DataSpec, canvas: Canvas, folder: Path) -> Masters:
    """Open the masters of a data set of a recipe; draw those of synthetic writers. Raises DataError."""
    if spec.name == "synthetic":
        try:
            return synthetic_masters(spec.options, canvas)
        except TypeError as error:
            raise DataError(f"The options of the recipe's synthetic data are invalid: {error}.") from error
    masters = load_masters(folder / f"{spec.name}.npz", canvas)
    signers = signers_of_split(spec.name, masters.signers, spec.split)
    masters = of_signers(masters, signers[: spec.signers] if spec.signers else signers)
    # The card names the split, as for data that is rendered in the loader's workers.
    suffix = f"{spec.split} of {spec.signers}" if spec.signers else spec.split
    name = f"{masters.about.name.partition('/')[0]}/{suffix}"
    return replace(masters, about=masters.about.model_copy(update={"name": name}))


def batch_loader(
    batches: Batches | Plans, recipe: Recipe, first_step: int
) -> DataLoader[Batch] | DataLoader[Plan]:
    """Load the batches from ``first_step`` to the last, in the number of workers that the recipe asks for."""
    loader: DataLoader[Any] = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first_step, len(batches)),
        num_workers=recipe.training.workers,
        worker_init_fn=_limit_threads,
        # The loader draws a seed for its workers. It must not draw from the generator that dropout uses:
        # a resumed run would then use other random numbers than an uninterrupted one.
        generator=torch.Generator().manual_seed(recipe.seed),
    )
    return loader


def _limit_threads(worker: int) -> None:
    del worker
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
