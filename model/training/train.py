"""Training: a recipe in, a weights folder out. ``python -m model train RECIPE``.

A run's folder holds ``checkpoint.pt`` (to go on from), ``best.safetensors`` (the best so far on validation writers),
``tensorboard/`` and, when it ends, ``weights/`` in the form of :mod:`model.networks.weights`. A batch depends on the seed and
its step alone, and the checkpoint holds torch's random state, so a run that was killed and resumed ends with the
same weights as one that was not.
"""

from __future__ import annotations

import copy
import logging
import shutil
import subprocess  # fixed arguments only, below  # nosec B404
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as dump_tensors
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from model.data.packing import DEFAULT_CACHE
from model.data.registry import open_dataset
from model.data.specimens import Dataset
from model.data.splits import Subset, split
from model.errors import DataError
from model.networks import UnknownNetwork, build
from model.networks.card import Card
from model.networks.embedder import choose_device, to_tensor
from model.networks.local import LocalNetwork
from model.networks.refined import Refined, whitening
from model.networks.weights import load_card, load_network, save
from model.preprocessing.ink import Canvas
from model.training.checkpoint import exists, load_checkpoint, save_checkpoint, write_atomically
from model.training.objectives import build_objective, label_rows
from model.training.optimisers import build_optimiser, l2_penalty, rate_factor
from model.training.recipes import DataSpec, Recipe, RefinementSpec
from model.training.samplers import Batch, Batches, IdentitySampler
from model.training.set_objectives import MatchedSimilarity
from model.training.sources import Source, SyntheticSource, source_of
from model.training.validation import Rates, ValidationSet

