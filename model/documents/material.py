"""What pages are made of: fonts of this machine, words in many scripts, and signatures.

Fonts are those installed in the system (on Debian ``fonts-noto-core``, ``fonts-noto-cjk``, ``fonts-liberation`` and
others) and, for handwriting, those in the folder ``handwriting-fonts`` of the data sets; none is part of this
repository. Where no font is installed, Pillow's own one is used.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage.morphology import skeletonize

from model.data.packing import Packed, pack
from model.data.registry import data_root, open_dataset
from model.data.specimens import Dataset
from model.preprocessing.box import Box
from model.synthetic.pen import random_pen, render
from model.synthetic.pool import Pool, Population, open_pool
from model.synthetic.writer import Habits

Pixels = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Part = Literal["train", "test"]

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
HANDWRITING_FONTS = "handwriting-fonts"
"""Folder of the data sets with fonts that imitate handwriting; :mod:`model.documents.downloads` fills it."""

HANDWRITING = (
    HANDWRITING_FONTS,
    "breip",
    "kristi",
    "rufscript",
    "dkg",
    "femke",
    "delphine",
    "steve",
    "seto",
    "ecolier",
    "humor",
    "isabella",
)
"""Parts of the paths of fonts that imitate handwriting."""

LETTERING = ("z003", "chancery", "script", "kristi", "rufscript", "breip", "femke", "delphine", "italic")
"""Parts of the file names of fonts for lettering that looks like script, those for handwriting included."""

_SCRIPTS: tuple[tuple[str, tuple[tuple[int, int], ...], tuple[str, ...]], ...] = (
    (
        "latin",
        (),
        ("dejavu", "liberation", "free", "roboto", "lato", "carlito", "hack", "comic", "urw", "ocr"),
    ),
    ("cyrillic", ((0x410, 0x44F),), ("dejavu", "liberation", "freesans", "freeserif", "roboto-")),
    ("greek", ((0x391, 0x3A1), (0x3B1, 0x3C9)), ("dejavu", "liberation", "freesans", "freeserif")),
    ("devanagari", ((0x905, 0x939),), ("notosansdevanagari", "notoserifdevanagari")),
    ("bengali", ((0x985, 0x98C), (0x995, 0x9A8)), ("notosansbengali", "notoserifbengali")),
    ("arabic", ((0x627, 0x64A),), ("notonaskh", "notosansarabic", "amiri", "kacst")),
    ("hebrew", ((0x5D0, 0x5EA),), ("notosanshebrew", "notoserifhebrew")),
    ("thai", ((0xE01, 0xE2E),), ("notosansthai", "notoserifthai")),
    ("chinese", ((0x4E00, 0x6FFF),), ("notosanscjk", "notoserifcjk")),
    ("japanese", ((0x3042, 0x3093), (0x30A2, 0x30F3)), ("notosanscjk", "notoserifcjk")),
    ("korean", ((0xAC00, 0xB000),), ("notosanscjk",)),
)
"""Script, ranges of its characters, and parts of the file names of fonts that have them."""

_ONSETS = [
    "b",
    "c",
    "d",
    "f",
    "g",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "w",
    "z",
    "br",
    "ch",
    "cl",
    "cr",
    "dr",
    "fl",
    "gr",
    "pl",
    "pr",
    "sh",
    "sl",
    "st",
    "th",
    "tr",
]
_NUCLEI = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "ai", "ea", "ee", "ie", "oo", "ou"]
_CODAS = ["", "", "", *["l", "m", "n", "r", "s", "t", "ck", "nd", "ng", "nt", "rt", "st"]]


@dataclass(frozen=True)
class Typeface:
    """A font file with the script that it is used for."""

    path: Path | None
    script: str
    ranges: tuple[tuple[int, int], ...]

    def at(self, pixels: float) -> Font:
        """Return the font at a size in pixels."""
        return _load(self.path, max(4, round(pixels)))


@lru_cache(maxsize=4096)
def _load(path: Path | None, pixels: int) -> Font:
    if path is None:
        return ImageFont.load_default(pixels)
    return ImageFont.truetype(str(path), pixels)


class Typefaces:
    """The fonts of one part: training and testing never share a font file.

    Parameters
    ----------
    part : {"train", "test"}
        One font in four, by a hash of its name, is kept for testing.
    data : Path, optional
        Folder of the data sets.
    """

    def __init__(self, part: Part, data: Path | None = None) -> None:
        folders = (*FONT_FOLDERS, (data or data_root()) / HANDWRITING_FONTS)
        files = sorted(
            path
            for folder in folders
            if folder.is_dir()
            for path in folder.rglob("*")
            if path.suffix.lower() in {".ttf", ".otf", ".ttc", ".woff"}
        )
        files = [path for path in files if (zlib.crc32(path.name.encode()) % 4 == 0) == (part == "test")]
        self.by_script: dict[str, list[Typeface]] = {}
        for script, ranges, names in _SCRIPTS:
            faces = [
                Typeface(path, script, ranges)
                for path in files
                if any(name in str(path).lower() for name in names) and not _is_handwriting(path)
            ]
            if faces:
                self.by_script[script] = faces
        self.by_script.setdefault("latin", [Typeface(None, "latin", ())])
        self.handwriting = [Typeface(path, "latin", ()) for path in files if _is_handwriting(path)]
        self.handwriting = self.handwriting or self.by_script["latin"]
        self._lettering = [
            Typeface(path, "latin", ())
            for path in files
            if any(name in path.name.lower() for name in LETTERING) and "noto" not in path.name.lower()
        ] or self.by_script["latin"]

    def printed(self, rng: np.random.Generator) -> Typeface:
        """Draw a font for print: three in five are Latin."""
        scripts = list(self.by_script)
        script = "latin" if rng.random() < 0.6 else scripts[int(rng.integers(len(scripts)))]
        faces = self.by_script[script]
        return faces[int(rng.integers(len(faces)))]

    def handwritten(self, rng: np.random.Generator) -> Typeface:
        """Draw a font that imitates handwriting."""
        return self.handwriting[int(rng.integers(len(self.handwriting)))]

    def lettering(self, rng: np.random.Generator) -> Typeface:
        """Draw a font for lettering: half of them imitate a pen, the others are italics."""
        if rng.random() < 0.5:
            return self.handwritten(rng)
        return self._lettering[int(rng.integers(len(self._lettering)))]


def _is_handwriting(path: Path) -> bool:
    name = str(path).lower()
    return any(part in name for part in HANDWRITING)


def word(rng: np.random.Generator, face: Typeface) -> str:
    """Make up a word in the script of a font."""
    if face.ranges:
        low, high = face.ranges[int(rng.integers(len(face.ranges)))]
        length = int(rng.integers(1, 4)) if low >= 0x3000 else int(rng.integers(2, 9))
        return "".join(chr(int(rng.integers(low, high + 1))) for _ in range(length))
    if rng.random() < 0.08:
        return number(rng)
    syllables = [
        str(rng.choice(_ONSETS)) + str(rng.choice(_NUCLEI)) + str(rng.choice(_CODAS))
        for _ in range(int(rng.integers(1, 4)))
    ]
    made = "".join(syllables)
    return made.capitalize() if rng.random() < 0.25 else made.upper() if rng.random() < 0.08 else made


def words(rng: np.random.Generator, face: Typeface, count: int) -> str:
    """Make up ``count`` words."""
    return " ".join(word(rng, face) for _ in range(count))


def number(rng: np.random.Generator) -> str:
    """Make up an amount, a date or an account number."""
    kind = rng.integers(4)
    if kind == 0:
        return f"{int(rng.integers(1, 99_999)):,}.{int(rng.integers(100)):02d}"
    if kind == 1:
        separator = str(rng.choice(["/", ".", "-"]))
        return separator.join(f"{int(rng.integers(1, top)):02d}" for top in (29, 13, 99))
    return "".join(str(int(d)) for d in rng.integers(0, 10, int(rng.integers(4, 14))))


class SignatureSource(Protocol):
    """Signatures to place on pages."""

    def draw(self, rng: np.random.Generator) -> Pixels:
        """Draw one signature: (h, w) uint8, ink = 255, cropped to the writing."""


class SyntheticSignatures:
    """Signatures of synthetic writers, each with a random pen."""

    def __init__(self, writers: int, seed: int) -> None:
        population = Population(writers, 6, 2, 1, seed, Habits())
        self._pool: Pool = open_pool(population)
        self._writers = writers

    def draw(self, rng: np.random.Generator) -> Pixels:
        """Draw one signature."""
        trajectory = self._pool.trajectory(
            int(rng.integers(self._writers)), int(rng.integers(6)), forged=False
        )
        return cropped(255 - render(trajectory, random_pen(rng), int(rng.integers(110, 240))))


class PackedSignatures:
    """Signatures of the writers of a data set, genuine ones and forgeries."""

    def __init__(self, dataset: Dataset) -> None:
        self._packed: Packed = pack(dataset)

    def draw(self, rng: np.random.Generator) -> Pixels:
        """Draw one signature."""
        return self._packed.density(int(rng.integers(len(self._packed))))


class WrittenNames:
    """Names in many scripts as a hand might write them: the middle lines of printed letters, bent, drawn with a pen.

    Without them, a network that has seen a script in print only takes handwriting in it for print.
    """

    def __init__(self, faces: Typefaces) -> None:
        self._faces = faces
        self._scripts = list(faces.by_script)

    def draw(self, rng: np.random.Generator) -> Pixels:
        """Draw one name."""
        script = self._scripts[int(rng.integers(len(self._scripts)))]
        choices = self._faces.by_script[script] + (self._faces.handwriting if script == "latin" else [])
        face = choices[int(rng.integers(len(choices)))]
        line = words(rng, face, int(rng.integers(1, 3))).title()[:18]
        return penned(line, face, rng, float(rng.uniform(4.0, 8.5)))


def penned(line: str, face: Typeface, rng: np.random.Generator, unsteadiness: float) -> Pixels:
    """Write a line with a pen: the middle lines of printed letters, bent and drawn; (h, w) uint8, ink = 255, cropped.

    ``unsteadiness`` is the standard deviation of the bends in pixels; letters are some 84 pixels high.
    """
    font = face.at(84)
    left, top, right, bottom = font.getbbox(line)
    size = (max(8, round(right - left) + 40), max(8, round(bottom - top) + 40))
    image = Image.new("L", size, 0)
    ImageDraw.Draw(image).text((20 - left, 20 - top), line, fill=255, font=font)
    middle = np.asarray(skeletonize(np.asarray(image) > 127), np.uint8) * 255  # type: ignore[no-untyped-call]
    if not middle.any():
        return np.full((20, 40), 255, np.uint8)
    drawn = thickened(middle, rng)
    cells = (max(3, size[1] // 30), max(4, size[0] // 30))
    field = rng.normal(0.0, unsteadiness, (2, *cells)).astype(np.float32)
    dx, dy = (cv2.resize(f, size, interpolation=cv2.INTER_CUBIC) for f in field)
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    slant = np.float32(rng.normal(0.0, 0.25))
    moved = cv2.remap(drawn, x + dx + slant * (y - size[1] / 2), y + dy, cv2.INTER_LINEAR)
    return inked(np.asarray(moved, np.uint8), rng, blur=(0.8, 1.6))


def thickened(lines: Pixels, rng: np.random.Generator) -> Pixels:
    """Draw lines that are one pixel wide with a pen of a random width: (h, w) uint8, ink = 255."""
    pen = int(rng.integers(2, 6))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (pen, pen))
    return np.asarray(cv2.dilate(lines, kernel), np.uint8)


def inked(drawn: Pixels, rng: np.random.Generator, blur: tuple[float, float]) -> Pixels:
    """Blur strokes, and vary the pressure of the pen along them: (h, w) uint8, ink = 255, cropped.

    ``blur``: range of the standard deviation in pixels.
    """
    smooth = cv2.GaussianBlur(drawn, (0, 0), rng.uniform(*blur)).astype(np.float32)
    strength = cv2.resize(rng.uniform(1.2, 2.4, (3, 9)).astype(np.float32), drawn.shape[::-1])
    return cropped(np.clip(smooth * strength, 0, 255).astype(np.uint8))


class MixedSignatures:
    """A weighted mixture of sources."""

    def __init__(self, sources: Sequence[SignatureSource], weights: Sequence[float]) -> None:
        self._sources = list(sources)
        self._shares = np.asarray(weights, dtype=float) / sum(weights)

    def draw(self, rng: np.random.Generator) -> Pixels:
        """Draw one signature from a source by weight."""
        return self._sources[int(rng.choice(len(self._sources), p=self._shares))].draw(rng)


def training_signatures(
    faces: Typefaces, datasets: Mapping[str, float], data: Path | None = None, writers: int = 3000
) -> MixedSignatures:
    """Open the signatures that a segmentation network is trained on.

    Parameters
    ----------
    datasets : mapping
        Weights of data sets by name, of which the training writers are used; ``synthetic`` are synthetic writers and
        ``names`` are names in the given fonts, written by :class:`WrittenNames`.
    """
    sources: list[SignatureSource] = []
    for name in datasets:
        if name == "synthetic":
            sources.append(SyntheticSignatures(writers, seed=5_000_000))
        elif name == "names":
            sources.append(WrittenNames(faces))
        else:
            sources.append(PackedSignatures(open_dataset(f"{name}/train", data)))
    return MixedSignatures(sources, list(datasets.values()))


def cropped(density: Pixels, level: int = 40) -> Pixels:
    """Crop to the pixels above ``level``."""
    return Box.bounding((density > level).astype(np.uint8)).of(density)
