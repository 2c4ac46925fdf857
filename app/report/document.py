"""The parts of a report, independent of its form: :mod:`app.report.html` and :mod:`app.report.pdf` render them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Paragraph:
    """Text; `is_strong` marks a statement that must not be overlooked."""

    text: str
    is_strong: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of statements."""

    parts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table; without a head, the first column names the rows. `widths` are shares of the width of a page."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    widths: tuple[float, ...]


@dataclass(frozen=True)
class Picture:
    """A PNG image of ``width`` x ``height`` pixels with its caption, which also describes it to a screen reader."""

    image: bytes
    width: int
    height: int
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, two in a row."""

    parts: tuple[Picture, ...]


@dataclass(frozen=True)
class Code:
    """Commands, as they are to be typed."""

    text: str


@dataclass(frozen=True)
class Line:
    """A line through points in the units of its plot; y grows downwards."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Label:
    """Text in a plot; `anchor` is the part of the text that is at the point."""

    x: float
    y: float
    text: str
    colour: str = "#1c1b1f"
    anchor: str = "middle"


@dataclass(frozen=True)
class Plot:
    """A drawing of lines and labels, ``width`` x ``height`` units."""

    width: float
    height: float
    lines: tuple[Line, ...]
    labels: tuple[Label, ...]
    caption: str


Block = Paragraph | Bullets | Table | Pictures | Code | Plot


@dataclass(frozen=True)
class Section:
    """A numbered part of a report."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A report: its title, what it is about in one line, and its sections.

    `language` is a language tag, and `page` the text with the number of a page, ``{number}``, below each page.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    language: str = "en"
    page: str = "Page {number}"
