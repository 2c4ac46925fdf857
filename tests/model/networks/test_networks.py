"""The networks and objectives: shapes of the article's network, losses compared with hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch

from model.errors import DataError
from model.networks import NETWORKS, UnknownNetwork, build
from model.networks.folding import fold_norms
from model.training.objectives import build_objective, label_rows
from tests.fixtures import LAYOUT as TINY


def test_the_article_s_network_layer_by_layer() -> None:
    network = build("article").eval()
    sizes: list[tuple[str, tuple[int, ...]]] = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | torch.nn.MaxPool2d):
            name = type(module).__name__
            module.register_forward_hook(
                lambda _, __, out, name=name: sizes.append((name, tuple(out.shape[1:])))
            )
    assert network(torch.rand(2, 1, 105, 105)).shape == (2, 2)
    assert [shape[0] for name, shape in sizes if name == "Conv2d"] == [96, 256, 384, 256]
    assert sizes[-4] == ("MaxPool2d", (256, 11, 11))
    assert 256 * 11 * 11 == 30_976
    assert [shape for name, shape in sizes if name == "Linear"] == [(1024,), (128,), (2,)]
    kernels = [m.kernel_size[0] for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels == [11, 5, 3, 3]


def test_the_layout_network_returns_embeddings_of_unit_length() -> None:
    network = build("layout", **TINY).eval()
    embedding = network(torch.rand(3, 1, 64, 128))
    assert embedding.shape == (3, 128)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(3), atol=1e-5)


def test_signet_has_its_published_size() -> None:
    assert build("signet").eval()(torch.rand(1, 1, 150, 220)).shape == (1, 2048)


LOCAL = {"widths": (8, 8, 16, 16), "canvas": (32, 64), "cell": 4}
FOLDED = {
    "ensemble": ({"members": [LOCAL | {"scale": False}] * 2, "cell": 8}, (32, 64)),
    "local": (LOCAL, (32, 64)),
    "article": ({}, (105, 105)),
    "layout": (TINY, (32, 64)),
    "refined": ({"base": "layout", "options": TINY, "dimension": 128, "sizes": (0.9, 1.0)}, (32, 64)),
    "signet": ({"dimension": 64}, (150, 220)),
}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_folding_normalisations_does_not_change_the_embeddings(name: str) -> None:
    torch.manual_seed(3)
    options, size = FOLDED[name]
    network = build(name, **options).eval()
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                tensor.data = torch.rand_like(tensor) + 0.5
    ink = torch.rand(3, 1, *size)
    with torch.inference_mode():
        before = network(ink)
        fold_norms(network)
        assert torch.allclose(network(ink), before, atol=1e-5 * float(before.abs().max()))
    assert not [norm for norm in network.modules() if isinstance(norm, torch.nn.BatchNorm2d)]


def test_an_unknown_network_or_objective_is_refused() -> None:
    with pytest.raises(UnknownNetwork, match="layout"):
        build("resnet-9000")
    with pytest.raises(DataError, match="contrastive"):
        build_objective("nonsense", {}, 2, 2)
    with pytest.raises(DataError, match="margins"):
        build_objective("contrastive", {"margins": 2}, 2, 2)


POINTS = torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.0, 1.5], [5.0, 0.0]])
LABELS = torch.tensor([0, 0, 1, 2])


def test_contrastive_with_margin_two() -> None:
    # Positive: d = 1, 1**2. Negatives (d = 1.5, 5, 0.9220, 4.4721, 5.2202): hinges 0.5 and 1.0780 squared, else 0.
    loss = build_objective("contrastive", {"margin": 2.0}, 2, 3)(POINTS, LABELS)
    near = 2 - math.dist((0.6, 0.8), (0.0, 1.5))
    assert float(loss) == pytest.approx(1.0 + (0.5**2 + near**2) / 5, abs=1e-4)


def test_triplet_over_violating_triplets() -> None:
    # Anchors 0 and 1, positive at 1; negatives at 1.5 and 0.922: with margin 0.7 both violate, those at 5 do not.
    loss = build_objective("triplet", {"margin": 0.7}, 2, 3)(POINTS, LABELS)
    near = math.dist((0.6, 0.8), (0.0, 1.5))
    assert float(loss) == pytest.approx(((1 - 1.5 + 0.7) + (1 - near + 0.7)) / 2, abs=1e-4)


def test_cross_entropy_of_pairs() -> None:
    points, labels = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1])
    loss = build_objective("cross-entropy", {"scale": 2.0, "threshold": 1.0}, 1, 2)(points, labels)

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    # logit = 2 - 2 d: the positive pair has d = 1, the negatives 3 and 2.
    expected = 0.5 * softplus(0.0) + 0.5 * (softplus(-4.0) + softplus(-2.0)) / 2
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["signature-similarity", "reference-set"])
def test_forgeries_of_one_signer_need_not_be_similar_to_each_other(name: str) -> None:
    torch.manual_seed(0)
    objective = build_objective(name, {}, 2, 2)
    identities, forged = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 1, 0, 0]) > 0
    labels = label_rows(identities, forged, "own-class")

    def loss(forgeries: tuple[float, float]) -> float:
        angles = torch.tensor([0.0, 0.1, *forgeries, 3.1, 3.2])
        torch.manual_seed(1)
        return float(objective(torch.stack([angles.cos(), angles.sin()], dim=1), labels).detach())

    # The loss does not depend on whether both forgeries are on the same side of the signer.
    assert loss((-0.75, -0.75)) == pytest.approx(loss((-0.75, 0.85)), rel=0.35)
    assert loss((-2.5, -2.5)) < loss((-0.2, -0.2)), "a forgery close to the signer costs more"


def test_a_forgery_used_only_as_a_negative_has_its_own_label() -> None:
    labels = label_rows(torch.tensor([4, 4, 4]), torch.tensor([False, True, True]), "negatives")
    assert labels[0] == 8
    assert len(set(labels.tolist())) == 3
