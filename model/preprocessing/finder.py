"""Finding the signatures of a page, and cutting them out of it.

A page is looked at by the segmentation network (:mod:`model.networks.page`) at a size that fits the question:

1. its ink on a very small copy: if all of that belongs to a signature, the image is used as it is;
2. the page on a small copy, to find the signatures (:mod:`model.preprocessing.search`);
3. the crop around the signature, to tell its strokes from what lies beside and across them
   (:mod:`model.preprocessing.stroke_mask`).

The result is a crop with a mask, for :func:`model.preprocessing.ink.isolate`. Photographs are put right before, and
red print is left out: :mod:`model.preprocessing.extraction` does all of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from model.errors import BadRegion, NoSignature, SeveralSignatures, UnusableSignature
from model.preprocessing.box import Box
from model.preprocessing.evidence import LIKELY
from model.preprocessing.first_look import Page
from model.preprocessing.ink import MIN_SIDE, Ink, Located, isolate
from model.preprocessing.ink_colour import Chroma
from model.preprocessing.search import CERTAIN, MAX_SIGNATURES, Found, PageSearcher, Search, with_rim
from model.preprocessing.segmentation import Grey
from model.preprocessing.stamps import Frame
from model.preprocessing.stroke_mask import StrokeRule
from model.preprocessing.views import INK, View, look, resized

CROP_LOOKS = ((440, False), (260, False), (440, True), (600, False))
"""Long sides of the crop on which strokes are told from what lies across them, and whether faint ink is made black
before; each if the one before shows too few strokes."""

GROWTH, MAX_GROWN = 0.4, 2
"""How far a crop grows at an edge that strokes reach, as a share of the signature's longer side, and how often."""

MOST_SHOWN, LEAST_SHOWN = 0.85, 0.35
"""Share of the strokes found on the page from which a look at the crop shows them all, and below which it does not
show the signature."""

UNSIGNED_SHARE = 0.6
"""Without a signature, an image is refused if so much of its ink is unlikely to belong to one.

With less, it is compared as a whole if it may be a crop. A page of print must not be: two people's signatures on the
same form would be accepted for what is printed on it.
"""

CROP_SHARE, CROP_UNLIKELY, CROP_ODDS = 0.9, 0.35, 2.0
"""An image that may be a crop is used as it is if so much of its ink lies in probable signatures, and at most so much
is unlikely to belong to one: words may be found far apart, and the weakest strokes would be left out. By
itself, a part of a signature is less probable than the whole: its log-odds may be so much lower than the least.
"""

RIVAL_ODDS = 3.0
"""Most log-odds by which a second signature may come after the first for the choice to be a guess."""

MAY_BE_REGION, SAME_REGION = 0.2, 0.9
"""Overlap of a signature and of its crop with a given region from which that may be and is the one stated for it."""

REGION_SIDE = 240
"""Long side in pixels at which frames of stamps are searched in a given region."""


@dataclass(frozen=True)
class Extracted:
    """One signature cut out of a page.

    Attributes
    ----------
    grey : uint8 (h, w)
        The crop, 255 = white.
    keep : uint8 (h', w') or None
        255 where the signature is, 0 elsewhere, in a resolution of its own; None if all ink belongs to it.
    box : Box or None
        Where the crop lies on the page; None if it is the whole image.
    found : tuple of Found
        All signatures on the page; empty where they were not searched.
    is_located : bool
        False if the image is used as a whole because its ink could not be told apart.
    located : Located or None
        Where the ink of ``grey`` is, if that is known.
    """

    grey: Grey
    keep: Grey | None
    box: Box | None
    found: tuple[Found, ...] = ()
    is_located: bool = True
    located: Located | None = None


