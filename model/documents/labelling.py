"""Composed pages as the service sees them: their candidates, and which of them are signatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from model.documents.capture import Captured
from model.documents.patches import FULL
from model.preprocessing.box import Box
from model.preprocessing.candidates import Candidate, Candidates, PageNetworks
from model.preprocessing.clusters import find_clusters
from model.preprocessing.evidence import LIKELY
from model.preprocessing.views import INK, View
from model.preprocessing.words import may_be_words

COVERED = 40
"""Coverage, of 255, from which ink on a view belongs to a signature: a thin stroke covers little of a pixel."""

SIGNED, UNSIGNED = 0.6, 0.3
"""Shares of a candidate's ink that lie on a signature, from which it is one and up to which it is none."""

WHOLE, PARTIAL = 0.4, 0.2
"""Overlap with the box of a signature, from which a candidate is one and below which it is none."""

MIXED = 0.85
"""Share of a candidate's ink that lies on a signature, below which it is none if a part of it shows one better."""

MAX_PAIRS = 4
"""Most pairs of a page that are described together."""


@dataclass(frozen=True)
class _Fit:
    """How well a candidate shows a signature: the share of its ink on one, and the overlap of their boxes."""

    share: float
    overlap: float

    @property
    def is_signature(self) -> bool:
        return self.share >= SIGNED and self.overlap >= WHOLE

    @property
    def is_none(self) -> bool:
        return self.share <= UNSIGNED or self.overlap < PARTIAL


def label_candidates(
    networks: PageNetworks, seen: Candidates, page: Captured
) -> Iterator[tuple[Candidate, bool]]:
    """Yield candidates, parts included, and whether each is a signature; those in between are left out.

    Two candidates that may be words of one signature are yielded together, too. A signature together with other
    marks, a date beside it, say, is none where the signature was found by itself.
    """
    truth = _in_view(page, seen.view)
    signatures = [seen.view.from_image(box) for box in _boxes(page.signature)]

    def fit(one: Candidate) -> _Fit:
        on_it = (one.box.of(seen.view.darkness) > INK) & (one.box.of(seen.probability) > LIKELY)
        share = float((one.box.of(truth)[on_it] > COVERED).mean()) if on_it.any() else 0.0
        return _Fit(share, max((one.box.overlap(box) for box in signatures), default=0.0))

    groups = [(group, fit(group)) for group in seen.candidates]
    for group, whole in groups:
        parts = [(part, fit(part)) for part in group.parts]
        yield from _labelled(group, whole, [found for _, found in parts])
        for part, found in parts:
            yield from _labelled(part, found)
    pairs = [
        (first, second)
        for first, second in combinations(groups, 2)
        if may_be_words(first[0].box, second[0].box, seen)
        and (first[1].is_signature or second[1].is_signature)
    ]
    for (first, one), (second, other) in pairs[:MAX_PAIRS]:
        both = networks.together(seen, first, second)
        yield from _labelled(both, fit(both), (one, other))


def _labelled(one: Candidate, found: _Fit, parts: Sequence[_Fit] = ()) -> Iterator[tuple[Candidate, bool]]:
    """Yield a candidate and its label, or nothing; ``parts`` are those that it consists of."""
    better = any(part.is_signature and part.overlap > found.overlap for part in parts)
    if found.is_none or (better and found.share < MIXED):
        yield one, False
    elif found.is_signature:
        yield one, True


def _boxes(signature: NDArray[np.uint8]) -> list[Box]:
    """Return the boxes of the signatures of a page: (h, w) uint8 coverage."""
    ink = (signature > FULL).astype(np.uint8)
    return [cluster.box for cluster in find_clusters(ink)]


def _in_view(page: Captured, view: View) -> NDArray[np.uint8]:
    """Return the coverage by signatures on a view of a page."""
    truth = np.zeros_like(view.darkness)
    inner = view.without_margin(truth)
    inner[:] = cv2.resize(view.box.of(page.signature), inner.shape[::-1], interpolation=cv2.INTER_AREA)
    return truth
