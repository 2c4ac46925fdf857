"""Searching a page for signatures.

The page is looked at by the segmentation network (:mod:`model.networks.page`) on a small copy. What may be a
signature on it (:mod:`model.preprocessing.candidates`) is rated by a rule that was fitted for the network
(:mod:`model.preprocessing.evidence`), and the words of one signature are joined (:mod:`model.preprocessing.words`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from model.preprocessing.box import Box
from model.preprocessing.candidates import Candidate, Candidates, PageNetworks
from model.preprocessing.evidence import LIKELY
from model.preprocessing.first_look import FirstLook, Page
from model.preprocessing.ink_colour import Chroma, inks
from model.preprocessing.rules import Rules
from model.preprocessing.segmentation import Grey
from model.preprocessing.stamps import Frame
from model.preprocessing.views import INK, ink_box
from model.preprocessing.words import Rated, join_words

RIM = 0.12
"""Rim around the box of a signature, as a share of its longer side."""

FINE = 1.41
"""How many times as long the sides of a copy are on which signatures are searched again."""

HALVES_FROM = 1000
"""Long side in pixels from which halves of a page show more than all of it; they are searched on pages of print."""

MAX_SIGNATURES = 20
"""Most signatures that are cut out of one page."""

APART = 0.5
"""Log-odds by which a part of a group of ink must exceed the group to be taken for a signature beside other marks."""

HEIGHT_ODDS = 3.0
"""Log-odds for a signature e times as high."""

CERTAIN = 1.0
"""Log-odds from which a signature is certain; a second one makes the choice a guess then."""

ANOTHER_INK = 0.5
"""Log-odds by which a signature must be more probable without an ink than with it."""

VERY_CERTAIN = 2.0
"""Log-odds from which a signature is taken that is found only on a page that is turned."""

IN_DETAIL = 0.5
"""Log-odds from which a signature is taken that is found only in more detail."""

STAMPED = 3
"""Probability, of 255, from which ink may be a stamp that touches a signature: print apart from it has none."""

MAX_HIDDEN = 2
"""Most groups of ink on a page without a signature around which frames are searched."""


@dataclass(frozen=True)
class Found:
    """A signature on a page.

    Attributes
    ----------
    box : Box
        In pixels of the page.
    log_odds : float
        That it is a signature, by the rule for parts of pages.
    ink : float
        Probable ink, in pixels of the copy that was searched; for comparisons within a page.
    """

    box: Box
    log_odds: float
    ink: float

    @property
    def prominence(self) -> float:
        """By which signatures are ranked: what else is written by hand on a form is lower than a signature."""
        return self.log_odds + HEIGHT_ODDS * math.log(max(1, self.box.height))

    @property
    def confidence(self) -> float:
        """The probability that it is a signature, in [0, 1]."""
        return round(1.0 / (1.0 + math.exp(-min(max(self.log_odds, -50.0), 50.0))), 3)


@dataclass(frozen=True)
class Cut:
    """Where a signature is cut out of a page.

    Attributes
    ----------
    signature : Found
    box : Box
        Of the crop, in pixels of the page.
    strokes : uint8 (h, w)
        1 where strokes of the signature were found, in the crop and at a resolution of its own.
    frames : list of Frame
        Of stamps, in pixels of the crop.
    chroma : Chroma or None
        Of the crop.
    """

    signature: Found
    box: Box
    strokes: Grey
    frames: list[Frame]
    chroma: Chroma | None


@dataclass(frozen=True)
class Search:
    """A page that was searched, and what was found on it.

    Attributes
    ----------
    page : Page
    found : tuple of Found
        Signatures, the most prominent one first.
    seen : Candidates
    frames : list of Frame
        Of stamps near the signatures, which were left out.
    """

    page: Page
    found: tuple[Found, ...]
    seen: Candidates
    frames: list[Frame]

    def cut(self, signature: Found, box: Box) -> Cut:
        """Cut a box around a signature out of the page."""
        view = self.seen.view
        marked = np.zeros_like(view.darkness)
        inside = view.from_image(signature.box).clipped(marked.shape)
        probable = (self.seen.probability > LIKELY) & (view.darkness > INK)
        inside.of(marked)[:] = inside.of(probable)
        return Cut(
            signature,
            box,
            view.from_image(box).padded(marked),
            [frame.mapped(1.0, -box.left, -box.top) for frame in self.frames],
            None if self.page.chroma is None else self.page.chroma.of(box),
        )


class PageSearcher(FirstLook):
    """Searches pages with the segmentation network. Not thread-safe.

    Parameters
    ----------
    model : Path
        The network as ONNX: darkness (1, 1, h, w) to probability (1, 1, h, w). ``rules.json`` is beside it, and
        ``candidates.onnx`` if candidates are recognised.

    Attributes
    ----------
    networks : PageNetworks
    rules : Rules
    """

    def __init__(self, model: Path) -> None:
        self.networks = PageNetworks(model)
        super().__init__(self.networks.segmenter, Rules.load(model.with_name("rules.json")))

    def find(self, grey: Grey) -> tuple[Found, ...]:
        """Find the signatures of a page, the most prominent one first: (h, w) uint8, 255 = white."""
        return self.search(self.look_at(grey)).found

    def cuts(self, grey: Grey, rim: float) -> Iterator[Cut]:
        """Find signatures as :meth:`find`; yield where they are cut out, with a rim of this share of their size."""
        search = self.search(self.look_at(grey))
        for signature in search.found:
            yield search.cut(signature, with_rim(signature.box, rim).clipped(search.page.grey.shape))

    def search(self, page: Page, *, again: bool = True) -> Search:
        """Search a page.

        ``again``: whether a page on which no signature is found is searched with more contrast, and in more detail.
        """
        grey, located = page.grey, page.located
        around = Box.around(grey) if located is None else ink_box(located, grey.shape)
        seen = self.networks.candidates(grey, around)
        found = self._signatures(seen, grey)
        frames = _frames_near(seen, found)
        if frames:
            seen = self.networks.candidates(grey, around, without=frames)
            found = self._signatures(seen, grey)
        if page.chroma is not None and (frames or most_probable(found) < CERTAIN):
            # Of several inks, the signature is in those with which the more probable one is found.
            for ink in inks(seen.view.darkness, seen.view.chroma(page.chroma)):
                fewer = self.networks.candidates(grey, around, without=frames, hidden=ink)
                probable = self._signatures(fewer, grey)
                if most_probable(probable) > most_probable(found) + ANOTHER_INK:
                    seen, found = fewer, probable
        if not found and again:
            more, found = self._again(page, around, frames)
            seen = more if found else seen
        ordered = tuple(sorted(found, key=lambda signature: -signature.prominence))
        return Search(page, ordered, seen, frames)

    def _again(self, page: Page, around: Box, frames: list[Frame]) -> tuple[Candidates, list[Found]]:
        """Search a page on which no signature was found with more contrast, in more detail, and by halves if printed.

        Ink that is faint beside a shadow or a dark desk is not recognised as it is, nor is what is small on a page.
        In more detail, other marks are taken for signatures more often.
        """

        def in_detail(part: Box) -> tuple[Candidates, list[Found]]:
            seen = self.networks.candidates(page.grey, part, without=frames, detail=FINE)
            return seen, [one for one in self._signatures(seen, page.grey) if one.log_odds >= IN_DETAIL]

        seen = self.networks.candidates(page.grey, around, with_contrast=True, without=frames)
        found = self._signatures(seen, page.grey)
        if not found:
            seen, found = in_detail(around)
        if not found and page.lies == "level" and max(around.width, around.height) >= HALVES_FROM:
            seen, found = max(map(in_detail, halves(around)), key=lambda half: most_probable(half[1]))
        return seen, found

    def _signatures(self, seen: Candidates, grey: Grey) -> list[Found]:
        """Return the candidates that are probably signatures, with their words joined."""

        def together(first: Rated, second: Rated) -> Rated:
            return self._rated(self.networks.together(seen, first.candidate, second.candidate))[0]

        return [
            Found(
                seen.view.on_image(one.box.grown(1)).clipped(grey.shape),
                one.log_odds,
                float(one.candidate.ink),
            )
            for one in join_words(self._rated_apart(seen), seen, self.rules.least, together)
            if one.log_odds >= self.rules.least
        ]

    def _rated_apart(self, seen: Candidates) -> list[Rated]:
        """Rate the candidates of a view, with parts that are more probable in place of the whole."""
        return [one for candidate in seen.candidates for one in self._apart(candidate)]

    def _apart(self, candidate: Candidate) -> list[Rated]:
        """Rate a candidate; return its parts instead, if one is more probably a signature than all."""
        whole, *parts = self._rated(candidate, *candidate.parts)
        best = max((one.log_odds for one in parts), default=-math.inf)
        return parts if best > whole.log_odds + APART else [whole]

    def _rated(self, *candidates: Candidate) -> list[Rated]:
        """Compute the log-odds of candidates by the rule for parts of pages."""
        log_odds = self.rules.page.log_odds(np.stack([one.measures for one in candidates])).tolist()
        return [Rated(one, odds) for one, odds in zip(candidates, log_odds, strict=True)]


def _frames_near(seen: Candidates, found: list[Found]) -> list[Frame]:
    """Find the frames of stamps that may lie across the signatures found, or hide one if none is found."""
    boxes = [seen.view.from_image(one.box) for one in found[:MAX_SIGNATURES]]
    if not boxes:
        boxes = [one.box for one in sorted(seen.candidates, key=lambda one: -one.ink)[:MAX_HIDDEN]]
    if not boxes:
        return []
    near = np.zeros_like(seen.probability)
    for box in boxes:
        box.grown(max(box.width, box.height)).clipped(near.shape).of(near)[:] = 1
    stamped = cv2.dilate((seen.probability > STAMPED).view(np.uint8), np.ones((5, 5), np.uint8))
    return seen.view.frames(near * np.asarray(stamped, np.uint8), boxes)


def most_probable(signatures: Sequence[Found]) -> float:
    """Return the log-odds of the most probable signature; -inf if there is none."""
    return max((one.log_odds for one in signatures), default=-math.inf)


def halves(box: Box) -> tuple[Box, Box]:
    """Divide a part of a page across its longer side; the halves overlap by an eighth of it."""
    if box.height >= box.width:
        half = round(9 / 16 * box.height)
        return replace(box, bottom=box.top + half), replace(box, top=box.bottom - half)
    half = round(9 / 16 * box.width)
    return replace(box, right=box.left + half), replace(box, left=box.right - half)


def with_rim(box: Box, rim: float = RIM) -> Box:
    """Grow the box of a signature by a rim, in which strokes may end that were not found."""
    return box.grown(rim * max(box.width, box.height) + 4)
