"""From an upload to the ink of its signature, without what was found beside it.

A photographed sheet is put right, red print is left out, and :mod:`model.preprocessing.finder` cuts the signature out
of the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from model.errors import NoSignature, SeveralSignatures
from model.preprocessing.box import Box
from model.preprocessing.finder import CERTAIN, Extracted, Region, SignatureFinder
from model.preprocessing.ink import MIN_SIDE, Canvas, Ink, Prepared, fit, isolate
from model.preprocessing.scan import Scan
from model.preprocessing.search import VERY_CERTAIN, Found, Search
from model.preprocessing.segmentation import Grey
from model.preprocessing.sheet import Sheet, find_sheet

TURNED = 1.5
"""Log-odds by which a signature must be more probable on a turned page than on the page as it is."""

CONFIDENT = 0.7
"""Confidence of a signature from which its region is usually right."""


@dataclass(frozen=True)
class _Page:
    """The page of an upload, as signatures are searched on it.

    Attributes
    ----------
    finder : SignatureFinder
    grey : uint8 (h, w)
    shape : tuple of int
        (height, width) of the upload; other than that of ``grey`` if a sheet was put right.
    sheet : Sheet or None
    without_red : bool
        Whether red print was left out.
    turns : int
        Quarter turns, counter-clockwise, by which the page was turned.
    search : Search or None
        Of ``grey``, if it was searched before.
    """

    finder: SignatureFinder
    grey: Grey
    shape: tuple[int, ...]
    sheet: Sheet | None = None
    without_red: bool = False
    turns: int = 0
    search: Search | None = None

    @classmethod
    def of(cls, scan: Scan, finder: SignatureFinder) -> _Page:
        """Put the sheet of a photograph right, and leave red print out."""
        sheet = find_sheet(scan.grey) if min(scan.grey.shape) >= MIN_SIDE else None
        upright = scan if sheet is None else scan.through(sheet.flatten)
        grey, search = suppress_red_print(upright, finder)
        return cls(finder, grey, scan.grey.shape, sheet, without_red=search is not None, search=search)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Codes of what was done to the upload."""
        done = {
            "sheet-rectified": self.sheet is not None,
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

    def searched(self) -> _Page:
        """Return the page with its search; too small an image is not searched."""
        if self.search is not None or min(self.grey.shape) < MIN_SIDE:
            return self
        return replace(self, search=self.finder.search(self.grey))

    @property
    def found(self) -> tuple[Found, ...]:
        """The signatures on the page, the most prominent one first."""
        return (self.search or self.finder.search(self.grey)).found

    def extract_all(self) -> list[tuple[Found, Ink]]:
        """Cut all signatures out, as :meth:`SignatureFinder.extract_all`."""
        return self.finder.extract_all(self.grey, self.search)

    def turned(self, found: Sequence[Found] = ()) -> _Page | None:
        """Return the page turned to where a signature is found on it with certainty.

        None if there is none, or one of ``found``, on the page as it is, is nearly as probable.
        """
        as_it_is = _most_probable(found)
        if self.turns or as_it_is >= CERTAIN or min(self.grey.shape) < MIN_SIDE:
            return None
        is_certain = _most_probable(self._best_turned.found) > max(VERY_CERTAIN, as_it_is + TURNED)
        return self._best_turned if is_certain else None

    @cached_property
    def _best_turned(self) -> _Page:
        """The page turned by the quarter turns that show the most probable signature."""
        return max(map(self._turned_by, (2, 1, 3)), key=lambda page: _most_probable(page.found))

    def _turned_by(self, turns: int) -> _Page:
        grey = np.ascontiguousarray(np.rot90(self.grey, turns))
        # What is found only in more detail would not be certain enough to turn the page.
        return replace(self, grey=grey, turns=turns, search=self.finder.search(grey, again=False))


def suppress_red_print(scan: Scan, finder: SignatureFinder) -> tuple[Grey, Search | None]:
    """Return a page without its red print, and its search; the page as it is, and None, if the signature is in red.

    The signature is in the part of the ink in which the more probable one is found.
    """
    if scan.without_red is None or scan.only_red is None:
        return scan.grey, None
    without, only = (finder.search(part) for part in (scan.without_red, scan.only_red))
    is_in_red = _most_probable(only.found) > _most_probable(without.found)
    return (scan.grey, None) if is_in_red else (scan.without_red, without)


def _most_probable(signatures: Sequence[Found]) -> float:
    """Return the log-odds of the most probable signature; -inf if there is none."""
    return max((one.log_odds for one in signatures), default=-math.inf)


def find_signatures(scan: Scan, finder: SignatureFinder) -> tuple[Found, ...]:
    """Find the signatures of an upload, the most prominent one first; boxes are in pixels of the upload."""
    page = _Page.of(scan, finder)
    return tuple(replace(found, box=page.box_on_upload(found.box)) for found in page.found)


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
    page = _Page(finder, scan.grey, scan.grey.shape) if region == "whole" else _Page.of(scan, finder)
    return _isolate(page, region)


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
    page = _Page.of(scan, finder).searched()
    upright, extracted = _extract_all(page)
    if len(extracted) < 2:
        return [_isolate(page, region)]
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
    page, extracted = _extract_all(_Page.of(scan, finder))
    placed = [(replace(found, box=page.box_on_upload(found.box)), ink) for found, ink in extracted]
    return Signatures(placed, 90 * page.turns)


def _extract_all(page: _Page) -> tuple[_Page, list[tuple[Found, Ink]]]:
    """Cut all signatures out of a page; return the page, turned if they are found only then, and what was cut out."""
    extracted = page.extract_all()
    turned = page.turned([found for found, _ in extracted])
    return (page, extracted) if turned is None else (turned, turned.extract_all())


def _extract(page: _Page, region: Region | Box) -> tuple[_Page, Extracted]:
    """Cut the signature out of a page; return the page, turned if it is found only then, and what was cut out."""
    if isinstance(region, Box):
        # Turned as without a region: boxes that are stated for a turned page may be sent.
        page = page.turned(page.found) or page
        return page, page.finder.extract(page.grey, page.box_on_page(region))
    try:
        extracted = page.finder.extract(page.grey, region, page.search)
    except NoSignature:
        turned = page.turned()
        if turned is None:
            raise
        return _extract(turned, region)
    except SeveralSignatures as error:
        boxes = [page.box_on_upload(Box(*found)) for found in error.regions]
        raise SeveralSignatures.at([box.as_tuple() for box in boxes]) from error
    turned = page.turned(extracted.found) if extracted.found else None
    return (page, extracted) if turned is None else _extract(turned, region)


def _isolate(page: _Page, region: Region | Box) -> Ink:
    page, extracted = _extract(page, region)
    ink = isolate(extracted.grey, extracted.keep, extracted.located)
    warnings, box = list(ink.quality.warnings), extracted.box
    if not extracted.is_located:
        warnings.append("signature-not-located")
    if box is not None:
        warnings = _on_page(warnings)
        if extracted.keep is not None:
            warnings.append("other-marks-removed")
        if len(extracted.found) > 1:
            warnings.append("other-signatures")
        if extracted.found and extracted.found[0].confidence < CONFIDENT:
            warnings.append("uncertain-region")
    if page.sheet is not None or page.turns:
        box = box or Box.around(page.grey)
    return _stated(ink, [*warnings, *page.warnings], None if box is None else page.box_on_upload(box))


def _of_several(page: _Page, signature: Found, ink: Ink) -> Ink:
    """State where one of several signatures was found, as :func:`_isolate` does for one."""
    warnings = [*_on_page(ink.quality.warnings), "other-marks-removed", *page.warnings]
    return _stated(ink, warnings, page.box_on_upload(signature.box))


def _on_page(warnings: Iterable[str]) -> list[str]:
    """Leave out what says nothing of the page: whether the ink of a crop reaches its edge."""
    return [code for code in warnings if code != "touches-edge"]


def _stated(ink: Ink, warnings: Iterable[str], box: Box | None) -> Ink:
    region = None if box is None else box.as_tuple()
    return Ink(ink.density, replace(ink.quality, warnings=tuple(warnings), region=region))
