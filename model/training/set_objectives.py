"""Objectives that know which rows are forgeries of whom, in the shape of :mod:`model.training.objectives`.

Both want ``forgeries = "own-class"`` in the recipe: the genuine rows of identity i are labelled 2i, the forgeries
of it 2i + 1. A forgery is never an anchor and never a positive: two forgeries need not resemble each other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


class SignatureSimilarity(nn.Module):
    """Multi-similarity on genuine anchors, with skilled and random forgeries weighed apart.

    After Wang et al., "Multi-similarity loss", CVPR 2019: for each genuine anchor the soft maximum of how far
    the positives fall below ``base`` in cosine similarity and how far the negatives rise above it. A batch holds many
    more random than skilled forgeries; a term for each keeps the skilled ones from being drowned.
    """

    def __init__(self, alpha: float = 8.0, beta: float = 40.0, base: float = 0.5) -> None:
        super().__init__()
        self.alpha, self.beta, self.base = alpha, beta, base

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """``(n, d), (n,)`` to a scalar."""
        unit = functional.normalize(embeddings, dim=1)
        excess = unit @ unit.T - self.base
        identity, genuine = labels // 2, labels % 2 == 0
        same = identity[:, None] == identity[None, :]
        alone = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = same & genuine[None, :] & ~alone
        skilled = same & ~genuine[None, :]
        terms = (
            _soft_sum(-self.alpha * excess, positive) / self.alpha
            + _soft_sum(self.beta * excess, skilled) / self.beta
            + _soft_sum(self.beta * excess, ~same) / self.beta
        )
        return 2.0 * terms[genuine].mean()


class ReferenceSet(nn.Module):
    """Cross-entropy of the decision that the service takes: a questioned signature against a set of references.

    Of each identity's genuine rows some become references (one in a third of the cases), the others are questioned,
    and so are the forgeries and the nearest of other people's. Distance: the mean of the two nearest references.
    Threshold: learned, one for a single reference; for more it follows the spread among the references.
    """

    def __init__(self, scale: float = 8.0, single: float = 0.35, nearest: int = 6) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.threshold = nn.Parameter(torch.tensor([0.9, 0.6]))
        self.slope = nn.Parameter(torch.tensor(0.7))
        self.single, self.nearest = single, nearest

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """``(n, d), (n,)`` to a scalar."""
        square = embeddings.square().sum(dim=1)
        table = square[:, None] + square[None, :] - 2.0 * embeddings @ embeddings.T
        distance = table.clamp_min(1e-6).sqrt()
        identity, genuine = labels // 2, labels % 2 == 0
        losses = []
        for person in torch.unique(identity[genuine]):
            own = torch.nonzero((identity == person) & genuine).flatten()
            if len(own) < 2:
                continue
            forged = torch.nonzero((identity == person) & ~genuine).flatten()
            others = torch.nonzero((identity != person) & genuine).flatten()
            losses.append(self._one(distance, own, forged, others))
        return torch.stack(losses).mean() if losses else embeddings.sum() * 0.0

    def _one(
        self, distance: torch.Tensor, own: torch.Tensor, forged: torch.Tensor, others: torch.Tensor
    ) -> torch.Tensor:
        k = 1
        if len(own) > 3 and float(torch.rand(())) > self.single:
            k = int(torch.randint(1, len(own) - 1, ()))
        references, questioned = own[:k], own[k:]
        if k == 1:
            threshold = self.threshold[0]
        else:
            spread = distance[references][:, references].sum() / (k * (k - 1))
            threshold = self.threshold[1] + self.slope * (spread - 0.6)
        near = min(2, k)

        def excess(rows: torch.Tensor) -> torch.Tensor:
            nearest = distance[rows][:, references].topk(near, dim=1, largest=False).values
            return self.scale * (nearest.mean(dim=1) - threshold)

        loss = functional.softplus(excess(questioned)).mean()
        if len(forged):
            loss = loss + functional.softplus(-excess(forged)).mean()
        if len(others):
            worst = torch.topk(-excess(others), min(self.nearest, len(others))).values
            loss = loss + 0.5 * functional.softplus(worst).mean()
        return loss


def _soft_sum(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """``log(1 + sum exp(values))`` over the chosen of each row: ``(n, n), (n, n) bool`` to ``(n,)``."""
    zero = values.new_zeros(len(values), 1)
    return torch.logsumexp(torch.cat([values.masked_fill(~chosen, -torch.inf), zero], dim=1), dim=1)


class MatchedSimilarity(nn.Module):
    """:class:`SignatureSimilarity` on the distances of a network that compares by local matching.

    A pair's similarity is ``1 - D / 2`` with D its squared distance. Distances are computed for all pairs of one
    identity and, of the others, for the ``hardest`` of each genuine row by the plain inner product.
    """

    distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """Squared distances of rows to rows; the trainer sets it to the network's own."""

    def __init__(self, alpha: float = 8.0, beta: float = 40.0, base: float = 0.5, hardest: int = 4) -> None:
        super().__init__()
        self.alpha, self.beta, self.base, self.hardest = alpha, beta, base, hardest

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """``(n, dimension), (n,)`` to a scalar."""
        identity, genuine = labels // 2, labels % 2 == 0
        same = identity[:, None] == identity[None, :]
        with torch.no_grad():
            cells = embeddings[:, :-1]
            likeness = (cells @ cells.T).masked_fill(same, -torch.inf)
            near = likeness.topk(min(self.hardest, len(labels)), dim=1)
            chosen = torch.zeros_like(same).scatter_(1, near.indices, near.values > -torch.inf)
            wanted = (chosen | same) & genuine[:, None]
            pairs = torch.nonzero((wanted | wanted.T).triu(1))
        first, second = pairs.T
        excess = 1.0 - 0.5 * self.distance(embeddings[first], embeddings[second]) - self.base
        table = excess.new_full(same.shape, -torch.inf)
        table = table.index_put((first, second), excess).index_put((second, first), excess)
        known = torch.zeros_like(same).index_put((first, second), torch.tensor(data=True, device=same.device))
        known = known | known.T
        positive = same & genuine[None, :] & known
        skilled = same & ~genuine[None, :] & known
        random = ~same & known
        table = torch.where(known, table, 0.0)
        terms = (
            _soft_sum(-self.alpha * table, positive) / self.alpha
            + _soft_sum(self.beta * table, skilled) / self.beta
            + _soft_sum(self.beta * table, random) / self.beta
        )
        return 2.0 * terms[genuine].mean()
