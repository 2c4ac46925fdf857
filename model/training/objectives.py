"""What training minimises: losses on a batch of embeddings with identities and forgeries.

Built on pytorch-metric-learning, whose losses are made of parts that can be swapped; what it lacks is written in
its shape. Every objective sees the whole batch, so a pair is any two rows of it.

How forgeries are labelled is an argument of each objective:

- ``negatives``: a forgery is an example of nothing, it only serves as a negative (of its victim above all);
- ``own-class``: the forgeries of one victim are a class of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import torch
from pytorch_metric_learning import distances, losses, reducers
from torch import nn
from torch.nn import functional

from model.errors import DataError
from model.training.set_objectives import MatchedSimilarity, ReferenceSet, SignatureSimilarity

Forgeries = Literal["negatives", "own-class"]
Similarity = Literal["euclidean", "cosine"]


class Objective(Protocol):
    """``embeddings (n, dimension) float32, labels (n,) int64`` to a scalar; may have parameters of its own."""

    def __call__(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss; rows of equal label are of one identity, a label may stand alone."""


def label_rows(identities: torch.Tensor, forged: torch.Tensor, forgeries: Forgeries) -> torch.Tensor:
    """Labels for a batch: ``identities (n,) int64, forged (n,) bool`` to ``(n,) int64``.

    Genuine rows of identity i are 2i. Forged rows of it are 2i + 1 as a class of their own, and as negatives a
    negative number that no other row has.
    """
    if forgeries == "own-class":
        return 2 * identities + forged.long()
    alone = -1 - torch.arange(len(identities), device=identities.device)
    return torch.where(forged, alone, 2 * identities)


class CosineDistance(distances.BaseDistance):  # type: ignore[misc]  # untyped library
    """``1 - cosine similarity``, in [0, 2]."""

    def __init__(self) -> None:
        super().__init__(normalize_embeddings=True, p=2, power=1, is_inverted=False)

    def compute_mat(self, query_emb: torch.Tensor, ref_emb: torch.Tensor) -> torch.Tensor:
        """``(n, d), (m, d)`` to ``(n, m)``."""
        return 1.0 - query_emb @ ref_emb.T

    def pairwise_distance(self, query_emb: torch.Tensor, ref_emb: torch.Tensor) -> torch.Tensor:
        """``(n, d), (n, d)`` to ``(n,)``."""
        return 1.0 - (query_emb * ref_emb).sum(dim=1)


def distance_of(similarity: Similarity) -> distances.BaseDistance:
    """The distance that goes with a similarity; embeddings are normalised for the cosine only."""
    if similarity == "cosine":
        return CosineDistance()
    return distances.LpDistance(normalize_embeddings=False, p=2, power=1)


class Contrastive(losses.ContrastiveLoss):  # type: ignore[misc]  # untyped library
    """Hadsell, Chopra and LeCun (CVPR 2006): ``d**2`` for a positive pair, ``max(0, margin - d)**2`` for a negative.

    Means over the positive and over the negative pairs are added, so that their numbers do not weigh.
    """

    def __init__(self, margin: float = 2.0, similarity: Similarity = "euclidean") -> None:
        super().__init__(
            pos_margin=0.0,
            neg_margin=margin,
            distance=distance_of(similarity),
            reducer=reducers.MeanReducer(),
        )

    def get_per_pair_loss(self, pair_dists: torch.Tensor, pos_or_neg: str) -> torch.Tensor:
        """Square the hinge of the library's linear form."""
        hinge: torch.Tensor = super().get_per_pair_loss(pair_dists, pos_or_neg)
        return hinge.square()


def triplet(margin: float = 0.2, similarity: Similarity = "euclidean") -> nn.Module:
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)`` over the batch's triplets that violate it."""
    loss: nn.Module = losses.TripletMarginLoss(margin=margin, distance=distance_of(similarity))
    return loss


class PairCrossEntropy(nn.Module):
    """Cross-entropy on whether the two of a pair are of one hand, from their distance d: ``p = sigmoid(b - a d)``.

    The scale a > 0 and the bias b are learned. The positive and the negative pairs weigh one half each. The L2 term
    that makes it "regularised" is the optimiser's, see ``l2`` in recipes.
    """

    def __init__(
        self, similarity: Similarity = "euclidean", scale: float = 2.0, threshold: float = 1.0
    ) -> None:
        super().__init__()
        self.distance = distance_of(similarity)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(scale * threshold))

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """``(n, d), (n,)`` to a scalar."""
        same, upper = _pairs(labels)
        logits = self.bias - self.log_scale.exp() * self.distance(embeddings)
        positive, negative = (
            functional.softplus(-logits[same & upper]),
            functional.softplus(logits[~same & upper]),
        )
        return 0.5 * _mean(positive) + 0.5 * _mean(negative)


