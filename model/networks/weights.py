"""A released model is a folder: ``model.safetensors``, its card, ``recipe.toml``, ``calibration.json``.

The card names the network and carries the SHA-256 of the tensors; nothing is loaded that does not match it, and
nothing is ever unpickled. The calibration is written later, by ``python -m model calibrate``.
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
        Made when missing. Files of the same names are replaced, a calibration of other weights is removed.
    network : nn.Module
        Whose ``state_dict`` is kept, as float32 on the CPU.
    card_fields : mapping
        Fields of :class:`Card`; hashes, time, number of parameters and the ink code's version are filled in here.
    recipe_text : str
        The TOML recipe, byte for byte.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
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


def write_card(folder: Path, card: Card) -> None:
    """Write ``card.json`` and ``card.md``, for instance after errors have been measured."""
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / CARD_PAGE).write_text(card.markdown(), encoding="utf-8")


def load_card(folder: Path) -> Card:
    """Read the card of a model folder.

    Raises
    ------
    WeightsMissing
        There is no such folder, or no card in it.
    WeightsDamaged
        The card is not valid JSON, or lacks a field.
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
    """Build the card's network and load its tensors, in evaluation mode on the CPU.

    Raises
    ------
    WeightsMissing
        There is no tensor file.
    WeightsDamaged
        The tensor file's hash is not the card's.
    WeightsMismatched
        The card names an unknown network, other options, another ink code, or tensors of other shapes.
    """
    blob = _read(folder, TENSORS)
    digest = hashlib.sha256(blob).hexdigest()
    if digest != card.sha256:
        raise WeightsDamaged(
            f"{folder / TENSORS} is damaged or not the file its card was made for: its SHA-256 is {digest[:12]}…, "
            f"the card says {card.sha256[:12]}…; restore the weights folder."
        )
    if card.ink_version != CODE_VERSION:
        raise WeightsMismatched(
            f"The weights in {folder} were trained on version {card.ink_version} of the ink isolation, this is "
            f"version {CODE_VERSION}; use the release they came with, or train them again."
        )
    try:
        network = build(card.network, **card.network_options)
    except (UnknownNetwork, TypeError, ValueError) as error:
        raise WeightsMismatched(
            f"The card in {folder} names a network that cannot be built: {error}"
        ) from error
    try:
        tensors: dict[str, torch.Tensor] = load_tensors(blob)
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise WeightsMismatched(
            f"The tensors in {folder / TENSORS} are not those of the network {card.network!r} that the card names; "
            "restore the weights folder."
        ) from error
    return network.eval()


def _read(folder: Path, name: str) -> bytes:
    if not folder.is_dir():
        raise WeightsMissing(f"There is no weights folder {folder}; name the folder of a released model.")
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise WeightsMissing(
            f"The weights folder {folder} has no {name}; restore it, or name another folder."
        ) from None
    except OSError as error:
        raise WeightsMissing(f"{folder / name} cannot be read: {error.strerror}.") from error