class SignatureFinder(PageSearcher):
    """Finds signatures and cuts them out. Not thread-safe.

    Parameters
    ----------
    model : Path
        As for :class:`PageSearcher`; ``strokes.json`` is beside it, too.
    """

    def __init__(self, model: Path) -> None:
        super().__init__(model)
        self._strokes = StrokeRule.load(model.with_name("strokes.json"))

    def extract(self, search: Search) -> Extracted:
        """Cut the signature out of a page that was searched.

        Raises
        ------
        NoSignature
            There is ink, but none that looks like a signature.
        SeveralSignatures
            More than one may be meant.
        UnusableSignature
        """
        page, found = search.page, search.found
        if page.is_crop:
            return as_it_is(page)
        if not found:
            if search.seen.unlikely < UNSIGNED_SHARE and page.is_crop is None:
                return replace(as_it_is(page), is_located=False)
            isolate(
                page.grey, located=page.located
            )  # raises what is more to the point: nothing is written, only a line
            raise NoSignature(
                "There is ink on the image, but no handwritten signature was found in it; upload the page or the "
                "crop that shows the signature.",
                "Or set `region` to where it is (`whole` for all ink of the image).",
            )
        if page.is_crop is None and self._is_covered(search):
            return as_it_is(page)
        rivals = [one for one in found[1:] if self._is_rival(one, found[0])]
        if rivals:
            boxes = [with_rim(one.box).clipped(page.grey.shape) for one in (found[0], *rivals)]
            raise SeveralSignatures.at([box.as_tuple() for box in boxes])
        return self._cut(found[0], search)

    def extract_at(self, search: Search, overlap: Callable[[Box], float]) -> Extracted | None:
        """Cut out the signature whose crop is a given region, by its overlap with that; None if there is none."""
        page = search.page
        if page.is_crop:
            return None
        for signature in search.found[:MAX_SIGNATURES]:
            if overlap(signature.box) >= MAY_BE_REGION:
                cut = self._cut(signature, search)
                if cut.box is not None and overlap(cut.box) >= SAME_REGION:
                    return cut
        return None

    def extract_box(self, grey: Grey, region: Box, chroma: Chroma | None = None) -> Extracted:
        """Cut the signature out of a given region; one that shows nothing but a signature is used as it is.

        Parameters
        ----------
        grey : uint8 (h, w)
            255 = white.
        region : Box
        chroma : Chroma, optional
            Of the same shape, if there is coloured ink.

        Raises
        ------
        BadRegion
            The box lies outside the image.
        NoSignature
        """
        inside = inside_of(grey, region)
        page = self.look_at(inside.of(grey))
        if page.is_crop:
            return replace(as_it_is(page), box=inside)
        view = look(page.grey, Box.around(page.grey), REGION_SIDE)
        frames = view.frames(
            np.ones_like(view.darkness), [Box.bounding((view.darkness > INK).view(np.uint8))]
        )
        return self._cleaned(
            page.grey, inside, (), frames=frames, chroma=None if chroma is None else chroma.of(inside)
        )

    def extract_all(self, search: Search) -> list[tuple[Found, Ink]]:
        """Find all signatures of a page, and isolate the ink of each; those that are not usable are left out.

        An image whose ink all belongs to a signature has one, as for :meth:`extract`.
        """
        page, found = search.page, search.found
        if page.is_crop or (page.is_crop is None and self._is_covered(search)):
            log_odds = max((one.log_odds for one in found), default=self.rules.least)
            with suppress(UnusableSignature):
                whole = as_it_is(page)
                ink = isolate(whole.grey, whole.keep, whole.located)
                return [(Found(Box.around(page.grey), log_odds, 0.0), ink)]
            return []
        extracted = []
        for signature in found[:MAX_SIGNATURES]:
            with suppress(UnusableSignature):
                cut = self._cut(signature, search)
                ink = isolate(cut.grey, cut.keep)
                extracted.append((replace(signature, box=cut.box or signature.box), ink))
        return extracted

    def _cut(self, signature: Found, search: Search) -> Extracted:
        """Cut a signature out; the crop grows where strokes reach its edge."""
        shape = search.page.grey.shape
        box = with_rim(signature.box).clipped(shape)
        extracted = self._cut_box(box, signature, search)
        for _ in range(MAX_GROWN):
            larger = _grown(box, extracted.keep, signature.box).clipped(shape)
            if larger == box:
                break
            box, extracted = larger, self._cut_box(larger, signature, search)
        return extracted

    def _cut_box(self, box: Box, signature: Found, search: Search) -> Extracted:
        others = [other.box.moved(-box.left, -box.top) for other in search.found if other is not signature]
        cut, crop = search.cut(signature, box), box.of(search.page.grey)
        try:
            return self._cleaned(crop, box, search.found, others, cut.frames, cut.strokes, cut.chroma)
        except NoSignature:
            if signature.log_odds < CERTAIN:
                raise
        # No look at the crop shows what was certainly found on the page.
        keep = np.asarray(cv2.dilate(cut.strokes, np.ones((3, 3), np.uint8)) * 255, np.uint8)
        return Extracted(crop, keep, box, search.found)

    def _is_covered(self, search: Search) -> bool:
        """Whether nearly all ink of what may be a crop lies in probable signatures: one that is written in parts."""
        located, seen = search.page.located, search.seen
        if located is None or not search.found or search.frames or seen.unlikely > CROP_UNLIKELY:
            return False
        outside = located.mask.copy()
        for one in self._rated_apart(seen):
            if one.log_odds >= self.rules.least - CROP_ODDS:
                box = seen.view.on_image(one.box.grown(1))
                box.scaled(located.scale).clipped(outside.shape).of(outside)[:] = 0
        return 1.0 - float(outside.mean()) / float(located.mask.mean()) >= CROP_SHARE

    def _is_rival(self, one: Found, first: Found) -> bool:
        """Whether one signature may be meant as well as the first."""
        is_close = one.prominence >= first.prominence - RIVAL_ODDS
        return one.log_odds >= self.rules.rival and (is_close or one.log_odds >= CERTAIN)

    def _likely(self, view: View) -> Grey:
        """Mark the ink of a view that is likely to be a signature's, without its margin: uint8 (h, w), 1 = likely."""
        return view.without_margin(
            likely_ink(view.darkness, self.networks.segmenter.probability(view.darkness))
        )

    def _cleaned(
        self,
        crop: Grey,
        box: Box,
        found: tuple[Found, ...],
        others: Sequence[Box] = (),
        frames: Sequence[Frame] = (),
        strokes: Grey | None = None,
        chroma: Chroma | None = None,
    ) -> Extracted:
        """Mask everything but the signature in a crop.

        Other signatures and frames are in pixels of the crop; ``strokes`` marks those that were found before, at any
        resolution; ink of another colour than theirs, by the ``chroma`` of the crop, is left out. Of several looks at
        the crop, the first one that shows most of these strokes is used, or else the one that shows more of them than
        the others.
        """
        best, most = None, LEAST_SHOWN
        for side, with_contrast in CROP_LOOKS:
            view = look(crop, Box.around(crop), side, with_contrast=with_contrast).without(frames)
            if chroma is not None:
                view = view.without_other_ink(chroma, self._likely(view) if strokes is None else strokes)
            probability = self.networks.segmenter.probability(view.darkness)
            for other in others:
                inside = view.from_image(other).clipped(probability.shape)
                if inside.width > 0 and inside.height > 0:
                    inside.of(probability)[:] = 0
            darkness, probability = view.without_margin(view.darkness), view.without_margin(probability)
            known = likely_ink(darkness, probability) if strokes is None else resized(strokes, darkness.shape)
            keep = self._strokes.mask(darkness, probability, known)
            shown = float(keep.any()) if strokes is None else _share_shown(strokes, keep)
            if shown > most:
                best, most = keep, shown
            if shown >= MOST_SHOWN:
                break
        if best is None:
            raise NoSignature(
                "No handwritten signature was found in the region."
                if strokes is None
                else "There is ink on the image, but no handwritten signature could be told from what is around it.",
                "Set `region` to where the signature is (`whole` for all ink of the image).",
            )
        return Extracted(crop, best, box, found)


