"""Synthetic writers: genuine signatures and skilled forgeries, generated without data of real persons.

A :class:`Writer` is determined by a seed, from which a motor plan (:mod:`model.synthetic.kinematics`) and the
variability of its execution are drawn. ``genuine(n)`` executes the plan with this variability. ``forgery(forger, n)``
simulates a copy of the visible shape: targets are estimated from a genuine specimen, and strokes are slower, more
numerous and overlap less; tremor, other pressure and the forger's own slant are added. The results are reproducible.

The generation of genuine specimens from a motor plan follows J. Galbally et al., "Synthetic on-line signature
generation", Pattern Recognition 45 (2012), and M. A. Ferrer, M. Diaz et al., "Static signature synthesis", IEEE
TPAMI 37 (2015).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from model.synthetic.kinematics import Floats, MotorPlan, execute, onsets
from model.synthetic.motor_plans import random_motor_plan
from model.synthetic.pen import Pen, Trajectory, random_pen, render, smooth_noise

RATE_HZ = 90.0
CARRY = 0.6
"""Share of the position error of a target that is carried over to the next one."""


@dataclass(frozen=True)
class Hand:
    """Variability and speed of a writer's movements.

    Attributes
    ----------
    shape, timing : float
        Standard deviations of stroke lengths (relative) and directions (radians), and of times (relative).
    drift : float
        Slow distortion along the signature, in units of the x-height.
    posture : float
        Scale of changes of rotation, size and aspect ratio between executions.
    tempo : float
        Factor on all times.
    pressure : float
        Mean pressure in [0, 1].
    down_accent : float
        Additional pressure of downward strokes.
    """

    shape: float
    timing: float
    drift: float
    posture: float
    tempo: float
    pressure: float
    down_accent: float


@dataclass(frozen=True)
class Habits:
    """Parameters of a population of writers and forgers.

    Attributes
    ----------
    variation : float
        Variability of the median writer; 1 is small.
    diversity : float
        Standard deviation of the logarithm of the variability between writers.
    error : float
        Error of the median forger; values below 1 simulate experts.
    """

    variation: float = 1.0
    diversity: float = 0.4
    error: float = 1.15


def _random_hand(rng: np.random.Generator, habits: Habits) -> Hand:
    steady = habits.variation * float(np.exp(rng.normal(0.0, habits.diversity)))
    return Hand(
        shape=0.065 * steady,
        timing=0.07 * steady,
        drift=0.10 * steady,
        posture=0.7 * habits.variation * float(np.exp(rng.normal(0.0, 0.3))),
        tempo=float(np.exp(rng.normal(0.0, 0.2))),
        pressure=float(rng.uniform(0.35, 0.75)),
        down_accent=float(rng.uniform(0.0, 0.5)),
    )


@dataclass(frozen=True, eq=False)
class _Forger:
    """A forger of one writer: the estimated motor plan, the hand and the amplitude of the tremor."""

    plan: MotorPlan
    hand: Hand
    tremor: float


class Writer:
    """A synthetic writer and the forgers of the writer's signature.

    Parameters
    ----------
    seed : int
        Non-negative; determines the writer, the forgers and all specimens.
    habits : Habits
        Parameters of the population that the writer and the forgers belong to.

    Raises
    ------
    ValueError
        The seed is negative.
    """

    def __init__(self, seed: int, habits: Habits = Habits()) -> None:
        if seed < 0:
            raise ValueError(f"the seed must not be negative, got {seed}")
        self.seed = seed
        self.habits = habits
        rng = np.random.default_rng((seed, 0))
        self.hand = _random_hand(rng, habits)
        self.plan = random_motor_plan(rng)
        self.pen = random_pen(rng)
        self._forgers: dict[int, _Forger] = {}

    def genuine(self, n: int) -> Trajectory:
        """Generate genuine specimen number ``n``."""
        rng = np.random.default_rng((self.seed, 1, n))
        return _sign(self.plan, self.hand, rng, tremor=0.0)

    def forgery(self, forger: int, n: int) -> Trajectory:
        """Generate skilled forgery number ``n`` by a forger, who has seen one genuine specimen."""
        imitator = self._forger(forger)
        rng = np.random.default_rng((self.seed, 3, forger, n))
        return _sign(imitator.plan, imitator.hand, rng, tremor=imitator.tremor)

    def _forger(self, number: int) -> _Forger:
        if number not in self._forgers:
            rng = np.random.default_rng((self.seed, 2, number))
            hand = _random_hand(rng, self.habits)
            error = float(np.exp(rng.normal(np.log(self.habits.error), 0.35)))
            seen = self.genuine(int(rng.integers(1_000_000, 2_000_000)))  # in no data set
            plan = _copy_plan(seen, hand, error, rng)
            hand = replace(hand, shape=0.7 * hand.shape * error, tempo=1.0)
            self._forgers[number] = _Forger(plan, hand, float(rng.uniform(0.0, 0.035)) * error)
        return self._forgers[number]

    def genuine_image(self, n: int, height_px: int = 160) -> NDArray[np.uint8]:
        """Render genuine specimen number ``n`` as a scan with the writer's pen: uint8 (h, w), white = 255."""
        rng = np.random.default_rng((self.seed, 4, n))
        return render(self.genuine(n), _vary_width(self.pen, rng), height_px, rng)

    def forgery_image(self, forger: int, n: int, height_px: int = 160) -> NDArray[np.uint8]:
        """Render a forgery as a scan with a similar pen, so that the pen does not reveal it: uint8 (h, w)."""
        rng = np.random.default_rng((self.seed, 5, forger, n))
        return render(self.forgery(forger, n), _vary_width(self.pen, rng), height_px, rng)


