"""Hyper-parameter optimisation of a recipe with Optuna. ``python -m model tune RECIPE``.

Each trial is a training run in ``OUT/trial-NNNN``. The study minimises the selection figure on the validation writers
(:attr:`model.training.validation.Rates.selection_figure`). It is stored in ``OUT/study.db`` and can be continued.
Optuna: T. Akiba et al., KDD 2019.
"""

from __future__ import annotations

import copy
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from model.data.packing import DEFAULT_CACHE
from model.training.checkpoint import write_atomically
from model.training.recipes import parse_recipe
from model.training.train import Trainer


@dataclass(frozen=True)
class Best:
    """The best trial of a study: its validation figure and its parameters."""

    value: float
    params: dict[str, Any]


def search(
    recipe_text: str,
    out: Path,
    trials: int,
    *,
    data: Path | None = None,
    cache: Path = DEFAULT_CACHE,
    max_minutes: float | None = None,
    seed: int = 0,
) -> Best:
    """Add trials to the study in ``out`` and write the best recipe to ``out/best.toml``.

    Parameters
    ----------
    recipe_text : str
        The recipe to vary.
    out : Path
        The folder of the study; created if missing.
    trials : int
        Number of trials to add.
    data, cache
        As :class:`model.training.train.Trainer`.
    max_minutes : float, optional
        Limit on the training time of each trial.
    seed : int
        Seed of Optuna's sampler.

    Raises
    ------
    DataError
        The recipe cannot be trained.
    """
    out.mkdir(parents=True, exist_ok=True)
    base = tomllib.loads(recipe_text)
    study = optuna.create_study(
        study_name="recipe",
        storage=f"sqlite:///{out / 'study.db'}",
        load_if_exists=True,
        direction="minimize",
        sampler=optuna.samplers.TPESampler(seed=seed),
    )

    def objective(trial: optuna.Trial) -> float:
        text = to_toml(suggest(trial, base))
        trainer = Trainer(parse_recipe(text), text, out / f"trial-{trial.number:04d}", data, cache)
        trainer.run(max_minutes)
        return trainer.progress.best

    study.optimize(objective, n_trials=trials)
    best = suggest(optuna.trial.FixedTrial(study.best_params), base)
    write_atomically(out / "best.toml", to_toml(best).encode())
    return Best(float(study.best_value), dict(study.best_params))


def suggest(trial: optuna.trial.BaseTrial, base: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe with a trial's optimiser, learning rate, margins and strength of augmentation."""
    recipe = copy.deepcopy(base)
    optimiser = recipe.setdefault("optimiser", {})
    optimiser["name"] = trial.suggest_categorical("optimiser", ["rmsprop", "sgd", "adam"])
    optimiser["learning_rate"] = trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
    optimiser["momentum"] = 0.9 if optimiser["name"] == "sgd" else 0.0
    for position, objective in enumerate(recipe["objectives"]):
        options = objective.setdefault("options", {})
        if "margin" in options:
            options["margin"] = trial.suggest_float(f"margin_{position}", 0.1, 3.0)
    strength = trial.suggest_float("augmentation", 0.0, 1.5)
    augmentation = recipe.setdefault("augmentation", {})
    for name, default in (
        ("rotation", 5.0),
        ("scale", 0.08),
        ("shear", 0.08),
        ("shift", 0.02),
        ("stroke", 2.0),
    ):
        augmentation[name] = default * strength
    return recipe


def to_toml(value: dict[str, Any]) -> str:
    """Write a recipe as TOML with one key in each line and nested tables inline."""
    return "".join(f"{key} = {_inline(item)}\n" for key, item in value.items())


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    if isinstance(value, bool | str):
        return json.dumps(value)
    return repr(value)
