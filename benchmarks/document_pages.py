"""Pages for the benchmark of extraction: layouts, fonts and backgrounds that training has not seen.

Pages are drawn in millimetres at the resolution of a scanner, with one signature or without any.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.document_elements import logo, stamp
from model.documents.capture import Captured, photograph, scan
from model.documents.elements import Drawer
from model.documents.material import SignatureSource, number, words
from model.documents.sheet import Sheet
from model.preprocessing.scan import Scan, to_scan
from model.preprocessing.tilt import straighten

Pixels = NDArray[np.uint8]
CHEQUE_SCALE = 200 / 25.4
"""Pixels to a millimetre at 200 dpi."""
A4_SCALE = 150 / 25.4


RED, VIOLET = (0.2, 0.82, 0.76), (0.55, 0.78, 0.4)

ASKEW = (3.0, 12.0)
"""Least and largest angle in degrees of pages that do not lie straight."""


@dataclass(frozen=True)
class Kind:
    """A kind of page: how it is drawn, and how it is captured."""

    draw: Callable[[Drawer, Pixels | None], Sheet]
    capture: Literal["scan", "photograph", "fax"] = "scan"
    stamp: Callable[[Drawer, Sheet], None] | None = None
    """What is stamped on the page in colour, which is then scanned in colour; the signature is black or blue."""

    stamp_ink: tuple[float, float, float] = RED
    """Share of red, green and blue light that the stamp takes."""

    askew: tuple[float, float] | None = None
    """Least and largest angle in degrees by which the page is turned; None if it lies straight."""

    signers: int = 1
    """How many people sign, beside one another."""


@dataclass(frozen=True)
class Page:
    """A captured page as it is after decoding, and the coverage by signatures: uint8 (h, w), 255 = full."""

    scan: Scan
    signature: Pixels

    @property
    def grey(self) -> Pixels:
        """All of the page: uint8 (h, w), 255 = white."""
        return self.scan.grey


def compose(kind: Kind, drawer: Drawer, signature: Pixels | None) -> Page:
    """Draw and capture a page with a signature (h, w) uint8, ink = 255, or without one."""
    sheet, rng = kind.draw(drawer, signature), drawer.rng
    if kind.stamp is not None:
        stamps = Sheet(sheet.width, sheet.height, sheet.scale)
        kind.stamp(drawer, stamps)
        same_scanner = copy.deepcopy(rng)
        page = scan(sheet.brightness(), sheet.signature, rng)
        overprint = scan(stamps.brightness(), sheet.signature, same_scanner).grey
        return Page(_in_colour(page, overprint, np.array(kind.stamp_ink), rng), page.signature)
    capture = photograph if kind.capture == "photograph" else scan
    page = capture(sheet.brightness(), sheet.signature, rng)
    grey = page.grey
    if kind.capture == "fax":
        grey = np.where(grey > 0.72 * np.median(grey), 255, 0).astype(np.uint8)
    if kind.askew is not None:
        degrees = float(rng.uniform(*kind.askew) * rng.choice((-1, 1)))
        return Page(Scan(straighten(grey, degrees).grey), straighten(page.signature, degrees).grey)
    return Page(Scan(grey), page.signature)


def _in_colour(
    page: Captured, stamps: Pixels, stamp_ink: NDArray[np.float64], rng: np.random.Generator
) -> Scan:
    """Colour the signature black or blue and the stamps, print both on the page, and compress it."""
    blue = rng.random() < 0.5
    light = np.repeat(page.grey[..., None] / 255.0, 3, axis=2)
    covered = cv2.GaussianBlur(page.signature, (0, 0), 1.0)[..., None] / 255.0
    if blue:
        light += covered * (1.0 - light) * np.array([0.1, 0.15, 0.45])
    light *= 1.0 - (1.0 - stamps[..., None] / 255.0) * stamp_ink
    file = io.BytesIO()
    colours = Image.fromarray(np.clip(255.0 * light, 0, 255).astype(np.uint8))
    colours.save(file, "JPEG", quality=int(rng.integers(50, 92)))
    return to_scan(Image.open(file))


def _sign(drawer: Drawer, sheet: Sheet, signature: Pixels | None, x: float, y: float) -> None:
    """Place the signature with its centre near (x, y)."""
    if signature is not None:
        rng = drawer.rng
        sheet.sign(
            signature,
            x + rng.normal(0, 1.5),
            y + rng.normal(0, 0.8),
            55,
            rng.uniform(15, 20),
            rng.uniform(0.7, 1.0),
        )


def rosettes(drawer: Drawer, sheet: Sheet, strength: float) -> None:
    """Cover the paper with overlapping rosettes: concentric curves in polar coordinates."""
    height, width = sheet.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / np.float32(sheet.scale)
    pattern = np.zeros(sheet.shape, np.float32)
    for _ in range(3):
        cx, cy = drawer.between(0, sheet.width), drawer.between(0, sheet.height)
        radius, angle = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
        petals, pitch = int(drawer.rng.integers(8, 30)), drawer.between(1.0, 2.2)
        phase = radius / pitch * (1.0 + 0.12 * np.cos(petals * angle))
        pattern = np.maximum(pattern, np.clip(1.0 - np.abs(phase - np.rint(phase)) * pitch / 0.22, 0, 1))
    sheet.background *= 1.0 - strength * pattern


def cheque(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A cheque on security paper; the name of the account holder is printed under the signature."""
    sheet = Sheet(170, 76, CHEQUE_SCALE)
    sheet.background *= drawer.between(0.85, 0.97)
    rosettes(drawer, sheet, drawer.between(0.1, 0.35))
    face = drawer.face()
    sheet.text(8, 6, words(drawer.rng, face, 2).upper(), face, 15)
    sheet.text(8, 13, words(drawer.rng, face, 5), face, 7)
    sheet.text(118, 6, number(drawer.rng), face, 11)
    for row, label in ((26, "Pay"), (37, "The sum of")):
        sheet.text(8, row - 4, label, face, 9)
        sheet.dots(28, row, 118)
        drawer.handwriting(sheet, 32, row - 6, height=5)
    sheet.rectangle(122, 30, 162, 40, 0.4)
    drawer.handwriting(sheet, 126, 31, number(drawer.rng), height=5.5)
    drawer.handwriting(sheet, 122, 15, number(drawer.rng), height=5)
    _sign(drawer, sheet, signature, 132, 53)
    sheet.rule(102, 60, 162, 60, 0.25)
    sheet.text(108, 61, words(drawer.rng, face, 2).upper(), face, 8)
    sheet.text(20, 69, " ".join(number(drawer.rng) for _ in range(3)), face, 12)
    return sheet


