"""Logos of made-up companies, as images of their ink.

Images have mode L, 255 = full ink. Lengths are in pixels. Swooshes and script lettering look most like signatures.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from model.documents.material import Typefaces, word

Pixels = NDArray[np.uint8]


def logo(rng: np.random.Generator, faces: Typefaces, side: float) -> Image.Image:
    """Draw a logo of a random kind; ``side`` is its longer side, about."""
    kinds: tuple[Callable[[np.random.Generator, Typefaces, int], Image.Image], ...] = (
        _polygon,
        _rings,
        _swooshes,
        _swooshes,
        _monogram,
        _monogram,
        _lettering,
        _lettering,
        _crest,
        _petals,
        _stripes,
    )
    image = kinds[int(rng.integers(len(kinds)))](rng, faces, max(12, round(side)))
    strength = float(rng.uniform(0.35, 1.0))
    return image.point(lambda value: round(value * strength))


def _polygon(rng: np.random.Generator, _: Typefaces, side: int) -> Image.Image:
    """Draw a star-shaped polygon or a solid rectangle."""
    image = Image.new("L", (side, side), 0)
    pencil = ImageDraw.Draw(image)
    if rng.random() < 0.3:
        pencil.rectangle([0, 0, side, side * float(rng.uniform(0.3, 1.0))], fill=255)
        return image
    angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 9))))
    radii = rng.uniform(0.3, 0.5, len(angles)) * side
    points = np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None] + side / 2
    pencil.polygon([(float(x), float(y)) for x, y in points], fill=255)
    return image


def _rings(rng: np.random.Generator, _: Typefaces, side: int) -> Image.Image:
    """Draw circles in one another, or beside one another."""
    apart = rng.random() < 0.4
    image = Image.new("L", (side, side), 0)
    pencil = ImageDraw.Draw(image)
    width = max(1, round(side * float(rng.uniform(0.03, 0.12))))
    for index in range(int(rng.integers(2, 5))):
        radius = side * (0.22 if apart else 0.48 - 0.11 * index)
        x = side * (0.25 + 0.16 * index) if apart else side / 2
        if radius > width:
            pencil.ellipse(
                [x - radius, side / 2 - radius, x + radius, side / 2 + radius], outline=255, width=width
            )
    return image


def _curve(rng: np.random.Generator, side: int, steps: int = 60) -> NDArray[np.float64]:
    """Draw a smooth curve of one or two bends across a square: (steps, 2)."""
    control = np.array(
        [
            [rng.uniform(0.0, 0.25), rng.uniform(0.2, 0.9)],
            [rng.uniform(0.1, 0.6), rng.uniform(-0.2, 1.2)],
            [rng.uniform(0.4, 0.9), rng.uniform(-0.2, 1.2)],
            [rng.uniform(0.75, 1.0), rng.uniform(0.1, 0.8)],
        ]
    )
    t = np.linspace(0, 1, steps)[:, None]
    basis = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])
    return np.asarray(basis @ control * side, np.float64)


def swell(points: NDArray[np.float64], width: float, size: tuple[int, int]) -> Pixels:
    """Draw a stroke that is ``width`` wide in its middle and pointed at its ends: (h, w) uint8.

    ``size`` is (w, h), ``points`` are (n, 2).
    """
    direction = np.gradient(points, axis=0)
    length = np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-6)
    normal = np.column_stack([-direction[:, 1], direction[:, 0]]) / length
    half = 0.5 * width * np.sin(np.linspace(0, math.pi, len(points)))[:, None]
    outline = np.vstack([points + normal * half, (points - normal * half)[::-1]])
    image = np.zeros(size[::-1], np.uint8)
    # Filled as a band of quadrangles: the outline of a strongly bent stroke crosses itself.
    count = len(points)
    for index in range(count - 1):
        quad = outline[[index, index + 1, 2 * count - 2 - index, 2 * count - 1 - index]]
        cv2.fillConvexPoly(image, cv2.convexHull(np.round(quad * 16).astype(np.int32)), 255, cv2.LINE_AA, 4)
    return image


def _swooshes(rng: np.random.Generator, _: Typefaces, side: int) -> Image.Image:
    """Draw one to four curved strokes, alike or not."""
    size = (side, max(8, round(side * float(rng.uniform(0.5, 1.0)))))
    ink = np.zeros(size[::-1], np.uint8)
    first = _curve(rng, side) * [1.0, size[1] / side]
    width = side * float(rng.uniform(0.03, 0.22))
    alike = rng.random() < 0.5
    for index in range(int(rng.integers(1, 5))):
        points = (
            first + np.array([0.0, index * width * 1.6])
            if alike
            else _curve(rng, side) * [1.0, size[1] / side]
        )
        ink = np.maximum(ink, swell(points, width, size))
    return Image.fromarray(ink)


def _monogram(rng: np.random.Generator, faces: Typefaces, side: int) -> Image.Image:
    """Draw one to three large letters, at times entwined, framed or cut out of a solid shape."""
    face = faces.printed(rng) if rng.random() < 0.5 else faces.lettering(rng)
    image = Image.new("L", (side, side), 0)
    count = int(rng.integers(1, 4))
    text = word(rng, face).upper().replace(" ", "")[:count] or "A"
    font = face.at(side * (0.75 if count == 1 else 0.5))
    spread = side * float(rng.uniform(0.1, 0.3))
    for index, letter in enumerate(text):
        glyph = Image.new("L", (side, side), 0)
        at = (
            side / 2 + (index - (len(text) - 1) / 2) * spread,
            side / 2 + float(rng.normal(0, 0.04)) * side,
        )
        ImageDraw.Draw(glyph).text(at, letter, fill=255, font=font, anchor="mm")
        image = ImageChops.lighter(image, glyph)
    frame = Image.new("L", (side, side), 0)
    pencil = ImageDraw.Draw(frame)
    kind = rng.random()
    width = max(1, side // int(rng.integers(14, 50)))
    box = [1, 1, side - 2, side - 2]
    if kind < 0.25:
        pencil.ellipse(box, outline=255, width=width)
    elif kind < 0.4:
        pencil.rectangle(box, outline=255, width=width)
    elif kind < 0.6:
        (pencil.ellipse if rng.random() < 0.5 else pencil.rectangle)(box, fill=255)
        return ImageChops.subtract(frame, image)
    return ImageChops.lighter(image, frame)


def _lettering(rng: np.random.Generator, faces: Typefaces, side: int) -> Image.Image:
    """Draw a word in script lettering, slanted, at times underlined with a swoosh."""
    face = faces.lettering(rng)
    text = word(rng, face).capitalize()[:10]
    if rng.random() < 0.3:
        text += " & " + word(rng, face).capitalize()[:8]
    font = face.at(side * 0.5)
    left, top, right, bottom = font.getbbox(text)
    font = face.at(side * 0.5 * side / max(1.0, right - left))
    left, top, right, bottom = font.getbbox(text)
    size = (math.ceil(right - left) + 6, math.ceil((bottom - top) * 1.35) + 6)
    image = Image.new("L", size, 0)
    ImageDraw.Draw(image).text((3 - left, 3 - top), text, fill=255, font=font)
    ink = np.asarray(image)
    if rng.random() < 0.5:
        lean = float(rng.uniform(0.0, 0.3))
        matrix = np.array([[1.0, -lean, lean * size[1]], [0.0, 1.0, 0.0]])
        ink = np.asarray(cv2.warpAffine(ink, matrix, (size[0] + round(lean * size[1]), size[1])), np.uint8)
    if rng.random() < 0.4:
        wide, high = ink.shape[1], ink.shape[0]
        t = np.linspace(0, 1, 50)
        bow = float(rng.uniform(-0.15, 0.15)) * high
        points = np.column_stack([wide * (0.03 + 0.94 * t), high * 0.86 + bow * np.sin(math.pi * t)])
        ink = np.maximum(ink, swell(points, high * float(rng.uniform(0.04, 0.14)), (wide, high)))
    return Image.fromarray(ink)


def _crest(rng: np.random.Generator, _: Typefaces, side: int) -> Image.Image:
    """Draw a shield with stripes."""
    image = Image.new("L", (side, side), 0)
    pencil = ImageDraw.Draw(image)
    t = np.linspace(0, 1, 20)
    right = np.column_stack([0.9 - 0.4 * t**2.5, 0.1 + 0.85 * t])
    points = np.vstack([right, np.column_stack([1.0 - right[::-1, 0], right[::-1, 1]])]) * side
    shield = [(float(x), float(y)) for x, y in points]
    if rng.random() < 0.5:
        pencil.polygon(shield, fill=255)
    else:
        pencil.line([*shield, shield[0]], fill=255, width=max(1, side // 18))
    for share in rng.uniform(0.2, 0.8, int(rng.integers(1, 4))):
        y = float(share) * side
        pencil.rectangle([side * 0.2, y, side * 0.8, y + side * 0.08], fill=int(rng.integers(2)) * 255)
    return image


def _petals(rng: np.random.Generator, _: Typefaces, side: int) -> Image.Image:
    """Draw ellipses around a middle, solid or in outline."""
    ink = np.zeros((side, side), np.uint8)
    count, solid = int(rng.integers(3, 10)), rng.random() < 0.6
    axes = (round(side * 0.16), max(1, round(side * float(rng.uniform(0.04, 0.1)))))
    for angle in np.arange(count) * 360.0 / count:
        turn = math.radians(angle)
        centre = (
            round(side / 2 + 0.3 * side * math.cos(turn)),
            round(side / 2 + 0.3 * side * math.sin(turn)),
        )
        cv2.ellipse(ink, centre, axes, angle, 0, 360, 255, -1 if solid else max(1, side // 40), cv2.LINE_AA)
    return Image.fromarray(ink)


def _stripes(rng: np.random.Generator, _: Typefaces, side: int) -> Image.Image:
    """Draw parallel or wavy bars within a circle or a square."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    wave = float(rng.uniform(0, 0.12)) * np.sin(x * float(rng.uniform(3, 12)))
    bars = (y + wave) * float(rng.uniform(3, 9)) % 1.0 < float(rng.uniform(0.3, 0.7))
    inside = np.hypot(x - 0.5, y - 0.5) < 0.48 if rng.random() < 0.6 else np.ones_like(bars)
    return Image.fromarray((bars & inside).astype(np.uint8) * 255)
