"""Training objectives: losses on a batch of embeddings with identities and forgeries.

Most are losses of pytorch-metric-learning; the others follow its interface. Every objective receives the whole batch,
so any two rows form a pair.

Recipes choose for each objective how forgeries are labelled:

- ``negatives``: each forgery has a label of its own, so it is a negative for every other row;
- ``own-class``: the forgeries of one signer form a class of their own.
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
    """Map ``embeddings (n, dimension) float32, labels (n,) int64`` to a scalar; may have parameters to learn."""

    def __call__(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the loss. Rows with equal labels belong to one class; a class may have a single row."""


def label_rows(identities: torch.Tensor, forged: torch.Tensor, forgeries: Forgeries) -> torch.Tensor:
    """Label the rows of a batch: ``identities (n,) int64, forged (n,) bool`` to ``(n,) int64``.

    A genuine row of identity i gets the label 2i. A forged row of it gets 2i + 1 with ``own-class``, and a negative
    number that is unique in the batch with ``negatives``.
    """
    if forgeries == "own-class":
        return 2 * identities + forged.long()
    unique = -1 - torch.arange(len(identities), device=identities.device)
    return torch.where(forged, unique, 2 * identities)


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


def distance_for(similarity: Similarity) -> distances.BaseDistance:
    """Return the distance for a similarity; embeddings are normalised for the cosine only."""
    if similarity == "cosine":
        return CosineDistance()
    return distances.LpDistance(normalize_embeddings=False, p=2, power=1)


class Contrastive(losses.ContrastiveLoss):  # type: ignore[misc]  # untyped library
    """Hadsell, Chopra and LeCun (CVPR 2006): ``d**2`` for a positive pair, ``max(0, margin - d)**2`` for a negative.

    The loss is the mean over the positive pairs plus the mean over the negative pairs, so the numbers of pairs do not
    influence their weights.
    """

    def __init__(self, margin: float = 2.0, similarity: Similarity = "euclidean") -> None:
        super().__init__(
            pos_margin=0.0,
            neg_margin=margin,
            distance=distance_for(similarity),
            reducer=reducers.MeanReducer(),
        )

    def get_per_pair_loss(self, pair_dists: torch.Tensor, pos_or_neg: str) -> torch.Tensor:
        """Square the library's hinge, which is linear."""
        hinge: torch.Tensor = super().get_per_pair_loss(pair_dists, pos_or_neg)
        return hinge.square()


def triplet(margin: float = 0.2, similarity: Similarity = "euclidean") -> nn.Module:
    """Triplet loss: the mean of ``d(anchor, positive) - d(anchor, negative) + margin`` where this is positive."""
    loss: nn.Module = losses.TripletMarginLoss(margin=margin, distance=distance_for(similarity))
    return loss


class PairCrossEntropy(nn.Module):
    """Cross-entropy of "both rows are of one class", from their distance d: ``p = sigmoid(b - a d)``.

    The scale a > 0 and the bias b are learned. Positive and negative pairs have a total weight of one half each. The
    L2 term of the "regularised" cross-entropy is added by the trainer, see ``l2`` in recipes.
    """

    def __init__(
        self, similarity: Similarity = "euclidean", scale: float = 2.0, threshold: float = 1.0
    ) -> None:
        super().__init__()
        self.distance = distance_for(similarity)
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
    """Co-tuplet loss: compare each anchor with several positives and several negatives together.

    After Huang and Lu, "Multiscale feature learning using co-tuplet loss for offline handwritten signature
    verification" (arXiv:2308.00428). The loss of an anchor a is
    ``log(1 + sum_p exp(s d(a, p)) * sum_n exp(-s d(a, n)) * exp(s margin))``. Here d is the distance between
    normalised embeddings and s the scale; p runs over the hard positives (further than the nearest negative minus the
    margin), n over the hard negatives (nearer than the furthest positive plus the margin). The negatives of an anchor
    are all rows with another label, forgeries included.
    """

    def __init__(self, margin: float = 0.3, scale: float = 8.0, similarity: Similarity = "cosine") -> None:
        super().__init__()
        self.distance = distance_for(similarity)
        self.margin = margin
        self.scale = scale

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """``(n, d), (n,)`` to a scalar; anchors without a positive or a negative are skipped."""
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
    """A loss of rows against learned class centres; rows with negative labels (forgeries) are skipped."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """``(n, d), (n,)`` to a scalar."""
        has_class = labels >= 0
        value: torch.Tensor = self.loss(embeddings[has_class], labels[has_class])
        return value


def multi_similarity(alpha: float = 2.0, beta: float = 50.0, base: float = 0.5) -> nn.Module:
    """Multi-similarity loss of Wang et al. (CVPR 2019), on the cosine similarity."""
    loss: nn.Module = losses.MultiSimilarityLoss(alpha=alpha, beta=beta, base=base)
    return loss


def _normalised_softmax(dimension: int, classes: int, temperature: float = 0.05) -> nn.Module:
    """Normalised softmax loss of Zhai and Wu (BMVC 2019)."""
    loss = losses.NormalizedSoftmaxLoss(
        num_classes=classes, embedding_size=dimension, temperature=temperature
    )
    return ClassObjective(loss)


def _subcentre_arcface(
    dimension: int, classes: int, margin: float = 0.3, scale: float = 64.0, centres: int = 3
) -> nn.Module:
    """Sub-centre ArcFace loss of Deng et al. (ECCV 2020); the margin is in radians."""
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
    """Build an objective from the name and the options in a recipe.

    Parameters
    ----------
    name : str
        A key of :data:`PAIR_OBJECTIVES` or :data:`CLASS_OBJECTIVES`.
    options : mapping
        The keyword arguments of the objective.
    dimension : int
        Length of an embedding.
    identities : int
        Number of identities; each has two classes, genuine and forged.

    Raises
    ------
    DataError
        The objective or one of its options does not exist.
    """
    try:
        if name in CLASS_OBJECTIVES:
            return CLASS_OBJECTIVES[name](dimension, 2 * identities, **options)
        return PAIR_OBJECTIVES[name](**options)
    except KeyError:
        available = ", ".join(sorted({**PAIR_OBJECTIVES, **CLASS_OBJECTIVES}))
        raise DataError(f"Unknown objective {name!r}; available: {available}.") from None
    except TypeError as error:
        raise DataError(f"The objective {name!r} cannot be built: {error}.") from error


def _pairs(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Map labels ``(n,)`` to two ``(n, n) bool``: equal labels, and the upper triangle (every pair once)."""
    same = labels[:, None] == labels[None, :]
    return same, torch.ones_like(same).triu(1)


def _mean(values: torch.Tensor) -> torch.Tensor:
    return values.mean() if len(values) else values.sum()
