"""Folders of released models: ``model.safetensors``, model card, ``recipe.toml`` and ``calibration.json``.

The card contains the name of the network and the SHA-256 of the tensor file. Files that do not match are refused.
Pickle is not used, so loading a file cannot execute code. ``python -m model calibrate`` adds the calibration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import nn

from model.errors import WeightsDamaged, WeightsMismatched, WeightsMissing
from model.networks import UnknownNetwork, build
from model.networks.card import Card
from model.preprocessing.ink import CODE_VERSION

TENSORS = "model.safetensors"
CARD = "card.json"
CARD_PAGE = "card.md"
RECIPE = "recipe.toml"

__all__ = [
    "CARD",
    "CARD_PAGE",
    "RECIPE",
    "TENSORS",
    "Card",
    "load_card",
    "load_network",
    "save",
    "write_card",
]


def save(folder: Path, network: nn.Module, card_fields: Mapping[str, Any], recipe_text: str) -> Card:
    """Write a model folder and return its card.

    Parameters
    ----------
    folder : Path
        Created if missing. Existing files are replaced, and the calibration is removed, because it belongs to other
        weights.
    network : nn.Module
        Its ``state_dict`` is saved; kernels and matrices in half precision, which halves the file and changes
        distances of the released networks by less than a ten-thousandth of the mean distance.
    card_fields : mapping
        Fields of :class:`Card`. Hashes, time, number of parameters and the version of the ink isolation are added.
    recipe_text : str
        The TOML recipe, saved unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: _stored(tensor) for name, tensor in network.state_dict().items()}
    blob = dump_tensors(tensors, metadata={"format": "pt"})
    fields = {
        "created": datetime.now(UTC).replace(microsecond=0),
        "ink_version": CODE_VERSION,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        **card_fields,
        "recipe_sha256": hashlib.sha256(recipe_text.encode()).hexdigest(),
        "sha256": hashlib.sha256(blob).hexdigest(),
    }
    card = Card.model_validate(fields)
    (folder / "calibration.json").unlink(missing_ok=True)
    (folder / TENSORS).write_bytes(blob)
    (folder / RECIPE).write_text(recipe_text, encoding="utf-8")
    write_card(folder, card)
    return card


def _stored(tensor: torch.Tensor) -> torch.Tensor:
    kernel = tensor.is_floating_point() and tensor.ndim > 1
    return tensor.detach().to("cpu", torch.float16 if kernel else tensor.dtype).contiguous()


def write_card(folder: Path, card: Card) -> None:
    """Write ``card.json`` and ``card.md``."""
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / CARD_PAGE).write_text(card.markdown(), encoding="utf-8")


def load_card(folder: Path) -> Card:
    """Read the card of a model folder.

    Raises
    ------
    WeightsMissing
        The folder or the card does not exist.
    WeightsDamaged
        The card is not valid JSON or does not match :class:`Card`.
    """
    text = _read(folder, CARD)
    try:
        return Card.model_validate(json.loads(text))
    except (ValueError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsDamaged(
            f"The model card {folder / CARD} cannot be read ({reason}); restore the weights folder."
        ) from error


def load_network(folder: Path, card: Card) -> nn.Module:
    """Build the network of a card and load its tensors, on the CPU and in evaluation mode.

    Raises
    ------
    WeightsMissing
        The tensor file does not exist.
    WeightsDamaged
        The hash of the tensor file differs from the card.
    WeightsMismatched
        The network, its options or the version of the ink isolation is unknown, or the shapes of the tensors do not
        match.
    """
    blob = _read(folder, TENSORS)
    digest = hashlib.sha256(blob).hexdigest()
    if digest != card.sha256:
        raise WeightsDamaged(
            f"{folder / TENSORS} is damaged or does not belong to its card: its SHA-256 is {digest[:12]}…, the "
            f"card states {card.sha256[:12]}…; restore the weights folder."
        )
    if card.ink_version != CODE_VERSION:
        raise WeightsMismatched(
            f"The weights in {folder} were trained with version {card.ink_version} of the ink isolation; this "
            f"release has version {CODE_VERSION}. Use the release of the weights, or train them again."
        )
    try:
        network = build(card.network, **card.network_options)
    except (UnknownNetwork, TypeError, ValueError) as error:
        raise WeightsMismatched(f"The network of the card in {folder} cannot be built: {error}") from error
    try:
        tensors: dict[str, torch.Tensor] = load_tensors(blob)
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise WeightsMismatched(
            f"The tensors in {folder / TENSORS} do not match the network {card.network!r} of the card; restore the "
            "weights folder."
        ) from error
    return network.eval()


def _read(folder: Path, name: str) -> bytes:
    if not folder.is_dir():
        raise WeightsMissing(
            f"The weights folder {folder} does not exist; give the folder of a released model."
        )
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise WeightsMissing(
            f"The weights folder {folder} has no {name}; restore it, or give another folder."
        ) from None
    except OSError as error:
        raise WeightsMissing(f"{folder / name} cannot be read: {error.strerror}.") from error
