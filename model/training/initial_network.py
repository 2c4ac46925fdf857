"""The network that a run starts from: built as the recipe says, with random or existing weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from model.errors import DataError
from model.networks import UnknownNetwork, build
from model.networks.card import Card
from model.networks.refined import Refined
from model.networks.weights import load_card, load_network
from model.preprocessing.ink import Canvas
from model.training.recipes import Recipe


def build_network(recipe: Recipe) -> nn.Module:
    """Build the recipe's network with random weights. Raises DataError."""
    try:
        return build(recipe.network.name, **recipe.network.options)
    except (UnknownNetwork, TypeError, ValueError) as error:
        raise DataError(f"The network of the recipe cannot be built: {error}.") from error


def load_start_weights(network: nn.Module, recipe: Recipe) -> Card | None:
    """Load the weights that the recipe starts from (``training.start``) into its network.

    Returns
    -------
    Card or None
        The card of these weights; None when the recipe starts from random weights.

    Raises
    ------
    DataError
        The weights belong to another network or canvas than the recipe's.
    """
    if not recipe.training.start:
        return None
    folder = Path(recipe.training.start)
    card = load_card(folder)
    loaded: nn.Module = load_network(folder, card)
    name, options = card.network, card.network_options
    if isinstance(loaded, Refined):  # refinement follows training: continue with the network inside it
        name, options, loaded = options["base"], options["options"], loaded.base
    if (recipe.network.name, recipe.network.options, recipe.canvas) != (name, options, card.canvas):
        raise DataError(
            f"Training cannot start from {folder}: its network or canvas differs from the recipe's."
        )
    network.load_state_dict(loaded.state_dict())
    return card


def embedding_dimension(network: nn.Module, canvas: Canvas) -> int:
    """Return the length of the network's embeddings. Raises DataError if it does not accept the canvas."""
    network.eval()
    with torch.inference_mode():
        try:
            embedding: torch.Tensor = network(torch.zeros(1, 1, canvas.height, canvas.width))
        except RuntimeError as error:
            raise DataError(
                f"The network does not accept a canvas of {canvas.height} x {canvas.width}: {error}."
            ) from error
    return int(embedding.shape[1])
