"""Papers: tones, textures, rulings, squares, watermarks and security printing.

Each function returns a pattern (h, w) float32 in [0, 1], 1 = full ink. Lengths are in millimetres.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def waves(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Floats:
    """Draw one to three families of wavy lines, at times with a rosette.

    Parameters
    ----------
    scale : float
        Pixels to a millimetre.
    """
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) / np.float32(scale)
    height, width = shape[0] / scale, shape[1] / scale
    between = rng.uniform
    pattern: Floats = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        angle, period = between(0, math.pi), between(0.8, 3.0)
        along = x * math.cos(angle) + y * math.sin(angle)
        across = -x * math.sin(angle) + y * math.cos(angle)
        wave = between(0, 3) * np.sin(along * 2 * math.pi / between(5, 40) + between(0, 6))
        wave = wave + between(0, 1.5) * np.sin(along * 2 * math.pi / between(2, 12))
        phase = (across + wave) / period
        line = np.abs(phase - np.rint(phase)) * period
        pattern = np.maximum(pattern, np.clip(1.0 - line / between(0.12, 0.45), 0, 1))
    if rng.random() < 0.3:
        rosette = np.hypot(x - width * between(0.2, 0.8), y - height * between(0.2, 0.8))
        turns = np.arctan2(y - height / 2, x - width / 2) * int(rng.integers(6, 24))
        pattern = np.maximum(
            pattern, (np.sin(rosette * between(1, 4) + 2 * np.sin(turns)) > 0.75) * np.float32(0.8)
        )
    return pattern


def spirals(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Floats:
    """Draw figures that a geometric lathe engraves: hypotrochoids, one or several, or a border of loops."""
    ink = np.zeros(shape, np.uint8)
    between = rng.uniform
    height, width = shape
    line = 1 if rng.random() < 0.7 else max(1, round(0.3 * scale))
    for _ in range(int(rng.integers(1, 5))):
        centre = np.array([between(0, width), between(0, height)])
        teeth, wheel = int(rng.integers(30, 110)), int(rng.integers(7, 60))
        pen = wheel * between(0.3, 1.6)
        rounds = wheel // math.gcd(teeth, wheel)
        t = np.linspace(0, 2 * math.pi * min(rounds, 40), 200 * min(rounds, 40))
        turn = (teeth - wheel) / wheel * t
        figure = np.column_stack(
            [
                (teeth - wheel) * np.cos(t) + pen * np.cos(turn),
                (teeth - wheel) * np.sin(t) - pen * np.sin(turn),
            ]
        )
        figure *= between(8, 45) * scale / max(1.0, float(np.abs(figure).max()))
        figure[:, 1] *= between(0.4, 1.0)
        cv2.polylines(
            ink, [np.round((figure + centre) * 16).astype(np.int32)], False, 255, line, cv2.LINE_AA, 4
        )
    if rng.random() < 0.4:
        t = np.linspace(0, 1, 3000)
        loops, wide = int(rng.integers(20, 80)), between(1.5, 6) * scale
        y0 = between(0, height)
        for shift in np.linspace(0, 2 * math.pi, int(rng.integers(2, 7)), endpoint=False):
            turn = loops * 2 * math.pi * t + shift
            border = np.column_stack([t * width + wide * np.cos(turn), y0 + wide * np.sin(turn)])
            cv2.polylines(ink, [np.round(border * 16).astype(np.int32)], False, 255, 1, cv2.LINE_AA, 4)
    return np.asarray(ink, np.float32) / np.float32(255)


def screen(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Floats:
    """Draw a fine screen: parallel lines or concentric rings, the width or the place of which shows a shape."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) / np.float32(scale)
    height, width = shape[0] / scale, shape[1] / scale
    between = rng.uniform
    period = between(0.6, 1.8)
    if rng.random() < 0.4:
        along = np.hypot(x - between(-0.3, 1.3) * width, y - between(-0.3, 1.3) * height)
    else:
        angle = between(0, math.pi)
        along = x * math.cos(angle) + y * math.sin(angle)
    cells = rng.uniform(0, 1, (int(rng.integers(3, 8)), int(rng.integers(3, 12)))).astype(np.float32)
    relief = cv2.resize(cells, shape[::-1], interpolation=cv2.INTER_CUBIC)
    phase = along / period + relief * between(0, 2.5)
    distance = np.abs(phase - np.rint(phase)) * period
    thickness = period * between(0.1, 0.3) * (1.0 + between(0, 0.8) * (relief - 0.5))
    return np.asarray(np.clip((thickness - distance) * scale + 0.5, 0, 1), np.float32)


def squares(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Floats:
    """Draw squared, millimetre or dotted paper, a little turned."""
    height, width = shape
    side = float(rng.uniform(3.5, 10)) * scale
    angle = math.radians(float(rng.normal(0, 0.8)))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u = (x * math.cos(angle) + y * math.sin(angle) + float(rng.uniform(0, side))) / side
    v = (-x * math.sin(angle) + y * math.cos(angle) + float(rng.uniform(0, side))) / side
    thick = max(1.0, float(rng.uniform(0.1, 0.4)) * scale)

    def lines(at: Floats, period: float, width: float) -> Floats:
        return np.asarray(np.clip(width / 2 - np.abs(at - np.rint(at)) * period + 0.5, 0, 1), np.float32)

    across, down = lines(u, side, thick), lines(v, side, thick)
    kind = rng.random()
    if kind < 0.15:  # dots where the lines would cross
        return np.asarray(across * down, np.float32)
    pattern = np.maximum(across, down)
    if kind < 0.4:  # finer lines between
        parts = int(rng.choice([2, 4, 5, 10]))
        finer = np.maximum(lines(u * parts, side / parts, 1.0), lines(v * parts, side / parts, 1.0))
        pattern = np.maximum(pattern, finer * np.float32(rng.uniform(0.2, 0.7)))
    return pattern


def rulings(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Floats:
    """Draw ruled paper, at times with a margin."""
    height, width = shape
    ink = np.zeros(shape, np.uint8)
    step, line = float(rng.uniform(4, 10)) * scale, max(1, round(float(rng.uniform(0, 0.45)) * scale))
    for y in np.arange(float(rng.uniform(0, step)), height, step):
        cv2.line(ink, (0, round(y)), (width, round(y)), 255, line)
    if rng.random() < 0.2:
        x = round(width * float(rng.uniform(0.03, 0.25)))
        cv2.line(ink, (x, 0), (x, height), 255, line)
    return np.asarray(ink, np.float32) / np.float32(255)
