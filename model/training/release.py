"""The end of a run: refine the trained network if the recipe asks for it, and write the weights folder."""

from __future__ import annotations

import shutil
import subprocess  # fixed arguments only, below  # nosec B404
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from model.networks.card import Card, TrainingData
from model.networks.embedder import to_tensor
from model.networks.refined import Refined, whitening
from model.networks.weights import save
from model.training.checkpoint import BEST_FILE
from model.training.initial_network import build_network, load_start_weights
from model.training.recipes import Recipe, RefinementSpec
from model.training.samplers import Batch


def release(
    folder: Path,
    recipe: Recipe,
    recipe_text: str,
    *,
    dimension: int,
    batch_after: Callable[[int], Batch],
    datasets: Sequence[TrainingData],
    validation: Mapping[str, float],
) -> Card:
    """Write ``weights/`` from the kept weights of a run, and return their card.

    Parameters
    ----------
    folder : Path
        The folder of the run.
    dimension : int
        Length of an embedding.
    batch_after : callable
        Returns the batches that follow the last training step, numbered from 0; a refinement is fitted on them.
    datasets : sequence of TrainingData
        All data that the weights were trained on, for the card and its terms.
    validation : mapping
        Figures for the card.
    """
    network = build_network(recipe)
    network.load_state_dict(load_file(folder / BEST_FILE))
    if recipe.training.interpolation < 1.0:
        start = build_network(recipe)
        load_start_weights(start, recipe)
        interpolate(network, start, recipe.training.interpolation)
    name, options = recipe.network.name, dict(recipe.network.options)
    if recipe.refinement is not None:
        network, options = _refine(network, recipe, recipe.refinement, dimension, batch_after)
        name = "refined"
    fields = {
        "name": recipe.name,
        "network": name,
        "network_options": options,
        "canvas": recipe.canvas.model_dump(),
        "dimension": dimension,
        "metric": recipe.metric,
        "datasets": [data.model_dump() for data in datasets],
        "terms": "research" if any(data.terms == "research" for data in datasets) else "permissive",
        "commit": commit(),
        "validation": dict(validation),
    }
    return save(folder / "weights", network, fields, recipe_text)


def interpolate(network: nn.Module, start: nn.Module, share: float) -> None:
    """Replace the weights of a network by ``share`` of them and ``1 - share`` of those of another one.

    Statistics of batch normalisation are interpolated as well; counters keep the network's values.
    """
    others = start.state_dict()
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if values.is_floating_point():
                values.lerp_(others[name].to(values), 1.0 - share)


def _refine(
    trained: nn.Module,
    recipe: Recipe,
    spec: RefinementSpec,
    dimension: int,
    batch_after: Callable[[int], Batch],
) -> tuple[Refined, dict[str, Any]]:
    """Wrap the trained network in a fitted refinement; return it with its options.

    The whitening is fitted on the genuine signatures of batches that training did not use.
    """
    options: dict[str, Any] = {
        "base": recipe.network.name,
        "options": dict(recipe.network.options),
        "dimension": dimension,
        "sizes": list(spec.sizes),
    }
    network = Refined(**options)
    network.base.load_state_dict(trained.state_dict())
    network.eval()
    rows, identities = [], []
    with torch.inference_mode():
        for number in range(spec.batches):
            batch = batch_after(number)
            genuine = ~batch.forged
            rows.append(network.averaged(to_tensor(batch.canvases[genuine].cpu().numpy())))
            identities.append(batch.identities[genuine].cpu())
    centre, matrix = whitening(torch.cat(rows), torch.cat(identities), spec.shrinkage)
    network.centre.copy_(centre)
    network.whitening.copy_(matrix)
    return network, options


def commit() -> str:
    """Return the commit of the checkout that this code runs in; empty outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return ""
    completed = subprocess.run(  # noqa: S603 - fixed arguments  # nosec B603
        [git, "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return completed.stdout.strip() if completed.returncode == 0 else ""
