"""What pages are drawn of: fields to sign, paragraphs, handwriting, stamps, codes, logos and backgrounds.

Lengths are in millimetres.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import cv2
import numpy as np
from PIL import Image

from model.documents.digits import Digits
from model.documents.logos import logo
from model.documents.material import Pixels, SignatureSource, Typeface, Typefaces, number, penned, word, words
from model.documents.papers import rulings, screen, spirals, squares, waves
from model.documents.sheet import POINT, Sheet
from model.documents.stamps import rubber_stamp

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
    digits : Digits, optional
        Most numbers that are filled in by hand are written with them; without them, all in fonts.
    """

    faces: Typefaces
    source: SignatureSource
    rng: np.random.Generator
    _: KW_ONLY
    digits: Digits | None = None

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
        height = height or self.between(3, 6.5)
        digits = self._digits(text)
        if digits is not None:
            return sheet.place(digits, x, y, height, self.between(0.6, 1.0))
        return sheet.write(x, y, text.title(), face, height, self.rng, self.between(0.6, 1.0))

    def _digits(self, text: str) -> Pixels | None:
        """Write most numbers with the digits of MNIST; return None for the others and for words."""
        if self.digits is None or any(c.isalpha() for c in text) or self.chance(0.3):
            return None
        return self.digits.write(text, self.rng)

    def fill_in(self, sheet: Sheet, x: float, y: float, line: str = "", height: float = 0.0) -> float:
        """Fill in a field by hand, in one of two manners: a bent font, or a pen; return the width.

        Signatures are drawn with a pen, too: what a field contains is told by where it is, not by how it is drawn.
        """
        if self.chance(0.5):
            return self.handwriting(sheet, x, y, line, height)
        face = self.faces.handwritten(self.rng) if self.chance(0.6) else self.faces.lettering(self.rng)
        text = line or (
            number(self.rng) if self.chance(0.5) else words(self.rng, face, int(self.rng.integers(1, 4)))
        )
        ink = self._digits(text)
        if ink is None:
            ink = penned(text.title(), face, self.rng, self.between(1.5, 5.0))
        return sheet.place(ink, x, y, height or self.between(3, 6.5), self.between(0.5, 1.0))

    def comb(self, sheet: Sheet, x: float, y: float, cell: float, darkness: float) -> None:
        """Draw a row of boxes with a figure or a letter, written by hand or printed, in each."""
        text = number(self.rng).replace(",", "")[:12]
        by_hand = self.chance(0.7)
        face = self.faces.handwritten(self.rng) if by_hand else self.face()
        for index, letter in enumerate(text):
            left = x + index * cell
            sheet.rectangle(left, y, left + cell, y + cell * 1.2, 0.2, darkness)
            if by_hand:
                sheet.write(
                    left + cell * self.between(0.05, 0.3),
                    y + cell * self.between(0.05, 0.3),
                    letter,
                    face,
                    cell * 0.75,
                    self.rng,
                    self.between(0.6, 1.0),
                )
            else:
                sheet.text(left + cell * 0.2, y + cell * 0.1, letter, face, cell * 2.2)

    def ticks(self, sheet: Sheet, x: float, y: float, face: Typeface, darkness: float) -> None:
        """Draw boxes to tick with words beside them; some are ticked by hand."""
        for index in range(int(self.rng.integers(2, 5))):
            left = x + index * 28
            sheet.rectangle(left, y, left + 3, y + 3, 0.3, darkness)
            if self.chance(0.4):
                start = (left - self.between(0, 1), y + self.between(0, 2))
                low = (left + self.between(1, 2), y + self.between(2.5, 4))
                end = (left + self.between(3, 6), y - self.between(0, 3))
                sheet.rule(*start, *low, self.between(0.2, 0.6))
                sheet.rule(*low, *end, self.between(0.2, 0.6))
            elif self.chance(0.3):
                sheet.text(left + 0.3, y - 0.7, "X", face, 10)
            sheet.text(left + 4.5, y - 0.3, word(self.rng, face), face, 8, darkness)

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
                x + self.between(0, width * 0.3), y + self.between(0.1, 2.0), label, face, points, darkness
            )
        if self.chance(0.15):
            sheet.text(x - self.between(0, 4), y - self.between(3, 6), "X", face, 11, darkness)
        if self.chance(0.3):
            name = words(rng, face, 2).title()
            points = self.between(8, 18)
            sheet.text(x + self.between(0, width * 0.4), y + self.between(4, 7), name, face, points, darkness)
        if self.chance(0.4):
            self._date_before(sheet, x, y, face, darkness)
        elif self.chance(0.3):
            tall = self.between(3, 8)
            line = number(rng) if self.chance(0.7) else ""
            self.fill_in(
                sheet, x + width - self.between(-6, 20), y - tall * self.between(0.7, 1.1), line, tall
            )
        if not signed and self.chance(0.7):
            # A date, an amount or a name on a line like those that are signed.
            line = number(rng) if self.chance(0.65) else ""
            tall = self.between(3.5, 8)
            self.fill_in(
                sheet, x + self.between(0, 0.4) * width, y - tall * self.between(0.8, 1.3), line, tall
            )
        if signed and self.chance(0.15):
            self.print_across(sheet, x, y - height * self.between(0.1, 1.0), width, face)
        if signed:
            self.sign(
                sheet,
                x + width / 2,
                y - height * self.between(-0.05, 0.5),
                width * self.between(0.5, 1.05),
                height * 1.15,
            )
        if self.chance(0.35):
            self.stamp(sheet, x + width * self.between(0.1, 1.15), y - height * self.between(-0.2, 0.9))

    def print_across(self, sheet: Sheet, x: float, y: float, width: float, face: Typeface) -> None:
        """Print one to four rows of words or a number, from (x, y) downwards, where a signature is written."""
        darkness = self.between(0.5, 1.0)
        for _ in range(int(self.rng.integers(1, 5))):
            points = self.between(7, 16)
            line = (
                number(self.rng) if self.chance(0.15) else words(self.rng, face, int(self.rng.integers(1, 5)))
            )
            left = x + self.between(-0.1, 0.4) * width
            sheet.text(left, y, line.title() if self.chance(0.4) else line, face, points, darkness)
            y += points * POINT * self.between(1.1, 1.6)

    def _base(self, sheet: Sheet, x: float, y: float, width: float, height: float, darkness: float) -> None:
        """Draw the box or the line of a place to sign; at times there is none."""
        if self.chance(0.3):
            sheet.rectangle(x, y - height, x + width, y + height * 0.25, self.between(0.15, 0.5), darkness)
        elif self.chance(0.9):
            self.line(sheet, x, y, x + width, darkness)

    def line(self, sheet: Sheet, x0: float, y: float, x1: float, darkness: float) -> None:
        """Draw a line to sign on: solid, dotted or dashed."""
        style = self.rng.random()
        if style < 0.6:
            sheet.rule(x0, y, x1, y, self.between(0.15, 0.5), darkness)
        elif style < 0.8:
            sheet.dots(x0, y, x1, darkness)
        else:
            dash, gap, thickness = self.between(1.2, 4), self.between(0.5, 2), self.between(0.15, 0.5)
            for x in np.arange(x0, x1, dash + gap):
                sheet.rule(float(x), y, min(x1, float(x) + dash), y, thickness, darkness)

    def _date_before(self, sheet: Sheet, x: float, y: float, face: Typeface, darkness: float) -> None:
        """Write or print a date to the left of a place to sign."""
        wide = self.between(16, 30)
        if self.chance(0.6):
            line = number(self.rng) if self.chance(0.7) else ""
            tall = self.between(3, 9)
            self.fill_in(sheet, x - wide - self.between(1, 12), y - tall * self.between(0.8, 1.3), line, tall)
        else:
            sheet.text(
                x - wide - self.between(1, 6), y - 4.5, number(self.rng), face, self.between(9, 12), darkness
            )
        if self.chance(0.6):
            sheet.rule(x - wide - 5, y, x - 3, y, 0.25, darkness)

    def stamp(self, sheet: Sheet, x: float, y: float) -> None:
        """Print a rubber stamp with its centre at (x, y)."""
        sheet.paste(rubber_stamp(self.rng, self.faces, self.between(8, 20) * sheet.scale), x, y)

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
        """Print a logo with its upper left corner at (x, y), at times with a name beside or below it."""
        image = logo(self.rng, self.faces, sheet.px(side))
        wide, high = image.width / sheet.scale, image.height / sheet.scale
        sheet.paste(image, x + wide / 2, y + high / 2)
        if self.chance(0.6):
            face = self.face() if self.chance(0.6) else self.faces.lettering(self.rng)
            name, points = word(self.rng, face).title(), self.between(8, 22)
            if self.chance(0.7):
                sheet.text(x + wide + 1.5, y + high * 0.3, name, face, points, self.between(0.4, 1.0))
            else:
                sheet.text(x, y + high + 1, name, face, points, self.between(0.4, 1.0))

    def photograph(self, sheet: Sheet, x: float, y: float, width: float, height: float) -> None:
        """Print a portrait-sized picture: smooth random tones."""
        size = (max(8, round(sheet.px(width))), max(8, round(sheet.px(height))))
        tones = self.rng.uniform(0, 255, (7, 6)).astype(np.float32)
        image = cv2.resize(tones, size, interpolation=cv2.INTER_CUBIC) + self.rng.normal(0, 8, size[::-1])
        sheet.paste(Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)), x + width / 2, y + height / 2)

    def guilloche(self, sheet: Sheet, strength: float | None = None) -> None:
        """Cover the paper with security printing: wavy lines, figures of a lathe, screens, or several of them."""
        pattern = np.zeros(sheet.shape, np.float32)
        kinds = (waves, spirals, screen)
        for _ in range(1 if self.chance(0.7) else 2):
            kind = kinds[int(self.rng.choice(3, p=[0.45, 0.35, 0.2]))]
            pattern = np.maximum(pattern, kind(self.rng, sheet.shape, sheet.scale))
        sheet.background *= 1.0 - (strength or self.between(0.05, 0.6)) * pattern

    def microprint(self, sheet: Sheet) -> None:
        """Cover the paper with rows of pale words."""
        face, darkness = self.face(), self.between(0.06, 0.35)
        points = self.between(4, 9) if self.chance(0.3) else self.between(14, 30)
        for y in np.arange(0, sheet.height, points * self.between(0.45, 0.8)):
            sheet.text(self.between(-10, 5), y, words(self.rng, face, 6), face, points, darkness)

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
        if kind < 0.3:
            self.guilloche(sheet)
        elif kind < 0.44:
            sheet.background *= 1.0 - self.between(0.1, 0.85) * squares(rng, sheet.shape, sheet.scale)
        elif kind < 0.52:
            sheet.background *= 1.0 - self.between(0.15, 0.8) * rulings(rng, sheet.shape, sheet.scale)
        elif kind < 0.6:
            grain = rng.normal(0, self.between(0.01, 0.06), sheet.shape).astype(np.float32)
            sheet.background += cv2.GaussianBlur(grain, (0, 0), self.between(0.6, 2.5)) * 2
        elif kind < 0.65:
            self.microprint(sheet)
