"""Recipes derived from a recipe, trained once: what the comparisons of training runs are made of."""

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
    """The text of a recipe with some keys changed.

    Parameters
    ----------
    text : str
        The recipe to start from.
    changes : mapping
        Dotted keys (``canvas.height``) to values; a value of None removes the key.
    without : str
        A data set that is taken out of training and of validation; what validation loses is not replaced.
    epochs : int
        Of the derived run, 0 for as many as the recipe says.
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


def take_over(text: str, finished: Path) -> None:
    """Make a finished run that of another recipe, which must differ in its name and its refinement alone.

    Both happen after training: what was trained can be released again without training it again.
    """
    recipe = parse_recipe(text)
    own = (finished / "weights" / "recipe.toml").read_text(encoding="utf-8")
    if parse_recipe(own).model_copy(update={"name": recipe.name, "refinement": recipe.refinement}) != recipe:
        raise DataError(f"{recipe.name} differs from {finished} in more than its refinement.")
    out = RUNS / recipe.name
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(out, text, load_checkpoint(finished, own))
    if out != finished:
        shutil.copy(finished / BEST_FILE, out / BEST_FILE)


def trained(text: str, data: Path | None) -> Path:
    """The weights folder of a recipe: trained now, gone on with, or left as it is where it is finished."""
    recipe = parse_recipe(text)
    out = RUNS / recipe.name
    weights = out / "weights"
    if not (weights / "card.json").is_file() or (weights / "recipe.toml").read_text(encoding="utf-8") != text:
        train(recipe, text, out, data=data, resume=True)
    load_card(weights)
    return weights
