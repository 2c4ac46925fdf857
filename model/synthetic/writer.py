"""The synthetic writer: signatures of people who do not exist, and skilled forgeries of them.

A :class:`Writer` is a seed. From it come a style, a motor plan (:mod:`model.synthetic.kinematics`) and a way of
varying it: ``genuine(n)`` executes the plan as one hand does from day to day, ``forgery(forger, n)`` copies the
visible shape with another hand: traced targets, slower, with more and less overlapping strokes, tremor, other
pressure, the forger's own slant leaking in. The same seed gives the same bytes. No fonts, no images, no data of real
people.

After J. Galbally et al., "Synthetic on-line signature generation", Pattern Recognition 45 (2012), and M. A. Ferrer,
M. Diaz et al., "Static signature synthesis", IEEE TPAMI 37 (2015); both generate genuine specimens from a motor plan.
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
"""Share of a target's position error that the next target inherits."""


@dataclass(frozen=True)
class Hand:
    """How a person's movements vary from one execution to the next, and how fast they are.

    Attributes
    ----------
    shape, timing : float
        Standard deviation of stroke amplitudes (relative) and directions (radians), and of times (relative).
    drift : float
        Slow distortion along the signature, in heights of a small letter.
    posture : float
        Scale of rotation, size and aspect changes between executions.
    tempo : float
        Factor on all times.
    pressure : float
        Mean pressure in [0, 1].
    down_accent : float
        How much more down-strokes are pressed than up-strokes.
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
    """What the people of a population have in common.

    Attributes
    ----------
    variation : float
        How much the median hand varies between executions, 1 = little.
    diversity : float
        Standard deviation of the logarithm of that between people: some are steady, others are not.
    error : float
        Error of the median forger; below 1 he is an expert.
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
class _Copyist:
    """A forger of one writer: what he believes the movement to be, his hand, and how much it trembles."""

    plan: MotorPlan
    hand: Hand
    tremor: float


class Writer:
    """An invented person who signs, and whom others forge.

    Parameters
    ----------
    seed : int
        Non-negative; everything follows from it.
    habits : Habits
        Of the population that the writer and the forgers belong to.
    """

    def __init__(self, seed: int, habits: Habits = Habits()) -> None:
        if seed < 0:
            raise ValueError(f"a writer's seed is not negative, got {seed}")
        self.seed = seed
        self.habits = habits
        rng = np.random.default_rng((seed, 0))
        self.hand = _random_hand(rng, habits)
        self.plan = random_motor_plan(rng)
        self.pen = random_pen(rng)
        self._copyists: dict[int, _Copyist] = {}

    def genuine(self, n: int) -> Trajectory:
        """The ``n``-th genuine specimen."""
        rng = np.random.default_rng((self.seed, 1, n))
        return _sign(self.plan, self.hand, rng, tremor=0.0)

    def forgery(self, forger: int, n: int) -> Trajectory:
        """The ``n``-th skilled forgery by a forger, who has studied a few genuine specimens."""
        copyist = self._copyist(forger)
        rng = np.random.default_rng((self.seed, 3, forger, n))
        return _sign(copyist.plan, copyist.hand, rng, tremor=copyist.tremor)

    def _copyist(self, forger: int) -> _Copyist:
        if forger not in self._copyists:
            rng = np.random.default_rng((self.seed, 2, forger))
            hand = _random_hand(rng, self.habits)
            error = float(np.exp(rng.normal(np.log(self.habits.error), 0.35)))
            model = self.genuine(int(rng.integers(1_000_000, 2_000_000)))
            plan = _trace(model, hand, error, rng)
            hand = replace(hand, shape=0.7 * hand.shape * error, tempo=1.0)
            self._copyists[forger] = _Copyist(plan, hand, float(rng.uniform(0.0, 0.035)) * error)
        return self._copyists[forger]

    def genuine_image(self, n: int, height_px: int = 160) -> NDArray[np.uint8]:
        """The ``n``-th genuine specimen as a scan, with the writer's habitual pen."""
        rng = np.random.default_rng((self.seed, 4, n))
        return render(self.genuine(n), _todays_pen(self.pen, rng), height_px, rng)

    def forgery_image(self, forger: int, n: int, height_px: int = 160) -> NDArray[np.uint8]:
        """A forgery as a scan, with a pen much like the victim's: what pen it was must not give it away."""
        rng = np.random.default_rng((self.seed, 5, forger, n))
        return render(self.forgery(forger, n), _todays_pen(self.pen, rng), height_px, rng)


def _todays_pen(pen: Pen, rng: np.random.Generator) -> Pen:
    return replace(pen, width=pen.width * float(np.exp(rng.normal(0.0, 0.12))))


