"""The recipe of a training run: a TOML file, checked on reading, saved byte for byte beside the weights.

Unknown keys are errors: a misspelt option would train something else than its author believes.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model.data.augmentation import Augmentation
from model.data.splits import Split
from model.errors import DataError
from model.networks.card import CanvasSpec
from model.types import Metric


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSpec(_Strict):
    """One data set of a recipe.

    ``weight`` is its share of the identities in a batch, against the other data sets' weights. ``signers`` limits it
    to the first so many signers, 0 is all. ``options`` go to generated data sets (``synthetic``).
    """

    name: str
    split: Split = "train"
    weight: float = Field(default=1.0, gt=0)
    signers: int = Field(default=0, ge=0)
    options: dict[str, Any] = {}


class NetworkSpec(_Strict):
    """A network of :mod:`model.networks` and its options."""

    name: str
    options: dict[str, Any] = {}


class ObjectiveSpec(_Strict):
    """An objective of :mod:`model.training.objectives`, its options and its weight in the sum."""

    name: str
    weight: float = Field(default=1.0, gt=0)
    forgeries: Literal["negatives", "own-class"] = "negatives"
    options: dict[str, Any] = {}


class OptimiserSpec(_Strict):
    """``weight_decay`` is the optimiser's; ``l2`` adds ``l2 * sum(w**2)`` over weights (not biases) to the loss."""

    name: Literal["rmsprop", "sgd", "adam", "adamw"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    l2: float = Field(default=0.0, ge=0)
    clip: float = Field(default=0.0, ge=0, description="largest norm of the gradient; 0 leaves it alone")


class ScheduleSpec(_Strict):
    """The learning rate over the run: linear warm-up, then constant, cosine to ``final``, or steps."""

    name: Literal["constant", "cosine", "steps"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    final: float = Field(default=0.01, ge=0, le=1, description="of the learning rate, at the end of a cosine")
    every_epochs: int = Field(default=10, gt=0)
    factor: float = Field(default=0.1, gt=0, le=1)


class SamplerSpec(_Strict):
    """A batch is ``identities`` people with ``genuine`` specimens and ``forgeries`` of each.

    ``together`` is the probability that the batch's people of one data set are drawn from one group, for data sets
    that have groups (the same name written by many).
    """

    identities: int = Field(default=8, ge=1)
    genuine: int = Field(default=4, ge=1)
    forgeries: int = Field(default=2, ge=0)
    together: float = Field(default=0.0, ge=0, le=1)


class TrainingSpec(_Strict):
    """How long, on what, and how often validation is asked.

    ``average`` is the decay of the moving average of the weights that is validated and saved; 0 takes none.
    ``start`` is a weights folder to start from instead of at random, relative to where training is run; network and
    canvas have to be its. ``keep`` is which weights are released: the best on validation writers, or the last, where
    a schedule has run out and validation writers are too few to choose by.
    """

    epochs: int = Field(default=10, ge=1)
    steps_per_epoch: int = Field(default=100, ge=1)
    workers: int = Field(default=0, ge=0)
    threads: int = Field(default=1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    average: float = Field(default=0.0, ge=0, lt=1)
    start: str = ""
    keep: Literal["best", "last"] = "best"
    checkpoint_steps: int = Field(default=100, ge=1)


class RefinementSpec(_Strict):
    """What is done to the network when training has ended, see :mod:`model.networks.refined`.

    ``sizes`` of the ink that are averaged; ``shrinkage`` of the whitening, fitted on ``batches`` further batches of
    the training data.
    """

    sizes: tuple[float, ...] = Field(default=(1.0,), min_length=1)
    shrinkage: float = Field(default=3.0, gt=0)
    batches: int = Field(default=50, ge=1)


class Recipe(_Strict):
    """All that determines a run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = 0
    metric: Metric = "euclidean"
    canvas: CanvasSpec
    network: NetworkSpec
    datasets: tuple[DataSpec, ...] = Field(min_length=1)
    validation: tuple[DataSpec, ...] = ()
    objectives: tuple[ObjectiveSpec, ...] = Field(min_length=1)
    optimiser: OptimiserSpec = OptimiserSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    sampler: SamplerSpec = SamplerSpec()
    augmentation: Augmentation = Augmentation()
    training: TrainingSpec = TrainingSpec()
    refinement: RefinementSpec | None = None

    @model_validator(mode="after")
    def _keep_test_writers_out(self) -> Recipe:
        for spec in self.datasets + self.validation:
            if spec.split in {"test", "all"}:
                raise ValueError(
                    f"{spec.name}: the split {spec.split!r} holds writers for reporting only; "
                    "a recipe may name train, validation or full"
                )
        return self


def parse_recipe(text: str, source: str = "recipe") -> Recipe:
    """Check the text of a recipe.

    Raises
    ------
    DataError
        Not TOML, or a key is unknown, missing or out of range; the message names it.
    """
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{source} is not valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{source}: {where or 'recipe'}: {first['msg']}.") from error


def read_recipe(path: Path) -> tuple[Recipe, str]:
    """Read a recipe file; returns it and its text. Raises DataError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    return parse_recipe(text, str(path)), text
