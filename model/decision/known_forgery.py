"""When a questioned signature resembles a known forgery of its signer.

A forger writes one signature like the other, so that two forgeries by one hand are closer to each other than either
is to the genuine signatures. A questioned signature resembles a known forgery when it is closer to it than to the
references, by a twentieth of the distance to them, and as close as two signatures of one hand are. The second
condition is for signatures that resemble neither. ``python -m benchmarks.known_forgeries`` measures the rule.
"""

from __future__ import annotations

from model.decision.calibration import Calibration

NEARER = 0.95
"""Largest distance to a known forgery, as a share of the distance to the set of references."""
STRANGERS = 0.005
"""Share of the pairs of signatures of different signers that are as close as two of one hand may be."""


def find_forgery_limit(distance: float, calibration: Calibration) -> float:
    """Return the largest distance to a known forgery at which a questioned signature resembles it.

    Parameters
    ----------
    distance : float
        Distance of the questioned signature to the set of references.
    calibration : Calibration
    """
    single = calibration.at(1)
    of_one_hand = single.random.score(STRANGERS) + single.rule.spread_weight * calibration.spread_mean
    return min(NEARER * distance, of_one_hand)
