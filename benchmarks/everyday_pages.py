"""More pages for the benchmark of extraction: what people send every day, and what lies close to a signature there.

As in :mod:`benchmarks.document_pages`, no layout is one of training, and pages without a signature have all the rest.
Lengths are in millimetres.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.document_elements import stamp
from benchmarks.document_pages import A4_SCALE, CHEQUE_SCALE, Kind, contract_foot, rosettes
from benchmarks.everyday_elements import (
    Spot,
    caption,
    cross,
    dashes,
    date,
    dot_matrix,
    fitted,
    fold,
    handwritten_lines,
    hard_shadow,
    in_script,
    latin,
    monospaced,
    paragraph,
    portrait,
    punch,
    ring,
    scanner_border,
    sign_on,
    staple,
    strike_out,
    tick,
    typed_line,
    wording,
)
from model.documents.elements import Drawer
from model.documents.material import Typeface, number
from model.documents.sheet import Sheet
from model.preprocessing.ink import isolate
from model.synthetic.writer import Writer

Pixels = NDArray[np.uint8]
CARD_SCALE = 300 / 25.4
"""Pixels to a millimetre at 300 dpi."""

SLIGHT_TURN = (2.0, 7.0)
LINE = 60.0
"""Where the line to sign on is on the foot of a form."""


def _foot_of_form(drawer: Drawer) -> tuple[Sheet, Typeface, float]:
    """Draw the foot of a form around a line to sign on; return its font, and where the line begins, too."""
    sheet, face = Sheet(150, 84, CHEQUE_SCALE), latin(drawer)
    paragraph(drawer, sheet, 10, 5, 130, drawer.between(18, 30), face, drawer.between(7.5, 9.5))
    wide = sheet.text(10, 38, wording(drawer.rng, face, 2).capitalize() + ":", face, 9)
    drawer.handwriting(sheet, 14 + wide, 37, height=drawer.between(4, 5.5))
    paragraph(drawer, sheet, 10, 74, 130, 8, face, 6)
    return sheet, face, drawer.between(15, 65)


def dashed_line(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A flat signature on a dashed line with a small caption below it."""
    sheet, _, x = _foot_of_form(drawer)
    dashes(drawer, sheet, x, LINE, x + 70)
    caption(drawer, sheet, x + drawer.between(0, 20), LINE + drawer.between(0.8, 2))
    sign_on(drawer, sheet, signature, Spot(x + 35, LINE))
    return sheet