def _sign(plan: MotorPlan, hand: Hand, rng: np.random.Generator, tremor: float) -> Trajectory:
    """Execute a plan once: motor noise on its parameters, then posture, pressure and tremor on the path."""
    strokes = len(plan.turn)
    noise = rng.normal(0.0, 1.0, (5, strokes))
    length = 1.0 + hand.shape * noise[0]
    swing = hand.shape * noise[1]
    cos, sin = np.cos(swing) * length, np.sin(swing) * length
    moved = np.stack(
        [cos * plan.chord[:, 0] - sin * plan.chord[:, 1], sin * plan.chord[:, 0] + cos * plan.chord[:, 1]],
        axis=1,
    )
    # The eye corrects the hand: an error at one target is mostly gone two targets later, it does not add up.
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
    if tremor > 0.0:  # 8 to 12 Hz, physiological tremor under strain
        shakes = max(8, int(t[-1] * rng.uniform(8.0, 12.0) * 2))
        xy = xy + tremor * np.stack([smooth_noise(rng, n, shakes), smooth_noise(rng, n, shakes)], axis=1)
    xy = _posture(xy, hand.posture, rng)
    return Trajectory(xy, t, _pressure(plan, hand, xy, t, progress, rng), _pen_down(plan, progress))


def _posture(xy: Floats, scale: float, rng: np.random.Generator) -> Floats:
    """Rotation, slant, size and aspect of this execution."""
    angle, slant = rng.normal(0.0, np.deg2rad(2.5) * scale), rng.normal(0.0, 0.035 * scale)
    size, aspect = np.exp(rng.normal(0.0, 0.06 * scale)), np.exp(rng.normal(0.0, 0.035 * scale))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(xy @ (turn @ np.array([[aspect, -slant], [0.0, 1.0 / aspect]])).T * size)


def _active(progress: Floats) -> NDArray[np.int64]:
    """Index (n,) of the stroke that dominates at each sample: the last one that has begun."""
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


def _trace(model: Trajectory, hand: Hand, error: float, rng: np.random.Generator) -> MotorPlan:
    """The plan of somebody who copies what he sees: targets on the visible path, joined by arcs of its bend."""
    stations = _stations(model, rng)
    points = model.xy[stations]
    n = len(points)
    size = float(np.ptp(model.xy, axis=0).mean())
    # Errors of the eye: slow ones in proportion and position, quick ones at each target; and the forger's own slant.
    slow = np.stack([smooth_noise(rng, n, max(4, n // 6)), smooth_noise(rng, n, max(4, n // 6))], axis=1)
    seen = points + error * (0.028 * size * slow + 0.10 * rng.normal(0.0, 1.0, (n, 2)))
    lean = rng.normal(0.0, 0.09 * error)
    seen = np.stack([seen[:, 0] - lean * seen[:, 1], seen[:, 1]], axis=1)
    seen = seen * np.exp(rng.normal(0.0, 0.06 * error, 2))
    chord = np.diff(seen, axis=0)
    strokes = n - 1
    down = model.pen_down[(stations[:-1] + stations[1:]) // 2]
    bend = np.array([_bend(model.xy[a : b + 1]) for a, b in pairwise(stations)])
    slower = float(np.exp(rng.uniform(np.log(1.0), np.log(1.9))))
    # Length takes time; what is drawn rather than written overlaps less, so corners come out sharper.
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
            + 0.4 * (model.pressure[(stations[:-1] + stations[1:]) // 2] - hand.pressure)
            + 0.12 * rng.normal(0.0, 1.0, strokes),
            0.15,
            1.0,
        ),
    )


def _stations(model: Trajectory, rng: np.random.Generator) -> NDArray[np.int64]:
    """Where a copyist rests his eyes: ends of pen-downs, corners and slow points, and some points between."""
    step = np.hypot(*np.gradient(model.xy, axis=0).T)
    corners = np.flatnonzero((step[1:-1] <= step[:-2]) & (step[1:-1] < step[2:])) + 1
    lifts = np.flatnonzero(np.diff(model.pen_down.astype(np.int8))) + 1
    ends = np.array([0, len(step) - 1])
    stations = np.unique(np.concatenate([ends, corners, lifts]))
    gaps = np.diff(stations)
    wide = np.flatnonzero((gaps >= 8) & (rng.random(len(gaps)) < 0.6))
    between = stations[wide] + (gaps[wide] * rng.uniform(0.4, 0.6, len(wide))).astype(np.int64)
    stations = np.unique(np.concatenate([stations, between]))
    keep = np.concatenate([[True], np.diff(stations) >= 3])
    return np.asarray(stations[keep])


def _bend(path: Floats) -> float:
    """Angle (radians) an arc over this piece of path turns through, from how far its middle is off the chord."""
    chord = path[-1] - path[0]
    length = float(np.hypot(*chord))
    if length < 1e-6:
        return 0.0
    off = path[len(path) // 2] - (path[0] + path[-1]) / 2.0
    sagitta = float(chord[0] * off[1] - chord[1] * off[0]) / length
    return -4.0 * float(np.arctan2(2.0 * sagitta, length))
