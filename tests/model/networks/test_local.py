"""Local matching: the distance against a plain loop, its invariances, and a network that learns through it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import DataError
from model.networks.embedder import Embedder
from model.networks.local import LocalNetwork
from model.networks.matching import LocalMatching
from model.networks.weights import load_card, load_network
from model.training.recipes import parse_recipe
from model.training.set_objectives import MatchedSimilarity
from model.training.train import train

TINY = LocalNetwork((8, 8, 16, 16), (32, 64), 4)
RECIPE = """
name = "tiny-local"
metric = "local"
canvas = { height = 32, width = 64 }
network = { name = "local", options = { widths = [8, 8, 16, 16], canvas = [32, 64], cell = 4 } }
datasets = [{ name = "synthetic", options = { writers = 4, genuine = 3, forgeries = 2, forgers = 1 } }]
objectives = [{ name = "matched-similarity", forgeries = "own-class" }]
sampler = { identities = 2, genuine = 2, forgeries = 1 }
training = { epochs = 1, steps_per_epoch = 2 }
"""


def plain(matching: LocalMatching, a: torch.Tensor, b: torch.Tensor) -> float:
    """The formula of the module's docstring, cell by cell."""
    rows, columns = matching.grid
    prices = matching.prices()
    total = 0.0
    for one, other in ((a, b), (b, a)):
        x, y = (v[:-1].reshape(rows, columns, -1) for v in (one, other))
        for r in range(rows):
            for c in range(columns):
                costs = []
                for (dy, dx), price in zip(matching.shifts, prices, strict=True):
                    inside = 0 <= r + dy < rows and 0 <= c + dx < columns
                    there = y[r + dy, c + dx] if inside else torch.zeros(matching.cell)
                    costs.append(float((x[r, c] - there).square().sum() + price))
                total += min(costs)
    return 0.5 * total * float(torch.exp(a[-1] + b[-1]))


def test_the_distance_is_the_formula_s() -> None:
    torch.manual_seed(0)
    matching = LocalMatching((3, 4), 5).eval()
    rows = torch.randn(6, 61)
    rows[:, -1] *= 0.1
    with torch.inference_mode():
        found = matching.squared(rows[:3], rows[3:])
        assert found.tolist() == pytest.approx(
            [plain(matching, a, b) for a, b in zip(rows[:3], rows[3:], strict=True)], rel=1e-5
        )
        assert torch.allclose(found, matching.squared(rows[3:], rows[:3]), rtol=1e-5)
        assert matching.squared(rows, rows).abs().max() < 1e-5
        table = matching.table(rows, rows[:4])
        pairs = [(i, j) for i in range(6) for j in range(4)]
        one, other = (rows[list(part)] for part in zip(*pairs, strict=True))
        assert torch.allclose(table.flatten(), matching.squared(one, other), rtol=1e-4, atol=1e-4)


def test_writing_that_lies_one_cell_off_costs_the_price_alone() -> None:
    matching = LocalMatching((3, 4), 2)
    a, b = torch.zeros(3, 4, 2), torch.zeros(3, 4, 2)
    a[1, 1], b[1, 2] = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])
    scale = torch.zeros(1)
    with torch.inference_mode():
        off = matching.squared(torch.cat([a.flatten(), scale])[None], torch.cat([b.flatten(), scale])[None])
    # The blank cell that faces the writing finds another blank one: nothing but prices is paid.
    assert 0.0 < float(off) < 3.0 * float(matching.prices().detach().max())


def test_a_signature_s_scale_multiplies_its_squared_distances() -> None:
    torch.manual_seed(0)
    rows = TINY.eval()(torch.rand(2, 1, 32, 64)).detach()
    assert rows.shape == (2, 4 * 8 * 4 + 1)
    assert rows[:, :-1].norm(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert rows[:, -1].tolist() == [0.0, 0.0]  # untrained: every signature alike
    wide = rows.clone()
    wide[:, -1] = 0.5
    plain_square, scaled = (TINY.matching.squared(r[:1], r[1:]).detach() for r in (rows, wide))
    assert float(scaled) == pytest.approx(float(plain_square) * np.e, rel=1e-5)


def test_the_objective_prefers_genuine_signatures_near_and_forgeries_far() -> None:
    objective = MatchedSimilarity(hardest=2)
    objective.distance = LocalMatching((1, 1), 2, (0, 0)).squared
    labels = torch.tensor([0, 0, 1, 2, 2])  # two genuine of one person, a forgery of them, two of another

    def loss(angles: list[float]) -> float:
        angle = torch.tensor(angles)
        return float(objective(torch.stack([angle.cos(), angle.sin(), torch.zeros(5)], dim=1), labels))

    apart = loss([0.0, 0.0, 1.5, 3.0, 3.0])
    assert apart < loss([0.0, 0.0, 0.2, 3.0, 3.0])  # the forgery too near
    assert apart < loss([0.0, 1.0, 1.5, 3.0, 3.0])  # the genuine too far
    assert apart < loss([0.0, 0.0, 1.5, 0.2, 0.2])  # another person too near


def test_sides_that_are_no_multiples_of_sixteen_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        LocalNetwork(canvas=(100, 224))


def test_what_was_trained_is_compared_as_in_training(tmp_path: Path) -> None:
    card = train(parse_recipe(RECIPE), RECIPE, tmp_path)
    weights = tmp_path / "weights"
    embedder = Embedder.load_uncalibrated(weights)
    assert (card.metric, embedder.dimension) == ("local", 129)
    probes_seen = np.random.default_rng(0).integers(0, 255, (3, 32, 64), dtype=np.uint8)
    probes = embedder.embed(probes_seen)
    table = embedder.compare(probes, probes)
    assert table.shape == (3, 3)
    assert np.allclose(np.diag(table), 0.0, atol=1e-3)
    assert np.allclose(table, table.T, atol=1e-4)
    among = embedder.compare_among(probes)
    assert np.allclose(among, table, atol=1e-4)
    assert np.array_equal(among, among.T)
    assert not np.diag(among).any()
    assert among[0, 1] > 0.0
    network = load_network(weights, load_card(weights)).eval()
    with torch.inference_mode():
        rows = network(torch.from_numpy(probes_seen).unsqueeze(1).float() / 255.0)
        squares = network.matching.squared(rows[[0]], rows[[1]])
    assert among[0, 1] == pytest.approx(float(squares.sqrt()), rel=1e-3)
    with pytest.raises(ValueError, match="129 dimensions"):
        embedder.compare(probes[:, :64], probes)


def test_the_objective_needs_the_network(tmp_path: Path) -> None:
    text = RECIPE.replace(
        '"local", options = { widths = [8, 8, 16, 16], canvas = [32, 64], cell = 4 }', '"layout"'
    )
    text = text.replace('metric = "local"', 'metric = "euclidean"')
    with pytest.raises(DataError, match="needs the network local"):
        train(parse_recipe(text), text, tmp_path)
