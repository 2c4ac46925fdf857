"""From an upload to the ink of its signature, without what was found beside it.

A photographed sheet is put right, red print is left out, a page whose print is turned is put straight, and
:mod:`model.preprocessing.finder` cuts the signature out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from model.errors import NoSignature, SeveralSignatures
from model.preprocessing.box import Box
from model.preprocessing.finder import Extracted, SignatureFinder, as_it_is, inside_of
from model.preprocessing.first_look import Page
from model.preprocessing.ink import MIN_SIDE, Canvas, Ink, Prepared, fit, isolate
from model.preprocessing.ink_colour import Chroma
from model.preprocessing.scan import Scan
from model.preprocessing.search import CERTAIN, VERY_CERTAIN, Found, Search, most_probable
from model.preprocessing.segmentation import Grey
from model.preprocessing.sheet import Sheet, find_sheet
from model.preprocessing.tilt import straighten

TURNED = 1.5
"""Log-odds by which a signature must be more probable on a turned page than on the page as it is."""

QUARTER_TURNS = {"level": (2,), "sideways": (1, 3), None: (2, 1, 3)}
"""Quarter turns that may put a page upright, by how its print lies."""

CONFIDENT = 0.7
"""Confidence of a signature from which its region is usually right."""

Region = Literal["auto", "whole"]


@dataclass(frozen=True)
class _Upright:
    """An upload as signatures are searched on it: upright, and without what is told apart by its colour.

    Attributes
    ----------
    finder : SignatureFinder
    grey : uint8 (h, w)
    shape : tuple of int
        (height, width) of the upload; other than that of ``grey`` if it was put right.
    chroma : Chroma or None
        Of the same shape as ``grey``.
    sheet : Sheet or None
        How it was put right.
    is_straightened : bool
        Whether its print was put level, rather than a photographed sheet.
    without_red : bool
        Whether red print was left out.
    turns : int
        Quarter turns, counter-clockwise, by which the page was turned.
    searched : Search or None
        The search of ``grey``, if that was done before.
    """

    finder: SignatureFinder
    grey: Grey
    shape: tuple[int, ...]
    chroma: Chroma | None = None
    sheet: Sheet | None = None
    is_straightened: bool = False
    without_red: bool = False
    turns: int = 0
    searched: Search | None = None

    @classmethod
    def of(cls, scan: Scan, finder: SignatureFinder) -> _Upright:
        """Put the sheet of a photograph right, and leave red print out."""
        sheet = find_sheet(scan.grey) if min(scan.grey.shape) >= MIN_SIDE else None
        upright = scan if sheet is None else scan.through(sheet.flatten)
        grey, search = suppress_red_print(upright, finder)
        if search is not None:  # where red print lay across strokes, their colour is unknown
            return cls(finder, grey, scan.grey.shape, None, sheet, without_red=True, searched=search)
        return cls(finder, grey, scan.grey.shape, upright.chroma, sheet)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Codes of what was done to the upload."""
        done = {
            "sheet-rectified": self.sheet is not None and not self.is_straightened,
            "page-straightened": self.is_straightened,
            "red-print-removed": self.without_red,
            "page-turned": self.turns != 0,
        }
        return tuple(code for code, is_done in done.items() if is_done)

    def box_on_page(self, box: Box) -> Box:
        """Map a box of the upload to the page."""
        box = box if self.sheet is None else self.sheet.box_on_sheet(box)
        shape = self.grey.shape[::-1] if self.turns % 2 else self.grey.shape
        for _ in range(self.turns):
            box = Box(box.top, shape[1] - box.right, box.bottom, shape[1] - box.left)
            shape = shape[::-1]
        return box

    def box_on_upload(self, box: Box) -> Box:
        """Map a box of the page to the upload."""
        shape = self.grey.shape
        for _ in range(self.turns):
            box = Box(shape[0] - box.bottom, box.left, shape[0] - box.top, box.right)
            shape = shape[::-1]
        return box if self.sheet is None else self.sheet.box_on_image(box).clipped(self.shape)

    @cached_property
    def page(self) -> Page:
        """The page before it is searched."""
        return self.finder.look_at(self.grey, self.chroma) if self.searched is None else self.searched.page

    @cached_property
    def search(self) -> Search:
        """The search of the page."""
        return self.finder.search(self.page) if self.searched is None else self.searched

    @property
    def is_small(self) -> bool:
        """Whether the image is too small to be searched."""
        return bool(min(self.grey.shape) < MIN_SIDE)

    @property
    def straight(self) -> _Upright:
        """The page with its print level."""
        return self._straight or self

    @cached_property
    def _straight(self) -> _Upright | None:
        # None instead of itself: a cycle of references would keep the page in memory.
        if self.sheet is not None or self.turns or self.is_small:
            return None
        if self.page.tilt is not None:
            return _put_straight(self, straighten(self.grey, self.page.tilt))
        if self.page.line_tilt is not None:
            # The network takes a line to sign on that leans for a stroke. It is none if nothing is signed without it.
            level = _put_straight(self, straighten(self.grey, self.page.line_tilt))
            return None if level.page.is_crop or level.search.found else level
        return None

    def straight_part(self, region: Box) -> _Upright:
        """Return a region of the upload with the print of the page level; around it, there is paper.

        An upright box that encloses the region on the straightened page would show what lies above and below.
        """
        inside = inside_of(self.grey, region)
        part = replace(self, grey=inside.of(self.grey), chroma=self.chroma and self.chroma.of(inside))
        sheet = straighten(part.grey, self.page.tilt or 0.0)
        to_image = (
            np.array([[1.0, 0.0, inside.left], [0.0, 1.0, inside.top], [0.0, 0.0, 1.0]]) @ sheet.to_image
        )
        return replace(_put_straight(part, sheet), sheet=replace(sheet, to_image=to_image))

    def turned(self, found: Sequence[Found] = ()) -> _Upright | None:
        """Return the page turned to where a signature is found on it with certainty.

        None if there is none, or one of ``found``, on the page as it is, is nearly as probable. If the print is
        sideways, a signature on the turned page need not be more probable.
        """
        before = most_probable(found)
        if self.turns or self.is_small:
            return None
        if self.page.lies == "sideways":
            least = before - TURNED
        elif before < CERTAIN:
            least = max(VERY_CERTAIN, before + TURNED)
        else:
            return None
        return self._best_turned if most_probable(self._best_turned.search.found) > least else None

    @cached_property
    def _best_turned(self) -> _Upright:
        """The page turned by the quarter turns that show the most probable signature."""
        return max(
            map(self._turned_by, QUARTER_TURNS[self.page.lies]),
            key=lambda page: most_probable(page.search.found),
        )

    def _turned_by(self, turns: int) -> _Upright:
        def turn_page(layer: Grey) -> Grey:
            return np.ascontiguousarray(np.rot90(layer, turns))

        grey, chroma = turn_page(self.grey), None if self.chroma is None else self.chroma.through(turn_page)
        # What is found only in more detail would not be certain enough to turn the page.
        search = self.finder.search(self.finder.look_at(grey, chroma), again=False)
        return replace(self, grey=grey, chroma=chroma, turns=turns, searched=search)


