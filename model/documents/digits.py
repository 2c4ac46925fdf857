"""Numbers written by hand: digits of many people from MNIST, drawn with one pen.

The files of MNIST (``train-images-idx3-ubyte.gz`` and so on; LeCun, Cortes and Burges, CC BY-SA 3.0) are read from
the folder ``mnist`` of the data sets, which :mod:`model.documents.downloads` fills. Without them, numbers are written
in fonts only.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from model.data.registry import data_root
from model.documents.material import Part, inked, thickened
from model.documents.release import are_permissive

Pixels = NDArray[np.uint8]

FILES: dict[Part, str] = {"train": "train", "test": "t10k"}
CONTENTS = ("images-idx3", "labels-idx1")

HEIGHT, RIM = 40, 6
"""Height of a digit in pixels before it is placed, and the empty rim around it."""

SAMPLE = 20
"""Height of the digits of MNIST in pixels."""


class Digits:
    """The digits of one part of MNIST.

    Parameters
    ----------
    part : {"train", "test"}
        MNIST's own parts; their writers are different people.
    folder : Path, optional
        Folder of the data sets.
    """

    def __init__(self, part: Part, folder: Path | None = None) -> None:
        self._part: Part = part
        self._folder = (folder or data_root()) / "mnist"

    @classmethod
    def installed(cls, part: Part, folder: Path | None = None) -> Digits | None:
        """Return the digits, or None if their files are not among the data sets."""
        digits = cls(part, folder)
        return digits if all(digits.file(content).is_file() for content in CONTENTS) else None

    def write(self, line: str, rng: np.random.Generator) -> Pixels:
        """Write a number with one pen: (h, w) uint8, ink = 255, cropped.

        Each digit is by another person, but width, slant and spacing are those of one. Characters of ``line`` that
        are not digits are drawn as strokes.
        """
        slant, spread = rng.normal(0.05, 0.22), rng.uniform(0.08, 0.22)
        wide, gap, unsteady = rng.uniform(0.75, 1.25), rng.uniform(0.02, 0.3), rng.uniform(0.0, 0.07)
        glyphs = [self._glyph(c, slant, spread, wide, rng) for c in line]
        reach = sum(glyph.shape[1] + round(gap * HEIGHT) for glyph in glyphs)
        image = np.zeros((2 * HEIGHT + 4 * RIM, reach + 4 * RIM + HEIGHT), np.uint8)
        climb, x = rng.normal(0.0, 0.04), 2 * RIM
        for glyph in glyphs:
            y = HEIGHT // 2 + RIM + round(rng.normal(0.0, unsteady) * HEIGHT - climb * x)
            y = int(np.clip(y, 0, image.shape[0] - glyph.shape[0]))
            part = image[y : y + glyph.shape[0], x : x + glyph.shape[1]]
            np.maximum(part, glyph, out=part)
            x += max(4, glyph.shape[1] - 2 * RIM + round(gap * HEIGHT + rng.normal(0.0, 0.05) * HEIGHT))
        return inked(thickened(image, rng), rng, blur=(0.6, 1.2))

    def _glyph(
        self, character: str, slant: float, spread: float, wide: float, rng: np.random.Generator
    ) -> Pixels:
        """Draw the middle line of one character, one pixel wide, with a rim: (HEIGHT + 2 * RIM, w) uint8."""
        rows = HEIGHT + 2 * RIM
        if not character.isdigit():
            return _stroke(character, slant, rng)
        samples = self._by_digit[int(character)]
        sample = samples[int(rng.integers(len(samples)))].astype(np.float32)
        moments = cv2.moments(sample)
        # MNIST's digits slant as their writers did: take the slant out, and put in that of this line.
        own = moments["mu11"] / moments["mu02"] if moments["mu02"] > 1.0 else 0.0
        lean = float(np.clip(own, -0.6, 0.6)) - slant + rng.normal(0.0, spread * 0.3)
        size = HEIGHT / SAMPLE * (1.0 + rng.normal(0.0, spread * 0.4))
        columns = round(HEIGHT * 1.1 * wide) + 2 * RIM
        centre = (sample.shape[0] - 1) / 2
        turn = np.array([[size * wide, -size * lean], [0.0, size]])
        shift = np.array([columns / 2, rows / 2]) - turn @ np.array([centre, centre])
        drawn = cv2.warpAffine(sample, np.column_stack([turn, shift]), (columns, rows), flags=cv2.INTER_CUBIC)
        middle = np.asarray(skeletonize(drawn > 110), np.uint8) * 255  # type: ignore[no-untyped-call]
        inked = np.flatnonzero(middle.any(axis=0))
        if not len(inked):
            return np.zeros((rows, 2 * RIM), np.uint8)
        left, right = max(0, int(inked[0]) - RIM), min(columns, int(inked[-1]) + 1 + RIM)
        return np.ascontiguousarray(middle[:, left:right])

    @cached_property
    def _by_digit(self) -> list[Pixels]:
        """The digits 0 to 9: each (n, 28, 28) uint8, ink = 255."""
        images = np.frombuffer(gzip.decompress(self.file("images-idx3").read_bytes()), np.uint8, offset=16)
        labels = np.frombuffer(gzip.decompress(self.file("labels-idx1").read_bytes()), np.uint8, offset=8)
        samples = images.reshape(len(labels), 28, 28)
        return [samples[labels == digit] for digit in range(10)]

    def file(self, content: str) -> Path:
        """Return the path of a file; ``content`` is one of :data:`CONTENTS`."""
        return self._folder / f"{FILES[self._part]}-{content}-ubyte.gz"


def training_digits(datasets: Iterable[str], folder: Path | None = None) -> Digits | None:
    """Return the digits for a network that is trained on these sources of signatures; None if there are none.

    A network of permissive terms is trained without them, because of their terms.
    """
    return None if are_permissive(datasets) else Digits.installed("train", folder)


def _stroke(character: str, slant: float, rng: np.random.Generator) -> Pixels:
    """Draw a separator as one stroke: (HEIGHT + 2 * RIM, w) uint8; a blank for other characters."""
    rows = HEIGHT + 2 * RIM
    wide = round(HEIGHT * rng.uniform(0.25, 0.5))
    glyph = np.zeros((rows, wide + 2 * RIM), np.uint8)
    low = RIM + round(HEIGHT * rng.uniform(0.9, 1.0))
    if character == "/":
        start = (RIM + wide, RIM - round(HEIGHT * rng.uniform(-0.1, 0.1)))
        cv2.line(glyph, start, (RIM, low), 255, 1)
    elif character == "-":
        y = RIM + round(HEIGHT * rng.uniform(0.45, 0.6))
        cv2.line(glyph, (RIM, y), (RIM + wide, y + round(rng.normal(0, 2))), 255, 1)
    elif character in ".,":
        glyph = glyph[:, : 3 * RIM]
        tail = round(HEIGHT * (0.16 if character == "," else rng.uniform(0.0, 0.06)))
        top = RIM + HEIGHT - 3
        cv2.line(glyph, (9, top), (9 - round(tail * (0.4 + slant)), min(rows - 1, top + tail)), 255, 1)
    return np.ascontiguousarray(glyph)
