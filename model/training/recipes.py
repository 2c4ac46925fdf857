"""The recipe of a training run: a TOML file that is validated when read and saved byte for byte with the weights.

Unknown keys are errors: a misspelt option would otherwise be ignored silently.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

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

    ``weight`` is its share of the identities in a batch, relative to the weights of the other data sets. ``signers``
    is the maximum number of signers (the first ones are used), 0 for all. ``options`` are passed to generated data
    sets (``synthetic``).
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
    """An optimiser and its options.

    The optimiser applies ``weight_decay``; ``l2`` adds ``l2 * sum(w**2)`` over weights (not biases) to the loss.
    """

    name: Literal["rmsprop", "sgd", "adam", "adamw"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    l2: float = Field(default=0.0, ge=0)
    clip: float = Field(default=0.0, ge=0, description="maximum norm of the gradient; 0 for no limit")


class ScheduleSpec(_Strict):
    """The learning rate over the run: linear warm-up, then constant, cosine down to ``final``, or steps."""

    name: Literal["constant", "cosine", "steps"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    final: float = Field(default=0.01, ge=0, le=1, description="factor at the end of a cosine")
    every_epochs: int = Field(default=10, gt=0)
    factor: float = Field(default=0.1, gt=0, le=1)


class SamplerSpec(_Strict):
    """The size of a batch: ``identities`` signers with ``genuine`` specimens and ``forgeries`` of each.

    ``together`` is the probability that all signers of a data set in a batch are drawn from one group. It applies to
    data sets with groups: the same name written by several writers. ``pseudo_writers`` is the probability that a
    signer is replaced by a pseudo-writer (:mod:`model.data.pseudo_writers`); it requires objectives that tell the
    identities of one batch apart, not classes that last from batch to batch. ``joined`` is the share of the
    pseudo-writers that are made of two signers; it requires rendering on the device.
    """

    identities: int = Field(default=8, ge=1)
    genuine: int = Field(default=4, ge=1)
    forgeries: int = Field(default=2, ge=0)
    together: float = Field(default=0.0, ge=0, le=1)
    pseudo_writers: float = Field(default=0.0, ge=0, le=1)
    joined: float = Field(default=0.0, ge=0, le=1)


class TrainingSpec(_Strict):
    """Duration, hardware and the choice of the released weights.

    ``rendering`` is where training canvases are made: ``workers`` renders them on the CPU, in the loader's processes;
    ``device`` renders whole batches from master images (:mod:`model.data.masters`) where the network is trained,
    which a GPU needs in order not to wait for the CPU.

    Validation runs after every epoch. ``average`` is the decay of the moving average of the weights that is validated
    and saved; 0 for none. ``start`` is a weights folder to start from instead of random weights, relative to the
    working directory; its network and canvas must be those of the recipe. ``keep`` selects the released weights: the
    best on the validation writers, or the last, for runs whose validation writers are too few to choose by.
    ``interpolation`` is the share of the trained weights in the released ones; the rest are the weights of ``start``.
    What a network learns from few writers and forgers costs accuracy on others; interpolation keeps most of the gain
    and gives up most of the cost (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
    """

    epochs: int = Field(default=10, ge=1)
    steps_per_epoch: int = Field(default=100, ge=1)
    workers: int = Field(default=0, ge=0)
    threads: int = Field(default=1, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    rendering: Literal["workers", "device"] = "workers"
    precision: Literal["float32", "bfloat16"] = "float32"
    average: float = Field(default=0.0, ge=0, lt=1)
    start: str = ""
    interpolation: float = Field(default=1.0, gt=0, le=1)
    keep: Literal["best", "last"] = "best"
    checkpoint_steps: int = Field(default=100, ge=1)

    @model_validator(mode="after")
    def _interpolates_with_start(self) -> Self:
        if self.interpolation < 1.0 and not self.start:
            raise ValueError("interpolation needs start: the weights to interpolate with")
        return self


class RefinementSpec(_Strict):
    """Refinement of the network after training, see :mod:`model.networks.refined`.

    Embeddings are averaged over the ``sizes`` of the ink. The whitening uses ``shrinkage`` and is fitted on
    ``batches`` further batches of the training data.
    """

    sizes: tuple[float, ...] = Field(default=(1.0,), min_length=1)
    shrinkage: float = Field(default=3.0, gt=0)
    batches: int = Field(default=50, ge=1)


class Recipe(_Strict):
    """All settings of a run."""

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
    def _renders_on_the_device(self) -> Self:
        if self.training.rendering == "device":
            unknown = [n for n in ("stroke", "jpeg", "erase") if getattr(self.augmentation, n)]
            if unknown:
                raise ValueError(
                    f"rendering on the device has no augmentation {', '.join(unknown)}: set it to 0"
                )
            if self.augmentation.widths is None:
                raise ValueError("rendering on the device needs augmentation.widths")
        elif self.sampler.joined:
            raise ValueError('sampler.joined needs training.rendering = "device"')
        return self

    @model_validator(mode="after")
    def _reject_test_writers(self) -> Recipe:
        for spec in self.datasets + self.validation:
            if spec.split in {"test", "all"}:
                raise ValueError(
                    f"{spec.name}: the split {spec.split!r} contains writers for reporting only; "
                    "a recipe may use train, validation or full"
                )
        return self


def parse_recipe(text: str, source: str = "recipe") -> Recipe:
    """Parse and validate the text of a recipe.

    Raises
    ------
    DataError
        The text is not TOML, or a key is unknown, missing or out of range; the message names the key.
    """
    try:
        return Recipe.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{source} is not valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{source}: {key or 'recipe'}: {first['msg']}.") from error


def read_recipe(path: Path) -> tuple[Recipe, str]:
    """Read a recipe file; return the recipe and its text. Raises DataError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    return parse_recipe(text, str(path)), text
