"""Local matching: the distance compared with a loop over cells, its invariances, and training with it."""

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


def reference_distance(matching: LocalMatching, a: torch.Tensor, b: torch.Tensor) -> float:
    """Compute the formula of the module docstring cell by cell."""
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
                    shifted = y[r + dy, c + dx] if inside else torch.zeros(matching.cell)
                    costs.append(float((x[r, c] - shifted).square().sum() + price))
                total += min(costs)
    return 0.5 * total * float(torch.exp(a[-1] + b[-1]))


def test_the_distance_agrees_with_the_formula() -> None:
    torch.manual_seed(0)
    matching = LocalMatching((3, 4), 5).eval()
    rows = torch.randn(6, 61)
    rows[:, -1] *= 0.1
    with torch.inference_mode():
        found = matching.squared(rows[:3], rows[3:])
        assert found.tolist() == pytest.approx(
            [reference_distance(matching, a, b) for a, b in zip(rows[:3], rows[3:], strict=True)], rel=1e-5
        )
        assert torch.allclose(found, matching.squared(rows[3:], rows[:3]), rtol=1e-5)
        assert matching.squared(rows, rows).abs().max() < 1e-5
        table = matching.table(rows, rows[:4])
        pairs = [(i, j) for i in range(6) for j in range(4)]
        one, other = (rows[list(part)] for part in zip(*pairs, strict=True))
        assert torch.allclose(table.flatten(), matching.squared(one, other), rtol=1e-4, atol=1e-4)


def test_ink_that_is_shifted_by_one_cell_costs_the_price_only() -> None:
    matching = LocalMatching((3, 4), 2)
    a, b = torch.zeros(3, 4, 2), torch.zeros(3, 4, 2)
    a[1, 1], b[1, 2] = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0])
    scale = torch.zeros(1)
    with torch.inference_mode():
        off = matching.squared(torch.cat([a.flatten(), scale])[None], torch.cat([b.flatten(), scale])[None])
    # The blank cell opposite the ink matches another blank one, so only prices are added.
    assert 0.0 < float(off) < 3.0 * float(matching.prices().detach().max())


def test_a_signature_s_scale_multiplies_its_squared_distances() -> None:
    torch.manual_seed(0)
    rows = TINY.eval()(torch.rand(2, 1, 32, 64)).detach()
    assert rows.shape == (2, 4 * 8 * 4 + 1)
    assert rows[:, :-1].norm(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert rows[:, -1].tolist() == [0.0, 0.0]  # before training, all signatures have the same scale
    wide = rows.clone()
    wide[:, -1] = 0.5
    plain_square, scaled = (TINY.matching.squared(r[:1], r[1:]).detach() for r in (rows, wide))
    assert float(scaled) == pytest.approx(float(plain_square) * np.e, rel=1e-5)


def test_the_objective_is_lower_for_close_genuine_signatures_and_distant_forgeries() -> None:
    objective = MatchedSimilarity(hardest=2)
    objective.distance = LocalMatching((1, 1), 2, (0, 0)).squared
    labels = torch.tensor(
        [0, 0, 1, 2, 2]
    )  # two genuine signatures of one writer, a forgery of it, two of another writer

    def loss(angles: list[float]) -> float:
        angle = torch.tensor(angles)
        return float(objective(torch.stack([angle.cos(), angle.sin(), torch.zeros(5)], dim=1), labels))

    apart = loss([0.0, 0.0, 1.5, 3.0, 3.0])
    assert apart < loss([0.0, 0.0, 0.2, 3.0, 3.0])  # the forgery is too close
    assert apart < loss([0.0, 1.0, 1.5, 3.0, 3.0])  # the genuine signatures are too far apart
    assert apart < loss([0.0, 0.0, 1.5, 0.2, 0.2])  # another writer is too close


def test_sides_must_be_multiples_of_sixteen() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        LocalNetwork(canvas=(100, 224))


def test_the_embedder_computes_the_same_distances_as_training(tmp_path: Path) -> None:
    card = train(parse_recipe(RECIPE), RECIPE, tmp_path)
    weights = tmp_path / "weights"
    embedder = Embedder.load_uncalibrated(weights)
    assert (card.metric, embedder.dimension) == ("local", 129)
    probes_seen = np.random.default_rng(0).integers(0, 255, (3, 32, 64), dtype=np.uint8)
    probes = embedder.embed(probes_seen)
    table = embedder.compare(probes, probes)
    assert table.shape == (3, 3)
    assert np.allclose(np.diag(table), 0.0, atol=1e-3)
    assert np.allclose(table, table.T, atol=1e-3)
    among = embedder.compare_among(probes)
    assert np.allclose(among, table, atol=1e-3)
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


@pytest.mark.parametrize("reach", [(1, 1), (2, 1), (0, 0)])
def test_one_to_many_gives_the_distances_of_the_table(reach: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matching = LocalMatching((4, 6), 3, reach)
    with torch.no_grad():
        matching.log_price.uniform_(-4.0, 0.0)
    embeddings = torch.randn(9, 4 * 6 * 3 + 1) * 0.3
    with torch.inference_mode():
        expected = matching.table(embeddings[:1], embeddings[1:])[0]
        assert torch.allclose(matching.one_to_many(embeddings[0], embeddings[1:]), expected, rtol=1e-5)
        halves = embeddings[1:].half()  # as the store returns them
        expected = matching.table(embeddings[:1], halves.float())[0]
        assert torch.allclose(matching.one_to_many(embeddings[0], halves), expected, rtol=1e-5)
