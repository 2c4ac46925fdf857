"""Drift: whether the distances of verified signatures still follow the distribution of the calibration. No I/O.

The score of each verification is converted to its rank among the genuine signatures of the calibration with the same
number of references: the share of them with a smaller score. Without drift, the ranks of genuine signatures are
uniform in [0, 1] for all signers and numbers of references. Two statistics measure the deviation of the latest ranks
from the uniform distribution:

- PSI, the population stability index over ten bins (Siddiqi 2006, Credit Risk Scorecards): below 0.1 means no change,
  above 0.25 a significant one. Forgeries raise the last bin.
- KS, the Kolmogorov-Smirnov statistic: the largest difference of the two distribution functions, in [0, 1].
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from model.decision.calibration import Calibration
from model.decision.verdict import Verdict

BINS = 10
DRIFT_WINDOW = 1000
"""Number of latest verifications whose ranks are compared with the uniform distribution."""
MIN_RANKS = 100
"""Minimum number of verifications: with fewer, both statistics are mostly noise."""


def genuine_rank(calibration: Calibration, verdict: Verdict, references: int) -> float:
    """Return the share of the calibration's genuine signatures with a smaller score than this one, in (0, 1)."""
    return rank_of(calibration, verdict.distance, verdict.spread, references)


def rank_of(calibration: Calibration, distance: float, spread: float, references: int) -> float:
    """Return the rank of a distance to references whose mean distance among each other is `spread`, in (0, 1)."""
    fitted = calibration.at(references)
    return fitted.genuine.share(distance - fitted.rule.spread_weight * spread)


class RankWindow:
    """The ranks of the latest verifications of this process.

    Parameters
    ----------
    size : int
        Maximum number of ranks; adding another one drops the oldest.
    """

    def __init__(self, size: int) -> None:
        self._ranks: deque[float] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._ranks)

    def add(self, rank: float) -> None:
        """Add a rank in [0, 1]."""
        self._ranks.append(rank)

    def psi(self) -> float:
        """Return the PSI relative to the uniform distribution; NaN below `MIN_RANKS` ranks."""
        if len(self._ranks) < MIN_RANKS:
            return math.nan
        counts, _ = np.histogram(self._ranks, bins=BINS, range=(0.0, 1.0))
        shares = (counts + 0.5) / (
            len(self._ranks) + 0.5 * BINS
        )  # + 0.5: an empty bin must not give infinity
        return float(np.sum((shares - 1.0 / BINS) * np.log(shares * BINS)))

    def ks(self) -> float:
        """Return the largest difference to the uniform distribution function; NaN below `MIN_RANKS` ranks."""
        count = len(self._ranks)
        if count < MIN_RANKS:
            return math.nan
        ordered = np.sort(np.fromiter(self._ranks, np.float64, count))
        above = np.arange(1, count + 1) / count - ordered
        below = ordered - np.arange(count) / count
        return float(max(above.max(), below.max()))
