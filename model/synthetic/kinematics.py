"""The sigma-lognormal model of rapid hand movements.

A movement is a vector sum of strokes. The speed of each stroke is a lognormal pulse, the impulse response of the
neuromuscular system, and its direction changes along a circular arc. Fluent writers start a stroke before the
previous one has ended, which rounds the corners.

R. Plamondon, "A kinematic theory of rapid human movements", Biological Cybernetics 72 (1995); C. O'Reilly and
R. Plamondon, "Development of a Sigma-Lognormal representation for on-line signatures", Pattern Recognition 42 (2009).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]


MAX_TURN = 4.8
"""Maximum turn in radians. Close to a full circle, the radius of an arc over a given chord is unbounded."""


@dataclass(frozen=True, eq=False)
class MotorPlan:
    """A sequence of strokes between virtual targets.

    Attributes
    ----------
    chord : float64 (strokes, 2)
        Vector from target to target, x to the right, y downwards, in units of the x-height.
    turn : float64 (strokes,)
        Change of direction in radians; 0 is a straight stroke, pi a half circle.
    onset : float64 (strokes,)
        Time between the commands of the previous stroke and of this one, in seconds.
    mu, sigma : float64 (strokes,)
        Parameters of the lognormal: log time delay and log response time.
    pen_down : bool (strokes,)
    force : float64 (strokes,)
        Pressure in [0, 1].
    """

    chord: Floats
    turn: Floats
    onset: Floats
    mu: Floats
    sigma: Floats
    pen_down: NDArray[np.bool_]
    force: Floats


def execute(plan: MotorPlan, rate_hz: float = 90.0) -> tuple[Floats, Floats, Floats]:
    """Compute the movement of a motor plan.

    Returns
    -------
    t : float64 (n,)
        Seconds, equidistant.
    xy : float64 (n, 2)
        Positions relative to the start, in units of the x-height.
    progress : float64 (n, strokes)
        Completed share of each stroke, in [0, 1].
    """
    start = np.cumsum(plan.onset)
    end = start + np.exp(plan.mu + 2.5 * plan.sigma)
    t = np.arange(0.0, float(end.max()), 1.0 / rate_hz)
    elapsed = np.maximum(t[:, None] - start[None, :], 1e-9)
    progress = ndtr((np.log(elapsed) - plan.mu) / plan.sigma)
    turn = np.where(np.abs(plan.turn) < 1e-3, 1e-3, np.clip(plan.turn, -MAX_TURN, MAX_TURN))
    heading = np.arctan2(plan.chord[:, 1], plan.chord[:, 0]) - turn / 2.0
    radius = np.hypot(*plan.chord.T) / (2.0 * np.sin(turn / 2.0))  # of the arc over the chord
    angle = heading + turn * progress
    xy = np.stack(
        [
            (radius * (np.sin(angle) - np.sin(heading))).sum(axis=1),
            (radius * (np.cos(heading) - np.cos(angle))).sum(axis=1),
        ],
        axis=1,
    )
    return t, xy, progress


def onsets(duration: Floats, overlap: float, pen_down: NDArray[np.bool_]) -> Floats:
    """Compute the times (strokes,) between commands.

    Strokes with the pen down overlap; before and after a movement with the pen up, the pen comes to rest.

    Parameters
    ----------
    duration : float64 (strokes,)
        Duration of each single stroke in seconds.
    overlap : float
        Share of a stroke that is completed when the next one starts; smaller values are more fluent.
    """
    joined = pen_down[1:] & pen_down[:-1]
    return np.concatenate([[0.0], duration[:-1] * np.where(joined, overlap, 1.15)])
