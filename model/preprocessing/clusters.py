"""Groups of ink that lie together as the strokes of one signature do."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.box import Box


@dataclass(frozen=True)
class Cluster:
    """A group of ink: its box, and the number of its pixels."""

    box: Box
    ink: int


LOOSE, TIGHT = 1.0, 0.4
"""Distances up to which parts are grouped, relative to what is common within a signature."""


def find_clusters(ink: NDArray[np.uint8], reach: float = LOOSE) -> list[Cluster]:
    """Group parts of ink that lie as near to each other as the strokes of one signature do.

    Parameters
    ----------
    reach : float
        Factor of the distances up to which parts are grouped.
    """
    joined = cv2.dilate(ink, np.ones((3, 5), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    counts = np.bincount(labels[ink > 0], minlength=len(stats))
    clusters = [
        Cluster(Box(int(x), int(y), int(x + w), int(y + h)), int(count))
        for (x, y, w, h, _), count in zip(stats[1:].tolist(), counts[1:].tolist(), strict=True)
        if count >= 6
    ]
    clusters = sorted(clusters, key=lambda cluster: -cluster.ink)[:200]
    merged = True
    while merged:
        merged = False
        for index, first in enumerate(clusters):
            near = [other for other in clusters[index + 1 :] if _belong_together(first.box, other.box, reach)]
            if near:
                group = [first, *near]
                box = Box.enclosing(cluster.box for cluster in group)
                rest = [cluster for cluster in clusters if cluster not in group]
                clusters = [*rest[:index], Cluster(box, sum(c.ink for c in group)), *rest[index:]]
                merged = True
                break
    return clusters


def _belong_together(a: Box, b: Box, reach: float) -> bool:
    tall = max(a.height, b.height)
    across = max(a.left, b.left) - min(a.right, b.right)
    down = max(a.top, b.top) - min(a.bottom, b.bottom)
    if down < -0.4 * min(a.height, b.height):  # side by side, as first and last name
        return across <= 0.8 * reach * tall
    return across <= 0.4 * reach * tall and down <= 0.25 * reach * tall