def form(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A declaration: fields filled in by hand, a paragraph, a box to sign and the date beside it."""
    sheet = Sheet(190, 150, A4_SCALE)
    face = drawer.face()
    sheet.filled(10, 8, 180, 16, 0.25)
    sheet.text(13, 9, words(drawer.rng, face, 5).title(), face, 14)
    for row in range(5):
        y = 26 + row * 11
        sheet.text(12, y, words(drawer.rng, face, 2).capitalize(), face, 9)
        sheet.rectangle(60, y - 2.5, 178, y + 6, 0.3, 0.8)
        drawer.handwriting(sheet, 64, y - 1.5, height=5)
    drawer.paragraph(sheet, 12, 84, 166, 22, face, 8.5)
    sheet.text(12, 109, words(drawer.rng, face, 3).capitalize(), face, 8)
    sheet.rectangle(12, 114, 95, 142, 0.4)
    _sign(drawer, sheet, signature, 53, 128)
    sheet.text(112, 109, words(drawer.rng, face, 1).capitalize(), face, 8)
    drawer.handwriting(sheet, 114, 122, number(drawer.rng), height=6)
    sheet.rule(110, 130, 165, 130, 0.3)
    return sheet


def letter(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """An A4 letter, signed above the printed name, with a footer in columns."""
    sheet = Sheet(210, 297, A4_SCALE)
    face = drawer.face()
    logo(drawer, sheet, 150, 12, 16)
    drawer.paragraph(sheet, 25, 45, 70, 24, face, 10)
    for top in (85, 120, 155):
        drawer.paragraph(sheet, 25, top, 160, 30, face, 10.5)
    sheet.text(25, 195, words(drawer.rng, face, 2).capitalize() + ",", face, 10.5)
    _sign(drawer, sheet, signature, 55, 213)
    sheet.text(25, 226, words(drawer.rng, face, 2).title(), face, 10.5)
    sheet.text(25, 232, words(drawer.rng, face, 3), face, 9)
    for column in range(3):
        drawer.paragraph(sheet, 25 + 55 * column, 275, 48, 14, face, 6.5)
    return sheet


def card(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A specimen card: a table of particulars and one row to sign in."""
    sheet = Sheet(125, 80, CHEQUE_SCALE)
    face = drawer.face()
    for row in range(4):
        y = 8 + row * 9
        sheet.rectangle(6, y, 119, y + 9, 0.3)
        sheet.rule(40, y, 40, y + 9, 0.3)
        sheet.text(8, y + 2, words(drawer.rng, face, 1).capitalize(), face, 9)
        sheet.text(43, y + 2, words(drawer.rng, face, 2).title(), face, 10)
    sheet.rectangle(6, 46, 119, 74, 0.5)
    sheet.text(8, 47, words(drawer.rng, face, 2).capitalize(), face, 7)
    _sign(drawer, sheet, signature, 65, 61)
    return sheet


def stamped(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """The foot of a contract with a stamp across the signature."""
    sheet = contract_foot(drawer, signature)
    _stamp_beside(drawer, sheet)
    return sheet


def _stamp_beside(drawer: Drawer, sheet: Sheet) -> None:
    stamp(drawer, sheet, drawer.between(88, 100), drawer.between(18, 30))


def contract_foot(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """The foot of a contract: a signature, a place and date, and a printed name."""
    sheet = Sheet(110, 50, CHEQUE_SCALE)
    face = drawer.face()
    drawer.handwriting(sheet, 6, 22, height=5)
    sheet.rule(4, 29, 42, 29, 0.3)
    sheet.rule(48, 29, 106, 29, 0.3)
    sheet.text(52, 31, words(drawer.rng, face, 2).title(), face, 9)
    sheet.text(52, 36, words(drawer.rng, face, 3), face, 7)
    _sign(drawer, sheet, signature, 76, 20)
    return sheet


def labelled(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A crop of a signature with what is around it: a printed name below, a date to the left, parts of a frame."""
    sheet = Sheet(95, 34, CHEQUE_SCALE)
    face = drawer.face()
    sheet.text(38, 26, words(drawer.rng, face, 2).title(), face, 11)
    sheet.text(4, 12, number(drawer.rng), face, 11)
    sheet.rule(1, 1, 94, 1, 0.4)
    sheet.rule(33, 24, 90, 24, 0.3)
    _sign(drawer, sheet, signature, 62, 14)
    return sheet


def squared(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A signature on squared paper."""
    sheet = Sheet(90, 40, CHEQUE_SCALE)
    for y in np.arange(2.5, 40, 5):
        sheet.rule(0, y, 90, y, 0.2, 0.45)
    for x in np.arange(2.5, 90, 5):
        sheet.rule(x, 0, x, 40, 0.2, 0.45)
    _sign(drawer, sheet, signature, 45, 20)
    return sheet


def security_paper(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A crop of a signature on security paper."""
    sheet = Sheet(85, 36, CHEQUE_SCALE)
    rosettes(drawer, sheet, drawer.between(0.2, 0.5))
    _sign(drawer, sheet, signature, 42, 18)
    return sheet


def clean(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """A signature alone on white paper."""
    sheet = Sheet(80, 34, CHEQUE_SCALE)
    _sign(drawer, sheet, signature, 40, 17)
    return sheet


def photographed_letter(drawer: Drawer, signature: Pixels | None) -> Sheet:
    """The lower half of a letter, to be photographed."""
    sheet = Sheet(180, 130, A4_SCALE)
    sheet.background *= 0.95
    face = drawer.face()
    drawer.paragraph(sheet, 15, 10, 150, 50, face, 11)
    sheet.text(15, 66, words(drawer.rng, face, 2).capitalize() + ",", face, 11)
    _sign(drawer, sheet, signature, 45, 84)
    sheet.text(15, 98, words(drawer.rng, face, 2).title(), face, 11)
    return sheet


KINDS: dict[str, Kind] = {
    "clean": Kind(clean),
    "labelled": Kind(labelled),
    "squared paper": Kind(squared),
    "security paper": Kind(security_paper),
    "stamped": Kind(stamped),
    "stamped in red": Kind(contract_foot, stamp=_stamp_beside),
    "stamped in violet": Kind(contract_foot, stamp=_stamp_beside, stamp_ink=VIOLET),
    "cheque": Kind(cheque),
    "form": Kind(form),
    "letter": Kind(letter),
    "card": Kind(card),
    "cheque askew": Kind(cheque, askew=ASKEW),
    "form askew": Kind(form, askew=ASKEW),
    "letter askew": Kind(letter, askew=ASKEW),
    "faxed form": Kind(form, "fax"),
    "photographed cheque": Kind(cheque, "photograph"),
    "photographed letter": Kind(photographed_letter, "photograph"),
}


def barcode_page(drawer: Drawer) -> Sheet:
    """A page of codes and solid shapes, without a signature."""
    sheet = Sheet(100, 60, CHEQUE_SCALE)
    drawer.barcode(sheet, 8, 6, 40, 12)
    drawer.qr(sheet, 60, 6, 24)
    sheet.filled(8, 30, 40, 44)
    logo(drawer, sheet, 50, 38, 12)
    return sheet


def text_page(drawer: Drawer) -> Sheet:
    """A page of print, without a signature."""
    sheet = Sheet(150, 190, A4_SCALE)
    face = drawer.face()
    sheet.text(12, 10, words(drawer.rng, face, 4).title(), face, 18)
    for top in (28, 75, 122):
        drawer.paragraph(sheet, 12, top, 126, 40, face, drawer.between(9, 12))
    return sheet


def name_only(drawer: Drawer) -> Sheet:
    """A printed name, large, without a signature."""
    sheet = Sheet(80, 24, CHEQUE_SCALE)
    face = drawer.face()
    sheet.text(5, 6, words(drawer.rng, face, 2).title()[:16], face, drawer.between(16, 26))
    return sheet


UNSIGNED: dict[str, Callable[[Drawer], Sheet]] = {
    "codes and shapes": barcode_page,
    "page of print": text_page,
    "printed name": name_only,
}
"""Pages that are never signed, beside the unsigned ones of :data:`KINDS`."""


class NoSignatures(SignatureSource):
    """The source of a drawer whose layouts are given their signatures."""

    def draw(self, rng: np.random.Generator) -> Pixels:
        """Raise NotImplementedError."""
        raise NotImplementedError
