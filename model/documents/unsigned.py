"""Drawn pages without a signature: parts of forms, printed names, print, graphics. Lengths are in millimetres."""

from __future__ import annotations

import math

from model.documents.elements import Drawer
from model.documents.material import Typeface, number, words
from model.documents.sheet import Sheet


def form_row(
    drawer: Drawer, sheet: Sheet, face: Typeface, margin: float, y: float, darkness: float, *, by_hand: bool
) -> float:
    """Draw a row of labelled fields; return its height."""
    columns = int(drawer.rng.integers(1, 4))
    tall = drawer.between(8, 13)
    wide = (sheet.width - 2 * margin) / columns
    boxed = drawer.chance(0.5)
    for column in range(columns):
        x = margin + column * wide
        if boxed:
            sheet.rectangle(x, y, x + wide - 2, y + tall - 1, 0.25, darkness)
        else:
            sheet.rule(x, y + tall - 1, x + wide - 3, y + tall - 1, 0.25, darkness)
        sheet.text(
            x + 0.8,
            y + 0.5,
            words(drawer.rng, face, 2).capitalize(),
            face,
            drawer.between(5.5, 8),
            darkness,
        )
        if drawer.chance(0.75):
            if by_hand:
                drawer.fill_in(
                    sheet,
                    x + drawer.between(2, 12),
                    y + drawer.between(1, 4),
                    height=tall * drawer.between(0.4, 0.9),
                )
            else:
                sheet.text(x + 3, y + tall * 0.42, words(drawer.rng, face, 2).title(), face, 10)
    return tall


def filled_part(drawer: Drawer) -> Sheet:
    """A part of a form without a signature: fields filled in by hand, an address, a date; empty places to sign."""
    width, height = drawer.between(60, 140), drawer.between(25, 80)
    sheet = Sheet(width, height, drawer.between(280, 680) / width)
    if drawer.chance(0.4):
        drawer.paper(sheet)
    face, darkness = drawer.face(), drawer.between(0.5, 1.0)
    y = drawer.between(1, 6)
    while y < height - 10:
        kind = drawer.rng.random()
        if kind < 0.4:
            y += form_row(drawer, sheet, face, drawer.between(2, 6), y, darkness, by_hand=True) + 1
        elif kind < 0.6:
            x, tall = drawer.between(2, width * 0.5), drawer.between(4, 7)
            for _ in range(int(drawer.rng.integers(1, 4))):
                drawer.fill_in(sheet, x + drawer.between(-1, 1), y, height=tall * drawer.between(0.8, 1.0))
                y += tall * drawer.between(1.1, 1.5)
        elif kind < 0.75:
            drawer.comb(sheet, drawer.between(2, width * 0.4), y, drawer.between(4, 6.5), darkness)
            y += 9
        elif kind < 0.85:
            drawer.ticks(sheet, drawer.between(2, 10), y, face, darkness)
            y += 7
        else:
            wide = width * drawer.between(0.4, 0.7)
            x = drawer.between(2, width - wide)
            drawer.field(sheet, x, y + 13, wide, signed=False, face=face, height=drawer.between(9, 13))
            y += 20
    if drawer.chance(0.25):
        drawer.stamp(sheet, width * drawer.between(0.1, 0.9), height * drawer.between(0.1, 0.9))
    return sheet


def printed_name(drawer: Drawer) -> Sheet:
    """A crop of a name in print or script lettering, without a signature; at times with a line, a date or a title."""
    width = drawer.between(35, 100)
    height = width * drawer.between(0.15, 0.5)
    sheet = Sheet(width, height, drawer.between(180, 640) / width)
    if drawer.chance(0.4):
        drawer.paper(sheet)
    face = drawer.face() if drawer.chance(0.6) else drawer.faces.lettering(drawer.rng)
    text = words(drawer.rng, face, int(drawer.rng.integers(1, 4)))
    text = text.upper() if drawer.chance(0.2) else text.title()
    darkness, points = drawer.between(0.5, 1.0), drawer.between(10, 44)
    if drawer.chance(0.7):  # a crop of the name
        points = width * drawer.between(0.55, 1.0) / max(0.05, face.at(100).getlength(text) / 100 * 0.41)
    points = min(points, height / 0.45)
    y = drawer.between(0.02, max(0.05, 0.8 - points * 0.45 / height)) * height
    sheet.text(width * drawer.between(0.0, 0.15), y, text, face, points, darkness)
    below = y + points * 0.5
    if drawer.chance(0.3):
        line = drawer.between(0, height)
        sheet.rule(0, line, width * drawer.between(0.7, 1.0), line, drawer.between(0.2, 0.5), darkness)
    if drawer.chance(0.35):
        small = drawer.between(6, 11)
        sheet.text(
            width * drawer.between(0.02, 0.3), below, words(drawer.rng, face, 3), face, small, darkness
        )
    if drawer.chance(0.15):
        sheet.text(width * 0.6, height * 0.1, number(drawer.rng), face, drawer.between(9, 14), darkness)
    return sheet


def text_page(drawer: Drawer) -> Sheet:
    """Print without a signature: a page, a few lines, a name, or single words."""
    width, height = drawer.between(30, 200), drawer.between(12, 200)
    sheet = Sheet(
        width, height, min(640 / width, math.sqrt(drawer.between(60_000, 400_000) / (width * height)))
    )
    if drawer.chance(0.4):
        drawer.paper(sheet)
    face = drawer.face()
    points = (
        drawer.between(8, 13) if drawer.chance(0.6) else drawer.between(14, min(60, max(16, width * 0.8)))
    )
    drawer.paragraph(sheet, width * 0.06, height * 0.06, width * 0.88, height * 0.86, face, points)
    if drawer.chance(0.2):
        drawer.stamp(sheet, width * drawer.between(0.2, 0.8), height * drawer.between(0.2, 0.8))
    return sheet


def graphics(drawer: Drawer) -> Sheet:
    """Graphics without a signature: codes, logos, frames, stamps, solid shapes, photographs."""
    width, height = drawer.between(30, 120), drawer.between(20, 80)
    sheet = Sheet(width, height, drawer.between(220, 600) / width)
    if drawer.chance(0.5):
        drawer.paper(sheet)
    for _ in range(int(drawer.rng.integers(1, 4))):
        x, y, side = (
            drawer.between(0, width * 0.6),
            drawer.between(0, height * 0.6),
            drawer.between(8, width * 0.4),
        )
        kind = int(drawer.rng.choice(7, p=[0.08, 0.08, 0.38, 0.28, 0.06, 0.06, 0.06]))
        if kind == 0:
            drawer.barcode(sheet, x, y, side * 1.5, side * 0.6)
        elif kind == 1:
            drawer.qr(sheet, x, y, side)
        elif kind == 2:
            drawer.logo(sheet, x, y, side)
        elif kind == 3:
            drawer.stamp(sheet, x + side / 2, y + side / 2)
        elif kind == 4:
            sheet.filled(x, y, x + side, y + side * drawer.between(0.1, 1.0), drawer.between(0.4, 1.0))
        elif kind == 5:
            drawer.photograph(sheet, x, y, side, side)
        else:
            sheet.rectangle(x, y, x + side, y + side * 0.6, drawer.between(0.2, 1.0))
    if drawer.chance(0.2):
        drawer.guilloche(sheet, 0.6)
    return sheet
