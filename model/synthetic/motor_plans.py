"""Random motor plans of synthetic signatures in several scripts and styles.

:func:`random_motor_plan` combines components (letters, initials, blocks of separate strokes, scribbles, letters on a
headline, a paraph), each a sequence of strokes between virtual targets. Lengths are in units of the x-height.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from model.synthetic.kinematics import MotorPlan, onsets


@dataclass
class Sketch:
    """The strokes of a signature under construction.

    Attributes
    ----------
    chords, turns, down
        Vector, change of direction (radians) and pen state of each stroke.
    x, y : float
        Position of the current target; y points downwards.
    right : float
        Maximum of x so far.
    """

    chords: list[tuple[float, float]] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    down: list[bool] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    right: float = 0.0

    def go(self, dx: float, dy: float, turn: float = 0.0, *, down: bool = True) -> None:
        """Append a stroke by the vector (dx, dy) along an arc with the given change of direction."""
        self.chords.append((dx, dy))
        self.turns.append(turn)
        self.down.append(down)
        self.x += dx
        self.y += dy
        self.right = max(self.right, self.x)

    def lift_to(self, x: float, y: float) -> None:
        """Append a movement with the pen up to an absolute position."""
        if abs(x - self.x) + abs(y - self.y) > 0.05:
            self.go(x - self.x, y - self.y, 0.0, down=False)


@dataclass(frozen=True)
class Style:
    """Style parameters of a writer.

    Attributes
    ----------
    slant : float
        Horizontal shift per unit of height.
    width : float
        Factor on the width of letters.
    roundness : float
        Factor on changes of direction.
    ascender : float
        Height of capitals and ascenders.
    connected : float
        Probability that a letter is connected to the next one.
    letters : tuple
        The alphabet: the strokes (dx, dy, turn) of each letter.
    """

    slant: float
    width: float
    roundness: float
    ascender: float
    connected: float
    letters: tuple[tuple[tuple[float, float, float], ...], ...]


def random_motor_plan(rng: np.random.Generator) -> MotorPlan:
    """Draw a random motor plan of a signature, with 6 to about 90 strokes."""
    style = _style(rng)
    sketch = Sketch()
    recipe = rng.choice(len(_RECIPES), p=_SHARES)
    _RECIPES[recipe](sketch, style, rng)
    if recipe != _SCRIBBLE and rng.random() < 0.45:
        _paraph(sketch, rng)
    if rng.random() < 0.25:
        _dots(sketch, rng)
    return _timed(sketch, style, rng)


def _style(rng: np.random.Generator) -> Style:
    roundness = float(rng.uniform(0.2, 1.6))
    alphabet = tuple(_letter(rng, roundness) for _ in range(7))
    return Style(
        slant=float(rng.normal(0.18, 0.28)),
        width=float(np.exp(rng.normal(-0.35, 0.35))),
        roundness=roundness,
        ascender=float(rng.uniform(1.4, 3.2)),
        connected=float(rng.choice([0.98, 0.85, 0.4])),
        letters=alphabet,
    )


def _letter(rng: np.random.Generator, roundness: float) -> tuple[tuple[float, float, float], ...]:
    """Draw a random small letter: upward and downward strokes (dx, dy, turn) that end near the baseline."""
    kind = rng.integers(6)

    def r(scale: float = 1.0) -> float:
        return float(roundness * rng.uniform(0.4, 1.3) * scale)

    w = float(rng.uniform(0.5, 1.3))
    if kind == 0:  # arcade: n, m
        return tuple(
            s for _ in range(rng.integers(1, 4)) for s in ((0.4 * w, -1.0, -r()), (0.4 * w, 1.0, r()))
        )
    if kind == 1:  # garland: u, i
        return tuple(
            s for _ in range(rng.integers(1, 3)) for s in ((0.3 * w, -1.0, r(0.5)), (0.3 * w, 1.0, -r()))
        )
    if kind == 2:  # oval: a, o
        return (
            (0.5 * w, -0.9, -r()),
            (-0.6 * w, 0.2, -2.2),
            (0.1, 0.7, -r()),
            (0.7 * w, -0.7, -2.0),
            (0.2, 0.7, -r()),
        )
    if kind == 3:  # ascending loop: l, b
        height = float(rng.uniform(1.8, 3.0))
        return (
            (0.7 * w, -height, -r(0.7)),
            (-0.35 * w, 0.3, -2.6),
            (-0.1, height - 0.3, -r(0.3)),
            (0.4 * w, -0.3, -1.2),
        )
    if kind == 4:  # descending loop: g, y
        depth = float(rng.uniform(1.5, 2.6))
        return (
            (0.3 * w, -1.0, -r()),
            (-0.2, depth, r(0.4)),
            (-0.4 * w, -0.1, 2.4),
            (0.8 * w, 1.0 - depth, r(0.5)),
        )
    return ((0.4 * w, -0.7, r()), (-0.3 * w, -0.2, -2.6), (0.5 * w, 0.9, -2.0))  # e, c


def _word(sketch: Sketch, style: Style, rng: np.random.Generator, letters: int) -> None:
    for _ in range(letters):
        # In signatures, letters are often reduced.
        size = float(np.clip(rng.normal(1.0, 0.15), 0.5, 1.5))
        for dx, dy, turn in style.letters[rng.integers(len(style.letters))]:
            sketch.go(dx * style.width * size, dy * size, turn)
        if rng.random() > style.connected:
            sketch.lift_to(sketch.right + 0.3 * style.width, 0.0)
        else:
            sketch.go(0.35 * style.width, -sketch.y * 0.8, -0.4 * style.roundness)


def _initial(sketch: Sketch, style: Style, rng: np.random.Generator) -> None:
    """Append a capital of two to five large strokes."""
    height = style.ascender * float(rng.uniform(0.9, 1.5))
    sketch.lift_to(sketch.x + 0.4, sketch.y - float(rng.uniform(0.0, height)))
    for _ in range(rng.integers(2, 6)):
        up = sketch.y > -height / 2.0
        dy = (-1.0 if up else 1.0) * height * float(rng.uniform(0.5, 1.0))
        dx = float(rng.normal(0.5, 0.9)) * height * 0.5
        turn = float(rng.normal(0.0, 1.0)) * style.roundness * 1.3
        sketch.go(dx, dy, float(np.clip(turn, -4.0, 4.0)))
        if rng.random() < 0.2:
            sketch.lift_to(sketch.x - float(rng.uniform(0.2, 1.5)), -float(rng.uniform(0.0, height)))
    if rng.random() > style.connected * 0.7:
        sketch.lift_to(sketch.right + 0.3, 0.0)


def _cursive(sketch: Sketch, style: Style, rng: np.random.Generator) -> None:
    if rng.random() < 0.85:
        _initial(sketch, style, rng)
    _word(sketch, style, rng, int(rng.integers(2, 8)))
    if rng.random() < 0.45:
        sketch.lift_to(sketch.right + float(rng.uniform(0.3, 1.2)), float(rng.normal(0.0, 0.3)))
        _initial(sketch, style, rng)
        _word(sketch, style, rng, int(rng.integers(1, 7)))


def _initials(sketch: Sketch, style: Style, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 4)):
        _initial(sketch, style, rng)
    if rng.random() < 0.7:
        _wave(sketch, style, rng)


def _wave(sketch: Sketch, style: Style, rng: np.random.Generator) -> None:
    """Append a wavy line in place of letters."""
    height, step = float(rng.uniform(0.25, 1.0)), float(rng.uniform(0.2, 0.8))
    for index in range(int(rng.integers(3, 12))):
        fade = height * (1.0 - 0.05 * index) * float(rng.uniform(0.6, 1.3))
        sketch.go(step, -fade if index % 2 else fade, style.roundness * float(rng.normal(0.0, 0.8)))
    sketch.go(float(rng.uniform(0.5, 4.0)), float(rng.normal(0.0, 0.6)), float(rng.normal(0.0, 0.5)))


def _scribble(sketch: Sketch, _style: Style, rng: np.random.Generator) -> None:
    """Append loops and zigzags without letters."""
    size = float(rng.uniform(1.5, 3.5))
    for _ in range(rng.integers(5, 16)):
        angle = float(rng.uniform(0.0, 2.0 * np.pi))
        reach = size * float(rng.uniform(0.3, 1.3))
        dx = reach * np.cos(angle) * 1.5 + float(rng.uniform(0.0, 0.8))
        dy = float(np.clip(reach * np.sin(angle), -size - sketch.y, size - sketch.y))
        sketch.go(float(dx), dy, float(np.clip(rng.normal(0.0, 1.6), -4.2, 4.2)))


def _blocks(sketch: Sketch, style: Style, rng: np.random.Generator) -> None:
    """Append characters of separate, mostly straight strokes in squares, as in Chinese."""
    for _ in range(rng.integers(2, 4)):
        left, size = sketch.right + 0.5, float(rng.uniform(2.4, 3.4))
        for _ in range(rng.integers(3, 10)):
            x, y = left + size * float(rng.uniform(0.0, 0.6)), size * float(rng.uniform(-1.0, -0.2))
            sketch.lift_to(x, y)
            kind, reach = rng.integers(5), size * float(rng.uniform(0.25, 0.8))
            bend = float(rng.normal(0.0, 0.25)) * style.roundness
            if kind == 0:
                sketch.go(reach, -0.08 * reach, bend)
            elif kind == 1:
                sketch.go(0.0, reach, bend)
            elif kind == 2:
                sketch.go(-0.6 * reach, 0.8 * reach, 0.4 + bend)
            elif kind == 3:
                sketch.go(0.7 * reach, 0.7 * reach, -0.4 + bend)
            else:  # a turning stroke: across, then down, sometimes with a hook
                sketch.go(0.8 * reach, -0.05 * reach, 0.0)
                sketch.go(-0.1 * reach, 0.7 * reach, 0.2 + bend)
                if rng.random() < 0.4:
                    sketch.go(-0.2 * reach, -0.15 * reach, 0.3)


def _headline(sketch: Sketch, style: Style, rng: np.random.Generator) -> None:
    """Append letters below a headline, as in Devanagari and Bengali."""
    for _ in range(rng.integers(1, 3)):
        left = sketch.right + 0.4
        sketch.lift_to(left, -1.6)
        for _ in range(rng.integers(2, 6)):
            for dx, dy, turn in style.letters[rng.integers(len(style.letters))]:
                sketch.go(dx * style.width, 0.8 * dy, turn)
            sketch.lift_to(sketch.right + 0.2, -1.6 + float(rng.normal(0.0, 0.1)))
            if rng.random() < 0.6:
                sketch.go(0.0, 1.6, float(rng.normal(0.0, 0.1)))
        right = sketch.right
        sketch.lift_to(left - 0.2, -1.6)
        sketch.go(right - left + 0.6, float(rng.normal(0.0, 0.15)), float(rng.normal(0.0, 0.1)))


def _printed(sketch: Sketch, _style: Style, rng: np.random.Generator) -> None:
    """Append unconnected capitals of straight and curved strokes."""
    for _ in range(rng.integers(3, 8)):
        left, height = sketch.right + float(rng.uniform(0.3, 0.6)), float(rng.uniform(1.5, 2.2))
        sketch.lift_to(left, -height)
        sketch.go(float(rng.normal(0.0, 0.15)), height, 0.0)
        for _ in range(rng.integers(1, 4)):
            sketch.lift_to(left, -height * float(rng.uniform(0.0, 1.0)))
            sketch.go(
                float(rng.uniform(0.4, 1.1)),
                height * float(rng.normal(0.0, 0.4)),
                float(rng.choice([0.0, 2.6, -1.2])),
            )


_RECIPES: tuple[Callable[[Sketch, Style, np.random.Generator], None], ...] = (
    _cursive,
    _initials,
    _scribble,
    _blocks,
    _headline,
    _printed,
)
_SHARES = np.array([0.42, 0.20, 0.10, 0.13, 0.08, 0.07])
_SCRIBBLE = 2


def _paraph(sketch: Sketch, rng: np.random.Generator) -> None:
    """Append a final flourish: an underline, a strike-through, a loop around the signature or a zigzag below it."""
    width = max(2.0, sketch.right)
    kind = rng.integers(4)
    if kind == 0:
        sketch.lift_to(width * float(rng.uniform(-0.1, 0.3)), float(rng.uniform(0.4, 1.4)))
        sketch.go(
            width * float(rng.uniform(0.6, 1.1)), float(rng.normal(-0.3, 0.4)), float(rng.normal(0.0, 0.3))
        )
    elif kind == 1:
        sketch.go(float(rng.uniform(0.3, 1.5)), float(rng.uniform(-0.5, 1.5)), float(rng.choice([-2.5, 2.5])))
        sketch.go(
            -width * float(rng.uniform(0.4, 1.1)), float(rng.normal(0.3, 0.5)), float(rng.normal(0.0, 0.4))
        )
        sketch.go(
            width * float(rng.uniform(0.5, 1.2)),
            float(rng.normal(0.2, 0.5)),
            float(rng.choice([-0.5, 0.5, 2.8])),
        )
    elif kind == 2:
        height = float(rng.uniform(2.0, 3.5))
        sketch.go(0.4, height * 0.5, -1.0)
        sketch.go(-width * 1.1, -height * 0.2, -1.4)
        sketch.go(width * 0.3, -height, -1.4)
        sketch.go(width * float(rng.uniform(0.5, 0.9)), height * 0.3, -1.2)
    else:
        sketch.lift_to(0.0, float(rng.uniform(0.6, 1.3)))
        for index in range(int(rng.integers(2, 5))):
            sketch.go(
                (1.0 if index % 2 == 0 else -0.7) * width * float(rng.uniform(0.5, 0.9)),
                0.2,
                float(rng.choice([-0.3, 2.6])),
            )


def _dots(sketch: Sketch, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 3)):
        sketch.lift_to(float(rng.uniform(0.1, 0.9)) * max(1.0, sketch.right), -float(rng.uniform(1.4, 2.6)))
        sketch.go(0.12, 0.1, 0.5)


def _timed(sketch: Sketch, style: Style, rng: np.random.Generator) -> MotorPlan:
    """Apply the slant and draw the times and the pressure of the strokes."""
    chord = np.array(sketch.chords, dtype=np.float64)
    chord = np.stack([chord[:, 0] - style.slant * chord[:, 1], chord[:, 1]], axis=1)
    strokes = len(chord)
    # Isochrony principle: longer strokes are faster, so the duration grows slowly with the length.
    duration = 0.10 + 0.03 * np.sqrt(np.hypot(*chord.T))
    fluency = float(rng.uniform(0.45, 0.8))  # share of a stroke that is completed when the next one starts
    return MotorPlan(
        chord=chord,
        turn=np.clip(np.array(sketch.turns), -4.6, 4.6),
        onset=onsets(duration, fluency, np.array(sketch.down)) * np.exp(rng.normal(0.0, 0.1, strokes)),
        mu=np.log(duration * 0.62) + rng.normal(0.0, 0.06, strokes),
        sigma=np.clip(rng.normal(0.27, 0.05, strokes), 0.15, 0.45),
        pen_down=np.array(sketch.down),
        force=np.clip(rng.normal(0.5, 0.1, strokes), 0.15, 0.9),
    )
