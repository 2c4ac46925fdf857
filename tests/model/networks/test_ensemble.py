"""The ensemble of local networks: matching its members together, its projection, and the command that makes one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import WeightsMismatched
from model.networks import build
from model.networks.embedder import Embedder
from model.networks.ensemble import LocalEnsemble, principal_projection
from model.networks.local import LocalNetwork
from model.networks.weights import save
from model.training.ensembling import build_ensemble

SMALL = {"widths": [4, 6, 8, 10], "canvas": [32, 64], "cell": 4, "scale": False}
WIDE = SMALL | {"widths": [6, 8, 10, 12]}


def trained(options: dict[str, object], seed: int) -> LocalNetwork:
    """Return a network with random weights and prices."""
    torch.manual_seed(seed)
    network = LocalNetwork(**options).eval()  # type: ignore[arg-type]
    torch.nn.init.normal_(network.matching.log_price, -3.0)
    return network


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 1, 32, 64, generator=torch.Generator().manual_seed(0)).pow(8)


def test_without_a_shift_the_squared_distance_is_the_mean_of_those_of_the_members() -> None:
    members = [trained(SMALL | {"reach": [0, 0]}, 1), trained(WIDE | {"reach": [0, 0]}, 2)]
    ensemble = LocalEnsemble([SMALL | {"reach": [0, 0]}, WIDE | {"reach": [0, 0]}], 8).eval()
    ensemble.join(members)
    x = images(3)
    with torch.inference_mode():
        rows = ensemble(x)
        assert rows.shape == (3, 4 * 8 * 8 + 1)
        expected = torch.stack([m.matching.table(m(x), m(x)) for m in members]).mean(dim=0)
        assert torch.allclose(ensemble.matching.table(rows, rows), expected, atol=1e-5)


def test_the_prices_of_shifts_are_the_means_of_those_of_the_members() -> None:
    members = [trained(SMALL, 1), trained(WIDE, 2)]
    ensemble = LocalEnsemble([SMALL, WIDE]).eval()
    ensemble.join(members)
    expected = (members[0].matching.prices() + members[1].matching.prices()) / 2
    assert torch.allclose(ensemble.matching.prices(), expected)


def test_the_projection_keeps_distances_where_the_descriptors_vary() -> None:
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q[:, :3]
    batches = [torch.randn(5, 7, 3, generator=generator) @ basis.T for _ in range(4)]
    projection = principal_projection(batches, 3)
    assert torch.allclose(projection.T @ projection, torch.eye(3), atol=1e-5)
    a, b = batches[0], batches[1]
    assert torch.allclose(((a - b) @ projection).square().sum(dim=2), (a - b).square().sum(dim=2), rtol=1e-4)
    with pytest.raises(ValueError, match="no descriptors"):
        principal_projection([], 3)


@pytest.mark.parametrize("members", [[], [SMALL | {"scale": True}], [SMALL, WIDE | {"canvas": [64, 64]}]])
def test_members_that_cannot_be_matched_together_are_refused(members: list[dict[str, object]]) -> None:
    with pytest.raises(ValueError, match="ensemble"):
        LocalEnsemble(members)


def test_weights_are_combined_and_served(tmp_path: Path, specimens: Path) -> None:
    folders = [write(tmp_path / name, name, options) for name, options in (("a", SMALL), ("b", WIDE))]
    card = build_ensemble(folders, "joined", tmp_path / "joined", 4, [str(specimens)])
    assert (card.name, card.network, card.metric, card.dimension) == ("joined", "ensemble", "local", 129)
    embedder = Embedder.load_uncalibrated(tmp_path / "joined", "cpu")
    canvases = (images(3)[:, 0].numpy() * 255).astype(np.uint8)
    rows = embedder.embed(canvases)
    table = embedder.compare(rows, rows)
    assert np.allclose(table, table.T)
    assert np.allclose(embedder.compare_one(rows[0], rows[1:]), table[0, 1:], rtol=1e-3)
    assert embedder.search_vectors(rows).shape[0] == embedder.candidate_vectors(rows).shape[0] == 3
    assert 'version = "a@' in (tmp_path / "joined" / "recipe.toml").read_text()


def test_networks_of_other_kinds_are_refused(tmp_path: Path, specimens: Path) -> None:
    folder = write(tmp_path / "a", "a", SMALL)
    other = tmp_path / "layout"
    options = {"widths": [4, 6, 8, 10], "grid": [4, 8], "cell": 4}
    fields = {
        "name": "layout",
        "network": "layout",
        "network_options": options,
        "canvas": {"height": 32, "width": 64},
        "dimension": 128,
        "metric": "euclidean",
        "terms": "permissive",
    }
    save(other, build("layout", **options), fields, 'name = "layout"\n')
    with pytest.raises(WeightsMismatched, match="local networks"):
        build_ensemble([folder, other], "joined", tmp_path / "joined", 4, [str(specimens)])


def write(folder: Path, name: str, options: dict[str, object]) -> Path:
    """Write a weights folder of a network with random weights."""
    fields = {
        "name": name,
        "network": "local",
        "network_options": options,
        "canvas": {"height": 32, "width": 64},
        "dimension": 129,
        "metric": "local",
        "terms": "permissive",
    }
    save(folder, trained(options, len(name)), fields, f'name = "{name}"\n')
    return folder
