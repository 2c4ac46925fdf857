"""What tells a signature from print, stamps and other handwriting, beside the network's probability of each pixel.

:func:`measure` describes a part of a page by numbers, for the rules of :mod:`model.preprocessing.rules`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.box import Box
from model.preprocessing.segmentation import Grey, Parts

MEASURES = (
    "confidence",
    "mean",
    "likely",
    "high",
    "in-parts",
    "weakest",
    "density",
    "height",
    "aspect",
    "stroke",
    "largest-part",
    "parts",
    "uneven",
    "ragged",
    "taller",
    "ink-share",
    "mass-share",
    "down",
    "across",
    "others",
    "outstanding",
    "recognised",
)
"""Names of the numbers that describe a part of a page, in their order; :func:`measure` says what they are."""

_OTHERS, _OUTSTANDING, _RECOGNISED = (
    MEASURES.index(name) for name in ("others", "outstanding", "recognised")
)

LIKELY, POSSIBLE = 90, 50
"""Probabilities, of 255, from which a pixel counts for a signature, and from which it may belong to one."""


WEIGHTY = 0.02
"""Share of the ink from which a connected part of it counts for ``weakest``."""


@dataclass(frozen=True)
class Scene:
    """A view of a page, its ink and the network's answer; what all parts of the page are measured with.

    Attributes
    ----------
    probability : uint8 (h, w)
        That a pixel belongs to a signature, 255 = 1.
    parts : Parts
        Connected parts of the ink.
    """

    probability: Grey
    parts: Parts

    @classmethod
    def of(cls, ink: Grey, probability: Grey) -> Scene:
        """Label the ink: (h, w) uint8, 1 = ink."""
        return cls(probability, Parts.of(ink))

    @cached_property
    def mass(self) -> float:
        """Sum of the probability over the ink."""
        return float(self.probability[self.parts.mask > 0].sum()) / 255.0


def measure(scene: Scene, box: Box) -> NDArray[np.float64]:
    """Describe the ink in a box of a view.

    Returns
    -------
    float64 (len(MEASURES),)
        ``confidence``: mean probability over the ink that may belong to a signature;
        ``mean``: mean probability over all ink;
        ``likely``: share of the ink that is likely;
        ``high``: 90th percentile of the probability;
        ``in-parts``: share of the ink in connected parts a third of which is likely;
        ``weakest``: lowest mean probability of a connected part with at least 2 % of the ink, over ``mean``;
        ``density``: log share of the box that is ink;
        ``height``: log height over the shorter side of the view;
        ``aspect``: log width over height;
        ``stroke``: log stroke width over height;
        ``largest-part``: share of the ink in the largest connected part;
        ``parts``: log number of connected parts;
        ``uneven``: standard deviation of the heights of connected parts, by ink, over their mean;
        ``ragged``: standard deviation of their lower edges, by ink, over the mean height;
        ``taller``: log height over the median height of the other connected parts of the page, by ink;
        ``ink-share``, ``mass-share``: shares of the ink and of the probability of the page;
        ``down``, ``across``: position of the centre in [0, 1];
        ``others``, ``outstanding``: 0 until :func:`compared` sets them;
        ``recognised``: 0 until :func:`recognised` sets it.
    """
    height, width = scene.probability.shape
    mask = box.of(scene.parts.mask)
    labels = box.of(scene.parts.labels)
    probability = box.of(scene.probability)
    inked = mask > 0
    values = probability[inked].astype(np.float64) / 255.0
    if not values.size:
        return np.zeros(len(MEASURES))
    areas_all = scene.parts.stats[:, cv2.CC_STAT_AREA]
    heights_all = scene.parts.stats[:, cv2.CC_STAT_HEIGHT]
    inside = np.bincount(labels[inked], minlength=len(areas_all)).astype(np.float64)
    likely = np.bincount(labels[inked], values > LIKELY / 255.0, minlength=len(areas_all))
    members = inside > 0
    taken = inside[members]
    heights = np.minimum(heights_all[members], box.height).astype(np.float64)
    mean_height = float((heights * taken).sum() / taken.sum())
    deviation = float(np.sqrt(((heights - mean_height) ** 2 * taken).sum() / taken.sum()))
    others = (areas_all - inside) > 0.5 * areas_all
    others[0] = False
    taller = 0.0
    if others.any():
        order = np.argsort(heights_all[others])
        weight = np.cumsum(areas_all[others][order])
        median = heights_all[others][order][int(np.searchsorted(weight, weight[-1] / 2))]
        taller = float(np.log(box.height / max(1, int(median))))
    ink = float(values.size)
    edge = ink - cv2.countNonZero(cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=0))
    stroke = 2.0 * ink / max(1.0, edge)
    part_means = np.bincount(labels[inked], values, minlength=len(areas_all))[members] / taken
    weakest = float(part_means[taken >= WEIGHTY * ink].min(initial=1.0))
    possible = values > POSSIBLE / 255.0
    return np.array(
        [
            values[possible].mean() if possible.any() else 0.0,
            values.mean(),
            (values > LIKELY / 255.0).mean(),
            np.percentile(values, 90),
            taken[likely[members] >= 0.35 * taken].sum() / ink,
            min(1.0, weakest / max(0.02, float(values.mean()))),
            np.log(ink / (box.width * box.height)),
            np.log(box.height / min(height, width)),
            np.log(box.width / box.height),
            np.log(stroke / box.height),
            taken.max() / ink,
            np.log(np.count_nonzero(taken >= 3) + 1.0),
            deviation / mean_height,
            _spread_of_feet(scene, members, taken) / mean_height,
            np.clip(taller, -2.0, 3.0),
            ink / max(1.0, float(areas_all[1:].sum())),
            values.sum() / max(1e-6, scene.mass),
            (box.top + box.bottom) / 2 / height,
            (box.left + box.right) / 2 / width,
            0.0,
            0.0,
            0.0,
        ]
    )


def _spread_of_feet(scene: Scene, members: NDArray[np.bool_], taken: NDArray[np.float64]) -> float:
    """Return the standard deviation of the lower edges of parts, by ink: letters in print stand on one line."""
    stats = scene.parts.stats[members]
    feet = (stats[:, cv2.CC_STAT_TOP] + stats[:, cv2.CC_STAT_HEIGHT]).astype(np.float64)
    mean = (feet * taken).sum() / taken.sum()
    return float(np.sqrt(((feet - mean) ** 2 * taken).sum() / taken.sum()))


def compared(measures: NDArray[np.float64], height: int, others: Sequence[int]) -> NDArray[np.float64]:
    """Compare a part with the other parts of its page that may be signatures: on a form, fields are filled in alike.

    ``others`` is set to the log of one more than their number, ``outstanding`` to the log height over the median of
    theirs. Heights are in pixels.
    """
    found = measures.copy()
    if others:
        found[_OTHERS] = np.log(len(others) + 1.0)
        found[_OUTSTANDING] = np.log(height / float(np.median(others)))
    return found


def recognised(measures: NDArray[np.float64], log_odds: float) -> NDArray[np.float64]:
    """Set ``recognised`` to the log-odds of the candidate network (:mod:`model.preprocessing.recognition`)."""
    found = measures.copy()
    found[_RECOGNISED] = log_odds
    return found
