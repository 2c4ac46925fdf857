"""Set rules combine the distances to k references into one score. In NumPy.

From the distances between a questioned signature and the k references, and the distances among the references,
:class:`SetRule` computes

- ``distance``, a weighted mean of statistics of the k distances (weights >= 0, sum 1),
- ``spread``, an estimate of the distance between two genuine signatures of this signer,
- ``score = distance - spread_weight * spread``, which is comparable between signers.

Because no weight is negative, a larger distance never decreases the score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.decision.distances import Floats

STATISTICS = ("minimum", "nearest_two", "mean", "median")
"""Statistics of the distances to k references, in the order of :attr:`SetRule.weights`."""


@dataclass(frozen=True)
class SetRule:
    """Fitted rule that combines the distances to k references.

    Attributes
    ----------
    weights : tuple of four floats
        Weights of :data:`STATISTICS`, each >= 0, sum 1.
    spread_weight : float
        Weight of the signer's spread, >= 0.
    spread_mean : float
        Mean distance between two genuine signatures of one writer in the population.
    spread_prior : float
        Weight of the population mean, in references beyond the first, >= 0.
    """

    weights: tuple[float, float, float, float]
    spread_weight: float
    spread_mean: float
    spread_prior: float

    def distance(self, to_references: Floats) -> Floats:
        """Combine distances to the references (..., k) into one distance per questioned signature (...)."""
        return np.asarray(statistics(to_references) @ np.asarray(self.weights), dtype=np.float64)

    def spread(self, among_references: Floats) -> float:
        """Estimate the signer's spread from the distances among the references (k, k).

        The mean distance among the references, with weight k - 1, is averaged with the population mean, with weight
        ``spread_prior``. For a single reference, the result is the population mean.
        """
        own = len(among_references) - 1
        if own < 1:
            return self.spread_mean
        observed = mean_among(among_references)
        return (own * observed + self.spread_prior * self.spread_mean) / (own + self.spread_prior)

    def score(self, to_references: Floats, among_references: Floats) -> Floats:
        """Compute scores (...) from distances (..., k) and (k, k); smaller scores are more similar to the signer."""
        return self.distance(to_references) - self.spread_weight * self.spread(among_references)


def statistics(to_references: Floats) -> Floats:
    """Compute the :data:`STATISTICS` (..., 4) of distances to k references (..., k)."""
    ordered = np.sort(np.asarray(to_references, dtype=np.float64), axis=-1)
    return np.stack(
        [ordered[..., 0], ordered[..., :2].mean(axis=-1), ordered.mean(axis=-1), np.median(ordered, axis=-1)],
        axis=-1,
    )


def mean_among(among_references: Floats) -> float:
    """Compute the mean of the off-diagonal distances (k, k), k >= 2."""
    count = len(among_references)
    return float(np.sum(among_references) - np.trace(among_references)) / (count * (count - 1))
