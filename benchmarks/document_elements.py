"""Stamps and logos of the benchmark's pages; those of the training pages are drawn by other code.

Lengths are in millimetres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from model.documents.elements import Drawer
from model.documents.material import word, words
from model.documents.sheet import Sheet


@dataclass
class Filling(Drawer):
    """A drawer that fills in fields with a random generator of its own: another person, on the same form."""

    hand: np.random.Generator

    def handwriting(self, sheet: Sheet, x: float, y: float, line: str = "", height: float = 0.0) -> float:
        """Fill in a field by hand; return the width."""
        design, self.rng = self.rng, self.hand
        try:
            return super().handwriting(sheet, x, y, line, height)
        finally:
            self.rng = design


def stamp(
    drawer: Drawer, sheet: Sheet, x: float, y: float, darkness: tuple[float, float] = (0.4, 0.9)
) -> None:
    """Print a rubber stamp, round or rectangular, turned and with gaps, its darkness between two."""
    rng, face = drawer.rng, drawer.face()
    radius = drawer.between(9, 17) * sheet.scale
    side = round(2.3 * radius)
    image = Image.new("L", (side, side), 0)
    pencil = ImageDraw.Draw(image)
    middle = side / 2
    width = max(1, round(0.5 * sheet.scale))
    if drawer.chance(0.5):
        for r in (radius, radius * 0.72):
            pencil.ellipse([middle - r, middle - r, middle + r, middle + r], outline=255, width=width)
        text = words(rng, face, 3).upper()[:26]
        font = face.at(radius * 0.2)
        for index, letter in enumerate(text):
            angle = 360.0 * index / max(12, len(text))
            glyph = Image.new("L", (side, side), 0)
            ImageDraw.Draw(glyph).text(
                (middle, middle - radius * 0.86), letter, fill=255, font=font, anchor="mm"
            )
            image.paste(255, (0, 0), glyph.rotate(-angle))
        pencil.text(
            (middle, middle), word(rng, face).upper(), fill=255, font=face.at(radius * 0.3), anchor="mm"
        )
    else:
        high = radius * drawer.between(0.4, 0.7)
        pencil.rectangle(
            [middle - radius, middle - high, middle + radius, middle + high], outline=255, width=width
        )
        for row in (-0.4, 0.35):
            line = words(rng, face, 2).upper()[:16]
            pencil.text((middle, middle + row * high), line, fill=255, font=face.at(high * 0.5), anchor="mm")
    worn = cv2.resize(
        rng.uniform(0.2, 1.1, (12, 12)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    turned = np.asarray(image.rotate(drawer.between(-40, 40)), np.float32)
    sheet.paste(
        Image.fromarray(np.clip(turned * worn * drawer.between(*darkness), 0, 255).astype(np.uint8)), x, y
    )


def logo(drawer: Drawer, sheet: Sheet, x: float, y: float, side: float) -> None:
    """Print a logo: a polygon, rings or a solid shape with a name."""
    kind, darkness = drawer.rng.integers(3), drawer.between(0.4, 1.0)
    if kind == 0:
        angles = np.sort(drawer.rng.uniform(0, 2 * math.pi, int(drawer.rng.integers(3, 9))))
        radii = drawer.rng.uniform(0.3, 0.5, len(angles)) * side
        points = np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None] + (
            x + side / 2,
            y + side / 2,
        )
        sheet.polygon(points, darkness)
    elif kind == 1:
        pixels = max(8, round(sheet.px(side)))
        image = Image.new("L", (pixels, pixels), 0)
        for share in (1.0, 0.6):
            inset = pixels * (1 - share) / 2
            ImageDraw.Draw(image).ellipse(
                [inset, inset, pixels - inset - 1, pixels - inset - 1],
                outline=round(255 * darkness),
                width=max(1, pixels // 12),
            )
        sheet.paste(image, x + side / 2, y + side / 2)
    else:
        sheet.filled(x, y, x + side, y + side * drawer.between(0.4, 1.0), darkness)
    sheet.text(
        x + side + 1.5,
        y + side * 0.3,
        word(drawer.rng, drawer.face()).title(),
        drawer.face(),
        drawer.between(11, 20),
        darkness,
    )
