"""Training: turn a recipe into a weights folder. ``python -m model train RECIPE``.

The folder of a run contains ``checkpoint.pt`` (to resume from), ``best.safetensors`` (the weights to release),
``tensorboard/`` and, when the run ends, ``weights/`` in the format of :mod:`model.networks.weights`.

A batch depends only on the seed and its step, and the checkpoint contains the state of torch's random generators.
A run that was killed and resumed therefore ends with the same weights as an uninterrupted one.

torchrun starts it in several processes, one for each device (:mod:`model.training.distributed`).
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import save as dump_tensors
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from model.data.masters import DEFAULT_MASTERS
from model.data.packing import DEFAULT_CACHE
from model.errors import DataError
from model.networks.card import Card, TrainingData
from model.networks.embedder import choose_device
from model.networks.local import LocalNetwork
from model.preprocessing.ink import Canvas
from model.training.checkpoint import (
    BEST_FILE,
    has_checkpoint,
    load_checkpoint,
    save_checkpoint,
    write_atomically,
)
from model.training.data import batch_loader, open_masters, open_source, open_split
from model.training.distributed import Gather, Processes, Rows, Share, open_processes, synchronise
from model.training.initial_network import build_network, embedding_dimension, load_start_weights
from model.training.objectives import build_objective, label_rows
from model.training.optimisers import build_optimiser, l2_penalty, rate_factor, update_average
from model.training.plans import MasterSource, Plan, Plans
from model.training.recipes import Recipe
from model.training.release import release
from model.training.rendering import Renderer
from model.training.samplers import Batch, Batches, IdentitySampler
from model.training.set_objectives import MatchedSimilarity
from model.training.sources import Identities
from model.training.validation import Rates, validation_set, validation_set_of_masters

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """State of a run that its checkpoint carries.

    Attributes
    ----------
    step : int
        Steps done.
    seconds : float
        Training time, summed over interruptions.
    best : float
        Validation figure of the kept weights; smaller is better.
    best_step : int
        Step of the kept weights.
    best_rates : dict or None
        Error rates of the kept weights by validation set and kind.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    best_step: int = 0
    best_rates: dict[str, float] | None = None


