"""Recipes derived from another recipe and their training runs, for benchmarks that compare training runs."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from model.errors import DataError
from model.networks.weights import load_card
from model.training.checkpoint import BEST_FILE, load_checkpoint, save_checkpoint
from model.training.recipes import parse_recipe
from model.training.train import train

RUNS = Path("runs")


def derive(text: str, name: str, changes: Mapping[str, Any], *, without: str = "", epochs: int = 0) -> str:
    """Return the text of a recipe with some keys changed.

    Parameters
    ----------
    text : str
        The original recipe.
    name : str
        Name of the derived recipe.
    changes : mapping
        Dotted keys (``canvas.height``) to values; a value of None removes the key.
    without : str
        A data set to remove from training and validation.
    epochs : int
        Number of epochs; 0 for that of the original recipe.
    """
    recipe = tomllib.loads(text)
    recipe["name"] = name
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        table = recipe
        for part in path:
            table = table.setdefault(part, {})
        table.pop(last, None)
        if value is not None:
            table[last] = value
    if without:
        for key in ("datasets", "validation"):
            recipe[key] = [spec for spec in recipe.get(key, []) if spec["name"] != without]
    if epochs:
        recipe["training"]["epochs"] = epochs
    derived = tomli_w.dumps(recipe)
    parse_recipe(derived, name)
    return derived


def reuse_training(text: str, finished: Path) -> None:
    """Copy the checkpoint of a finished run to the run of a recipe with another name and refinement.

    Neither has an effect on training, so resuming the copy only writes the weights.

    Raises
    ------
    DataError
        The recipes differ in more than the name and the refinement.
    """
    recipe = parse_recipe(text)
    finished_text = (finished / "weights" / "recipe.toml").read_text(encoding="utf-8")
    comparable = {"name": recipe.name, "refinement": recipe.refinement}
    if parse_recipe(finished_text).model_copy(update=comparable) != recipe:
        raise DataError(f"{recipe.name} differs from {finished} in more than its refinement.")
    out = RUNS / recipe.name
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out, text, load_checkpoint(finished, finished_text))
    if out != finished:
        shutil.copy(finished / BEST_FILE, out / BEST_FILE)


def trained_weights(text: str, data: Path | None) -> Path:
    """Return the weights folder of a recipe, after training it, or resuming its training, where necessary."""
    recipe = parse_recipe(text)
    out = RUNS / recipe.name
    weights = out / "weights"
    if not (weights / "card.json").is_file() or (weights / "recipe.toml").read_text(encoding="utf-8") != text:
        train(recipe, text, out, data=data, resume=True)
    load_card(weights)
    return weights
