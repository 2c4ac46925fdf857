"""A sheet of paper in millimetres that print, handwriting and signatures are drawn on."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from model.documents.material import Typeface
from model.preprocessing.box import Box

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
POINT = 0.3528  # mm


class Sheet:
    """A page under construction.

    Parameters
    ----------
    width, height : float
        In millimetres.
    scale : float
        Pixels to a millimetre.

    Attributes
    ----------
    background : float32 (h, w)
        Brightness of the empty paper in [0, 1].
    signatures : list of Box
        Where signatures were placed.
    """

    def __init__(self, width: float, height: float, scale: float) -> None:
        self.width, self.height, self.scale = width, height, scale
        self.shape = (max(16, round(height * scale)), max(16, round(width * scale)))
        self.background: Floats = np.ones(self.shape, np.float32)
        self._print = Image.new("L", self.shape[::-1], 0)
        self._pencil = ImageDraw.Draw(self._print)
        self._written: Floats = np.zeros(self.shape, np.float32)
        self.signature: Pixels = np.zeros(self.shape, np.uint8)
        self.signatures: list[Box] = []

    def px(self, mm: float) -> float:
        """Convert millimetres to pixels."""
        return mm * self.scale

    def text(
        self, x: float, y: float, line: str, face: Typeface, points: float, darkness: float = 1.0
    ) -> float:
        """Print a line with its upper left corner at (x, y); return its width in millimetres."""
        font = face.at(points * POINT * self.scale * 1.15)
        at = (self.px(x), self.px(y))
        self._pencil.text(at, line, fill=round(255 * darkness), font=font)
        return float(font.getlength(line)) / self.scale

    def rule(
        self, x0: float, y0: float, x1: float, y1: float, width: float = 0.3, darkness: float = 1.0
    ) -> None:
        """Draw a straight line; the width in millimetres is at least one pixel."""
        fill = round(255 * darkness * min(1.0, 0.3 + 0.7 * width * self.scale))
        points = [self.px(v) for v in (x0, y0, x1, y1)]
        self._pencil.line(points, fill=fill, width=max(1, round(self.px(width))))

    def dots(self, x0: float, y: float, x1: float, darkness: float = 1.0) -> None:
        """Draw a dotted or dashed line."""
        step = max(2.0, self.px(1.2))
        for x in np.arange(self.px(x0), self.px(x1), step):
            self._pencil.line(
                [float(x), self.px(y), float(x) + step * 0.45, self.px(y)], fill=round(255 * darkness)
            )

    def rectangle(
        self, x0: float, y0: float, x1: float, y1: float, width: float = 0.3, darkness: float = 1.0
    ) -> None:
        """Draw a frame."""
        for ends in ((x0, y0, x1, y0), (x1, y0, x1, y1), (x1, y1, x0, y1), (x0, y1, x0, y0)):
            self.rule(*ends, width=width, darkness=darkness)

    def filled(self, x0: float, y0: float, x1: float, y1: float, darkness: float = 1.0) -> None:
        """Fill a rectangle."""
        self._pencil.rectangle([self.px(v) for v in (x0, y0, x1, y1)], fill=round(255 * darkness))

    def polygon(self, points: NDArray[np.floating], darkness: float = 1.0) -> None:
        """Fill a polygon: (n, 2) in millimetres."""
        self._pencil.polygon([(self.px(x), self.px(y)) for x, y in points], fill=round(255 * darkness))

    def paste(self, image: Image.Image, x: float, y: float) -> None:
        """Print an image (mode L, 255 = ink) with its centre at (x, y); overlapping ink stays."""
        layer = Image.new("L", self.shape[::-1], 0)
        layer.paste(image, (round(self.px(x) - image.width / 2), round(self.px(y) - image.height / 2)))
        self._print.paste(ImageChops.lighter(self._print, layer))

    def write(
        self,
        x: float,
        y: float,
        line: str,
        face: Typeface,
        height: float,
        rng: np.random.Generator,
        darkness: float = 0.9,
    ) -> float:
        """Write a line by hand: a handwriting font, bent; return its width in millimetres."""
        font = face.at(height * self.scale * 1.4)
        left, top, right, bottom = font.getbbox(line)
        image = Image.new("L", (max(4, math.ceil(right - left) + 8), max(4, math.ceil(bottom - top) + 8)), 0)
        ImageDraw.Draw(image).text((4 - left, 4 - top), line, fill=255, font=font)
        self._place(self._written, bent(np.asarray(image), rng), x, y, darkness)
        return image.width / self.scale

    def place(self, ink: Pixels, x: float, y: float, height: float, darkness: float = 0.9) -> float:
        """Place other handwriting (h, w) uint8, ink = 255, with its upper left corner at (x, y).

        Height in millimetres, aspect kept. Returns the width in millimetres.
        """
        factor = self.px(height) / ink.shape[0]
        size = (max(4, round(ink.shape[1] * factor)), max(4, round(self.px(height))))
        method = cv2.INTER_AREA if factor < 1.0 else cv2.INTER_LINEAR
        scaled = np.asarray(cv2.resize(ink, size, interpolation=method), np.uint8)
        self._place(self._written, scaled, x, y, darkness)
        return float(size[0] / self.scale)

    def sign(
        self, density: Pixels, x: float, y: float, width: float, height: float, darkness: float = 0.9
    ) -> None:
        """Place a signature in a frame of width x height millimetres with its centre at (x, y), aspect kept."""
        factor = min(self.px(width) / density.shape[1], self.px(height) / density.shape[0])
        size = (max(8, round(density.shape[1] * factor)), max(6, round(density.shape[0] * factor)))
        method = cv2.INTER_AREA if factor < 1.0 else cv2.INTER_LINEAR
        ink = np.asarray(cv2.resize(density, size, interpolation=method), np.uint8)
        left, top = x - size[0] / 2 / self.scale, y - size[1] / 2 / self.scale
        placed = self._place(self._written, ink, left, top, darkness)
        if placed is not None:
            box, visible = placed
            part = self.signature[box.top : box.bottom, box.left : box.right]
            np.maximum(part, visible, out=part)
            self.signatures.append(box)

    def brightness(self) -> Floats:
        """Compute the page: (h, w) float32 in [0, 1], 1 = white."""
        print_ink = np.asarray(self._print, np.float32) / 255.0
        return np.asarray(self.background * (1.0 - 0.93 * print_ink) * (1.0 - 0.93 * self._written))

    def _place(
        self, layer: Floats, ink: Pixels, x: float, y: float, darkness: float
    ) -> tuple[Box, Pixels] | None:
        height, width = self.shape
        left, top = round(self.px(x)), round(self.px(y))
        box = Box(max(0, left), max(0, top), min(width, left + ink.shape[1]), min(height, top + ink.shape[0]))
        if box.right <= box.left or box.bottom <= box.top:
            return None
        visible = ink[box.top - top : box.bottom - top, box.left - left : box.right - left]
        part = layer[box.top : box.bottom, box.left : box.right]
        np.maximum(part, visible.astype(np.float32) * (darkness / 255.0), out=part)
        return box, visible


def bent(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Bend printed letters as an unsteady hand would: (h, w) uint8, the same size."""
    height, width = image.shape
    field = rng.normal(0.0, 0.06 * height, (2, 3, max(3, width // max(1, height) * 2))).astype(np.float32)
    dx, dy = (cv2.resize(f, (width, height), interpolation=cv2.INTER_CUBIC) for f in field)
    slant = np.float32(rng.normal(0.0, 0.15))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(image, x + dx + slant * (y - height / 2), y + dy, cv2.INTER_LINEAR)
    return np.asarray(moved, np.uint8)
