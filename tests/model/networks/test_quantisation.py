"""8-bit inference on CPUs: distances as in float32, and float32 where they are not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import model.networks.embedder as embedder_module
from model.networks.embedder import Embedder
from model.networks.quantisation import is_worth_quantising
from model.preprocessing.ink import prepare
from model.synthetic.writer import Writer

WEIGHTS = Path("weights/countersign-5-free")


@pytest.fixture(scope="module")
def exact() -> Embedder:
    return Embedder.load_uncalibrated(WEIGHTS, "cpu", "float32")


@pytest.fixture(scope="module")
def canvases(exact: Embedder) -> NDArray[np.uint8]:
    """Genuine signatures and forgeries of four synthetic writers."""
    writers = [Writer(number) for number in range(9_000, 9_004)]
    images = [
        image for w in writers for image in (w.genuine_image(0), w.genuine_image(1), w.forgery_image(0, 0))
    ]
    return np.stack([prepare(image, exact.canvas).canvas for image in images])


def test_distances_at_eight_bits_are_those_in_float32(exact: Embedder, canvases: NDArray[np.uint8]) -> None:
    if not is_worth_quantising():
        warnings.warn("NOT CHECKED: this CPU has no 8-bit dot products", stacklevel=1)
        pytest.skip("this CPU has no 8-bit dot products")
    quantised = Embedder.load_uncalibrated(WEIGHTS, "cpu")
    assert (quantised.precision, exact.precision) == ("int8", "float32")
    embeddings = quantised.embed(canvases)
    alone = np.concatenate([quantised.embed(canvases[n : n + 1]) for n in range(len(canvases))])
    assert np.array_equal(embeddings, alone), "an embedding does not depend on its batch"
    expected = exact.compare_among(exact.embed(canvases))
    found = quantised.compare_among(embeddings)
    assert np.abs(found - expected).max() < 0.01 * expected.mean()
    # References that were embedded in float32 remain comparable.
    mixed = quantised.compare(embeddings, exact.embed(canvases))
    assert np.abs(mixed - expected)[~np.eye(len(expected), dtype=bool)].max() < 0.01 * expected.mean()


def test_float32_is_used_where_eight_bits_change_distances(
    monkeypatch: pytest.MonkeyPatch, exact: Embedder, canvases: NDArray[np.uint8]
) -> None:
    class Rough(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.round(self.network(x) * 50.0) / 50.0

    monkeypatch.setattr(embedder_module, "is_worth_quantising", lambda: True)
    monkeypatch.setattr(embedder_module, "quantise", lambda network, _: Rough(network))
    embedder = Embedder.load_uncalibrated(WEIGHTS, "cpu")
    assert embedder.precision == "float32"
    assert np.array_equal(embedder.embed(canvases[:2]), exact.embed(canvases[:2]))
