"""Refinement after training: whitening of the variation within writers, and averaging over sizes."""

from __future__ import annotations

import torch

from model.networks import build
from model.networks.refined import Refined, whitening

OPTIONS = {"widths": [4, 6, 8, 10], "grid": [2, 4], "cell": 4}


def test_whitening_equalises_the_variance_within_writers() -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(200, 3, generator=generator).repeat_interleave(10, dim=0)
    spread = torch.tensor([3.0, 1.0, 0.2])
    rows = means + spread * torch.randn(2000, 3, generator=generator)
    identities = torch.arange(200).repeat_interleave(10)
    centre, matrix = whitening(rows, identities, shrinkage=1e-6)
    moved = ((rows - centre) @ matrix).reshape(200, 10, 3)
    within = (moved - moved.mean(dim=1, keepdim=True)).reshape(-1, 3).T.cov()
    assert torch.allclose(within / within[0, 0], torch.eye(3), atol=0.02)
    assert torch.allclose(centre, rows.mean(dim=0), atol=1e-4)


def test_more_shrinkage_whitens_less() -> None:
    rows = torch.randn(300, 2, generator=torch.Generator().manual_seed(1)) * torch.tensor([5.0, 0.5])
    identities = torch.arange(30).repeat_interleave(10)

    def condition_number(shrinkage: float) -> float:
        matrix = whitening(rows, identities, shrinkage)[1]
        return float(torch.linalg.cond(matrix))

    assert condition_number(0.01) > condition_number(1.0) > condition_number(100.0)
    assert condition_number(100.0) < 1.01


def test_embeddings_are_averaged_over_sizes_and_size_one_changes_nothing() -> None:
    torch.manual_seed(2)
    one = Refined("layout", OPTIONS, 32, sizes=(1.0,)).eval()
    ink = torch.rand(3, 1, 32, 64)
    with torch.inference_mode():
        assert torch.allclose(one.averaged(ink), one.base(ink), atol=1e-6)
        assert torch.allclose(one(ink), one.base(ink), atol=1e-6), "without fitted whitening, nothing changes"
        three = build("refined", base="layout", options=OPTIONS, dimension=32, sizes=(0.9, 1.0, 1.1)).eval()
        three.load_state_dict(one.state_dict())
        together = three(ink)
        assert torch.allclose(together.norm(dim=1), torch.ones(3), atol=1e-5)
        assert torch.allclose(three(ink[1:2])[0], together[1], atol=1e-5), (
            "the result does not depend on the batch"
        )
        assert not torch.allclose(together, one(ink), atol=1e-3)
