"""Drawn cheques, forms, letters and cards, with and without signatures.

Every layout is drawn anew each time; no real document is imitated. Lengths are in millimetres.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from model.documents.capture import Captured, capture
from model.documents.elements import LABELS, Drawer
from model.documents.material import Typeface, number, word, words
from model.documents.sheet import Sheet
from model.documents.unsigned import filled_part, form_row, graphics, printed_name, text_page


def crop(drawer: Drawer) -> Sheet:
    """A crop of one signature, tight or with some paper around it, sometimes with a part of a form."""
    width = drawer.between(35, 95)
    height = width * drawer.between(0.25, 0.8)
    sheet = Sheet(width, height, drawer.between(160, 620) / width)
    if drawer.chance(0.65):
        drawer.paper(sheet)
    fill = drawer.between(0.6, 0.98)
    if drawer.chance(0.08):
        drawer.print_across(sheet, 0, height * drawer.between(0.1, 0.7), width, drawer.face())
    drawer.sign(sheet, width / 2, height / 2, width * fill / 1.1, height * fill / 1.1)
    if drawer.chance(0.5):
        _line_of_crop(drawer, sheet, width, height * drawer.between(0.4, 0.95))
    if drawer.chance(0.1):
        sheet.rectangle(1, 1, width - 1, height - 1, drawer.between(0.2, 0.6))
    if drawer.chance(0.15):
        drawer.stamp(sheet, width * drawer.between(0.0, 1.0), height * drawer.between(0.0, 1.0))
    return sheet


def _line_of_crop(drawer: Drawer, sheet: Sheet, width: float, y: float) -> None:
    """Draw a line to sign on below or across a signature, at times with print under it, a cross or a date."""
    face, darkness = drawer.face(), drawer.between(0.5, 1.0)
    left, right = (drawer.between(0, 0.2) * width for _ in range(2))
    if drawer.chance(0.9):
        drawer.line(sheet, left, y, width - right, darkness)
    if drawer.chance(0.6):
        label = str(drawer.rng.choice(LABELS)) if drawer.chance(0.6) else words(drawer.rng, face, 2).title()
        points = drawer.between(6, 12)
        sheet.text(
            drawer.between(0, width * 0.4), y + drawer.between(0.0, 2.0), label, face, points, darkness
        )
    if drawer.chance(0.1):
        sheet.text(drawer.between(0, 3), y - drawer.between(3, 6), "X", face, 11, darkness)
    if drawer.chance(0.15):
        tall = drawer.between(3, 6)
        drawer.fill_in(sheet, width * drawer.between(0.7, 0.9), y - tall, number(drawer.rng), tall)


def signature_field(drawer: Drawer) -> Sheet:
    """A place to sign with its surroundings."""
    width, height = drawer.between(60, 130), drawer.between(25, 55)
    sheet = Sheet(width, height, drawer.between(260, 640) / width)
    if drawer.chance(0.5):
        drawer.paper(sheet)
    face = drawer.face()
    wide = width * drawer.between(0.4, 0.75)
    line = height * drawer.between(0.5, 0.75)
    drawer.field(
        sheet,
        width * drawer.between(0.05, 0.95) - wide * 0.5 if drawer.chance(0.3) else (width - wide) / 2,
        line,
        wide,
        signed=drawer.chance(0.65),
        face=face,
        height=drawer.between(7, 18),
    )
    if drawer.chance(0.4):
        drawer.paragraph(
            sheet, drawer.between(0, 5), drawer.between(0, 3), width, line - 16, face, drawer.between(7, 11)
        )
    if drawer.chance(0.15):
        drawer.barcode(
            sheet, drawer.between(0, width * 0.6), height * 0.82, drawer.between(20, 40), drawer.between(4, 9)
        )
    return sheet


def cheque(drawer: Drawer) -> Sheet:
    """A cheque."""
    width, height = drawer.between(140, 185), drawer.between(65, 90)
    sheet = Sheet(width, height, drawer.between(560, 960) / width)
    if drawer.chance(0.7):
        sheet.background *= drawer.between(0.75, 1.0)
        drawer.guilloche(sheet)
    else:
        drawer.paper(sheet)
    face, darkness = drawer.face(), drawer.between(0.6, 1.0)
    drawer.logo(sheet, drawer.between(4, 12), drawer.between(4, 8), drawer.between(8, 14))
    drawer.paragraph(sheet, drawer.between(40, 70), 5, 40, 12, face, drawer.between(6, 8))
    sheet.text(width - 52, 7, "Date", face, 8, darkness)
    for column in range(8 if drawer.chance(0.5) else 0):
        sheet.rectangle(width - 44 + column * 5, 5, width - 39 + column * 5, 10, 0.2, darkness)
    drawer.fill_in(sheet, width - 43, 4.5, number(drawer.rng), drawer.between(4, 5.5))
    rows = [height * share + drawer.between(-2, 2) for share in (0.33, 0.47)]
    for row in rows:
        sheet.text(6, row - 4, word(drawer.rng, face).title(), face, 8, darkness)
        sheet.rule(22, row, width - drawer.between(8, 45), row, 0.25, darkness)
        if drawer.chance(0.85):
            drawer.fill_in(sheet, drawer.between(24, 40), row - drawer.between(4.5, 6.5))
    sheet.rectangle(width - 45, height * 0.42, width - 6, height * 0.55, 0.3, darkness)
    drawer.fill_in(sheet, width - 42, height * 0.43, number(drawer.rng), drawer.between(4, 6))
    line = height * drawer.between(0.76, 0.82)
    wide = drawer.between(48, 65)
    drawer.field(
        sheet,
        width - wide - drawer.between(4, 12),
        line,
        wide,
        signed=drawer.chance(0.75),
        face=face,
        height=drawer.between(8, 17),
    )
    if drawer.chance(0.15):
        drawer.field(sheet, drawer.between(20, 40), line, 45, signed=drawer.chance(0.8), face=face)
    if drawer.chance(0.5):
        drawer.fill_in(sheet, drawer.between(12, 30), line - 5)
    sheet.text(
        drawer.between(8, 30),
        height - 8,
        " ".join(number(drawer.rng) for _ in range(4)),
        face,
        drawer.between(10, 13),
    )
    return sheet


def letter(drawer: Drawer) -> Sheet:
    """A letter or the lower part of one."""
    width, height = drawer.between(150, 215), drawer.between(100, 300)
    side = math.sqrt(drawer.between(180_000, 420_000) / (width * height))
    sheet = Sheet(width, height, side)
    if drawer.chance(0.3):
        drawer.paper(sheet)
    face, points, margin = drawer.face(), drawer.between(9, 12.5), drawer.between(14, 26)
    top = 12.0
    if height > 180:
        left = margin if drawer.chance(0.5) else drawer.between(margin, width - 70)
        drawer.logo(sheet, left, drawer.between(5, 12), drawer.between(8, 30))
        drawer.paragraph(sheet, margin, 38, 60, 22, face, points)
        top = 68
    end = height - drawer.between(55, 85)
    drawer.paragraph(sheet, margin, top, width - 2 * margin, end - top, face, points)
    if drawer.chance(0.85):
        sheet.text(margin, end + 2, words(drawer.rng, face, 2).capitalize() + ",", face, points)
    x = margin + (drawer.between(0, 10) if drawer.chance(0.7) else drawer.between(40, width - 90))
    _closing(drawer, sheet, x, end, face, points)
    if drawer.chance(0.3):
        drawer.field(
            sheet, width - 80, end + 26, drawer.between(45, 60), signed=drawer.chance(0.6), face=face
        )
    if drawer.chance(0.4):
        drawer.paragraph(sheet, margin, height - 14, width - 2 * margin, 10, face, 7)
    if drawer.chance(0.12):
        drawer.logo(sheet, drawer.between(margin, width - 50), height - 22, drawer.between(8, 18))
    return sheet


def _closing(drawer: Drawer, sheet: Sheet, x: float, end: float, face: Typeface, points: float) -> None:
    """Draw the end of a letter: a signature with the name and the office of the writer below or behind it."""
    signed = drawer.chance(0.7)
    if drawer.chance(0.35):
        drawer.field(sheet, x, end + 26, drawer.between(45, 65), signed=signed, face=face)
    elif signed:
        drawer.sign(sheet, x + 27, end + 17, drawer.between(38, 65), drawer.between(14, 24))
    name_points = points if drawer.chance(0.8) else drawer.between(12, 20)
    name_at = end + (drawer.between(28, 34) if drawer.chance(0.8) else drawer.between(10, 26))
    sheet.text(x, name_at, words(drawer.rng, face, 2).title(), face, name_points)
    if drawer.chance(0.3):
        drawer.paragraph(sheet, x, name_at + name_points * 0.5, 70, 12, face, points)
    if drawer.chance(0.15):
        drawer.stamp(sheet, x + drawer.between(0, 60), end + drawer.between(8, 26))


def form(drawer: Drawer) -> Sheet:
    """A form of labelled fields, filled in by hand or by print, with places to sign."""
    width, height = drawer.between(120, 210), drawer.between(80, 290)
    sheet = Sheet(width, height, math.sqrt(drawer.between(180_000, 420_000) / (width * height)))
    if drawer.chance(0.3):
        drawer.paper(sheet)
    face, darkness = drawer.face(), drawer.between(0.5, 1.0)
    margin, y = drawer.between(8, 16), drawer.between(8, 14)
    sheet.text(margin, y, words(drawer.rng, face, 4).title(), face, drawer.between(13, 20))
    y += 14
    by_hand = drawer.chance(0.6)
    while y < height - 48:
        tall = form_row(drawer, sheet, face, margin, y, darkness, by_hand=by_hand)
        y += tall + drawer.between(0, 3)
        if drawer.chance(0.15):
            drawer.paragraph(sheet, margin, y, width - 2 * margin, 14, face, drawer.between(6, 9))
            y += 16
        if drawer.chance(0.1):
            drawer.ticks(sheet, margin, y, face, darkness)
            y += 7
        if drawer.chance(0.1):
            drawer.comb(sheet, margin + drawer.between(0, 30), y, drawer.between(4, 6), darkness)
            y += 8
    may_be_signed = drawer.chance(0.75)
    places = int(drawer.rng.choice([1, 2, 2, 3])) if width > 150 else 1
    wide = (width - 2 * margin) / places
    for place in range(places):
        drawer.field(
            sheet,
            margin + place * wide + drawer.between(1, 6),
            height - drawer.between(14, 22),
            wide * 0.75,
            signed=may_be_signed and drawer.chance(0.7),
            face=face,
            height=drawer.between(6, 17),
        )
    return sheet


def card(drawer: Drawer) -> Sheet:
    """An account-opening card: particulars, perhaps a photograph, specimen boxes."""
    width, height = drawer.between(85, 160), drawer.between(55, 110)
    sheet = Sheet(width, height, drawer.between(420, 800) / width)
    if drawer.chance(0.4):
        drawer.paper(sheet)
    face, darkness = drawer.face(), drawer.between(0.6, 1.0)
    drawer.logo(sheet, 4, 4, drawer.between(6, 10))
    for row in range(int(drawer.rng.integers(2, 5))):
        y = 18 + row * 6.5
        sheet.text(5, y, word(drawer.rng, face).capitalize() + ":", face, 7, darkness)
        if drawer.chance(0.5):
            drawer.fill_in(sheet, 28, y - 1.5, height=drawer.between(3, 4.5))
        else:
            sheet.text(28, y, words(drawer.rng, face, 2).title(), face, 9, darkness)
    if drawer.chance(0.5):
        drawer.photograph(sheet, width - 30, 5, 25, 30)
    if drawer.chance(0.35):
        _small_signature(drawer, sheet, face, darkness)
        return sheet
    boxes = int(drawer.rng.integers(1, 4))
    wide, top = (width - 8) / boxes, height * drawer.between(0.55, 0.65)
    for box in range(boxes):
        x = 4 + box * wide
        if drawer.chance(0.8):
            sheet.rectangle(x, top, x + wide - 2, height - 4, drawer.between(0.15, 0.5), darkness)
        if drawer.chance(0.6):
            sheet.text(x + 1, top + 0.5, f"{box + 1}.", face, 7, darkness)
        if drawer.chance(0.8):
            drawer.sign(sheet, x + wide / 2, (top + height - 4) / 2, wide * 0.75, (height - 4 - top) * 0.8)
    return sheet


def _small_signature(drawer: Drawer, sheet: Sheet, face: Typeface, darkness: float) -> None:
    """Sign a card as an identity card is signed: small, with print close above or below."""
    width, height = drawer.between(24, 42), drawer.between(5, 10)
    x = drawer.between(4, max(5, sheet.width - width - 4))
    y = sheet.height * drawer.between(0.7, 0.88)
    if drawer.chance(0.7):
        above = -height * 0.5 - drawer.between(1.5, 4) if drawer.chance(0.6) else height * 0.5
        caption = words(drawer.rng, face, 2).capitalize()
        sheet.text(x + drawer.between(-3, 5), y + above, caption, face, drawer.between(4, 7), darkness)
    if drawer.chance(0.8):
        drawer.sign(sheet, x + width / 2, y, width, height)
    if drawer.chance(0.5):
        sheet.text(drawer.between(3, 8), sheet.height - 5, number(drawer.rng), face, 8, darkness)


def table(drawer: Drawer) -> Sheet:
    """An invoice or a statement: a table of figures, signed at times."""
    width, height = drawer.between(110, 210), drawer.between(70, 200)
    sheet = Sheet(width, height, math.sqrt(drawer.between(150_000, 400_000) / (width * height)))
    face, darkness, margin = drawer.face(), drawer.between(0.5, 1.0), drawer.between(6, 15)
    columns, tall = int(drawer.rng.integers(3, 7)), drawer.between(4.5, 8)
    wide = (width - 2 * margin) / columns
    bottom = height - (45 if drawer.chance(0.5) else 10)
    framed = drawer.chance(0.6)
    y = drawer.between(5, 20)
    first = y
    while y < bottom:
        if framed:
            sheet.rule(margin, y, width - margin, y, 0.25, darkness)
        for column in range(columns):
            text = word(drawer.rng, face) if column == 0 else number(drawer.rng)
            sheet.text(
                margin + column * wide + 1,
                y + 0.8,
                text[: max(3, int(wide / 1.8))],
                face,
                drawer.between(7, 9),
                darkness,
            )
        y += tall
    if framed:
        for column in range(columns + 1):
            sheet.rule(margin + column * wide, first, margin + column * wide, y, 0.25, darkness)
    if height - y > 25:
        drawer.field(sheet, width - 70, height - 10, 55, signed=drawer.chance(0.6), face=face)
    return sheet


LAYOUTS: dict[str, tuple[Callable[[Drawer], Sheet], float]] = {
    "crop": (crop, 0.2),
    "signature-field": (signature_field, 0.2),
    "cheque": (cheque, 0.14),
    "letter": (letter, 0.09),
    "form": (form, 0.1),
    "card": (card, 0.06),
    "table": (table, 0.02),
    "filled-part": (filled_part, 0.05),
    "printed-name": (printed_name, 0.05),
    "text": (text_page, 0.03),
    "graphics": (graphics, 0.06),
}
"""Layouts by name, with the share of each in training."""


def compose_page(drawer: Drawer, shares: Mapping[str, float] | None = None) -> tuple[str, Captured]:
    """Compose and capture a page of a random layout; return the name of the layout, too.

    Parameters
    ----------
    shares : mapping of str to float, optional
        Weights of layouts by name; those of :data:`LAYOUTS` by default.
    """
    shares = shares or {name: share for name, (_, share) in LAYOUTS.items()}
    weights = np.array(list(shares.values()))
    kind = list(shares)[int(drawer.rng.choice(len(weights), p=weights / weights.sum()))]
    sheet = LAYOUTS[kind][0](drawer)
    return kind, capture(sheet.brightness(), sheet.signature, drawer.rng)
