"""Checkpoints of a training run, written atomically. Resuming from one continues the run exactly."""

from __future__ import annotations

import hashlib
import os
import pickle  # only for the name of its error; nothing is unpickled  # nosec B403
from pathlib import Path
from typing import Any

import torch

from model.errors import DataError

CHECKPOINT_FILE = "checkpoint.pt"
BEST_FILE = "best.safetensors"
"""The weights to release: the best so far on the validation writers, or the last (``keep`` in recipes)."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a kill at any moment leaves either the old file or the new one."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


def save_checkpoint(folder: Path, recipe_text: str, state: dict[str, Any]) -> None:
    """Write ``state`` and the state of torch's random generators.

    ``state`` may contain tensors, numbers, strings and containers of them only.
    """
    path = folder / CHECKPOINT_FILE
    temporary = path.with_name(path.name + ".part")
    full = {**state, "recipe": _digest(recipe_text), "torch_rng": torch.get_rng_state()}
    if torch.cuda.is_available():
        # That of the device in use: with several processes, those of the other devices are in the same state.
        full["cuda_rng"] = [torch.cuda.get_rng_state()]
    with temporary.open("wb") as out:
        torch.save(full, out)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)


def load_checkpoint(folder: Path, recipe_text: str) -> dict[str, Any]:
    """Read the checkpoint of a run and restore the state of torch's random generators.

    Raises
    ------
    DataError
        The checkpoint is damaged or belongs to another recipe.
    """
    path = folder / CHECKPOINT_FILE
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"The checkpoint {path} cannot be read ({error}); start again without --resume."
        ) from error
    if state.pop("recipe", None) != _digest(recipe_text):
        raise DataError(
            f"The checkpoint {path} was written with a different recipe; "
            "resume with that recipe, or train into another folder."
        )
    torch.set_rng_state(state.pop("torch_rng"))
    cuda_state = state.pop("cuda_rng", None)
    if cuda_state is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(cuda_state[0])
    return state


def has_checkpoint(folder: Path) -> bool:
    """Return whether the folder of a run contains a checkpoint."""
    return (folder / CHECKPOINT_FILE).is_file()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
