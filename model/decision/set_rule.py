"""From the distances to k references to one score for each questioned signature. Pure numpy.

A questioned signature has a distance to each of a signer's k references; the references have distances among
themselves. :class:`SetRule` turns both into

- ``distance``, a weighted mean of order statistics of the k distances (weights >= 0, sum 1),
- ``spread``, how far apart this signer's own genuine signatures are,
- ``score = distance - spread_weight * spread``, comparable between signers.

No weight is negative: a larger distance never lowers the score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.decision.distances import Floats

STATISTICS = ("minimum", "nearest_two", "mean", "median")
"""What is taken of the distances to k references, in the order of :attr:`SetRule.weights`."""


@dataclass(frozen=True)
class SetRule:
    """How distances to k references become one number.

    Attributes
    ----------
    weights : tuple of four floats
        Weights of :data:`STATISTICS`, each >= 0, sum 1.
    spread_weight : float
        How much of the signer's spread is subtracted, >= 0.
    spread_mean : float
        Mean distance between two genuine signatures of one person in the population.
    spread_prior : float
        The population mean counts as much as this many references beyond the first, >= 0.
    """

    weights: tuple[float, float, float, float]
    spread_weight: float
    spread_mean: float
    spread_prior: float

    def distance(self, to_references: Floats) -> Floats:
        """Distances to the references (..., k) to one distance for each questioned signature (...)."""
        return np.asarray(statistics(to_references) @ np.asarray(self.weights), dtype=np.float64)

    def spread(self, among_references: Floats) -> float:
        """The signer's spread from the distances among the references (k, k), shrunk to the population's mean.

        One reference says nothing of it: the population's mean stands in. With k references the mean distance among
        them counts (k - 1) times, the population's mean ``spread_prior`` times.
        """
        own = len(among_references) - 1
        if own < 1:
            return self.spread_mean
        observed = mean_among(among_references)
        return (own * observed + self.spread_prior * self.spread_mean) / (own + self.spread_prior)

    def score(self, to_references: Floats, among_references: Floats) -> Floats:
        """Distances (..., k) and (k, k) to scores (...): the smaller, the more like this signer."""
        return self.distance(to_references) - self.spread_weight * self.spread(among_references)


def statistics(to_references: Floats) -> Floats:
    """Distances to k references (..., k) to their order :data:`STATISTICS` (..., 4)."""
    ordered = np.sort(np.asarray(to_references, dtype=np.float64), axis=-1)
    return np.stack(
        [ordered[..., 0], ordered[..., :2].mean(axis=-1), ordered.mean(axis=-1), np.median(ordered, axis=-1)],
        axis=-1,
    )


def mean_among(among_references: Floats) -> float:
    """Mean of the off-diagonal distances (k, k), k >= 2."""
    count = len(among_references)
    return float(np.sum(among_references) - np.trace(among_references)) / (count * (count - 1))
