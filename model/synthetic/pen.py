"""Pen trajectories, their variation and their rendering.

:func:`render` renders a trajectory as a scan on paper. :func:`draw` renders it directly on the canvas of a network;
training does so in every epoch, each time with a different :class:`Pen`. Width and darkness depend on the pressure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.ink import Canvas

Floats = NDArray[np.float64]

OVERSAMPLING = 3
"""Factor of the resolution at which lines are drawn before downsampling; widths are multiples of 1/3 pixel."""

_SHIFT = 4  # fractional bits of cv2.line's coordinates


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The trajectory of a pen tip.

    Attributes
    ----------
    xy : float64 (n, 2)
        Positions, x to the right, y downwards, in any unit.
    t : float64 (n,)
        Times in seconds, increasing.
    pressure : float64 (n,)
        Pressure in [0, 1].
    pen_down : bool (n,)
        Whether the tip is on the paper.
    """

    xy: Floats
    t: Floats
    pressure: Floats
    pen_down: NDArray[np.bool_]


@dataclass(frozen=True)
class Pen:
    """Rendering parameters of a pen.

    Attributes
    ----------
    width : float
        Stroke width at medium pressure, in per cent of the height of the image.
    width_gain, darkness_gain : float
        Dependence of width and darkness on the pressure: 0 = none, 1 = ballpoint on soft paper, 2 = nib.
    blur : float
        Blur of the edges by scanner and paper, as a share of the width.
    """

    width: float = 2.0
    width_gain: float = 0.7
    darkness_gain: float = 0.5
    blur: float = 0.25


BALLPOINT = Pen()


def random_pen(rng: np.random.Generator) -> Pen:
    """Draw a random pen: ballpoint, fibre tip, fountain pen or stylus, in common widths."""
    kind = rng.integers(4)
    width = float(np.exp(rng.uniform(np.log(0.9), np.log(3.6))))
    if kind == 0:
        return Pen(
            width, float(rng.uniform(0.3, 1.0)), float(rng.uniform(0.3, 1.0)), float(rng.uniform(0.1, 0.4))
        )
    if kind == 1:
        return Pen(1.3 * width, float(rng.uniform(0.0, 0.4)), 0.1, float(rng.uniform(0.2, 0.5)))
    if kind == 2:
        return Pen(
            width, float(rng.uniform(0.8, 1.6)), float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.1, 0.3))
        )
    return Pen(width, 0.0, 0.0, 0.15)


def centred(trajectory: Trajectory, canvas: Canvas) -> Floats:
    """Scale and centre positions in the same way as :func:`model.preprocessing.ink.fit`.

    Returns
    -------
    float64 (n, 2)
        Pixels of the canvas relative to its centre.
    """
    xy = trajectory.xy
    if canvas.method == "moments":
        centre, sigma = pen_moments(trajectory)
        extent = 4.4 * sigma
    else:
        down = _segments_down(trajectory)
        inked = np.concatenate([xy[:-1][down], xy[1:][down]])
        centre = (inked.min(axis=0) + inked.max(axis=0)) / 2.0
        extent = np.ptp(inked, axis=0)
    size = np.array([canvas.width, canvas.height]) * canvas.fill
    return np.asarray((xy - centre) * float((size / (extent + 1e-6)).min()))


def pen_moments(trajectory: Trajectory) -> tuple[Floats, Floats]:
    """Centroid and standard deviations of the ink that a trajectory leaves: twice float64 (2,), x and y."""
    xy = trajectory.xy
    middle = (xy[1:] + xy[:-1]) / 2.0
    weight = np.hypot(*np.diff(xy, axis=0).T) * _segments_down(trajectory) + 1e-9
    weight /= weight.sum()
    centre = weight @ middle
    return centre, np.sqrt(weight @ (middle - centre) ** 2)


def draw(trajectory: Trajectory, pen: Pen, canvas: Canvas, affine: Floats | None = None) -> NDArray[np.uint8]:
    """Render a trajectory on a canvas, at the position that :func:`model.preprocessing.ink.fit` gives to its scan.

    Parameters
    ----------
    affine : float64 (2, 3), optional
        Geometric augmentation about the centre of the canvas, in pixels.

    Returns
    -------
    uint8 (canvas.height, canvas.width)
        0 = paper, 255 = ink.
    """
    points = centred(trajectory, canvas)
    if affine is not None:
        points = points @ affine[:, :2].T + affine[:, 2]
    points = points + np.array([(canvas.width - 1) / 2.0, (canvas.height - 1) / 2.0])
    return _stroke(points, trajectory, pen, canvas.width, canvas.height, pen.width * canvas.height / 100.0)