def _put_straight(upright: _Upright, sheet: Sheet) -> _Upright:
    chroma = None if upright.chroma is None else upright.chroma.through(sheet.flatten)
    return replace(upright, grey=sheet.grey, chroma=chroma, sheet=sheet, is_straightened=True, searched=None)


def suppress_red_print(scan: Scan, finder: SignatureFinder) -> tuple[Grey, Search | None]:
    """Return a page without its red print, and its search; the page as it is, and None, if the signature is in red.

    The signature is in the part of the ink in which the more probable one is found.
    """
    if scan.without_red is None or scan.only_red is None:
        return scan.grey, None
    without, only = (finder.search(finder.look_at(part)) for part in (scan.without_red, scan.only_red))
    is_in_red = most_probable(only.found) > most_probable(without.found)
    return (scan.grey, None) if is_in_red else (scan.without_red, without)


def find_signatures(scan: Scan, finder: SignatureFinder) -> tuple[Found, ...]:
    """Find the signatures of an upload, the most prominent one first; boxes are in pixels of the upload."""
    upright = _Upright.of(scan, finder).straight
    return tuple(replace(found, box=upright.box_on_upload(found.box)) for found in upright.search.found)


def prepare_signature(
    scan: Scan, canvas: Canvas, finder: SignatureFinder, region: Region | Box = "auto"
) -> Prepared:
    """Isolate the signature of an upload and put it on a network's canvas; raises as :func:`isolate_signature`."""
    ink = isolate_signature(scan, finder, region)
    return Prepared(fit(ink.density, canvas), ink.quality)


def isolate_signature(scan: Scan, finder: SignatureFinder, region: Region | Box = "auto") -> Ink:
    """Cut the signature out of an upload, and isolate its ink.

    Regions, given and stated, are in pixels of the upload.

    Raises
    ------
    UnusableSignature
        As :meth:`SignatureFinder.extract` and :func:`model.preprocessing.ink.isolate`.
    """
    upright = _Upright(finder, scan.grey, scan.grey.shape) if region == "whole" else _Upright.of(scan, finder)
    return _isolate(upright, region)


def isolate_signatures(scan: Scan, finder: SignatureFinder, region: Region | Box = "auto") -> list[Ink]:
    """Cut all signatures out of an upload, and isolate the ink of each, the most prominent one first.

    They are found as by :func:`extract_signatures`. An upload that does not have several is isolated by
    :func:`isolate_signature`, and so is a given region.

    Raises
    ------
    UnusableSignature
    """
    if region != "auto":
        return [isolate_signature(scan, finder, region)]
    upload = _Upright.of(scan, finder)
    upright, extracted = _extract_all(upload)
    if len(extracted) < 2:
        return [_isolate(upload, region)]
    return [_of_several(upright, signature, ink) for signature, ink in extracted]


