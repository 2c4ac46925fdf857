"""What the everyday pages of the benchmark are made of: places to sign, strokes of a pen, and traces of use.

Training draws its lines, ticks and portraits by other code. Lengths are in millimetres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.document_elements import Filling
from model.documents.elements import Drawer
from model.documents.material import Typeface, word, words
from model.documents.sheet import POINT, Sheet

Pixels = NDArray[np.uint8]
Range = tuple[float, float]

PEN = 0.35
"""Least width of strokes: a ballpoint pen's."""

CAPTIONS = (
    "Signature of account holder",
    "Signature of the insured",
    "Signature of applicant",
    "Customer's signature",
    "Place, date, signature",
    "Unterschrift des Kontoinhabers",
    "Signature de l'assuré(e)",
    "Firma del titular",
)


@dataclass(frozen=True)
class Spot:
    """Where a signature goes.

    Attributes
    ----------
    x, line : float
        Its middle, and the line that it is written on.
    wide, high : (float, float)
        Least and largest width and height of the frame that it fills, aspect kept.
    below : (float, float)
        Least and largest share of its height that is below the line.
    """

    x: float
    line: float
    wide: Range = (45, 65)
    high: Range = (6, 12)
    below: Range = (0.08, 0.4)


def sign_on(drawer: Drawer, sheet: Sheet, signature: Pixels | None, spot: Spot) -> Range:
    """Write the signature on a line; return its left and right end, or those of the empty place."""
    wide, high = drawer.between(*spot.wide), drawer.between(*spot.high)
    below, x = drawer.between(*spot.below), spot.x + float(drawer.rng.normal(0, 1.5))
    darkness = drawer.between(0.7, 1.0)
    if signature is None:
        return x - wide / 2, x + wide / 2
    factor = min(wide / signature.shape[1], high / signature.shape[0])  # mm to a pixel of the signature
    wide, high = signature.shape[1] * factor, signature.shape[0] * factor
    ink = with_pen(signature, factor)
    sheet.sign(ink, x, spot.line - (0.5 - below) * high, wide, high, darkness)
    return x - wide / 2, x + wide / 2


def with_pen(signature: Pixels, size: float) -> Pixels:
    """Thicken strokes that are narrower than any pen's where each pixel takes ``size`` millimetres.

    Who signs in a small box writes smaller, not with a finer pen.
    """
    ink = (signature > 100).astype(np.uint8)
    outline = ink - cv2.erode(ink, np.ones((3, 3), np.uint8))
    stroke = 2.0 * float(ink.sum()) / max(1.0, float(outline.sum()))
    more = round(PEN / size - stroke)
    if more < 1:
        return signature
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (more + 1, more + 1))
    return np.asarray(cv2.dilate(signature, kernel), np.uint8)


def latin(drawer: Drawer) -> Typeface:
    """Draw a font for print in Latin letters: for captions, which are not made-up words."""
    return in_script(drawer, "latin")


def in_script(drawer: Drawer, script: str) -> Typeface:
    """Draw a font of a script; one of any script where none of it is installed."""
    faces = drawer.faces.by_script.get(script)
    return faces[int(drawer.rng.integers(len(faces)))] if faces else drawer.face()


def monospaced(drawer: Drawer) -> Typeface:
    """Draw a font of a till or a typewriter."""
    faces = [face for face in drawer.faces.by_script["latin"] if face.path and _is_monospaced(face.path.name)]
    return faces[int(drawer.rng.integers(len(faces)))] if faces else latin(drawer)


def _is_monospaced(name: str) -> bool:
    return any(part in name.lower() for part in ("mono", "ocr", "courier"))


def wording(rng: np.random.Generator, face: Typeface, count: int) -> str:
    """Make up words without the characters among Arabic letters that most fonts lack."""
    return "".join(c for c in words(rng, face, count) if not "\u063b" <= c <= "\u0640")


def fitted(sheet: Sheet, line: str, face: Typeface, points: float, width: float) -> str:
    """Cut a line so that it is printed within a width."""
    font = face.at(points * POINT * sheet.scale * 1.15)
    while line and font.getlength(line) > sheet.px(width):
        line = line[:-1]
    return line


