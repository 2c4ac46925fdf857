"""Rubber stamps: round, oval, rectangular and date stamps, as images of their ink.

Images have mode L, 255 = full ink. Lengths are in pixels.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from model.documents.material import Font, Typeface, Typefaces, word, words

Pixels = NDArray[np.uint8]

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAI", "JUN", "JUL", "AUG", "SEP", "OKT", "NOV", "DEC")
NOTES = ("PAID", "COPY", "RECEIVED", "APPROVED", "URGENT", "BEZAHLT", "PAYÉ", "ORIGINAL", "CANCELLED", "VOID")


def rubber_stamp(rng: np.random.Generator, faces: Typefaces, radius: float) -> Image.Image:
    """Draw a stamp of a random kind, turned, worn, in an ink of any strength.

    Parameters
    ----------
    radius : float
        Half of its width.
    """
    face = faces.printed(rng)
    kind = rng.random()
    if kind < 0.35:
        image = _round(rng, face, radius, radius)
    elif kind < 0.5:
        image = _round(rng, face, radius, radius * float(rng.uniform(0.5, 0.8)))
    elif kind < 0.7:
        image = _rectangular(rng, face, radius)
    elif kind < 0.87:
        image = _dated(rng, face, radius)
    else:
        image = _note(rng, face, radius)
    upright = rng.random() < 0.3
    angle = float(rng.normal(0, 4)) if upright else float(rng.uniform(-45, 45))
    turned = np.asarray(image.rotate(angle, Image.Resampling.BILINEAR, expand=True), np.float32)
    return Image.fromarray(_worn(turned, rng))


def _worn(ink: NDArray[np.float32], rng: np.random.Generator) -> Pixels:
    """Print the ink unevenly: large areas more or less, and at times with gaps as fine as the rubber's pores."""
    size = ink.shape[::-1]
    low = float(rng.uniform(0.0, 0.8))
    patches = rng.uniform(low, 1.15, (int(rng.integers(3, 14)), int(rng.integers(3, 14)))).astype(np.float32)
    worn = ink * np.clip(cv2.resize(patches, size, interpolation=cv2.INTER_CUBIC), 0.0, 1.0)
    if rng.random() < 0.4:
        pores = cv2.GaussianBlur(rng.random(ink.shape).astype(np.float32), (0, 0), 0.8)
        worn = worn * np.clip((pores - float(np.percentile(pores, rng.uniform(2, 30)))) * 30, 0.15, 1.0)
    return np.asarray(np.clip(worn * rng.uniform(0.3, 1.0), 0, 255), np.uint8)


def _blank(radius: float) -> tuple[Image.Image, ImageDraw.ImageDraw, float]:
    """Make an empty image with some room around a stamp; return it, its pencil and its middle."""
    side = max(24, round(2.3 * radius))
    image = Image.new("L", (side, side), 0)
    return image, ImageDraw.Draw(image), side / 2


def _round(rng: np.random.Generator, face: Typeface, rx: float, ry: float) -> Image.Image:
    """Draw rings with text along them, and a word, a star or an emblem in the middle."""
    image, pencil, middle = _blank(rx)
    line = max(1, round(rx * float(rng.uniform(0.02, 0.07))))
    shares = [1.0, float(rng.uniform(0.6, 0.75))] if rng.random() < 0.7 else [1.0]
    if rng.random() < 0.3:
        shares.append(0.93)
    for share in shares:
        pencil.ellipse(
            [middle - rx * share, middle - ry * share, middle + rx * share, middle + ry * share],
            outline=255,
            width=line,
        )
    letters = ry * float(rng.uniform(0.16, 0.24))
    text = words(rng, face, int(rng.integers(2, 4))).upper()[: int(rng.integers(12, 30))]
    _along(image, text, face.at(letters), (middle, middle), (rx * 0.83, ry * 0.83), rng)
    centre = rng.random()
    if centre < 0.5:
        rows = int(rng.integers(1, 4))
        for row in range(rows):
            at = middle + (row - (rows - 1) / 2) * ry * 0.32
            pencil.text(
                (middle, at), word(rng, face).upper()[:9], fill=255, font=face.at(ry * 0.24), anchor="mm"
            )
    elif centre < 0.75:
        points = int(rng.integers(5, 9))
        outer = ry * float(rng.uniform(0.25, 0.5))
        angles = np.arange(2 * points) * math.pi / points - math.pi / 2
        reach = np.where(np.arange(2 * points) % 2 == 0, outer, outer * rng.uniform(0.35, 0.8))
        star = [
            (middle + r * math.cos(a), middle + r * math.sin(a)) for r, a in zip(reach, angles, strict=True)
        ]
        if rng.random() < 0.5:
            pencil.polygon(star, fill=255)
        else:
            pencil.line([*star, star[0]], fill=255, width=line)
    return image


