"""Reports as PDF, with ReportLab (BSD licence): pure Python, so that no system package is needed.

The font, Bitstream Vera, comes with ReportLab and is embedded. It has Latin letters only; other characters are given
by their code points, as in [U+7B7E].
"""

from __future__ import annotations

import html
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import reportlab
from reportlab.graphics.shapes import Drawing, PolyLine, String
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Image, KeepTogether, ListFlowable, SimpleDocTemplate, Spacer
from reportlab.platypus import Paragraph as Flowing
from reportlab.platypus import Table as Grid

from app.report import document

MEDIA_TYPE = "application/pdf"
_MARGIN = 20 * mm
_WIDTH = A4[0] - 2 * _MARGIN - 12  # the frame of a page has a padding of 6 points at each side
_PICTURE_HEIGHT = 42 * mm
_SOFT, _LINE = colors.HexColor("#56535c"), colors.HexColor("#c9c5cf")
_TEXT, _BOLD = "Vera", "VeraBd"


def render_pdf(report: document.Document) -> bytes:
    """Render a report as PDF on A4 pages. The same document gives the same bytes."""
    styles = _styles()
    story: list[Any] = [
        Flowing(_markup(report.title), styles["title"]),
        Flowing(_markup(report.subtitle), styles["subtitle"]),
    ]
    for number, section in enumerate(report.sections, 1):
        story.append(Flowing(_markup(f"{number}. {section.title}"), styles["heading"]))
        story += [_flowable(block, styles) for block in section.blocks]
    out = io.BytesIO()
    page = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=_MARGIN,
        bottomMargin=_MARGIN,
        title=report.title,
        author="Countersign",
        lang=report.language,
        invariant=1,  # no time and no random id in the file
    )

    def number_page(canvas: Any, template: Any) -> None:
        canvas.setFont(_TEXT, 7.5)
        canvas.setFillColor(_SOFT)
        canvas.drawString(_MARGIN, 11 * mm, _known(report.subtitle)[:110])
        canvas.drawRightString(A4[0] - _MARGIN, 11 * mm, report.page.format(number=template.page))

    page.build(story, onFirstPage=number_page, onLaterPages=number_page)
    return out.getvalue()


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    """Register the fonts and return the code points that they have."""
    folder = Path(reportlab.__file__).parent / "fonts"
    for name in (_TEXT, _BOLD):
        pdfmetrics.registerFont(TTFont(name, str(folder / f"{name}.ttf")))
    return frozenset(pdfmetrics.getFont(_TEXT).face.charToGlyph)


def _styles() -> dict[str, ParagraphStyle]:
    _glyphs()
    text = ParagraphStyle("text", fontName=_TEXT, fontSize=9, leading=13, spaceAfter=4, splitLongWords=True)
    return {
        "text": text,
        "title": ParagraphStyle("title", text, fontName=_BOLD, fontSize=16, leading=20),
        "subtitle": ParagraphStyle("subtitle", text, textColor=_SOFT, fontSize=8),
        "heading": ParagraphStyle(
            "heading", text, fontName=_BOLD, fontSize=11.5, leading=15, spaceBefore=10, keepWithNext=True
        ),
        "strong": ParagraphStyle(
            "strong",
            text,
            backColor=colors.HexColor("#f3f5fb"),
            borderPadding=5,
            leftIndent=5,
            spaceAfter=9,
            spaceBefore=7,
        ),
        "cell": ParagraphStyle("cell", text, fontSize=8, leading=10.5, spaceAfter=0),
        "head": ParagraphStyle("head", text, fontName=_BOLD, fontSize=8, leading=10.5, spaceAfter=0),
        "caption": ParagraphStyle("caption", text, fontSize=7.5, leading=10, textColor=_SOFT),
        "code": ParagraphStyle(
            "code",
            text,
            fontSize=7.5,
            leading=10.5,
            backColor=colors.HexColor("#f6f5f8"),
            borderPadding=4,
            leftIndent=4,
            spaceAfter=9,
            spaceBefore=6,
        ),
    }


def _flowable(block: document.Block, styles: dict[str, ParagraphStyle]) -> Any:
    match block:
        case document.Paragraph():
            return Flowing(_markup(block.text), styles["strong" if block.is_strong else "text"])
        case document.Bullets():
            items = [Flowing(_markup(item), styles["text"]) for item in block.parts]
            return ListFlowable(items, bulletType="bullet", start="•", leftIndent=12, bulletFontName=_TEXT)
        case document.Table():
            return _grid(block, styles)
        case document.Pictures():
            return _pictures(block, styles)
        case document.Code():
            lines = "<br/>".join(_markup(line) for line in block.text.splitlines())
            return Flowing(lines, styles["code"])
        case document.Plot():
            return KeepTogether([_drawing(block), Flowing(_markup(block.caption), styles["caption"])])


def _grid(table: document.Table, styles: dict[str, ParagraphStyle]) -> Any:
    rows = [[Flowing(_markup(cell), styles["head"]) for cell in table.head]] if table.head else []
    for row in table.rows:
        name = "cell" if table.head else "head"
        rows.append(
            [Flowing(_markup(cell), styles[name if not place else "cell"]) for place, cell in enumerate(row)]
        )
    style = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
    ]
    return Grid(
        rows,
        colWidths=[share * _WIDTH for share in table.widths],
        style=style,
        repeatRows=1 if table.head else 0,
        spaceBefore=3,
        spaceAfter=7,
    )


def _pictures(pictures: document.Pictures, styles: dict[str, ParagraphStyle]) -> Any:
    width = _WIDTH / 2 - 8
    cells = []
    for picture in pictures.parts:
        scale = min(width / picture.width, _PICTURE_HEIGHT / picture.height)
        image = Image(io.BytesIO(picture.image), picture.width * scale, picture.height * scale, hAlign="LEFT")
        cells.append([image, Spacer(1, 2), Flowing(_markup(picture.caption), styles["caption"])])
    rows = [
        [*cells[start : start + 2], *[""] * (2 - len(cells[start : start + 2]))]
        for start in range(0, len(cells), 2)
    ]
    style = [("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)]
    return Grid(rows, colWidths=[_WIDTH / 2] * 2, style=style)


def _drawing(plot: document.Plot) -> Drawing:
    scale = _WIDTH / plot.width
    drawing = Drawing(_WIDTH, plot.height * scale)
    for line in plot.lines:
        points = [value for x, y in line.points for value in (x * scale, (plot.height - y) * scale)]
        drawing.add(
            PolyLine(
                points,
                strokeColor=colors.HexColor(line.colour),
                strokeWidth=line.width * scale,
                strokeDashArray=[4, 3] if line.dashed else None,
            )
        )
    for label in plot.labels:
        drawing.add(
            String(
                label.x * scale,
                (plot.height - label.y) * scale,
                _known(label.text),
                fontName=_TEXT,
                fontSize=8,
                fillColor=colors.HexColor(label.colour),
                textAnchor=label.anchor,
            )
        )
    return drawing


def _markup(text: str) -> str:
    return html.escape(_known(text), quote=False)


def _known(text: str) -> str:
    """Replace the characters that the font lacks by their code points."""
    glyphs = _glyphs()
    return "".join(one if ord(one) in glyphs or one == "\n" else f"[U+{ord(one):04X}]" for one in text)
