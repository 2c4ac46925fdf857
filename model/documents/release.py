"""Writes the weights of the segmentation network: safetensors for training, ONNX for OpenCV, a card, the recipe."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from model.networks.page import STRIDE, PageNetwork

PERMISSIVE = frozenset({"synthetic", "names", "cross-media-chinese", "self-30"})
"""Sources of signatures whose terms are permissive."""


def release_page_network(
    network: PageNetwork, name: str, recipe: str, datasets: Sequence[str], folder: Path
) -> None:
    """Write a weights folder; an existing one is overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    export_onnx(network, folder / "model.onnx")
    card = {
        "name": name,
        "task": "segmentation of handwritten signatures on pages",
        "terms": "permissive" if PERMISSIVE.issuperset(datasets) else "research",
        "data": ["pages composed by model.documents", *datasets],
        "parameters": sum(p.numel() for p in network.parameters()),
        "sha256": hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
    }
    (folder / "page.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")


def export_onnx(network: PageNetwork, path: Path) -> None:
    """Export the network with sigmoid, for inputs of any size that is a multiple of :data:`STRIDE`."""
    served = torch.nn.Sequential(copy.deepcopy(network).cpu().eval(), torch.nn.Sigmoid())
    example = torch.zeros(1, 1, 4 * STRIDE, 4 * STRIDE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is deprecated
        torch.onnx.export(
            served,
            (example,),
            str(path),
            input_names=["darkness"],
            output_names=["signature"],
            dynamic_axes={"darkness": {2: "height", 3: "width"}, "signature": {2: "height", 3: "width"}},
            opset_version=13,
            dynamo=False,
        )