@dataclass(frozen=True)
class Signatures:
    """The signatures of an upload.

    Attributes
    ----------
    found : list of (Found, Ink)
        Boxes are in pixels of the upload.
    turned : int
        Degrees, counter-clockwise, by which the page was turned: 0, 90, 180 or 270. Ink is turned, boxes are not.
    """

    found: list[tuple[Found, Ink]]
    turned: int


def extract_signatures(scan: Scan, finder: SignatureFinder) -> Signatures:
    """Find all signatures of an upload, and isolate the ink of each, as :meth:`SignatureFinder.extract_all`."""
    upright, extracted = _extract_all(_Upright.of(scan, finder))
    placed = [(replace(found, box=upright.box_on_upload(found.box)), ink) for found, ink in extracted]
    return Signatures(placed, 90 * upright.turns)


def _extract_all(upright: _Upright) -> tuple[_Upright, list[tuple[Found, Ink]]]:
    """Cut all signatures out; return the page, straightened or turned if that is needed, and what was cut out."""
    if upright.is_small:
        return upright, []
    upright = upright.straight
    extracted = upright.finder.extract_all(upright.search)
    turned = upright.turned([found for found, _ in extracted])
    return (upright, extracted) if turned is None else (turned, turned.finder.extract_all(turned.search))


def _extract(upright: _Upright, region: Region | Box) -> tuple[_Upright, Extracted]:
    """Cut the signature out; return the page, straightened or turned if that is needed, and what was cut out."""
    if upright.is_small or region == "whole":
        return upright, Extracted(upright.grey, None, None)
    if isinstance(region, Box):
        return _extract_region(upright, region)
    upright = upright.straight
    if upright.page.is_crop:
        return upright, as_it_is(upright.page)
    try:
        extracted = upright.finder.extract(upright.search)
    except NoSignature:
        turned = upright.turned()
        if turned is None:
            raise
        return _extract(turned, region)
    except SeveralSignatures as error:
        boxes = [upright.box_on_upload(Box(*found)) for found in error.regions]
        raise SeveralSignatures.at([box.as_tuple() for box in boxes]) from error
    turned = upright.turned(extracted.found) if extracted.found else None
    return (upright, extracted) if turned is None else _extract(turned, region)


def _extract_region(upright: _Upright, region: Box) -> tuple[_Upright, Extracted]:
    """Cut out the signature of a region; one that is stated for the page is cut out as without a region."""
    straight = upright.straight
    turned = straight.turned(straight.search.found)
    page = turned or straight
    stated = page.finder.extract_at(page.search, lambda box: page.box_on_upload(box).overlap(region))
    if stated is not None:
        return page, stated
    if page.is_straightened and turned is None:
        part = upright.straight_part(region)
        return part, part.finder.extract_box(part.grey, Box.around(part.grey), part.chroma)
    return page, page.finder.extract_box(page.grey, page.box_on_page(region), page.chroma)


def _isolate(upload: _Upright, region: Region | Box) -> Ink:
    upright, extracted = _extract(upload, region)
    ink = isolate(extracted.grey, extracted.keep, extracted.located)
    warnings, box = list(ink.quality.warnings), extracted.box
    if not extracted.is_located:
        warnings.append("signature-not-located")
    if extracted.keep is not None:
        warnings.append("other-marks-removed")
    if box is not None:
        warnings = _on_page(warnings)
        if len(extracted.found) > 1:
            warnings.append("other-signatures")
        if extracted.found and extracted.found[0].confidence < CONFIDENT:
            warnings.append("uncertain-region")
    if upright.sheet is not None or upright.turns:
        box = box or Box.around(upright.grey)
    return _stated(ink, [*warnings, *upright.warnings], None if box is None else upright.box_on_upload(box))


def _of_several(upright: _Upright, signature: Found, ink: Ink) -> Ink:
    """State where one of several signatures was found, as :func:`_isolate` does for one."""
    warnings = [*_on_page(ink.quality.warnings), "other-marks-removed", *upright.warnings]
    return _stated(ink, warnings, upright.box_on_upload(signature.box))


def _on_page(warnings: Iterable[str]) -> list[str]:
    """Leave out what says nothing of the page: whether the ink of a crop reaches its edge."""
    return [code for code in warnings if code != "touches-edge"]


def _stated(ink: Ink, warnings: Iterable[str], box: Box | None) -> Ink:
    region = None if box is None else box.as_tuple()
    return Ink(ink.density, replace(ink.quality, warnings=tuple(warnings), region=region))
