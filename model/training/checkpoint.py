"""Checkpoints of a training run: all that is needed to go on as if nothing had happened, written atomically."""

from __future__ import annotations

import hashlib
import os
import pickle  # for the name of its error; nothing is unpickled  # nosec B403
from pathlib import Path
from typing import Any

import torch

from model.errors import DataError

FILE = "checkpoint.pt"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file such that a kill at any moment leaves the old one or the new one."""
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)


def save_checkpoint(folder: Path, recipe_text: str, state: dict[str, Any]) -> None:
    """Write ``state`` and torch's random state; tensors, numbers, strings and containers of them only."""
    path = folder / FILE
    beside = path.with_name(path.name + ".part")
    full = {**state, "recipe": _digest(recipe_text), "torch_rng": torch.get_rng_state()}
    if torch.cuda.is_available():
        full["cuda_rng"] = torch.cuda.get_rng_state_all()
    with beside.open("wb") as out:
        torch.save(full, out)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)


def load_checkpoint(folder: Path, recipe_text: str) -> dict[str, Any]:
    """Read the checkpoint of a run and set torch's random state to it.

    Raises
    ------
    DataError
        It is damaged, or of another recipe.
    """
    path = folder / FILE
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"The checkpoint {path} cannot be read ({error}); start again without --resume."
        ) from error
    if state.pop("recipe", None) != _digest(recipe_text):
        raise DataError(
            f"The checkpoint {path} belongs to another recipe than the one given; "
            "resume with the recipe it was started with, or train into another folder."
        )
    torch.set_rng_state(state.pop("torch_rng"))
    cuda = state.pop("cuda_rng", None)
    if cuda is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(cuda)
    return state


def exists(folder: Path) -> bool:
    """Whether there is something to resume in a run's folder."""
    return (folder / FILE).is_file()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
