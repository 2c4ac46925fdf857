"""Training of the segmentation network: ``python -m model.documents.train recipes/page-4.toml --out runs/page-4``.

A run resumes from its checkpoint. When it ends, ``weights/`` contains the weights (``model.safetensors``), the same
network for OpenCV (``model.onnx``), a card and the recipe; ``--release`` writes them from the checkpoint of a run
that goes on. :mod:`model.documents.rules` then fits the rules that decide what is a signature.
"""

from __future__ import annotations

import argparse
import copy
import tomllib
from pathlib import Path
from typing import Any, Literal

import cv2
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file
from torch.nn import functional
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.documents.digits import training_digits
from model.documents.material import Typefaces, training_signatures
from model.documents.patches import FULL, Patches
from model.documents.release import release_page_network
from model.networks.page import PageNetwork
from model.training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from model.training.optimisers import rate_factor, update_average
from model.training.recipes import ScheduleSpec

SCHEDULE = ScheduleSpec(name="cosine", warmup_steps=100, final=0.01)


class PageRecipe(BaseModel):
    """A training run.

    ``datasets`` are the weights of the sources of signatures (:func:`model.documents.material.training_signatures`),
    ``writers`` the number of synthetic writers. ``start`` is a weights folder to start from, relative to the working
    directory. The learning rate follows a cosine over ``schedule_steps``, by default ``steps``. ``average`` is the
    decay of the moving average of the weights. ``precision`` is that of the network's layers; their weights and the
    loss are in float32.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    seed: int = 0
    widths: tuple[int, int, int, int] = (16, 24, 48, 96)
    steps: int = Field(ge=1)
    schedule_steps: int = Field(default=0, ge=0)
    batch: int = Field(default=6, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    average: float = Field(default=0.998, ge=0, lt=1)
    datasets: dict[str, float]
    writers: int = Field(default=3000, ge=1)
    start: str = ""
    threads: int = Field(default=1, ge=1)
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpoint_steps: int = Field(default=250, ge=1)


def main() -> None:
    """Train a recipe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    parser.add_argument(
        "--release", action="store_true", help="write the weights of the checkpoint, do not train"
    )
    args = parser.parse_args()
    text = args.recipe.read_text(encoding="utf-8")
    recipe = PageRecipe.model_validate(tomllib.loads(text))
    if args.release:
        print(f"step {release(recipe, text, args.out)}")
    else:
        train(recipe, text, args.out, args.data)


def train(
    recipe: PageRecipe, text: str, out: Path, data: Path | None = None, stop_after: int | None = None
) -> None:
    """Train a recipe into ``out``, from the start or from its checkpoint, and write its weights at the end.

    ``stop_after`` ends the run early, at a step at which there is a checkpoint.
    """
    torch.set_num_threads(recipe.threads)
    cv2.setNumThreads(1)  # before the first use: a forked worker cannot change the threads of its parent
    torch.manual_seed(recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = PageNetwork(recipe.widths).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch takes both
    if recipe.start:
        network.load_state_dict(load_file(Path(recipe.start) / "model.safetensors"))
    average = copy.deepcopy(network).requires_grad_(requires_grad=False)
    optimiser = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    out.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {"step": 0}
    if has_checkpoint(out):
        state = load_checkpoint(out, text)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
    faces = Typefaces("train", data)
    source = training_signatures(faces, recipe.datasets, data, recipe.writers)
    digits = training_digits(recipe.datasets, data)
    patches = Patches(faces, source, recipe.batch, recipe.seed, state["step"], digits)
    # One worker, so that the batches come in order and a resumed run sees those that it would have seen.
    loader = DataLoader(patches, batch_size=None, num_workers=1, prefetch_factor=4)
    bar = tqdm(total=recipe.steps, initial=state["step"], desc=recipe.name, unit="step", mininterval=5)
    running = 0.0
    for step, (darkness, signature, weight) in enumerate(loader, state["step"]):
        if step >= min(recipe.steps, stop_after or recipe.steps):
            break
        completed = step / (recipe.schedule_steps or recipe.steps)
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * rate_factor(SCHEDULE, step, 0, completed)
        network.train()
        with torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = network(darkness.to(device).float() / 255.0)
        logits = logits.float()
        target = (signature.to(device) >= FULL).float()
        share = weight.to(device).float() / 100.0
        loss = (functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * share).sum()
        loss = loss / share.sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        update_average(average, network, min(recipe.average, (1 + step) / (10 + step)))
        running = 0.98 * running + 0.02 * float(loss.detach()) if step else float(loss.detach())
        bar.update()
        bar.set_postfix(loss=f"{running:.4f}", refresh=False)
        if (step + 1) % recipe.checkpoint_steps == 0 or step + 1 == recipe.steps:
            save_checkpoint(
                out,
                text,
                {
                    "step": step + 1,
                    "network": network.state_dict(),
                    "average": average.state_dict(),
                    "optimiser": optimiser.state_dict(),
                },
            )
    bar.close()
    if bar.n >= recipe.steps:
        release_page_network(average.cpu(), recipe.name, text, list(recipe.datasets), out / "weights")


def release(recipe: PageRecipe, text: str, out: Path) -> int:
    """Write the weights of a run's checkpoint; return its step.

    Raises
    ------
    DataError
        The checkpoint is damaged or belongs to another recipe.
    """
    state = load_checkpoint(out, text)
    network = PageNetwork(recipe.widths)
    network.load_state_dict(state["average"])
    release_page_network(network, recipe.name, text, list(recipe.datasets), out / "weights")
    return int(state["step"])


if __name__ == "__main__":
    main()
