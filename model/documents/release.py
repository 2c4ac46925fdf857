"""Writes the weights of the networks that find signatures: for training, for OpenCV, with a card and the recipe."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from model.networks.candidate import CandidateNetwork
from model.networks.page import STRIDE, PageNetwork
from model.preprocessing.recognition import CHANNELS, HEIGHT, WIDTH

PERMISSIVE = frozenset({"synthetic", "names", "cross-media-chinese", "self-30"})
"""Sources of signatures whose terms are permissive."""


def are_permissive(datasets: Iterable[str]) -> bool:
    """Whether a network that is trained on these sources of signatures has permissive terms.

    MNIST's digits (CC BY-SA 3.0) are not used for such a network.
    """
    return PERMISSIVE.issuperset(datasets)


def release_page_network(
    network: PageNetwork, name: str, recipe: str, datasets: Sequence[str], folder: Path
) -> None:
    """Write a weights folder; an existing one is overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_tensors(network), folder / "model.safetensors")
    export_onnx(network, folder / "model.onnx")
    terms = "permissive" if are_permissive(datasets) else "research"
    card = {
        "name": name,
        "task": "segmentation of handwritten signatures on pages",
        "terms": terms,
        "data": [_pages(terms), *datasets],
        **_figures(network, folder / "model.onnx"),
    }
    _write_card(card, folder / "page.json")
    (folder / "recipe.toml").write_text(recipe, encoding="utf-8")


def export_onnx(network: PageNetwork, path: Path) -> None:
    """Export the network with sigmoid, for inputs of any size that is a multiple of :data:`STRIDE`."""
    served = torch.nn.Sequential(copy.deepcopy(network).cpu().eval(), torch.nn.Sigmoid())
    example = torch.zeros(1, 1, 4 * STRIDE, 4 * STRIDE)
    sides = {2: "height", 3: "width"}
    _export(served, example, path, "darkness", "signature", {"darkness": sides, "signature": sides})


def release_candidate_network(network: CandidateNetwork, folder: Path) -> None:
    """Write the weights beside those of the segmentation network, and describe them in its card."""
    save_file(_tensors(network), folder / "candidates.safetensors")
    example = torch.zeros(1, CHANNELS, HEIGHT, WIDTH)
    _export(network.eval(), example, folder / "candidates.onnx", "images", "log-odds")
    card_file = folder / "page.json"
    card = json.loads(card_file.read_text(encoding="utf-8")) if card_file.is_file() else {}
    card["candidates"] = {
        "task": "recognition of signatures among the candidates on a page",
        "data": _pages(card.get("terms")),
        **_figures(network, folder / "candidates.onnx"),
    }
    _write_card(card, card_file)


def _pages(terms: object) -> str:
    """Describe the composed pages that a network with these terms is trained on."""
    digits = "" if terms == "permissive" else ", with digits of MNIST where they are installed"
    return f"pages composed by model.documents{digits}"


def _export(
    network: torch.nn.Module,
    example: torch.Tensor,
    path: Path,
    inputs: str,
    outputs: str,
    dynamic_axes: dict[str, dict[int, str]] | None = None,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is deprecated
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=[inputs],
            output_names=[outputs],
            dynamic_axes=dynamic_axes,
            opset_version=13,
            dynamo=False,
        )


def _tensors(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}


def _figures(network: torch.nn.Module, exported: Path) -> dict[str, int | str]:
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "sha256": hashlib.sha256(exported.read_bytes()).hexdigest(),
    }


def _write_card(card: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
