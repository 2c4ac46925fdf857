"""Difference maps: zero for the same signature, bright where a signature was changed, on a scale of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.decision.differences import (
    LEVELS,
    colours,
    count_beyond,
    leave_one_out,
    mean_differences,
    relative_differences,
    upsample,
)
from model.decision.distances import Floats
from model.networks.embedder import Embedder
from model.synthetic.writer import Writer

HEIGHT, WIDTH = 64, 128


@pytest.fixture(scope="module")
def embedder(model_folder: Path) -> Embedder:
    return Embedder.load(model_folder, "cpu")


@pytest.fixture(scope="module")
def canvases(embedder: Embedder) -> np.ndarray:
    writer = Writer(3)
    return np.stack([embedder.prepare(writer.genuine_image(n)).canvas for n in range(4)])


def compute_map(embedder: Embedder, one: np.ndarray, other: np.ndarray) -> Floats:
    a, b = embedder.embed(np.stack([one, other]))
    return relative_differences(embedder.contributions(a, b[None]), 1.0)[0]


def test_the_same_signature_differs_nowhere(embedder: Embedder, canvases: np.ndarray) -> None:
    found = compute_map(embedder, canvases[0], canvases[0])
    assert found.shape == (8, 16)
    assert found.max() == 0.0
    assert (colours(upsample(found, HEIGHT, WIDTH)) == 255).all()


def test_the_cells_add_up_to_the_distance(embedder: Embedder, canvases: np.ndarray) -> None:
    embedded = embedder.embed(canvases)
    parts = embedder.contributions(embedded[0], embedded[1:])
    assert parts.shape == (3, 2, 8, 16)
    assert parts.min() >= 0.0
    distances = embedder.compare(embedded[:1], embedded[1:])[0]
    assert parts.sum(axis=(1, 2, 3)) == pytest.approx(distances**2, rel=1e-4, abs=1e-6)


def test_both_directions_count(embedder: Embedder, canvases: np.ndarray) -> None:
    a, b = embedder.embed(canvases[:2])
    forth, back = embedder.contributions(a, b[None])[0], embedder.contributions(b, a[None])[0]
    assert forth[0] == pytest.approx(back[1], abs=1e-7)
    assert forth[1] == pytest.approx(back[0], abs=1e-7)


@pytest.mark.parametrize("change", ["a stroke more", "a stroke less"])
def test_a_local_change_is_marked_where_it_is(embedder: Embedder, canvases: np.ndarray, change: str) -> None:
    plain, stroked = canvases[0].copy(), canvases[0].copy()
    stroked[8:24, 96:120] = 255
    one, other = (stroked, plain) if change == "a stroke more" else (plain, stroked)
    found = compute_map(embedder, one, other)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert (row, column) in {(r, c) for r in range(4) for c in range(11, 16)}
    near = np.zeros(found.shape, dtype=bool)
    near[:5, 10:] = True
    assert found[near].mean() > 3.0 * found[~near].mean()


def test_the_mean_of_a_map_is_the_squared_distance_in_units_of_the_spread() -> None:
    rng = np.random.default_rng(0)
    parts = rng.random((5, 2, 3, 4))
    found = relative_differences(parts, 0.5)
    assert found.mean(axis=(1, 2)) == pytest.approx(parts.sum(axis=(1, 2, 3)) / 0.25)
    assert mean_differences(found) == pytest.approx(found.mean(axis=0))


def test_a_spread_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        relative_differences(np.zeros((2, 3, 4)), 0.0)


def test_each_reference_is_compared_with_the_others_only() -> None:
    maps = np.full((3, 3, 2, 2), 2.0)
    maps[np.arange(3), np.arange(3)] = 0.0
    maps[0, 1] = 8.0
    found = leave_one_out(maps)
    assert found[0].tolist() == [[5.0, 5.0], [5.0, 5.0]]
    assert found[1].tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert count_beyond(found, 4.0).tolist() == [4, 0, 0]


def test_a_map_is_spread_without_new_extremes() -> None:
    cells = np.zeros((4, 8))
    cells[1, 5] = 9.0
    spread = upsample(cells, 32, 64)
    assert spread.shape == (32, 64)
    assert 0.0 <= spread.min() <= spread.max() <= 9.0
    y, x = np.unravel_index(spread.argmax(), spread.shape)
    assert (y // 8, x // 8) == (1, 5)
    assert upsample(np.full((4, 8), 3.0), 32, 64) == pytest.approx(3.0)


def test_colours_depend_on_the_multiple_only_and_get_darker() -> None:
    scale = np.array([0.0, 1.0, *LEVELS, 1000.0])
    found = colours(scale)
    assert found[:2].tolist() == [[255, 255, 255]] * 2
    lightness = found.astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness[1:5]) < -20).all()
    assert found[-1].tolist() == found[-2].tolist(), "beyond the scale, the colour stays"
    assert colours(scale[::-1]).tolist() == found[::-1].tolist()


def test_a_network_that_compares_signatures_as_a_whole_has_no_map(
    other_model_folder: Path, canvases: np.ndarray
) -> None:
    other = Embedder.load(other_model_folder, "cpu")
    embedded = other.embed(canvases)
    assert not other.locates_differences
    with pytest.raises(ValueError, match="as a whole"):
        other.contributions(embedded[0], embedded[1:])