BEST = "best.safetensors"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a run has come; part of its checkpoint. ``seconds`` is training time over all of its starts."""

    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    best_step: int = 0
    best_rates: dict[str, float] | None = None


class Trainer:
    """One training run.

    Parameters
    ----------
    recipe, recipe_text
        From :func:`model.training.recipes.read_recipe`.
    out : Path
        The run's folder, made when missing.
    data : Path or None
        Where the data sets lie; None is :func:`model.data.registry.data_root`.

    Raises
    ------
    DataError
        A data set, network or objective of the recipe cannot be had.
    """

    def __init__(
        self,
        recipe: Recipe,
        recipe_text: str,
        out: Path,
        data: Path | None = None,
        cache: Path = DEFAULT_CACHE,
    ) -> None:
        self.recipe, self.recipe_text, self.out = recipe, recipe_text, out
        self.device = choose_device(recipe.training.device)
        torch.set_num_threads(recipe.training.threads)
        cv2.setNumThreads(1)
        canvas = recipe.canvas.canvas()
        self.sources = [open_source(spec, recipe, data, cache) for spec in recipe.datasets]
        weights = [spec.weight for spec in recipe.datasets]
        self.sampler = IdentitySampler(self.sources, weights, recipe.sampler, recipe.seed)
        self.validation = [ValidationSet(open_part(spec, data), canvas, cache) for spec in recipe.validation]
        torch.manual_seed(recipe.seed)
        self.network = _build_network(recipe)
        self.parent = _start_from(self.network, recipe)
        self.dimension = _dimension(self.network, canvas)
        self.network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch takes both
        self.objectives = nn.ModuleList(
            build_objective(spec.name, spec.options, self.dimension, self.sampler.identities)
            for spec in recipe.objectives
        ).to(self.device)
        for objective in self.objectives:
            if isinstance(objective, MatchedSimilarity):
                if not isinstance(self.network, LocalNetwork):
                    raise DataError(
                        f"The objective matched-similarity needs the network local, not {recipe.network.name}."
                    )
                objective.distance = self.network.matching.squared
        self.optimiser = build_optimiser(recipe.optimiser, self.network, self.objectives)
        self.average = (
            copy.deepcopy(self.network).requires_grad_(requires_grad=False)
            if recipe.training.average
            else None
        )
        self.progress = Progress()
        self.total_steps = recipe.training.epochs * recipe.training.steps_per_epoch

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and saved: the moving average where there is one."""
        return self.network if self.average is None else self.average

    def resume(self) -> None:
        """Go on from the run's checkpoint. Raises DataError."""
        state = load_checkpoint(self.out, self.recipe_text)
        self.network.load_state_dict(state["network"])
        self.objectives.load_state_dict(state["objectives"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.progress = Progress(**state["progress"])

    def run(self, max_minutes: float | None = None) -> Card:
        """Train to the end of the recipe or of the time, and write ``weights/``.

        Parameters
        ----------
        max_minutes : float, optional
            Training time over all starts of the run. A cosine schedule reaches its end with the time, whichever of
            steps and time runs out first.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        log = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.progress.step)
        budget = max_minutes * 60.0 if max_minutes else float("inf")
        per_epoch = self.recipe.training.steps_per_epoch
        started, before = time.monotonic(), self.progress.seconds
        bar = tqdm(total=self.total_steps, initial=self.progress.step, desc=self.recipe.name, unit="step")
        for batch in self._loader():
            step = self.progress.step
            share = max(step / self.total_steps, self.progress.seconds / budget)
            loss = self._step(batch, rate_factor(self.recipe.schedule, step, step // per_epoch, share))
            seconds = before + time.monotonic() - started
            self.progress = replace(self.progress, step=step + 1, seconds=seconds)
            bar.update()
            bar.set_postfix(loss=f"{loss:.4f}", best=f"{self.progress.best:.3f}")
            log.add_scalar("loss", loss, step)
            log.add_scalar("images per second", len(batch.identities) * (step + 1) / max(seconds, 1e-9), step)
            over = seconds >= budget
            if (step + 1) % per_epoch == 0 or step + 1 == self.total_steps or over:
                self._validate(log)
                self._checkpoint()
            elif (step + 1) % self.recipe.training.checkpoint_steps == 0:
                self._checkpoint()
            if over:
                break
        bar.close()
        log.close()
        return self._release()

    def _loader(self) -> DataLoader[Batch]:
        batches = Batches(self.sampler, self.sources, self.recipe.seed, self.total_steps)
        return DataLoader(
            batches,
            batch_size=None,
            sampler=range(self.progress.step, self.total_steps),
            num_workers=self.recipe.training.workers,
            worker_init_fn=_start_worker,
            # The loader draws a seed for its workers: not from the stream that dropout uses, or resuming would
            # shift it.
            generator=torch.Generator().manual_seed(self.recipe.seed),
        )

    def _step(self, batch: Batch, factor: float) -> float:
        spec = self.recipe.optimiser
        for group in self.optimiser.param_groups:
            group["lr"] = spec.learning_rate * factor
        self.network.train()
        ink = batch.canvases.to(self.device, non_blocking=True).unsqueeze(1).float().div_(255.0)
        identities, forged = batch.identities.to(self.device), batch.forged.to(self.device)
        half = self.recipe.training.precision == "bfloat16"
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=half):
            embeddings = self.network(ink.contiguous(memory_format=torch.channels_last))
        embeddings = embeddings.float()
        loss = embeddings.new_zeros(())
        for objective, part in zip(self.objectives, self.recipe.objectives, strict=True):
            loss = loss + part.weight * objective(embeddings, label_rows(identities, forged, part.forgeries))
        value = float(loss.detach())
        if not np.isfinite(value):
            raise DataError(
                f"The loss is {value} at step {self.progress.step}: lower the learning rate of the recipe."
            )
        if spec.l2:
            loss = loss + l2_penalty(self.network.parameters(), spec.l2)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if spec.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), spec.clip)
        self.optimiser.step()
        if self.average is not None:
            # Young averages forget faster, or the first random weights would stay in them for long.
            done = self.progress.step
            _follow(self.average, self.network, min(self.recipe.training.average, (1 + done) / (10 + done)))
        return value

    def _validate(self, log: SummaryWriter) -> None:
        step, rates = self.progress.step, {}
        choices = []
        for part in self.validation:
            measured: Rates = part.rates(self.judged, self.recipe.metric, self.device)
            choices.append(measured.choice)
            for name, value in asdict(measured).items():
                if not np.isnan(value):
                    rates[f"{part.name} {name}"] = value
                    log.add_scalar(f"EER {part.name}/{name}", value, step)
        choice = (
            float(np.mean(choices)) if choices else -float(step)
        )  # without validation the last is the best
        tqdm.write(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in rates.items()))
        kept = self.recipe.training.keep == "last" or choice < self.progress.best
        if kept or not (self.out / BEST).is_file():
            tensors = {k: v.detach().cpu().contiguous() for k, v in self.judged.state_dict().items()}
            write_atomically(self.out / BEST, dump_tensors(tensors))
            self.progress = replace(self.progress, best=choice, best_step=step, best_rates=rates)

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
        network = _build_network(self.recipe)
        network.load_state_dict(load_file(self.out / BEST))
        name, options = self.recipe.network.name, dict(self.recipe.network.options)
        if self.recipe.refinement is not None:
            network, options = self._refined(network, self.recipe.refinement)
            name = "refined"
        about = [source.about for source in self.sources]
        if self.parent is not None:  # what the weights it started from had learned from is still in them
            known = {data.name for data in about}
            about += [data for data in self.parent.datasets if data.name not in known]
        fields = {
            "name": self.recipe.name,
            "network": name,
            "network_options": options,
            "canvas": self.recipe.canvas.model_dump(),
            "dimension": self.dimension,
            "metric": self.recipe.metric,
            "datasets": [data.model_dump() for data in about],
            "terms": "research" if any(data.terms == "research" for data in about) else "permissive",
            "commit": _commit(),
            "validation": {
                **(self.progress.best_rates or {}),
                "steps trained": float(self.progress.step),
                "step of these weights": float(self.progress.best_step),
            },
        }
        return save(self.out / "weights", network, fields, self.recipe_text)

    def _refined(self, trained: nn.Module, spec: RefinementSpec) -> tuple[Refined, dict[str, Any]]:
        """The trained network refined, on batches that training did not see; and its options."""
        options: dict[str, Any] = {
            "base": self.recipe.network.name,
            "options": dict(self.recipe.network.options),
            "dimension": self.dimension,
            "sizes": list(spec.sizes),
        }
        network = Refined(**options)
        network.base.load_state_dict(trained.state_dict())
        network.eval()
        batches = Batches(self.sampler, self.sources, self.recipe.seed, self.total_steps)
        rows, identities = [], []
        with torch.inference_mode():
            for step in range(self.total_steps, self.total_steps + spec.batches):
                batch = batches[step]
                genuine = ~batch.forged
                rows.append(network.averaged(to_tensor(batch.canvases[genuine].numpy())))
                identities.append(batch.identities[genuine])
        centre, matrix = whitening(torch.cat(rows), torch.cat(identities), spec.shrinkage)
        network.centre.copy_(centre)
        network.whitening.copy_(matrix)
        return network, options


def train(
    recipe: Recipe,
    recipe_text: str,
    out: Path,
    *,
    data: Path | None = None,
    cache: Path = DEFAULT_CACHE,
    resume: bool = False,
    max_minutes: float | None = None,
) -> Card:
    """Train a recipe into ``out``, from the start or from its checkpoint, and return the card of the weights.

    Raises
    ------
    DataError
        Something of the recipe cannot be had, or ``out`` holds a run and ``resume`` was not asked for.
    """
    if exists(out) and not resume:
        raise DataError(
            f"{out} holds a training run already: pass --resume to go on with it, or another --out."
        )
    trainer = Trainer(recipe, recipe_text, out, data, cache)
    if exists(out):
        trainer.resume()
        _log.info("resumed %s at step %d", recipe.name, trainer.progress.step)
    return trainer.run(max_minutes)


def open_part(spec: DataSpec, data: Path | None) -> Dataset:
    """The part of a data set that a recipe names. Raises DataError."""
    dataset = split(open_dataset(spec.name, data), spec.split)
    if not spec.signers:
        return dataset
    return Subset(dataset.whole, dataset.signers()[: spec.signers], f"{spec.split} of {spec.signers}")


def open_source(spec: DataSpec, recipe: Recipe, data: Path | None, cache: Path) -> Source:
    """The source that a recipe names: ``synthetic`` or a data set. Raises DataError."""
    canvas = recipe.canvas.canvas()
    if spec.name == "synthetic":
        try:
            return SyntheticSource(canvas, recipe.augmentation, **spec.options)
        except TypeError as error:
            raise DataError(f"The synthetic data of the recipe cannot be drawn: {error}.") from error
    return source_of(open_part(spec, data), canvas, recipe.augmentation, cache)


def _build_network(recipe: Recipe) -> nn.Module:
    try:
        return build(recipe.network.name, **recipe.network.options)
    except (UnknownNetwork, TypeError, ValueError) as error:
        raise DataError(f"The network of the recipe cannot be built: {error}.") from error


def _start_from(network: nn.Module, recipe: Recipe) -> Card | None:
    """Load the weights that the recipe starts from, and return their card; None where it starts at random."""
    if not recipe.training.start:
        return None
    folder = Path(recipe.training.start)
    card = load_card(folder)
    loaded: nn.Module = load_network(folder, card)
    name, options = card.network, card.network_options
    if isinstance(loaded, Refined):  # refinement comes after training: go on with what was trained
        name, options, loaded = options["base"], options["options"], loaded.base
    if (recipe.network.name, recipe.network.options, recipe.canvas) != (name, options, card.canvas):
        raise DataError(
            f"{folder} is of another network or canvas than the recipe's: it cannot be started from."
        )
    network.load_state_dict(loaded.state_dict())
    return card


def _dimension(network: nn.Module, canvas: Canvas) -> int:
    network.eval()
    with torch.inference_mode():
        try:
            probe: torch.Tensor = network(torch.zeros(1, 1, canvas.height, canvas.width))
        except RuntimeError as error:
            raise DataError(
                f"The network does not take a canvas of {canvas.height} x {canvas.width}: {error}."
            ) from error
    return int(probe.shape[1])


def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """``average = decay * average + (1 - decay) * network``, running statistics included; counters are copied."""
    with torch.no_grad():
        for mine, current in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(current, 1.0 - decay)
            else:
                mine.copy_(current)


def _start_worker(worker: int) -> None:
    del worker
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _commit() -> str:
    """The commit of the checkout this runs in; empty outside of one."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run(  # noqa: S603 - fixed arguments  # nosec B603
        [git, "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""
