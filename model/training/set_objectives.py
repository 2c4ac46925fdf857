"""Objectives that use which signer each forgery imitates; the interface is that of :mod:`model.training.objectives`.

They require ``forgeries = "own-class"`` in the recipe: the genuine rows of identity i have the label 2i, its
forgeries 2i + 1. A forgery is never an anchor or a positive, because two forgeries need not resemble each other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


class SignatureSimilarity(nn.Module):
    """Multi-similarity loss on genuine anchors, with one term for skilled and one for random forgeries.

    After Wang et al., "Multi-similarity loss", CVPR 2019. For each genuine anchor the loss is the soft maximum of
    ``base`` minus the cosine similarity over the positives, plus the soft maximum of the cosine similarity minus
    ``base`` over the negatives. A batch contains many more random than skilled forgeries; in a common term the
    skilled forgeries would have almost no influence.
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
        diagonal = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        positive = same & genuine[None, :] & ~diagonal
        skilled = same & ~genuine[None, :]
        terms = (
            _soft_sum(-self.alpha * excess, positive) / self.alpha
            + _soft_sum(self.beta * excess, skilled) / self.beta
            + _soft_sum(self.beta * excess, ~same) / self.beta
        )
        return 2.0 * terms[genuine].mean()


class ReferenceSet(nn.Module):
    """Cross-entropy of the service's decision: a questioned signature against a set of references.

    Some genuine rows of each identity become references: one with probability ``single`` (and always with fewer than
    four genuine rows), otherwise a random number. The other genuine rows, the forgeries and the ``nearest`` genuine
    rows of other identities are questioned. The distance is the mean of the distances to the two nearest references.
    The thresholds are learned: a constant for one reference, and a linear function of the spread among the references
    for more.
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
        squared = square[:, None] + square[None, :] - 2.0 * embeddings @ embeddings.T
        distance = squared.clamp_min(1e-6).sqrt()
        identity, genuine = labels // 2, labels % 2 == 0
        losses = []
        for signer in torch.unique(identity[genuine]):
            signer_rows = torch.nonzero((identity == signer) & genuine).flatten()
            if len(signer_rows) < 2:
                continue
            forged = torch.nonzero((identity == signer) & ~genuine).flatten()
            others = torch.nonzero((identity != signer) & genuine).flatten()
            losses.append(self._signer_loss(distance, signer_rows, forged, others))
        return torch.stack(losses).mean() if losses else embeddings.sum() * 0.0

    def _signer_loss(
        self, distance: torch.Tensor, genuine: torch.Tensor, forged: torch.Tensor, others: torch.Tensor
    ) -> torch.Tensor:
        """Compute the loss of one identity from the distances ``(n, n)`` and the indices of its rows."""
        k = 1
        if len(genuine) > 3 and float(torch.rand(())) > self.single:
            k = int(torch.randint(1, len(genuine) - 1, ()))
        references, questioned = genuine[:k], genuine[k:]
        if k == 1:
            threshold = self.threshold[0]
        else:
            spread = distance[references][:, references].sum() / (k * (k - 1))
            threshold = self.threshold[1] + self.slope * (spread - 0.6)

        def excess(rows: torch.Tensor) -> torch.Tensor:
            nearest = distance[rows][:, references].topk(min(2, k), dim=1, largest=False).values
            return self.scale * (nearest.mean(dim=1) - threshold)

        loss = functional.softplus(excess(questioned)).mean()
        if len(forged):
            loss = loss + functional.softplus(-excess(forged)).mean()
        if len(others):
            hardest = torch.topk(-excess(others), min(self.nearest, len(others))).values
            loss = loss + 0.5 * functional.softplus(hardest).mean()
        return loss


def _soft_sum(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Compute ``log(1 + sum exp(values))`` over the chosen cells of each row: ``(n, n), (n, n) bool`` to ``(n,)``."""
    zero = values.new_zeros(len(values), 1)
    return torch.logsumexp(torch.cat([values.masked_fill(~chosen, -torch.inf), zero], dim=1), dim=1)


class MatchedSimilarity(nn.Module):
    """:class:`SignatureSimilarity` with the distances of a network that compares by local matching.

    The similarity of a pair is ``1 - D / 2``, with D its squared distance. Distances are computed for all pairs of
    one identity and, for each genuine row, for the ``hardest`` rows of other identities by the inner product.
    """

    distance: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """Squared distances between corresponding rows; the trainer sets it to that of the network."""

    def __init__(self, alpha: float = 8.0, beta: float = 40.0, base: float = 0.5, hardest: int = 4) -> None:
        super().__init__()
        self.alpha, self.beta, self.base, self.hardest = alpha, beta, base, hardest

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """``(n, dimension), (n,)`` to a scalar."""
        identity, genuine = labels // 2, labels % 2 == 0
        same = identity[:, None] == identity[None, :]
        with torch.no_grad():
            cells = embeddings[:, :-1]
            similarity = (cells @ cells.T).masked_fill(same, -torch.inf)
            hardest = similarity.topk(min(self.hardest, len(labels)), dim=1)
            hard = torch.zeros_like(same).scatter_(1, hardest.indices, hardest.values > -torch.inf)
            compared = (hard | same) & genuine[:, None]
            pairs = torch.nonzero((compared | compared.T).triu(1))
        # index_select, because the gradient of advanced indexing is slow on a GPU.
        first, second = pairs.T
        excess = (
            1.0
            - 0.5 * self.distance(embeddings.index_select(0, first), embeddings.index_select(0, second))
            - self.base
        )
        table = excess.new_full(same.shape, -torch.inf)
        table = table.index_put((first, second), excess).index_put((second, first), excess)
        computed = torch.zeros_like(same).index_put(
            (first, second), torch.tensor(data=True, device=same.device)
        )
        computed = computed | computed.T
        positive = same & genuine[None, :] & computed
        skilled = same & ~genuine[None, :] & computed
        random = ~same & computed
        table = torch.where(computed, table, 0.0)
        terms = (
            _soft_sum(-self.alpha * table, positive) / self.alpha
            + _soft_sum(self.beta * table, skilled) / self.beta
            + _soft_sum(self.beta * table, random) / self.beta
        )
        return 2.0 * terms[genuine].mean()