def likely_ink(darkness: Grey, probability: Grey) -> Grey:
    """Mark the ink that is likely to be a signature's: 1 = likely."""
    return ((probability > LIKELY) & (darkness > INK)).view(np.uint8)


def as_it_is(page: Page) -> Extracted:
    """Use all ink of a page."""
    return Extracted(page.grey, page.keep, None, located=page.located if page.keep is None else None)


def inside_of(grey: Grey, region: Box) -> Box:
    """Return the part of a region that lies in an image (h, w); raises BadRegion if it is too small."""
    inside = region.clipped(grey.shape)
    if inside.width < MIN_SIDE or inside.height < MIN_SIDE:
        problem = (
            "lies outside the image"
            if inside.width <= 0 or inside.height <= 0
            else f"covers less than {MIN_SIDE} x {MIN_SIDE} pixels of the image"
        )
        raise BadRegion(
            f"The region {region.left},{region.top},{region.right},{region.bottom} {problem}, which has "
            f"{grey.shape[1]} x {grey.shape[0]} pixels."
        )
    return inside


def _grown(box: Box, keep: Grey | None, signature: Box) -> Box:
    """Grow a crop at the edges that strokes reach."""
    if keep is None:
        return box
    step = round(GROWTH * max(signature.width, signature.height))
    edges = (keep[:, 0], keep[0], keep[:, -1], keep[-1])
    left, top, right, bottom = (step * bool(edge.any()) for edge in edges)
    return Box(box.left - left, box.top - top, box.right + right, box.bottom + bottom)


def _share_shown(strokes: Grey, keep: Grey) -> float:
    """Return the share of strokes that a mask of another resolution keeps, or a pixel beside it."""
    kept = cv2.resize(keep, strokes.shape[::-1], interpolation=cv2.INTER_AREA)
    near = np.asarray(cv2.dilate((kept > 0).view(np.uint8), np.ones((3, 3), np.uint8)), np.uint8)
    return int((strokes & near).sum()) / max(1, int(strokes.sum()))
