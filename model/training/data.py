"""Opening the data that a recipe names, and loading its batches."""

from __future__ import annotations

from pathlib import Path

import cv2
import torch
from torch.utils.data import DataLoader

from model.data.registry import open_dataset
from model.data.specimens import Dataset
from model.data.splits import Subset, split
from model.errors import DataError
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
            return SyntheticSource(canvas, recipe.augmentation, **spec.options)
        except TypeError as error:
            raise DataError(f"The options of the recipe's synthetic data are invalid: {error}.") from error
    return source_of(open_split(spec, data), canvas, recipe.augmentation, cache)


def batch_loader(batches: Batches, recipe: Recipe, first_step: int) -> DataLoader[Batch]:
    """Load the batches from ``first_step`` to the last, in the number of workers that the recipe asks for."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(first_step, len(batches)),
        num_workers=recipe.training.workers,
        worker_init_fn=_limit_threads,
        # The loader draws a seed for its workers. It must not draw from the generator that dropout uses:
        # a resumed run would then use other random numbers than an uninterrupted one.
        generator=torch.Generator().manual_seed(recipe.seed),
    )


def _limit_threads(worker: int) -> None:
    del worker
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