def paragraph(
    drawer: Drawer,
    sheet: Sheet,
    x: float,
    y: float,
    width: float,
    height: float,
    face: Typeface,
    points: float,
) -> None:
    """Print lines of text in a rectangle, none of which goes beyond it."""
    darkness, leading = drawer.between(0.7, 1.0), points * POINT * drawer.between(1.2, 1.5)
    tops = np.arange(y, y + height - leading, leading)
    for top in tops:
        share = drawer.between(0.3, 0.9) if top == tops[-1] else drawer.between(0.93, 1.0)
        line = wording(drawer.rng, face, round(width / points) + 12)
        sheet.text(x, float(top), fitted(sheet, line, face, points, share * width), face, points, darkness)


def caption(drawer: Drawer, sheet: Sheet, x: float, y: float, points: float = 0.0) -> None:
    """Print in small letters what a line is for."""
    line = CAPTIONS[int(drawer.rng.integers(len(CAPTIONS)))]
    sheet.text(x, y, line, latin(drawer), points or drawer.between(6, 8), drawer.between(0.7, 1.0))


def dashes(drawer: Drawer, sheet: Sheet, x0: float, y: float, x1: float) -> None:
    """Draw a dashed line."""
    dash, gap, width = drawer.between(1.5, 3.5), drawer.between(0.8, 2.0), drawer.between(0.2, 0.4)
    for x in np.arange(x0, x1, dash + gap):
        sheet.rule(float(x), y, float(min(x1, x + dash)), y, width)


def typed_line(sheet: Sheet, x0: float, y: float, x1: float, face: Typeface, character: str) -> None:
    """Print a line to sign on of full stops or underscores, as people type it, with its middle at y."""
    points = 10.0
    font = face.at(points * POINT * sheet.scale * 1.15)
    _, top, _, bottom = font.getbbox(character)
    count = max(1, round(sheet.px(x1 - x0) / font.getlength(character)))
    sheet.text(x0, y - (top + bottom) / 2 / sheet.scale, character * count, face, points)


