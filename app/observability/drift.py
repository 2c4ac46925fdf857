"""Whether the distances that are seen still look like those that the calibration was fitted on. Pure.

Each verification's score is turned into its rank among the calibration's genuine signatures with the same number of
references: the share of them that lie closer. Where nothing has changed and what comes in is genuine, ranks are
uniform in [0, 1], whatever the signer and the number of references. Two measures of how far the latest ranks are
from uniform:

- PSI, the population stability index over ten bins (Siddiqi 2006, Credit Risk Scorecards): below 0.1 nothing,
  above 0.25 a change that matters; forgeries among what comes in raise the last bin;
- KS, the largest difference of the two distribution functions (Kolmogorov-Smirnov), in [0, 1].
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from model.decision.calibration import Calibration
from model.decision.verdict import Verdict

BINS = 10
FEWEST = 100  # verifications; with fewer, both measures are mostly chance


def genuine_rank(calibration: Calibration, verdict: Verdict, references: int) -> float:
    """Share of the calibration's genuine signatures with a smaller score than this one, in (0, 1)."""
    fitted = calibration.at(references)
    return fitted.genuine.share(verdict.distance - fitted.rule.spread_weight * verdict.spread)


class RankWindow:
    """The ranks of the latest verifications of this process.

    Parameters
    ----------
    size : int
        How many are looked back on.
    """

    def __init__(self, size: int) -> None:
        self._ranks: deque[float] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._ranks)

    def add(self, rank: float) -> None:
        """Take in one rank in [0, 1]; the oldest goes when the window is full."""
        self._ranks.append(rank)

    def psi(self) -> float:
        """Population stability index against uniform; NaN while there are too few."""
        if len(self._ranks) < FEWEST:
            return math.nan
        counts, _ = np.histogram(self._ranks, bins=BINS, range=(0.0, 1.0))
        seen = (counts + 0.5) / (len(self._ranks) + 0.5 * BINS)  # an empty bin is not infinitely far
        return float(np.sum((seen - 1.0 / BINS) * np.log(seen * BINS)))

    def ks(self) -> float:
        """Largest difference to the uniform distribution function; NaN while there are too few."""
        count = len(self._ranks)
        if count < FEWEST:
            return math.nan
        ordered = np.sort(np.fromiter(self._ranks, np.float64, count))
        above = np.arange(1, count + 1) / count - ordered
        below = ordered - np.arange(count) / count
        return float(max(above.max(), below.max()))
