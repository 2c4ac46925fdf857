"""What pages are drawn of: fields to sign, paragraphs, handwriting, stamps, codes, logos and backgrounds.

Lengths are in millimetres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from model.documents.material import SignatureSource, Typeface, Typefaces, number, word, words
from model.documents.sheet import Sheet

Floats = NDArray[np.float32]

LABELS = (
    "Signature",
    "Signature of account holder",
    "Authorised signature",
    "Sign here",
    "Unterschrift",
    "Firma",
    "Handtekening",
    "Podpis",
    "Signature du titulaire",
    "For and on behalf of",
    "Customer signature",
    "Signed by",
)


@dataclass
class Drawer:
    """Draws layouts.

    Attributes
    ----------
    faces : Typefaces
    source : SignatureSource
    rng : numpy Generator
    """

    faces: Typefaces
    source: SignatureSource
    rng: np.random.Generator

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return bool(self.rng.random() < probability)

    def between(self, low: float, high: float) -> float:
        """Draw a number."""
        return float(self.rng.uniform(low, high))

    def face(self) -> Typeface:
        """Draw a font for print."""
        return self.faces.printed(self.rng)

    def sign(self, sheet: Sheet, x: float, y: float, width: float, height: float) -> None:
        """Place a signature near (x, y)."""
        sheet.sign(
            self.source.draw(self.rng),
            x + self.rng.normal(0, 0.06 * width),
            y + self.rng.normal(0, 0.08 * height),
            width * self.between(0.75, 1.15),
            height * self.between(0.75, 1.2),
            self.between(0.55, 1.0),
        )

    def paragraph(
        self, sheet: Sheet, x: float, y: float, width: float, height: float, face: Typeface, points: float
    ) -> None:
        """Print lines of text in a rectangle."""
        darkness = self.between(0.6, 1.0)
        leading = points * 0.3528 * self.between(1.15, 1.6)
        while y + leading < height + y and height > leading:
            line = words(self.rng, face, max(2, round(width / (points * 1.1))))
            if self.chance(0.12):
                line = line[: max(3, round(len(line) * self.between(0.2, 0.8)))]
            limit = max(2, round(width / (points * 0.3528 * (0.95 if face.ranges else 0.5))))
            sheet.text(x, y, line[:limit], face, points, darkness)
            y += leading
            height -= leading

    def handwriting(self, sheet: Sheet, x: float, y: float, line: str = "", height: float = 0.0) -> float:
        """Fill in a field by hand; return the width."""
        face = self.faces.handwritten(self.rng)
        text = line or (
            number(self.rng) if self.chance(0.5) else words(self.rng, face, int(self.rng.integers(1, 4)))
        )
        return sheet.write(
            x, y, text.title(), face, height or self.between(3, 6.5), self.rng, self.between(0.6, 1.0)
        )

    def field(
        self,
        sheet: Sheet,
        x: float,
        y: float,
        width: float,
        *,
        signed: bool,
        face: Typeface,
        height: float = 14.0,
    ) -> None:
        """Draw a place to sign: a line or a box with what is printed and written around it; y is the line."""
        rng, darkness = self.rng, self.between(0.5, 1.0)
        points = self.between(6, 10)
        self._base(sheet, x, y, width, height, darkness)
        label = str(rng.choice(LABELS)) if not face.ranges or self.chance(0.3) else words(rng, face, 2)
        if self.chance(0.8):
            sheet.text(
                x + self.between(0, width * 0.3), y + self.between(0.6, 2.0), label, face, points, darkness
            )
        if self.chance(0.15):
            sheet.text(x - self.between(0, 4), y - self.between(3, 6), "X", face, 11, darkness)
        if self.chance(0.3):
            name = words(rng, face, 2).title()
            sheet.text(
                x + self.between(0, width * 0.4),
                y + self.between(4, 7),
                name,
                face,
                self.between(8, 12),
                darkness,
            )
        if self.chance(0.25):
            self._date_beside(sheet, x, y, face, darkness)
        if signed:
            self.sign(
                sheet,
                x + width / 2,
                y - height * self.between(0.15, 0.5),
                width * self.between(0.5, 1.05),
                height * 1.15,
            )
        if self.chance(0.12):
            self.stamp(sheet, x + width * self.between(0.2, 1.1), y - height * self.between(-0.1, 0.8))

    def _base(self, sheet: Sheet, x: float, y: float, width: float, height: float, darkness: float) -> None:
        """Draw the box or the line of a place to sign; at times there is none."""
        if self.chance(0.3):
            sheet.rectangle(x, y - height, x + width, y + height * 0.25, self.between(0.15, 0.5), darkness)
        elif self.chance(0.25):
            sheet.dots(x, y, x + width, darkness)
        elif self.chance(0.9):
            sheet.rule(x, y, x + width, y, self.between(0.15, 0.5), darkness)

    def _date_beside(self, sheet: Sheet, x: float, y: float, face: Typeface, darkness: float) -> None:
        """Write or print a date to the left of a place to sign."""
        wide = self.between(16, 30)
        if self.chance(0.6):
            self.handwriting(sheet, x - wide - self.between(1, 8), y - self.between(4, 6), number(self.rng))
        else:
            sheet.text(
                x - wide - self.between(1, 6), y - 4.5, number(self.rng), face, self.between(9, 12), darkness
            )
        if self.chance(0.6):
            sheet.rule(x - wide - 5, y, x - 3, y, 0.25, darkness)

    def stamp(self, sheet: Sheet, x: float, y: float) -> None:
        """Print a rubber stamp, round or rectangular, turned and with gaps."""
        rng, face = self.rng, self.face()
        radius = self.between(9, 17) * sheet.scale
        side = round(2.3 * radius)
        image = Image.new("L", (side, side), 0)
        pencil = ImageDraw.Draw(image)
        middle = side / 2
        width = max(1, round(0.5 * sheet.scale))
        if self.chance(0.5):
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
            high = radius * self.between(0.4, 0.7)
            pencil.rectangle(
                [middle - radius, middle - high, middle + radius, middle + high], outline=255, width=width
            )
            for row in (-0.4, 0.35):
                line = words(rng, face, 2).upper()[:16]
                pencil.text(
                    (middle, middle + row * high), line, fill=255, font=face.at(high * 0.5), anchor="mm"
                )
        worn = cv2.resize(
            rng.uniform(0.2, 1.1, (12, 12)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
        )
        turned = np.asarray(image.rotate(self.between(-40, 40)), np.float32)
        sheet.paste(
            Image.fromarray(np.clip(turned * worn * self.between(0.4, 0.9), 0, 255).astype(np.uint8)), x, y
        )

    def barcode(self, sheet: Sheet, x: float, y: float, width: float, height: float) -> None:
        """Print a barcode."""
        at = x
        while at < x + width:
            wide = float(self.rng.choice([0.3, 0.6, 0.9]))
            sheet.filled(at, y, at + wide * 0.8, y + height)
            at += wide + float(self.rng.choice([0.3, 0.6, 0.9]))

    def qr(self, sheet: Sheet, x: float, y: float, side: float) -> None:
        """Print a matrix code."""
        modules = int(self.rng.choice([21, 25, 29]))
        cells = (self.rng.random((modules, modules)) < 0.5).astype(np.uint8)
        for row, column in ((0, 0), (0, modules - 7), (modules - 7, 0)):
            cells[row : row + 7, column : column + 7] = 1
            cells[row + 1 : row + 6, column + 1 : column + 6] = 0
            cells[row + 2 : row + 5, column + 2 : column + 5] = 1
        size = max(8, round(sheet.px(side)))
        image = cv2.resize(cells * 255, (size, size), interpolation=cv2.INTER_NEAREST)
        sheet.paste(Image.fromarray(image), x + side / 2, y + side / 2)

    def logo(self, sheet: Sheet, x: float, y: float, side: float) -> None:
        """Print a logo: a polygon, rings or a solid shape with a name."""
        kind, darkness = self.rng.integers(3), self.between(0.4, 1.0)
        if kind == 0:
            angles = np.sort(self.rng.uniform(0, 2 * math.pi, int(self.rng.integers(3, 9))))
            radii = self.rng.uniform(0.3, 0.5, len(angles)) * side
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
            sheet.filled(x, y, x + side, y + side * self.between(0.4, 1.0), darkness)
        sheet.text(
            x + side + 1.5,
            y + side * 0.3,
            word(self.rng, self.face()).title(),
            self.face(),
            self.between(11, 20),
            darkness,
        )

    def photograph(self, sheet: Sheet, x: float, y: float, width: float, height: float) -> None:
        """Print a portrait-sized picture: smooth random tones."""
        size = (max(8, round(sheet.px(width))), max(8, round(sheet.px(height))))
        tones = self.rng.uniform(0, 255, (7, 6)).astype(np.float32)
        image = cv2.resize(tones, size, interpolation=cv2.INTER_CUBIC) + self.rng.normal(0, 8, size[::-1])
        sheet.paste(Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)), x + width / 2, y + height / 2)

    def guilloche(self, sheet: Sheet, strength: float | None = None) -> None:
        """Cover the paper with security printing: families of wavy lines."""
        height, width = sheet.shape
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / np.float32(sheet.scale)
        pattern: Floats = np.zeros(sheet.shape, np.float32)
        for _ in range(int(self.rng.integers(1, 4))):
            angle, period = self.between(0, math.pi), self.between(0.8, 3.0)
            along = x * math.cos(angle) + y * math.sin(angle)
            across = -x * math.sin(angle) + y * math.cos(angle)
            wave = self.between(0, 3) * np.sin(along * 2 * math.pi / self.between(5, 40) + self.between(0, 6))
            wave = wave + self.between(0, 1.5) * np.sin(along * 2 * math.pi / self.between(2, 12))
            phase = (across + wave) / period
            line = np.abs(phase - np.rint(phase)) * period
            pattern = np.maximum(pattern, np.clip(1.0 - line / self.between(0.12, 0.45), 0, 1))
        if self.chance(0.3):
            rosette = np.hypot(
                x - sheet.width * self.between(0.2, 0.8), y - sheet.height * self.between(0.2, 0.8)
            )
            turns = np.arctan2(y - sheet.height / 2, x - sheet.width / 2) * int(self.rng.integers(6, 24))
            pattern = np.maximum(
                pattern, (np.sin(rosette * self.between(1, 4) + 2 * np.sin(turns)) > 0.75) * np.float32(0.8)
            )
        sheet.background *= 1.0 - (strength or self.between(0.05, 0.45)) * pattern

    def paper(self, sheet: Sheet) -> None:
        """Give the paper a tone, a texture, rulings, squares, a watermark or security printing."""
        rng = self.rng
        sheet.background *= self.between(0.75, 1.0)
        if self.chance(0.25):
            field = rng.uniform(0.7, 1.0, (int(rng.integers(2, 9)), int(rng.integers(2, 9)))).astype(
                np.float32
            )
            sheet.background *= cv2.resize(field, sheet.shape[::-1], interpolation=cv2.INTER_CUBIC)
        kind = rng.random()
        if kind < 0.22:
            self.guilloche(sheet)
        elif kind < 0.34:
            darkness, step, margin = self.between(0.15, 0.8), self.between(4, 10), self.between(0, 0.4)
            for y in np.arange(self.between(1, step), sheet.height, step):
                sheet.rule(0, y, sheet.width, y, margin, darkness)
            if self.chance(0.5):
                for x in np.arange(self.between(1, step), sheet.width, step):
                    sheet.rule(x, 0, x, sheet.height, margin, darkness)
        elif kind < 0.42:
            grain = rng.normal(0, self.between(0.01, 0.06), sheet.shape).astype(np.float32)
            sheet.background += cv2.GaussianBlur(grain, (0, 0), self.between(0.6, 2.5)) * 2
        elif kind < 0.47:
            face, darkness = self.face(), self.between(0.06, 0.25)
            for y in np.arange(0, sheet.height, self.between(9, 16)):
                sheet.text(self.between(-10, 5), y, words(rng, face, 6), face, self.between(14, 30), darkness)