def dot_matrix(sheet: Sheet, x: float, y: float, line: str, face: Typeface, height: float) -> None:
    """Print a line in the dots of a needle printer; ``height`` of its letters with their descenders."""
    font = face.at(11)
    small = Image.new("L", (math.ceil(font.getlength(line)) + 2, 14), 0)
    ImageDraw.Draw(small).text((0, 0), line, fill=255, font=font)
    cells = (np.asarray(small) > 110).astype(np.uint8) * 255
    dot = np.zeros((8, 8), np.uint8)
    cv2.circle(dot, (4, 4), 3, 255, -1)
    dots = np.kron(cells // 255, dot)
    factor = sheet.px(height) / dots.shape[0]
    printed = cv2.resize(dots, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    image = Image.fromarray(np.clip(printed * 1.5, 0, 255).astype(np.uint8))
    sheet.paste(image, x + image.width / 2 / sheet.scale, y + image.height / 2 / sheet.scale)


def date(drawer: Drawer) -> str:
    """Make up a date in figures."""
    day, month, year = (int(drawer.rng.integers(1, top)) for top in (29, 13, 30))
    separator = str(drawer.rng.choice(["/", ".", "-"]))
    return separator.join((str(day), str(month), f"20{year:02d}" if drawer.chance(0.4) else f"{year:02d}"))


def hand_of(drawer: Drawer) -> np.random.Generator:
    """Return the generator of what is written by hand."""
    return drawer.hand if isinstance(drawer, Filling) else drawer.rng


def handwritten_lines(
    drawer: Drawer, sheet: Sheet, x: float, tops: NDArray[np.floating], width: float, height: float
) -> None:
    """Write lines by one hand, each with its upper left corner at x and one of ``tops``."""
    hand = hand_of(drawer)
    face, darkness = drawer.faces.handwritten(hand), float(hand.uniform(0.7, 1.0))
    for number, top in enumerate(tops):
        limit = width * (float(hand.uniform(0.35, 0.8)) if number == len(tops) - 1 else 1.0)
        line = _sentence(hand, face)
        while face.at(height * sheet.scale * 1.4).getlength(line) > sheet.px(limit):
            line = line.rpartition(" ")[0]
        sheet.write(x + float(hand.normal(0, 0.8)), float(top), line, face, height, hand, darkness)


def _sentence(hand: np.random.Generator, face: Typeface) -> str:
    """Make up words, some of them with a capital letter; handwriting fonts are not made for more capitals."""
    made = [word(hand, face).lower() for _ in range(18)]
    return " ".join(one.capitalize() if hand.random() < 0.2 else one for one in made)


def pen_stroke(drawer: Drawer, sheet: Sheet, points: NDArray[np.floating]) -> None:
    """Draw a stroke through points (n, 2)."""
    hand = hand_of(drawer)
    width = max(1, round(sheet.px(float(hand.uniform(0.3, 0.6)))))
    corner = points.min(axis=0) - 1.0
    size = np.ceil((points.max(axis=0) + 1.0 - corner) * sheet.scale).astype(int)
    ink = np.zeros((size[1], size[0]), np.uint8)
    at = np.rint((points - corner) * sheet.scale * 16).astype(np.int32)
    cv2.polylines(ink, [at], isClosed=False, color=255, thickness=width, lineType=cv2.LINE_AA, shift=4)
    sheet.place(ink, corner[0], corner[1], ink.shape[0] / sheet.scale, float(hand.uniform(0.7, 1.0)))


def tick(drawer: Drawer, sheet: Sheet, x: float, y: float) -> None:
    """Tick a box, the upper left corner of which is at (x, y)."""
    shape = np.array([[0.2, 1.5], [1.2, 3.0], [2.0, 1.2], [4.2, -1.8]])
    corner = np.array([x, y])
    pen_stroke(drawer, sheet, corner + shape + hand_of(drawer).normal(0, 0.35, shape.shape))


def cross(drawer: Drawer, sheet: Sheet, x: float, y: float) -> None:
    """Put a cross into a box, the upper left corner of which is at (x, y)."""
    for start, end in (((-0.4, -0.4), (3.4, 3.4)), ((3.4, -0.4), (-0.4, 3.4))):
        ends = np.array([x, y]) + np.array([start, end])
        pen_stroke(drawer, sheet, ends + hand_of(drawer).normal(0, 0.4, (2, 2)))


def ring(drawer: Drawer, sheet: Sheet, x: float, y: float, wide: float, high: float) -> None:
    """Draw a circle by hand around what is printed with its middle at (x, y)."""
    hand = hand_of(drawer)
    angles = np.linspace(-0.3, 2 * math.pi + float(hand.uniform(-0.1, 0.7)), 60) + float(hand.uniform(0, 6))
    radius = 1.0 + 0.06 * np.sin(angles * 2 + float(hand.uniform(0, 6))) + np.linspace(0, 0.12, 60)
    pen_stroke(
        drawer,
        sheet,
        np.column_stack([x + wide / 2 * radius * np.cos(angles), y + high / 2 * radius * np.sin(angles)]),
    )


def strike_out(drawer: Drawer, sheet: Sheet, x0: float, y: float, x1: float) -> None:
    """Cross out what is printed from x0 to x1: by one line, or by a line to and fro."""
    hand = hand_of(drawer)
    along = np.linspace(x0, x1, 24)
    height = 0.25 if hand.random() < 0.5 else float(hand.uniform(0.8, 1.4))
    wave = height * np.sin(np.linspace(0, (x1 - x0) * 1.3, 24)) + hand.normal(0, 0.1, 24)
    pen_stroke(drawer, sheet, np.column_stack([along, y + wave]))


def portrait(drawer: Drawer, sheet: Sheet, x: float, y: float, width: float, height: float) -> None:
    """Print a grey portrait: head, hair and shoulders before a ground."""
    size = (round(sheet.px(width)), round(sheet.px(height)))
    image = Image.new("L", size, round(255 * drawer.between(0.1, 0.3)))
    pencil = ImageDraw.Draw(image)

    def oval(x0: float, y0: float, x1: float, y1: float, darkness: float) -> None:
        box = [x0 * size[0], y0 * size[1], x1 * size[0], y1 * size[1]]
        pencil.ellipse(box, fill=round(255 * darkness))

    hair, skin = drawer.between(0.5, 0.95), drawer.between(0.25, 0.5)
    oval(0.2, 0.1, 0.8, drawer.between(0.6, 0.9), hair)
    oval(0.02, 0.72, 0.98, 1.5, drawer.between(0.5, 0.9))
    oval(0.4, 0.55, 0.6, 0.85, skin + 0.08)
    oval(0.27, 0.2, 0.73, 0.72, skin)
    for left in (0.36, 0.56):
        oval(left, 0.4, left + 0.08, 0.44, skin + 0.35)
        oval(left - 0.01, 0.36, left + 0.09, 0.38, hair)
    oval(0.42, 0.59, 0.58, 0.62, skin + 0.25)
    oval(0.48, 0.45, 0.53, 0.54, skin + 0.1)
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(size[0] / 60)), np.float32)
    grain = drawer.rng.normal(0, 6, soft.shape)
    picture = Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8))
    sheet.paste(picture, x + width / 2, y + height / 2)


