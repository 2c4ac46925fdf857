"""Assignment of the questioned signatures of a document to signatories, each to another one.

Every signature is compared with every signatory. The assignment maximizes the total evidence
(`scipy.optimize.linear_sum_assignment`), so that it does not depend on the order of the signatures, and nobody counts
twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Decision = Literal["accept", "review", "reject"]
LLR_UNIT = 0.001
"""Resolution of log-likelihood ratios in an assignment; verdicts have three decimals."""


@dataclass(frozen=True)
class Evidence:
    """What the comparison of one questioned signature with one signatory says; the ratio is log10."""

    decision: Decision
    log_likelihood_ratio: float


def assign(evidence: Sequence[Sequence[Evidence]]) -> tuple[int | None, ...]:
    """Assign each signature to another signatory.

    The assignment has as many accepted signatures as possible, then as many in review as possible, and among these
    the best total evidence, the sum of the log-likelihood ratios. Rejected signatures have no influence on the
    others; they are assigned to the signatories who are left.

    Parameters
    ----------
    evidence : sequence of sequences
        Evidence of each signature (rows) for each signatory (columns).

    Returns
    -------
    tuple of (int or None)
        Index of the signatory of each signature; None when there are no more signatories.
    """
    rows = sorted(range(len(evidence)), key=lambda row: [_rank(item) for item in evidence[row]])
    gains = _gains([evidence[row] for row in rows])
    assigned: dict[int, int] = {}
    for row, column in zip(*linear_sum_assignment(gains, maximize=True), strict=True):
        if gains[row, column] > 0:
            assigned[rows[row]] = int(column)
    left = [row for row in rows if row not in assigned]
    free = sorted(set(range(gains.shape[1])) - set(assigned.values()))
    ratios = np.array([[_units(evidence[row][column]) for column in free] for row in left], dtype=np.float64)
    for row, column in zip(
        *linear_sum_assignment(ratios.reshape(len(left), len(free)), maximize=True), strict=True
    ):
        assigned[left[row]] = free[column]
    return tuple(assigned.get(row) for row in range(len(evidence)))


def _gains(evidence: Sequence[Sequence[Evidence]]) -> NDArray[np.float64]:
    """Compute what each pair contributes to an assignment, as integers; 0: the pair is rejected.

    Pairs of equal evidence differ by the column. Two assignments that are equally good have therefore the same
    signatories, and an additional row takes none of them out: the difference of the two optima is one alternating
    path, which begins at the new row.
    """
    count, width = len(evidence), len(evidence[0]) if evidence else 0
    admitted = [_units(item) for row in evidence for item in row if item.decision != "reject"]
    lowest, highest = min(admitted, default=0), max(admitted, default=0)
    unit = width + 1
    span = count * (highest - lowest + 1) * unit + 1  # more than all evidence together
    bonus = {"review": span, "accept": (count + 1) * span}  # more than all evidence and all reviews together
    gains = np.zeros((count, width))
    for row, items in enumerate(evidence):
        for column, item in enumerate(items):
            if item.decision != "reject":
                ratio = (_units(item) - lowest) * unit
                gains[row, column] = bonus[item.decision] + ratio + width - column
    return gains


def _units(evidence: Evidence) -> int:
    return round(evidence.log_likelihood_ratio / LLR_UNIT)


def _rank(evidence: Evidence) -> tuple[str, int]:
    return evidence.decision, _units(evidence)