class BatchLoss(nn.Module):
    """The loss of a batch, of whose rows this process embeds a share.

    Parameters
    ----------
    recipe : Recipe
    network : Module
    objectives : ModuleList
        Those of the recipe, in its order.
    share : Share
    """

    def __init__(self, recipe: Recipe, network: nn.Module, objectives: nn.ModuleList, share: Share) -> None:
        super().__init__()
        self.network, self.objectives = network, objectives
        self.rows = Rows([], share.rank)
        self._recipe, self._share = recipe, share

    def forward(
        self, ink: torch.Tensor, identities: torch.Tensor, forged: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the loss without and with the L2 term.

        Parameters
        ----------
        ink : (m, 1, h, w) float32 in [0, 1], ink = 1
            The rows of the share.
        identities, forged : int64 and bool (n,)
            Of all rows of the batch.
        """
        self.rows.sizes = self._share.sizes(len(identities))
        use_bfloat16 = self._recipe.training.precision == "bfloat16"
        with torch.autocast(ink.device.type, dtype=torch.bfloat16, enabled=use_bfloat16):
            embeddings = self.network(ink)
        embeddings = embeddings.float()
        if distributed.is_initialized():
            embeddings = Gather.apply(embeddings, self.rows.sizes)  # type: ignore[no-untyped-call]
        embeddings = embeddings[: len(identities)]
        loss = embeddings.new_zeros(())
        for objective, part in zip(self.objectives, self._recipe.objectives, strict=True):
            loss = loss + part.weight * objective(embeddings, label_rows(identities, forged, part.forgeries))
        strength = self._recipe.optimiser.l2
        return loss, loss + l2_penalty(self.network.parameters(), strength) if strength else loss


class Trainer:
    """One training run.

    Parameters
    ----------
    recipe, recipe_text
        From :func:`model.training.recipes.read_recipe`.
    out : Path
        The folder of the run; created if missing.
    data : Path or None
        The folder of the data sets; None is :func:`model.data.registry.data_root`.
    cache : Path
        Where isolated ink is cached.
    masters : Path
        The folder of the master images, for recipes with ``rendering = "device"``.
    processes : Processes
        The processes of the run; this one alone by default.

    Raises
    ------
    DataError
        A data set, its masters, the network or an objective of the recipe is missing or invalid.
    """

    def __init__(
        self,
        recipe: Recipe,
        recipe_text: str,
        out: Path,
        data: Path | None = None,
        cache: Path = DEFAULT_CACHE,
        masters: Path = DEFAULT_MASTERS,
        processes: Processes = Processes(),  # noqa: B008 - frozen
    ) -> None:
        self.recipe, self.recipe_text, self.out = recipe, recipe_text, out
        self.processes = processes
        self.device = choose_device(recipe.training.device)
        torch.set_num_threads(recipe.training.threads)
        cv2.setNumThreads(1)
        canvas = recipe.canvas.canvas()
        self.total_steps = recipe.training.epochs * recipe.training.steps_per_epoch
        self.share = processes.share(self.device)
        with processes.one_before_the_others():  # which then find the isolated ink in the cache
            sampler = self._open_data(canvas, data, cache, masters)
        torch.manual_seed(recipe.seed)
        self.network = build_network(recipe)
        self.parent = load_start_weights(self.network, recipe)
        self.dimension = embedding_dimension(self.network, canvas)
        self.network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch accepts both
        self.average = (
            copy.deepcopy(self.network).requires_grad_(requires_grad=False)
            if recipe.training.average
            else None
        )
        self.objectives = nn.ModuleList(
            build_objective(spec.name, spec.options, self.dimension, sampler.identities)
            for spec in recipe.objectives
        ).to(self.device)
        for objective in self.objectives:
            if isinstance(objective, MatchedSimilarity):
                if not isinstance(self.network, LocalNetwork):
                    raise DataError(
                        f"The objective matched-similarity needs the network local, not {recipe.network.name}."
                    )
                objective.distance = self.network.matching.squared
        self.batch_loss: nn.Module = BatchLoss(recipe, self.network, self.objectives, self.share)
        if processes.synchronised:
            self.network = synchronise(self.network, self.device, self.batch_loss.rows)
            self.batch_loss.network = self.network
            self.batch_loss = DistributedDataParallel(
                self.batch_loss,
                # An objective may not use all of its parameters in every batch.
                find_unused_parameters=any(True for _ in self.objectives.parameters()),
            )
        self.optimiser = build_optimiser(recipe.optimiser, self.network, self.objectives)
        self.progress = Progress()

    def _open_data(self, canvas: Canvas, data: Path | None, cache: Path, masters: Path) -> IdentitySampler:
        """Open the training sources and the validation sets; return the sampler of the batches."""
        recipe = self.recipe
        weights = [spec.weight for spec in recipe.datasets]
        self.renderer: Renderer | None = None
        self.batches: Batches | Plans
        self.sources: Sequence[Identities]
        if recipe.training.rendering == "device":
            sets = [open_masters(spec, canvas, masters) for spec in recipe.datasets]
            self.renderer = Renderer(sets, canvas, recipe.augmentation, recipe.seed, self.device)
            firsts = np.cumsum([0, *(len(part.images) for part in sets[:-1])])
            self.sources = rendered = [
                MasterSource(part, int(first)) for part, first in zip(sets, firsts, strict=True)
            ]
            sampler = IdentitySampler(rendered, weights, recipe.sampler, recipe.seed)
            self.batches = Plans(sampler, rendered, recipe.seed, self.total_steps)
            self.validation = [
                validation_set_of_masters(open_masters(spec, canvas, masters), recipe)
                for spec in recipe.validation
            ]
        else:
            self.sources = drawn = [open_source(spec, recipe, data, cache) for spec in recipe.datasets]
            sampler = IdentitySampler(drawn, weights, recipe.sampler, recipe.seed)
            self.batches = Batches(sampler, drawn, recipe.seed, self.total_steps, self.share)
            self.validation = [
                validation_set(open_split(spec, data), canvas, cache) for spec in recipe.validation
            ]
        return sampler

    @property
    def validated_network(self) -> nn.Module:
        """The network that is validated and saved: the moving average if the recipe has one."""
        return self.network if self.average is None else self.average

    def resume(self) -> None:
        """Restore the state of the run from its checkpoint. Raises DataError."""
        state = load_checkpoint(self.out, self.recipe_text)
        self.network.load_state_dict(state["network"])
        self.objectives.load_state_dict(state["objectives"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.progress = Progress(**state["progress"])

    def run(self, max_minutes: float | None = None) -> Card:
        """Train until the recipe's steps or the time are used up, then write ``weights/``.

        Parameters
        ----------
        max_minutes : float, optional
            Limit on the training time, summed over interruptions. A cosine schedule ends with the steps or with the
            time, whichever is used up first.
        """
        first = self.processes.first
        log = None
        if first:
            self.out.mkdir(parents=True, exist_ok=True)
            log = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.progress.step)
        budget_s = max_minutes * 60.0 if max_minutes else float("inf")
        steps_per_epoch = self.recipe.training.steps_per_epoch
        started, seconds_before = time.monotonic(), self.progress.seconds
        bar = tqdm(
            total=self.total_steps,
            initial=self.progress.step,
            desc=self.recipe.name,
            unit="step",
            disable=not first,
        )
        for loaded in batch_loader(self.batches, self.recipe, self.progress.step):
            step = self.progress.step
            batch = self._batch(loaded)
            completed = max(step / self.total_steps, self.progress.seconds / budget_s)
            loss = self._step(
                batch, rate_factor(self.recipe.schedule, step, step // steps_per_epoch, completed)
            )
            seconds = seconds_before + time.monotonic() - started
            if max_minutes:  # the clocks of the processes differ, and the schedule follows the time
                seconds = self.processes.agreed(seconds)
            self.progress = replace(self.progress, step=step + 1, seconds=seconds)
            out_of_time = seconds >= budget_s
            if log is not None:
                bar.update()
                bar.set_postfix(loss=f"{loss:.4f}", best=f"{self.progress.best:.3f}")
                log.add_scalar("loss", loss, step)
                log.add_scalar(
                    "images per second", len(batch.identities) * (step + 1) / max(seconds, 1e-9), step
                )
                if (step + 1) % steps_per_epoch == 0 or step + 1 == self.total_steps or out_of_time:
                    self._validate(log)
                    self._checkpoint()
                elif (step + 1) % self.recipe.training.checkpoint_steps == 0:
                    self._checkpoint()
            if out_of_time:
                break
        bar.close()
        if log is not None:
            log.close()
        return self.processes.agreed(self._release() if first else None)  # type: ignore[return-value]  # that of the first

    def _batch(self, loaded: Batch | Plan) -> Batch:
        """Render the share of this process in a batch if the loader only planned it."""
        if isinstance(loaded, Batch):
            return loaded
        assert self.renderer is not None  # noqa: S101 - only its recipes have plans  # nosec B101
        return self.renderer.render(loaded, self.share.rows(len(loaded.images)))

    def _whole_batch(self, step: int) -> Batch:
        """Return a batch with the canvases of all rows."""
        if isinstance(self.batches, Batches):
            return self.batches.batch(step, Share())
        assert self.renderer is not None  # noqa: S101 - only its recipes have plans  # nosec B101
        return self.renderer.render(self.batches[step])

    def _step(self, batch: Batch, factor: float) -> float:
        """Take one optimiser step at ``factor`` times the learning rate; return the loss without L2 term."""
        spec = self.recipe.optimiser
        for group in self.optimiser.param_groups:
            group["lr"] = spec.learning_rate * factor
        self.network.train()
        ink = batch.canvases.to(self.device, non_blocking=True).unsqueeze(1).float().div_(255.0)
        loss, penalised = self.batch_loss(
            ink.contiguous(memory_format=torch.channels_last),
            batch.identities.to(self.device),
            batch.forged.to(self.device),
        )
        value = float(loss.detach())
        if not np.isfinite(value):
            raise DataError(
                f"The loss is {value} at step {self.progress.step}: lower the learning rate of the recipe."
            )
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(penalised)
        if spec.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), spec.clip)
        self.optimiser.step()
        if self.average is not None:
            # A smaller decay in the first steps removes the random initial weights from the average sooner.
            step = self.progress.step
            decay = min(self.recipe.training.average, (1 + step) / (10 + step))
            update_average(self.average, self.network, decay)
        return value

    def _validate(self, log: SummaryWriter) -> None:
        """Measure the error rates on all validation sets and keep the weights if they are the ones to release."""
        step, rates = self.progress.step, {}
        selection_figures = []
        for part in self.validation:
            measured: Rates = part.rates(self.validated_network, self.recipe.metric, self.device)
            selection_figures.append(measured.selection_figure)
            for name, value in asdict(measured).items():
                if not np.isnan(value):
                    rates[f"{part.name} {name}"] = value
                    log.add_scalar(f"EER {part.name}/{name}", value, step)
        # Without validation sets the latest weights count as the best.
        figure = float(np.mean(selection_figures)) if selection_figures else -float(step)
        tqdm.write(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in rates.items()))
        keep = self.recipe.training.keep == "last" or figure < self.progress.best
        if keep or not (self.out / BEST_FILE).is_file():
            tensors = {
                k: v.detach().cpu().contiguous() for k, v in self.validated_network.state_dict().items()
            }
            write_atomically(self.out / BEST_FILE, dump_tensors(tensors))
            self.progress = replace(self.progress, best=figure, best_step=step, best_rates=rates)

    def _checkpoint(self) -> None:
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "objectives": self.objectives.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": asdict(self.progress),
        }
        if self.average is not None:
            state["average"] = self.average.state_dict()
        save_checkpoint(self.out, self.recipe_text, state)

    def _release(self) -> Card:
        return release(
            self.out,
            self.recipe,
            self.recipe_text,
            dimension=self.dimension,
            batch_after=lambda number: self._whole_batch(self.total_steps + number),
            datasets=self._training_data(),
            validation={
                **(self.progress.best_rates or {}),
                "steps trained": float(self.progress.step),
                "step of these weights": float(self.progress.best_step),
            },
        )

    def _training_data(self) -> list[TrainingData]:
        """List the data of this run and, if it started from existing weights, the data of those."""
        datasets = [source.about for source in self.sources]
        if self.parent is not None:
            names = {data.name for data in datasets}
            datasets += [data for data in self.parent.datasets if data.name not in names]
        return datasets


def train(
    recipe: Recipe,
    recipe_text: str,
    out: Path,
    *,
    data: Path | None = None,
    cache: Path = DEFAULT_CACHE,
    masters: Path = DEFAULT_MASTERS,
    resume: bool = False,
    max_minutes: float | None = None,
) -> Card:
    """Train a recipe into ``out``, from the start or from its checkpoint, and return the card of the weights.

    Raises
    ------
    DataError
        The recipe cannot be trained, or ``out`` contains a run and ``resume`` is False.
    """
    if has_checkpoint(out) and not resume:
        raise DataError(
            f"{out} already contains a training run: pass --resume to continue it, or another --out."
        )
    with open_processes(recipe) as processes:
        trainer = Trainer(recipe, recipe_text, out, data, cache, masters, processes)
        if has_checkpoint(out):
            trainer.resume()
            _log.info("resumed %s at step %d", recipe.name, trainer.progress.step)
        card = trainer.run(max_minutes)
        del trainer  # it refers to the process group
    return card