def dotted_line(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A flat signature on a line of full stops with a small caption below it."""
    sheet, face, x = _foot_of_form(drawer)
    typed_line(sheet, x, LINE, x + 70, face, ".")
    caption(drawer, sheet, x + drawer.between(0, 20), LINE + drawer.between(0.8, 2))
    sign_on(drawer, sheet, signature, Spot(x + 35, LINE))
    return sheet


def captioned_line(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A flat signature on a line, the caption of which begins directly under it."""
    sheet, _, x = _foot_of_form(drawer)
    sheet.rule(x, LINE, x + 70, LINE, drawer.between(0.2, 0.4))
    caption(drawer, sheet, x, LINE + drawer.between(0.2, 0.5), drawer.between(7, 10))
    sign_on(drawer, sheet, signature, Spot(x + drawer.between(26, 35), LINE))
    return sheet


def marked_line(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A signature on a line that begins with an X."""
    sheet, face, x = _foot_of_form(drawer)
    sheet.text(x - 5, LINE - 5, "X" if drawer.chance(0.7) else "x", face, drawer.between(11, 15))
    if drawer.chance(0.5):
        sheet.rule(x, LINE, x + 70, LINE, drawer.between(0.2, 0.4))
    else:
        typed_line(sheet, x, LINE, x + 70, face, "_")
    if drawer.chance(0.5):
        caption(drawer, sheet, x, LINE + 1.5)
    sign_on(drawer, sheet, signature, Spot(x + drawer.between(25, 35), LINE, high=(8, 16)))
    return sheet


def dated(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A signature with the date, by hand, close beside it on the same line."""
    sheet, _, _ = _foot_of_form(drawer)
    sheet.rule(15, LINE, 135, LINE, 0.3)
    caption(drawer, sheet, 16, LINE + 1)
    gap, height = drawer.between(4, 10), drawer.between(4, 6)
    if drawer.chance(0.5):
        wide = drawer.handwriting(sheet, 18, LINE - height, date(drawer), height)
        sign_on(drawer, sheet, signature, Spot(18 + wide + gap + 25, LINE, (45, 50), (8, 16)))
    else:
        _, right = sign_on(drawer, sheet, signature, Spot(48, LINE, (45, 55), (8, 16)))
        drawer.handwriting(sheet, right + gap, LINE - height, date(drawer), height)
    return sheet


def identity_card(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """An identity card: portrait, particulars and a small signature on security printing."""
    sheet, face = Sheet(85.6, 54, CARD_SCALE), latin(drawer)
    sheet.background *= drawer.between(0.8, 0.95)
    rosettes(drawer, sheet, drawer.between(0.15, 0.4))
    sheet.text(4, 2.5, wording(drawer.rng, face, 3).upper(), face, 9)
    portrait(drawer, sheet, 4, 10, 24, 31)
    for row in range(4):
        y = 10 + row * 7
        sheet.text(32, y, wording(drawer.rng, face, 2).capitalize(), face, 4.5, 0.7)
        value = wording(drawer.rng, face, 2).upper() if row % 2 == 0 else number(drawer.rng)
        sheet.text(32, y + 2.2, fitted(sheet, value, face, 8, 50), face, 8)
    sheet.text(32, 38.5, wording(drawer.rng, face, 2).capitalize(), face, 4.5, 0.7)
    sign_on(drawer, sheet, signature, Spot(52, 48, (28, 36), (5, 8), (0.1, 0.3)))
    sheet.text(4, 49, number(drawer.rng), monospaced(drawer), 8)
    return sheet


def initialled_page(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A page of a contract that is initialled in a small box at its foot."""
    sheet, face = Sheet(210, 297, CHEQUE_SCALE), latin(drawer)
    sheet.text(25, 18, wording(drawer.rng, face, 4).title(), face, 13)
    for clause in range(6):
        y = 32 + clause * 39
        sheet.text(25, y, f"{clause + 4}.", face, 10)
        sheet.text(33, y, wording(drawer.rng, face, 3).capitalize(), face, 10)
        paragraph(drawer, sheet, 33, y + 6, 152, drawer.between(18, 30), face, 10)
    sheet.rectangle(165, 272, 189, 285, 0.3)
    sheet.text(148, 276, "Initials", face, 8)
    sheet.text(100, 284, "4 / 9", face, 8)
    sign_on(drawer, sheet, signature, Spot(177, 279.5, (16, 22), (8, 11), (0.45, 0.55)))
    return sheet


def receipt(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A card receipt: narrow, in the print of a till, signed after an x."""
    sheet, face = Sheet(62, 120, CHEQUE_SCALE), monospaced(drawer)
    sheet.background *= drawer.between(0.85, 1.0)
    is_of_needles, darkness = drawer.chance(0.5), drawer.between(0.55, 1.0)

    def line(x: float, y: float, text: str) -> None:
        if is_of_needles:
            dot_matrix(sheet, x, y, text, face, 3.6)
        else:
            sheet.text(x, y, text, face, 7.5, darkness)

    line(14, 5, wording(drawer.rng, face, 2).upper()[:18])
    line(10, 10, wording(drawer.rng, face, 3)[:22])
    for row in range(9):
        y = 20 + row * 4.6
        line(5, y, wording(drawer.rng, face, 2)[:14])
        line(42, y, f"{drawer.between(1, 200):7.2f}")
    line(5, 62, "-" * 24)
    line(5, 67, f"TOTAL EUR    {drawer.between(20, 900):9.2f}")
    line(5, 72, f"VISA **** **** {int(drawer.rng.integers(1000, 10000))}")
    line(4, 92, "x")
    typed_line(sheet, 8, 96, 57, face, "_")
    sign_on(drawer, sheet, signature, Spot(32, 95, (38, 48), (9, 16)))
    line(8, 101, wording(drawer.rng, face, 3)[:20])
    line(12, 108, "CUSTOMER COPY")
    return sheet


def delivery_note(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A delivery note: a table with quantities by hand, and a signature in the last box."""
    sheet, face = Sheet(190, 150, A4_SCALE), latin(drawer)
    sheet.text(12, 9, wording(drawer.rng, face, 2).title()[:18], face, 18)
    sheet.text(120, 10, "DELIVERY NOTE", face, 14)
    sheet.text(120, 18, number(drawer.rng), face, 9)
    edges = (12, 28, 110, 140, 178)
    for row in range(7):
        y = 36 + row * 9
        sheet.rectangle(12, y, 178, y + 9, 0.3)
        sheet.text(14, y + 2.5, str(row + 1), face, 9)
        article = fitted(sheet, wording(drawer.rng, face, 4), face, 9, 76)
        sheet.text(30, y + 2.5, article, face, 9)
        sheet.text(114, y + 2.5, str(int(drawer.rng.integers(1, 500))), face, 9)
        drawer.handwriting(sheet, 146, y + 2, str(int(drawer.rng.integers(1, 500))), drawer.between(4.5, 6.5))
    for x in edges:
        sheet.rule(x, 36, x, 99, 0.3)
    for left, right in ((12, 50), (50, 108), (108, 178)):
        sheet.rectangle(left, 112, right, 138, 0.3)
        label = fitted(sheet, wording(drawer.rng, face, 2).capitalize(), face, 6.5, right - left - 3)
        sheet.text(left + 1.5, 113, label, face, 6.5)
    drawer.handwriting(sheet, 16, 124, date(drawer), 5)
    drawer.handwriting(sheet, 54, 123, wording(drawer.rng, face, 1)[:9], 5)
    sign_on(drawer, sheet, signature, Spot(143, 130, (50, 62), (13, 19)))
    return sheet


def across_print(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """The end of a letter with the signature written across the typed name and the lines beside it."""
    sheet, face = Sheet(150, 75, CHEQUE_SCALE), latin(drawer)
    paragraph(drawer, sheet, 12, 5, 126, 24, face, 10.5)
    sheet.text(12, 33, wording(drawer.rng, face, 2).capitalize() + ",", face, 10.5)
    name = wording(drawer.rng, face, 2).title()
    wide = sheet.text(12, 47, name, face, drawer.between(10, 14))
    sheet.text(12, 53, wording(drawer.rng, face, 3).capitalize(), face, 9)
    sheet.text(12, 58, wording(drawer.rng, face, 4), face, 9)
    middle = 12 + max(25, wide / 2)
    sign_on(drawer, sheet, signature, Spot(middle, drawer.between(48, 54), (48, 60), (13, 20), (0.4, 0.5)))
    return sheet


def handwritten_letter(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A letter that is all by hand, signed at the bottom."""
    sheet = Sheet(148, 210, CHEQUE_SCALE)
    lead, height = drawer.between(9, 11), drawer.between(3.8, 4.8)
    tops = 38 + lead * np.arange(int(125 / lead))
    drawer.handwriting(sheet, 95, 12, date(drawer), 5)
    handwritten_lines(drawer, sheet, 16, np.array([24.0, *tops]), 116, height)
    sign_on(drawer, sheet, signature, Spot(drawer.between(50, 105), 190, (45, 60), (12, 19)))
    return sheet


def notebook(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A note on a ruled page of a notebook, signed on one of its lines."""
    sheet = Sheet(140, 100, CHEQUE_SCALE)
    step, darkness = drawer.between(7, 8.5), drawer.between(0.25, 0.6)
    lines = np.arange(10, 100, step)
    for y in lines:
        sheet.rule(0, float(y), 140, float(y), 0.2, darkness)
    sheet.rule(20, 0, 20, 100, 0.25, darkness)
    height = drawer.between(3.8, 4.8)
    handwritten_lines(drawer, sheet, 24, lines[1:6] - height * 1.3, 105, height)
    sign_on(drawer, sheet, signature, Spot(drawer.between(55, 100), float(lines[8]), (45, 60), (10, 17)))
    return sheet


def printed_in(script: str, drawer: Drawer, signature: Pixels | None) -> Sheet:
    """The lower half of a page in another script, signed above a printed name."""
    sheet, face = Sheet(180, 130, A4_SCALE), in_script(drawer, script)
    sheet.text(15, 8, wording(drawer.rng, face, 4), face, 15)
    for top in (20, 48):
        paragraph(drawer, sheet, 15, top, 150, 24, face, drawer.between(9, 11))
    for x, line in ((15, wording(drawer.rng, face, 2)), (100, wording(drawer.rng, face, 2))):
        sheet.rule(x, 100, x + 62, 100, 0.3)
        sheet.text(x, 102, line, face, 9)
    drawer.handwriting(sheet, 22, 94, date(drawer), 5)
    sheet.text(100, 108, wording(drawer.rng, face, 2), face, 11)
    sign_on(drawer, sheet, signature, Spot(131, 100, (48, 58), (12, 18)))
    paragraph(drawer, sheet, 15, 120, 150, 8, face, 7)
    return sheet


def worn_scan(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A page from a file: folded, punched and stapled, with a scanner's black around it."""
    sheet, face = Sheet(210, 297, A4_SCALE), latin(drawer)
    sheet.background *= drawer.between(0.88, 1.0)
    staple(drawer, sheet, drawer.between(14, 20), drawer.between(10, 16))
    punch(drawer, sheet, drawer.between(9, 13), drawer.between(140, 155))
    paragraph(drawer, sheet, 28, 30, 70, 24, face, 10)
    for top in (70, 112, 154):
        paragraph(drawer, sheet, 28, top, 155, 36, face, 10.5)
    x, line = 28 + drawer.between(0, 70), drawer.between(214, 232)
    sheet.rule(x, line, x + 65, line, 0.3)
    sheet.text(x, line + 1.5, wording(drawer.rng, face, 2).title(), face, 9)
    sign_on(drawer, sheet, signature, Spot(x + 32, line, (45, 58), (12, 18)))
    for fraction in (0.34, drawer.between(0.7, 0.78)):
        fold(drawer, sheet, 105, 297 * fraction, drawer.between(-0.6, 0.6))
    scanner_border(drawer, sheet)
    return sheet


def shadowed_form(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """The foot of a form to be photographed, the hard edge of a shadow across its signature."""
    sheet, _, x = _foot_of_form(drawer)
    sheet.background *= 0.95
    sheet.rule(x, LINE, x + 70, LINE, 0.3)
    caption(drawer, sheet, x, LINE + 1)
    sign_on(drawer, sheet, signature, Spot(x + 35, LINE, (48, 60), (11, 17)))
    hard_shadow(drawer, sheet, x + 35 + drawer.between(-14, 14), LINE - 4 + drawer.between(-3, 3))
    return sheet


def grey_stamp(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """The foot of a contract with a grey stamp across half of the signature."""
    sheet = contract_foot(drawer, signature)
    side = float(drawer.rng.choice((-1, 1)))
    stamp(drawer, sheet, 76 + side * drawer.between(10, 18), drawer.between(17, 24), (0.3, 0.65))
    return sheet


def marked_form(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A form with ticks, crosses, circles and crossed-out words by hand, signed at its foot."""
    sheet, face = Sheet(190, 160, A4_SCALE), latin(drawer)
    sheet.text(12, 8, wording(drawer.rng, face, 4).title(), face, 14)
    for row in range(6):
        y = 24 + row * 9
        question = fitted(sheet, wording(drawer.rng, face, 3).capitalize(), face, 9, 60)
        sheet.text(12, y, question, face, 9)
        chosen = int(drawer.rng.integers(3))
        for column in range(3):
            x = 75 + column * 36
            sheet.rectangle(x, y + 0.5, x + 3.2, y + 3.7, 0.25)
            sheet.text(x + 5, y, wording(drawer.rng, face, 1)[:11], face, 9)
            if column == chosen:
                (tick if drawer.chance(0.6) else cross)(drawer, sheet, x, y + 0.5)
    for row in range(4):
        _amended_row(drawer, sheet, face, 84 + row * 9)
    sheet.text(12, 137, wording(drawer.rng, face, 2).capitalize(), face, 8)
    sheet.rule(50, 143, 120, 143, 0.3)
    drawer.handwriting(sheet, 140, 137, date(drawer), 5)
    sign_on(drawer, sheet, signature, Spot(85, 143, (48, 60), (11, 17)))
    return sheet


def _amended_row(drawer: Drawer, sheet: Sheet, face: Typeface, y: float) -> None:
    """Print words in a row, one of them crossed out and replaced, and another one with a circle around it."""
    x, struck, circled = 12.0, int(drawer.rng.integers(3)), int(drawer.rng.integers(3, 6))
    for place in range(6):
        word = wording(drawer.rng, face, 1)[:8]
        wide = sheet.text(x, y, word, face, 9.5)
        if place == struck:
            strike_out(drawer, sheet, x - 0.5, y + 2.2, x + wide + 0.5)
            if drawer.chance(0.4):
                drawer.handwriting(sheet, x, y - 4.2, wording(drawer.rng, face, 1)[:9], 3.8)
        elif place == circled:
            ring(drawer, sheet, x + wide / 2, y + 2.2, wide + 5, 7)
        x += wide + drawer.between(8, 12)


def two_people(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """The foot of an agreement that two people sign, each on a line of their own."""
    sheet, face = Sheet(190, 90, CHEQUE_SCALE), latin(drawer)
    paragraph(drawer, sheet, 12, 6, 166, 36, face, 9.5)
    gap, line = drawer.between(20, 40), 70.0
    wide = (166 - gap) / 2
    signatures = [signature, None if signature is None else _another_signature(drawer)]
    for place in drawer.rng.permutation(2):
        x = 12 + place * (wide + gap)
        sheet.rule(x, line, x + wide, line, 0.3)
        sheet.text(x, line + 1.5, wording(drawer.rng, face, 2).title(), face, 9)
        drawer.handwriting(sheet, x, line - 22, date(drawer), 4.5)
        sign_on(drawer, sheet, signatures.pop(), Spot(x + wide / 2, line, (45, 55), (11, 17)))
    return sheet


def _another_signature(drawer: Drawer) -> Pixels:
    """Draw the signature of somebody else."""
    writer = Writer(int(drawer.rng.integers(10**6)))
    return isolate(writer.genuine_image(0, height_px=160)).density


PRINTED_IN: dict[str, Callable[[Drawer, Pixels | None], Sheet]] = {
    script: partial(printed_in, script) for script in ("bengali", "arabic", "chinese")
}
"""Pages by script. No font for Devanagari is kept for testing; Bengali hangs from a line, too."""

KINDS: dict[str, Kind] = {
    "dashed line": Kind(dashed_line),
    "dotted line": Kind(dotted_line),
    "captioned line": Kind(captioned_line),
    "marked line": Kind(marked_line),
    "dated": Kind(dated),
    "identity card": Kind(identity_card),
    "initials": Kind(initialled_page),
    "receipt": Kind(receipt),
    "delivery note": Kind(delivery_note),
    "across print": Kind(across_print),
    "handwritten letter": Kind(handwritten_letter),
    "notebook": Kind(notebook, askew=SLIGHT_TURN),
    **{f"{script} print": Kind(draw) for script, draw in PRINTED_IN.items()},
    "worn scan": Kind(worn_scan),
    "shadowed form": Kind(shadowed_form, "photograph"),
    "grey stamp": Kind(grey_stamp),
    "marked form": Kind(marked_form),
    "two people": Kind(two_people, signers=2),
}
"""Kinds by name, for :mod:`benchmarks.documents`."""