class CoTuplet(nn.Module):
    """Co-tuplet loss: an anchor against several positives and several negatives at once.

    After Huang and Lu, "Multiscale feature learning using co-tuplet loss for offline handwritten signature
    verification" (arXiv:2308.00428): for every genuine anchor a the hard positives (further than the nearest negative
    less the margin) and hard negatives (nearer than the furthest positive plus the margin) enter
    ``log(1 + sum_p exp(s d(a, p)) * sum_n exp(-s d(a, n)) * exp(s margin))``, d the distance of normalised
    embeddings and s the scale. Here the negatives of an anchor are all rows with another label, forgeries included.
    """

    def __init__(self, margin: float = 0.3, scale: float = 8.0, similarity: Similarity = "cosine") -> None:
        super().__init__()
        self.distance = distance_of(similarity)
        self.margin = margin
        self.scale = scale

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """``(n, d), (n,)`` to a scalar; anchors without a positive or a negative do not count."""
        d = self.distance(embeddings)
        same, _ = _pairs(labels)
        positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        negative = ~same
        furthest = d.masked_fill(~positive, -torch.inf).amax(dim=1, keepdim=True)
        nearest = d.masked_fill(~negative, torch.inf).amin(dim=1, keepdim=True)
        hard_positive = positive & (d > nearest - self.margin)
        hard_negative = negative & (d < furthest + self.margin)
        rows = hard_positive.any(dim=1) & hard_negative.any(dim=1)
        if not bool(rows.any()):
            return embeddings.sum() * 0.0
        pull = (self.scale * d[rows]).masked_fill(~hard_positive[rows], -torch.inf).logsumexp(dim=1)
        push = (-self.scale * d[rows]).masked_fill(~hard_negative[rows], -torch.inf).logsumexp(dim=1)
        anchors = int((positive.any(dim=1) & negative.any(dim=1)).sum())
        return functional.softplus(pull + push + self.scale * self.margin).sum() / (anchors * self.scale)


class ClassObjective(nn.Module):
    """Rows against learned class centres; labels below zero (forgeries as negatives) have no class."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """``(n, d), (n,)`` to a scalar."""
        classed = labels >= 0
        value: torch.Tensor = self.loss(embeddings[classed], labels[classed])
        return value


def multi_similarity(alpha: float = 2.0, beta: float = 50.0, base: float = 0.5) -> nn.Module:
    """Wang et al. (CVPR 2019), on cosine similarity."""
    loss: nn.Module = losses.MultiSimilarityLoss(alpha=alpha, beta=beta, base=base)
    return loss


def _normalised_softmax(dimension: int, classes: int, temperature: float = 0.05) -> nn.Module:
    """Zhai and Wu (BMVC 2019)."""
    loss = losses.NormalizedSoftmaxLoss(
        num_classes=classes, embedding_size=dimension, temperature=temperature
    )
    return ClassObjective(loss)


def _subcentre_arcface(
    dimension: int, classes: int, margin: float = 0.3, scale: float = 64.0, centres: int = 3
) -> nn.Module:
    """Deng et al. (ECCV 2020); the margin is in radians."""
    loss = losses.SubCenterArcFaceLoss(
        num_classes=classes,
        embedding_size=dimension,
        margin=math.degrees(margin),
        scale=scale,
        sub_centers=centres,
    )
    return ClassObjective(loss)


PAIR_OBJECTIVES: dict[str, Callable[..., nn.Module]] = {
    "contrastive": Contrastive,
    "triplet": triplet,
    "cross-entropy": PairCrossEntropy,
    "multi-similarity": multi_similarity,
    "co-tuplet": CoTuplet,
    "signature-similarity": SignatureSimilarity,
    "reference-set": ReferenceSet,
    "matched-similarity": MatchedSimilarity,
}
CLASS_OBJECTIVES: dict[str, Callable[..., nn.Module]] = {
    "normalised-softmax": _normalised_softmax,
    "sub-centre-arcface": _subcentre_arcface,
}


def build_objective(name: str, options: Mapping[str, Any], dimension: int, identities: int) -> nn.Module:
    """Build an objective by the name that recipes use.

    Parameters
    ----------
    name : str
        A key of :data:`PAIR_OBJECTIVES` or :data:`CLASS_OBJECTIVES`.
    options : mapping
        Its keyword arguments.
    dimension, identities : int
        Length of an embedding, number of identities; each has two classes, genuine and forged.

    Raises
    ------
    DataError
        No such objective, or no such option.
    """
    try:
        if name in CLASS_OBJECTIVES:
            return CLASS_OBJECTIVES[name](dimension, 2 * identities, **options)
        return PAIR_OBJECTIVES[name](**options)
    except KeyError:
        known = ", ".join(sorted({**PAIR_OBJECTIVES, **CLASS_OBJECTIVES}))
        raise DataError(f"There is no objective {name!r}; known are {known}.") from None
    except TypeError as error:
        raise DataError(f"The objective {name!r} cannot be built: {error}.") from error


def _pairs(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """``(n,)`` to two ``(n, n) bool``: equal labels, and the upper triangle (every pair once)."""
    same = labels[:, None] == labels[None, :]
    return same, torch.ones_like(same).triu(1)


def _mean(values: torch.Tensor) -> torch.Tensor:
    return values.mean() if len(values) else values.sum()