def _distance(sheet: Sheet, x: float, y: float, degrees: float) -> NDArray[np.float32]:
    """Compute the distance of each pixel, in millimetres, from a line through (x, y), signed."""
    rows, columns = np.mgrid[0 : sheet.shape[0], 0 : sheet.shape[1]].astype(np.float32)
    angle = math.radians(degrees)
    across = (rows / sheet.scale - y) * math.cos(angle) - (columns / sheet.scale - x) * math.sin(angle)
    return np.asarray(across, np.float32)


def hard_shadow(drawer: Drawer, sheet: Sheet, x: float, y: float) -> None:
    """Cast a shadow with a sharp edge through (x, y), of a hand or the phone."""
    side = _distance(sheet, x, y, drawer.between(0, 360)) / drawer.between(0.3, 1.2)
    sheet.background *= 1.0 - drawer.between(0.35, 0.6) * np.clip(side + 0.5, 0, 1)


def fold(drawer: Drawer, sheet: Sheet, x: float, y: float, degrees: float) -> None:
    """Fold the paper along a line through (x, y): a broken dark line between a pale side and a grey one."""
    away = _distance(sheet, x, y, degrees)
    side = np.exp(-np.abs(away) / drawer.between(2, 6)) * np.sign(away)
    worn = drawer.rng.uniform(0.0, 1.0, (24, 18)).astype(np.float32)
    wear = cv2.resize(worn, sheet.shape[::-1], interpolation=cv2.INTER_CUBIC)
    crease = np.clip(1.0 - np.abs(away) / 0.35, 0, 1) * wear
    sheet.background *= 1.0 - drawer.between(0.03, 0.08) * side - drawer.between(0.15, 0.5) * crease


def punch(drawer: Drawer, sheet: Sheet, x: float, y: float) -> None:
    """Punch two holes, 80 mm apart, through which a scanner's dark lid is seen."""
    dark = drawer.between(0.02, 0.35)
    for middle in (y - 40, y + 40):
        at = (round(sheet.px(x)), round(sheet.px(middle)))
        cv2.circle(sheet.background, at, round(sheet.px(2.9)), dark, -1, cv2.LINE_AA)


def staple(drawer: Drawer, sheet: Sheet, x: float, y: float) -> None:
    """Staple the page: a wire with its shadow."""
    angle = math.radians(drawer.between(-50, 10))
    middle, half = np.array([x, y]), np.array([math.cos(angle), math.sin(angle)]) * 5.5
    for shift, tone, width in ((0.35, 0.45, 0.9), (0.0, 0.2, 0.7), (-0.12, 0.75, 0.25)):
        ends = np.array([middle - half, middle + half]) + shift
        start, end = (tuple(int(v) for v in np.rint(point * sheet.scale)) for point in ends)
        cv2.line(sheet.background, start, end, tone, max(1, round(sheet.px(width))), cv2.LINE_AA)


def scanner_border(drawer: Drawer, sheet: Sheet) -> None:
    """Let the paper end before the edges of the image, a little turned, on a scanner's black ground."""
    inside = np.ones(sheet.shape, np.float32)
    for x, y, degrees in (
        (sheet.width / 2, 0.0, 180.0),
        (sheet.width / 2, sheet.height, 0.0),
        (0.0, sheet.height / 2, 90.0),
        (sheet.width, sheet.height / 2, 270.0),
    ):
        reach = drawer.between(-3, 9)
        beyond = _distance(sheet, x, y, degrees + drawer.between(-1.2, 1.2)) + reach
        inside *= np.clip(0.5 - beyond / 0.3, 0, 1)
    sheet.background *= inside + (1.0 - inside) * drawer.between(0.02, 0.15)
