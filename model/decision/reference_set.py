"""What the distances among the references of one signer say about them: copies, variation, two variants, an outlier.

The thresholds were chosen on validation writers of real data sets; ``python -m benchmarks.reference_quality`` states
how often genuine references of test writers have each finding, and how often constructed faults are found. Distances
do not tell whether references were written in one sitting: SUSIG's writers differ hardly more between two sessions
than within one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from model.decision.calibration import Calibration
from model.decision.distances import Floats
from model.decision.set_rule import mean_among

Variation = Literal["unknown", "little", "usual", "much"]

LITTLE_VARIATION, MUCH_VARIATION = 0.8, 1.2
"""Limits of the usual mean distance among references, as multiples of the population mean."""
FEWEST_FOR_VARIATION = 3
"""References from which the variation is judged; the distance between only two says little."""
FEWEST_FOR_VARIANTS = 4
"""References from which two variants are looked for: two of each."""
VARIANTS_APART = 1.2
"""Least distance between two variants, as a multiple of the mean distance within them."""
OUTLIER_SHARE = 0.02
"""Share of sets of genuine references that have an outlier by the calibration; each reference gets an equal part."""


@dataclass(frozen=True)
class ReferenceSet:
    """A description of the k references of one signer, by their index.

    Attributes
    ----------
    distinct : (d,) int
        References that do not repeat an earlier one. All other findings are about these.
    copies : mapping of int to int
        Each other reference, with the one that it repeats.
    spread : float or None
        Mean distance among the distinct references; None with fewer than two.
    variation : {"unknown", "little", "usual", "much"}
        The spread against that of other signers.
    variants : tuple of tuples of int
        The two groups that the references form, or empty.
    outliers : tuple of int
        References that are unlike all others.
    """

    distinct: NDArray[np.intp]
    copies: Mapping[int, int]
    spread: float | None
    variation: Variation
    variants: tuple[tuple[int, ...], ...]
    outliers: tuple[int, ...]


def describe_references(among: Floats, calibration: Calibration) -> ReferenceSet:
    """Describe the references of a signer by the distances among them (k, k), k >= 0."""
    copies = find_copies(among, calibration.copy_distance)
    distinct = np.array([index for index in range(len(among)) if index not in copies], dtype=np.intp)
    table = among[np.ix_(distinct, distinct)]
    groups = _find_variants(table)
    # Of two variants, each is unlike the other: neither is an outlier.
    outliers = () if groups else _find_outliers(table, calibration)
    spread = mean_among(table) if len(distinct) > 1 else None
    return ReferenceSet(
        distinct,
        copies,
        spread,
        _variation(spread, len(distinct), calibration),
        tuple(tuple(int(distinct[index]) for index in group) for group in groups),
        tuple(int(distinct[index]) for index in outliers),
    )


def find_copies(among: Floats, copy_distance: float) -> dict[int, int]:
    """Return the references that repeat an earlier one, each with that one, by the distances among all (k, k).

    Two signatures are never closer than the calibration's ``copy_distance``. Such a pair is the same scan in another
    format or size.
    """
    distinct: list[int] = []
    copies: dict[int, int] = {}
    for index in range(len(among)):
        repeated = np.flatnonzero(among[index, distinct] < copy_distance)
        if len(repeated):
            copies[index] = distinct[int(repeated[0])]
        else:
            distinct.append(index)
    return copies


def _variation(spread: float | None, count: int, calibration: Calibration) -> Variation:
    if spread is None or count < FEWEST_FOR_VARIATION:
        return "unknown"
    if spread < LITTLE_VARIATION * calibration.spread_mean:
        return "little"
    return "much" if spread > MUCH_VARIATION * calibration.spread_mean else "usual"


def _find_variants(among: Floats) -> tuple[tuple[int, ...], ...]:
    """Split references into two groups of at least two that are clearly apart, by average linkage."""
    if len(among) < FEWEST_FOR_VARIANTS:
        return ()
    labels = fcluster(linkage(squareform(among, checks=False), "average"), 2, "maxclust")
    groups = [np.flatnonzero(labels == label) for label in (1, 2)]
    if min(len(group) for group in groups) < 2:
        return ()
    pairs = np.concatenate([_pairs(among[np.ix_(group, group)]) for group in groups])
    if among[np.ix_(*groups)].min() < VARIANTS_APART * pairs.mean():
        return ()
    ordered = sorted((tuple(map(int, group)) for group in groups), key=lambda group: (-len(group), group))
    return tuple(ordered)


def _pairs(among: Floats) -> Floats:
    """Return the distances of all pairs, each once."""
    return np.asarray(among[np.triu_indices(len(among), 1)], dtype=np.float64)


def _find_outliers(among: Floats, calibration: Calibration) -> tuple[int, ...]:
    """Return the references whose score against the others is one that hardly any genuine signature has."""
    count = len(among)
    if count < FEWEST_FOR_VARIATION:
        return ()
    fitted = calibration.at(count - 1)
    found = []
    for index in range(count):
        others = np.delete(np.arange(count), index)
        score = float(fitted.rule.score(among[index, others], among[np.ix_(others, others)]))
        # The calibration knows no smaller share than its floor.
        if fitted.genuine.share(score) >= 1.0 - max(OUTLIER_SHARE / count, fitted.genuine.floor):
            found.append(index)
    return tuple(found)
