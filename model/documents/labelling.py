"""Composed pages as the service sees them: their candidates, and which of them are signatures."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from model.documents.capture import Captured
from model.documents.patches import FULL
from model.preprocessing.box import Box
from model.preprocessing.candidates import Candidate, Candidates
from model.preprocessing.clusters import find_clusters
from model.preprocessing.evidence import LIKELY
from model.preprocessing.views import INK, View

COVERED = 40
"""Coverage, of 255, from which ink on a view belongs to a signature: a thin stroke covers little of a pixel."""

SIGNED, UNSIGNED = 0.6, 0.3
"""Shares of a candidate's ink that lie on a signature, from which it is one and up to which it is none."""

WHOLE, PARTIAL = 0.4, 0.2
"""Overlap with the box of a signature, from which a candidate is one and below which it is none."""


def label_candidates(seen: Candidates, page: Captured) -> Iterator[tuple[Candidate, bool]]:
    """Yield candidates, parts included, and whether each is a signature; those in between are left out."""
    truth = _in_view(page, seen.view)
    signatures = [seen.view.from_image(box) for box in _boxes(page.signature)]
    for group in seen.candidates:
        for one in (group, *group.parts):
            on_it = (one.box.of(seen.view.darkness) > INK) & (one.box.of(seen.probability) > LIKELY)
            share = float((one.box.of(truth)[on_it] > COVERED).mean()) if on_it.any() else 0.0
            overlap = max((one.box.overlap(box) for box in signatures), default=0.0)
            if share >= SIGNED and overlap >= WHOLE:
                yield one, True
            elif share <= UNSIGNED or overlap < PARTIAL:
                yield one, False


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