def render(
    trajectory: Trajectory,
    pen: Pen = BALLPOINT,
    height_px: int = 160,
    rng: np.random.Generator | None = None,
) -> NDArray[np.uint8]:
    """Render a trajectory as a cropped scan with a margin: uint8 (height, width), paper near 255.

    Parameters
    ----------
    height_px : int
        Height of the signature without the margin. The width is limited to four times this value.
    rng : numpy Generator, optional
        If given, adds the noise of paper and scanner.
    """
    down = _segments_down(trajectory)
    inked = np.concatenate([trajectory.xy[:-1][down], trajectory.xy[1:][down]])
    low, extent = inked.min(axis=0), np.ptp(inked, axis=0)
    scale = min(height_px / max(extent[1], 1e-6), 4.0 * height_px / max(extent[0], 1e-6))
    margin = 6 + height_px // 10
    width, height = (int(np.ceil(v * scale)) + 2 * margin for v in extent)
    points = (trajectory.xy - low) * scale + margin
    ink = _stroke(points, trajectory, pen, width, height, pen.width * height_px / 100.0).astype(np.float32)
    paper = np.full((height, width), 252.0, dtype=np.float32)
    if rng is not None:
        paper = paper - rng.uniform(0.0, 12.0) + rng.normal(0.0, 1.5, paper.shape).astype(np.float32)
    darkest = 40.0 if rng is None else float(rng.uniform(20.0, 90.0))
    grey = paper + (darkest - paper) * (ink / 255.0)
    return np.asarray(np.clip(np.rint(grey), 0, 255), dtype=np.uint8)


def perturb(trajectory: Trajectory, rng: np.random.Generator, strength: float = 1.0) -> Trajectory:
    """Vary a recorded trajectory slightly: smooth random displacement and change of pressure.

    Parameters
    ----------
    strength : float
        1.0 moves points by about 0.6 % of the size of the signature. This is far less than the variation between two
        genuine specimens, so that forgeries can still be distinguished from them.
    """
    n = len(trajectory.xy)
    size = float(np.ptp(trajectory.xy, axis=0).mean())
    knots = max(5, n // 25)
    amplitude = strength * size * rng.uniform(0.0, 0.012)
    drift = np.stack([smooth_noise(rng, n, knots), smooth_noise(rng, n, knots)], axis=1)
    pressure = trajectory.pressure * np.exp(0.15 * strength * smooth_noise(rng, n, max(4, knots // 2)))
    return replace(trajectory, xy=trajectory.xy + amplitude * drift, pressure=np.clip(pressure, 0.0, 1.0))


def smooth_noise(rng: np.random.Generator, n: int, knots: int) -> Floats:
    """Draw noise of unit variance at equidistant knots and interpolate it linearly: (n,) float64."""
    return np.interp(np.linspace(0.0, knots - 1.0, n), np.arange(knots), rng.normal(0.0, 1.0, knots))


def evenly_spaced(trajectory: Trajectory, parts: int = 150) -> Trajectory:
    """Resample a path with equidistant points, so that the result does not depend on the speed of writing.

    Parameters
    ----------
    parts : int
        Number of points per length of the diagonal of the signature.

    Returns
    -------
    Trajectory
        With interpolated times and pressures, and a point with the pen up after each stroke.
    """
    down = trajectory.pen_down
    inked = trajectory.xy[down] if down.any() else trajectory.xy
    spacing = float(np.hypot(*np.ptp(inked, axis=0))) / parts + 1e-9
    edges = np.flatnonzero(np.diff(np.concatenate([[False], down, [False]]).astype(int)))
    columns = np.column_stack([trajectory.xy, trajectory.t, trajectory.pressure])
    strokes, flags = [], []
    for start, end in edges.reshape(-1, 2):
        stroke = columns[start:end]
        along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(stroke[:, :2], axis=0).T))])
        at = np.linspace(0.0, along[-1], max(2, math.ceil(along[-1] / spacing) + 1))
        even = np.column_stack([np.interp(at, along, column) for column in stroke.T])
        strokes += [even, even[-1:]]
        flags += [np.ones(len(even), dtype=bool), np.zeros(1, dtype=bool)]
    if not strokes:
        return trajectory
    rows = np.concatenate(strokes)
    return Trajectory(rows[:, :2], rows[:, 2], rows[:, 3], np.concatenate(flags))


def _segments_down(trajectory: Trajectory) -> NDArray[np.bool_]:
    down = trajectory.pen_down[1:] & trajectory.pen_down[:-1]
    return down if down.any() else np.ones_like(down)


def _stroke(
    points: Floats, trajectory: Trajectory, pen: Pen, width: int, height: int, width_px: float
) -> NDArray[np.uint8]:
    """Draw lines between ``points`` (pixels) where the pen is down: uint8 (height, width), ink = 255."""
    s = OVERSAMPLING
    down = _segments_down(trajectory)
    pressed = trajectory.pressure[1:][down]
    level = np.clip((pressed - np.median(pressed)) / (pressed.std() + 1e-3), -2.0, 2.0)
    thickness = np.maximum(1, np.rint(s * width_px * np.exp(0.35 * pen.width_gain * level))).astype(int)
    ink = np.clip(255.0 * np.exp(0.3 * pen.darkness_gain * (level - 0.6)), 50, 255).astype(int)
    limit = 8 * s * max(width, height)
    fixed = np.clip(points * s + (s - 1) / 2.0, -limit, limit)
    fixed = np.rint(fixed * (1 << _SHIFT)).astype(int)
    lines = np.concatenate([fixed[:-1][down], fixed[1:][down]], axis=1)
    image = np.zeros((height * s, width * s), np.uint8)
    for (x0, y0, x1, y1), wide, dark in zip(lines.tolist(), thickness.tolist(), ink.tolist(), strict=True):
        cv2.line(image, (x0, y0), (x1, y1), dark, wide, cv2.LINE_8, _SHIFT)
    blur = max(0.35, pen.blur * width_px) * s
    soft = cv2.GaussianBlur(image, (0, 0), blur)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