def _vary_width(pen: Pen, rng: np.random.Generator) -> Pen:
    return replace(pen, width=pen.width * float(np.exp(rng.normal(0.0, 0.12))))


def _sign(plan: MotorPlan, hand: Hand, rng: np.random.Generator, tremor: float) -> Trajectory:
    """Execute a plan with noise on its parameters, then add drift, tremor, posture and pressure."""
    strokes = len(plan.turn)
    noise = rng.normal(0.0, 1.0, (5, strokes))
    length = 1.0 + hand.shape * noise[0]
    swing = hand.shape * noise[1]
    cos, sin = np.cos(swing) * length, np.sin(swing) * length
    moved = np.stack(
        [cos * plan.chord[:, 0] - sin * plan.chord[:, 1], sin * plan.chord[:, 0] + cos * plan.chord[:, 1]],
        axis=1,
    )
    # Visual feedback: position errors decay over the next targets and do not accumulate.
    error = lfilter([1.0], [1.0, -CARRY], moved - plan.chord, axis=0)
    chord = plan.chord + np.diff(error, axis=0, prepend=0.0)
    varied = replace(
        plan,
        chord=chord,
        turn=plan.turn + 1.5 * hand.shape * noise[2],
        onset=plan.onset * hand.tempo * np.exp(hand.timing * noise[3]),
        mu=plan.mu + np.log(hand.tempo) + 0.5 * hand.timing * noise[4],
    )
    t, xy, progress = execute(varied, RATE_HZ)
    n = len(t)
    knots = max(4, strokes // 4)
    xy = xy + hand.drift * np.stack([smooth_noise(rng, n, knots), smooth_noise(rng, n, knots)], axis=1)
    if tremor > 0.0:  # physiological tremor has 8 to 12 Hz
        shakes = max(8, int(t[-1] * rng.uniform(8.0, 12.0) * 2))
        xy = xy + tremor * np.stack([smooth_noise(rng, n, shakes), smooth_noise(rng, n, shakes)], axis=1)
    xy = _posture(xy, hand.posture, rng)
    return Trajectory(xy, t, _pressure(plan, hand, xy, t, progress, rng), _pen_down(plan, progress))


def _posture(xy: Floats, scale: float, rng: np.random.Generator) -> Floats:
    """Apply a random rotation, slant, size and aspect ratio."""
    angle, slant = rng.normal(0.0, np.deg2rad(2.5) * scale), rng.normal(0.0, 0.035 * scale)
    size, aspect = np.exp(rng.normal(0.0, 0.06 * scale)), np.exp(rng.normal(0.0, 0.035 * scale))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(xy @ (turn @ np.array([[aspect, -slant], [0.0, 1.0 / aspect]])).T * size)


def _active(progress: Floats) -> NDArray[np.int64]:
    """Return the index (n,) of the active stroke at each sample: the last one that has started."""
    return np.asarray(np.maximum((progress > 0.04).sum(axis=1) - 1, 0), dtype=np.int64)


def _pen_down(plan: MotorPlan, progress: Floats) -> NDArray[np.bool_]:
    return np.asarray(plan.pen_down[_active(progress)])


def _pressure(
    plan: MotorPlan, hand: Hand, xy: Floats, t: Floats, progress: Floats, rng: np.random.Generator
) -> Floats:
    velocity = np.gradient(xy, t, axis=0)
    speed = np.hypot(velocity[:, 0], velocity[:, 1])
    downward = velocity[:, 1] / (speed + 1e-6)
    slow = -np.clip(np.log((speed + 1e-3) / (np.median(speed) + 1e-3)), -1.5, 1.5)
    n = len(t)
    raw = (
        hand.pressure * plan.force[_active(progress)] * 2.0
        + 0.25 * hand.down_accent * downward
        + 0.06 * slow
        + 0.05 * smooth_noise(rng, n, max(4, n // 20))
    )
    smooth = np.convolve(np.pad(raw, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    return np.clip(smooth, 0.02, 1.0)


def _copy_plan(model: Trajectory, hand: Hand, error: float, rng: np.random.Generator) -> MotorPlan:
    """Estimate a motor plan from the visible path of a specimen: targets on the path, connected by arcs."""
    targets = _choose_targets(model, rng)
    points = model.xy[targets]
    n = len(points)
    size = float(np.ptp(model.xy, axis=0).mean())
    # Perception errors: slow ones in proportion and position, independent ones at each target, and the own slant.
    slow = np.stack([smooth_noise(rng, n, max(4, n // 6)), smooth_noise(rng, n, max(4, n // 6))], axis=1)
    seen = points + error * (0.028 * size * slow + 0.10 * rng.normal(0.0, 1.0, (n, 2)))
    lean = rng.normal(0.0, 0.09 * error)
    seen = np.stack([seen[:, 0] - lean * seen[:, 1], seen[:, 1]], axis=1)
    seen = seen * np.exp(rng.normal(0.0, 0.06 * error, 2))
    chord = np.diff(seen, axis=0)
    strokes = n - 1
    down = model.pen_down[(targets[:-1] + targets[1:]) // 2]
    bend = np.array([_bend(model.xy[a : b + 1]) for a, b in pairwise(targets)])
    slower = float(np.exp(rng.uniform(np.log(1.0), np.log(1.9))))
    # Copied strokes take longer and overlap less than fluent ones, so that corners are sharper.
    duration = slower * (0.10 + 0.05 * np.sqrt(np.hypot(*chord.T)))
    overlap = float(rng.uniform(0.65, 1.0))
    sigma = np.clip(rng.normal(0.26, 0.04, strokes), 0.15, 0.4)
    return MotorPlan(
        chord=chord,
        turn=np.clip(bend * rng.normal(0.95, 0.12 * error, strokes), -4.5, 4.5),
        onset=onsets(duration, overlap, down),
        mu=np.log(duration * 0.62),
        sigma=sigma,
        pen_down=down,
        force=np.clip(
            0.5
            + 0.4 * (model.pressure[(targets[:-1] + targets[1:]) // 2] - hand.pressure)
            + 0.12 * rng.normal(0.0, 1.0, strokes),
            0.15,
            1.0,
        ),
    )


def _choose_targets(model: Trajectory, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose the targets of a forger: ends of strokes, points of minimum speed, and some points between them."""
    step = np.hypot(*np.gradient(model.xy, axis=0).T)
    corners = np.flatnonzero((step[1:-1] <= step[:-2]) & (step[1:-1] < step[2:])) + 1
    lifts = np.flatnonzero(np.diff(model.pen_down.astype(np.int8))) + 1
    ends = np.array([0, len(step) - 1])
    targets = np.unique(np.concatenate([ends, corners, lifts]))
    gaps = np.diff(targets)
    wide = np.flatnonzero((gaps >= 8) & (rng.random(len(gaps)) < 0.6))
    between = targets[wide] + (gaps[wide] * rng.uniform(0.4, 0.6, len(wide))).astype(np.int64)
    targets = np.unique(np.concatenate([targets, between]))
    keep = np.concatenate([[True], np.diff(targets) >= 3])
    return np.asarray(targets[keep])


def _bend(path: Floats) -> float:
    """Estimate the change of direction (radians) of an arc along a path, from the sagitta at its middle point."""
    chord = path[-1] - path[0]
    length = float(np.hypot(*chord))
    if length < 1e-6:
        return 0.0
    off = path[len(path) // 2] - (path[0] + path[-1]) / 2.0
    sagitta = float(chord[0] * off[1] - chord[1] * off[0]) / length
    return -4.0 * float(np.arctan2(2.0 * sagitta, length))