def _along(
    image: Image.Image,
    text: str,
    font: Font,
    middle: tuple[float, float],
    radii: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Write text along an ellipse, the feet of the letters inwards."""
    step = 2 * math.pi / max(int(rng.integers(14, 34)), len(text) + 2)
    start = -math.pi / 2 - step * (len(text) - 1) / 2
    for index, letter in enumerate(text):
        angle = start + index * step
        left, top, right, bottom = font.getbbox(letter)
        size = max(4, math.ceil(max(right - left, bottom - top)) + 4)
        glyph = Image.new("L", (size, size), 0)
        ImageDraw.Draw(glyph).text((size / 2, size / 2), letter, fill=255, font=font, anchor="mm")
        turned = glyph.rotate(-math.degrees(angle) - 90, Image.Resampling.BILINEAR, expand=True)
        x = middle[0] + radii[0] * math.cos(angle) - turned.width / 2
        y = middle[1] + radii[1] * math.sin(angle) - turned.height / 2
        _lay(image, turned, round(x), round(y))


def _lay(image: Image.Image, part: Image.Image, x: int, y: int) -> None:
    """Add ink to an image; what is there stays."""
    box = (x, y, x + part.width, y + part.height)
    image.paste(ImageChops.lighter(image.crop(box), part), box)


def _framed(
    rng: np.random.Generator, pencil: ImageDraw.ImageDraw, middle: float, wide: float, high: float, line: int
) -> None:
    """Draw a frame, single or double, with sharp or round corners."""
    corner = float(rng.uniform(0, 0.5)) * high if rng.random() < 0.5 else 0.0
    for inset in (0.0, 2.5 * line) if rng.random() < 0.35 else (0.0,):
        pencil.rounded_rectangle(
            [
                middle - wide + inset,
                middle - high + inset,
                middle + wide - inset,
                middle + high - inset,
            ],
            radius=corner,
            outline=255,
            width=line,
        )


def _rectangular(rng: np.random.Generator, face: Typeface, radius: float) -> Image.Image:
    """Draw rows of text, in a frame or without one."""
    image, pencil, middle = _blank(radius)
    high = radius * float(rng.uniform(0.3, 0.75))
    line = max(1, round(radius * float(rng.uniform(0.02, 0.06))))
    if rng.random() < 0.75:
        _framed(rng, pencil, middle, radius, high, line)
    rows = int(rng.integers(2, 6))
    tall = 1.6 * high / rows
    for row in range(rows):
        text = words(rng, face, int(rng.integers(1, 4)))
        text = (text.upper() if rng.random() < 0.5 else text.title())[: max(4, round(3.0 * radius / tall))]
        at = middle + (row - (rows - 1) / 2) * tall
        pencil.text((middle, at), text, fill=255, font=face.at(tall * 0.75), anchor="mm")
    return image


def _dated(rng: np.random.Generator, face: Typeface, radius: float) -> Image.Image:
    """Draw a date between two lines, in a frame or a circle, with a word above and below."""
    image, pencil, middle = _blank(radius)
    line = max(1, round(radius * float(rng.uniform(0.02, 0.06))))
    day, month, year = int(rng.integers(1, 29)), int(rng.integers(12)), int(rng.integers(1990, 2030))
    date = (
        f"{day:02d} {MONTHS[month]} {year}"
        if rng.random() < 0.6
        else f"{day:02d}{rng.choice(['.', '/', '-'])}{month + 1:02d}.{year}"
    )
    tall = radius * float(rng.uniform(0.2, 0.32))
    kind = rng.random()
    if kind < 0.4:
        pencil.ellipse(
            [middle - radius, middle - radius, middle + radius, middle + radius], outline=255, width=line
        )
    elif kind < 0.8:
        _framed(rng, pencil, middle, radius, radius * float(rng.uniform(0.4, 0.7)), line)
    latin = face if not face.ranges else Typeface(None, "latin", ())
    pencil.text((middle, middle), date, fill=255, font=latin.at(tall), anchor="mm")
    if rng.random() < 0.6:
        for side in (-1, 1):
            y = middle + side * tall * 0.75
            pencil.line([middle - radius * 0.93, y, middle + radius * 0.93, y], fill=255, width=line)
    for side in (-1, 1):
        if rng.random() < 0.75:
            text = word(rng, face).upper()[:10]
            pencil.text(
                (middle, middle + side * tall * 1.3), text, fill=255, font=face.at(tall * 0.6), anchor="mm"
            )
    return image


def _note(rng: np.random.Generator, face: Typeface, radius: float) -> Image.Image:
    """Draw one large word in a frame."""
    image, pencil, middle = _blank(radius)
    latin = not face.ranges
    text = str(rng.choice(NOTES)) if latin else word(rng, face)
    font = face.at(radius * 0.5)
    wide = max(1.0, font.getlength(text))
    font = face.at(radius * 0.5 * min(1.6, 1.75 * radius / wide))
    pencil.text((middle, middle), text, fill=255, font=font, anchor="mm")
    if rng.random() < 0.8:
        line = max(1, round(radius * float(rng.uniform(0.03, 0.09))))
        _framed(rng, pencil, middle, radius, radius * float(rng.uniform(0.35, 0.5)), line)
    return image
