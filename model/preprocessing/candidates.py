"""Parts of a page that may be signatures, with the measures by which that is decided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.preprocessing.box import Box
from model.preprocessing.clusters import LOOSE, TIGHT, find_clusters
from model.preprocessing.evidence import LIKELY, Scene, compared, measure, recognised
from model.preprocessing.ink import Located
from model.preprocessing.recognition import CandidateClassifier, candidate_images
from model.preprocessing.segmentation import Grey
from model.preprocessing.segmenter import Segmenter
from model.preprocessing.stamps import Frame
from model.preprocessing.views import INK, View, first_look, look

SLIP_ASPECT, SLIP_PIXELS, PAGE_PIXELS, PAGE_SIDE = 1.6, 110_000, 220_000, 1024
"""Most pixels, and the longest side, of the copy on which signatures are searched.

From this ratio of width to height on, a sheet is a cheque, a slip or a part of a page: its signatures are larger.
"""

MIN_INK, MIN_SIZE = 40, 0.025
"""Least ink of a candidate in pixels, and least size of its longer side as a share of that of the view."""

MAX_RECOGNISED = 24
"""Most candidates of a page, parts included, that the candidate network looks at: each takes a millisecond."""

UNLIKELY = 40
"""Probability, of 255, up to which ink is unlikely to be a signature's."""


@dataclass(frozen=True)
class Candidate:
    """A group of probable ink.

    Attributes
    ----------
    box : Box
        In pixels of the view.
    ink : int
        Its pixels.
    measures : float64 (len(MEASURES),)
    parts : tuple of Candidate
        What it falls into if ink is grouped at shorter distances; empty if it stays together.
    """

    box: Box
    ink: int
    measures: NDArray[np.float64]
    parts: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class Candidates:
    """What was found in a view.

    Attributes
    ----------
    view : View
    scene : Scene
        The ink of the view, and the answer of the segmentation network.
    candidates : tuple of Candidate
    unlikely : float
        Share of the ink that is unlikely to be a signature's.
    """

    view: View
    scene: Scene
    candidates: tuple[Candidate, ...]
    unlikely: float

    @property
    def probability(self) -> Grey:
        """That a pixel belongs to a signature, 255 = 1: uint8 (h, w)."""
        return self.scene.probability


def measure_crop(segmenter: Segmenter, located: Located, side: int) -> NDArray[np.float64]:
    """Describe all ink of an image, seen with ``side`` pixels on its long side, as one part: (len(MEASURES),)."""
    darkness, ink = first_look(located, side)
    if not ink.any():
        ink = (darkness > 0).view(np.uint8)
    return measure(Scene.of(ink, segmenter.probability(darkness)), Box.bounding(ink))


class PageNetworks:
    """The networks that find the signatures of a page. Not thread-safe.

    Parameters
    ----------
    model : Path
        The segmentation network as ONNX; the candidate network is ``candidates.onnx`` beside it. Without that,
        candidates are not recognised.
    with_classifier : bool
        False to do without it.

    Attributes
    ----------
    segmenter : Segmenter
    """

    def __init__(self, model: Path, *, with_classifier: bool = True) -> None:
        self.segmenter = Segmenter(model)
        classifier = model.with_name("candidates.onnx")
        usable = with_classifier and classifier.is_file()
        self._classifier = CandidateClassifier(classifier) if usable else None

    def candidates(
        self,
        grey: Grey,
        around: Box,
        *,
        with_contrast: bool = False,
        without: Sequence[Frame] = (),
        hidden: Grey | None = None,
        detail: float = 1.0,
    ) -> Candidates:
        """Search a part of a page.

        Parameters
        ----------
        grey : uint8 (h, w)
            The page, 255 = white.
        around : Box
        with_contrast : bool
            As for :func:`model.preprocessing.views.look`.
        without : sequence of Frame
            Frames of stamps on the page, to be left out.
        hidden : uint8, optional
            1 where ink of the view is left out.
        detail : float
            How many times as long the sides of the copy are on which signatures are searched.
        """
        side = detail * _long_side(around)
        view = look(grey, around, side, with_contrast=with_contrast).without(without)
        if hidden is not None:
            view = view.without_ink(hidden)
        probability = self.segmenter.probability(view.darkness)
        ink = (view.darkness > INK).view(np.uint8)
        scene = Scene.of(ink, probability)
        least = MIN_SIZE * max(view.darkness.shape)
        inked = ink > 0
        likely = (inked & (probability > LIKELY)).view(np.uint8)
        loose, tight = (
            [
                Candidate(cluster.box, cluster.ink, measure(scene, cluster.box))
                for cluster in find_clusters(likely, reach)
                if cluster.ink >= MIN_INK and max(cluster.box.width, cluster.box.height) >= least
            ]
            for reach in (LOOSE, TIGHT)
        )
        candidates = [
            _compared(one, loose, tuple(other for other in tight if one.box.contains(other.box)))
            for one in loose
        ]
        if self._classifier is not None:
            candidates = _recognised(self._classifier, view.darkness, probability, candidates)
        unlikely = float((probability[inked] <= UNLIKELY).mean()) if inked.any() else 1.0
        return Candidates(view, scene, tuple(candidates), unlikely)

    def together(self, seen: Candidates, first: Candidate, second: Candidate) -> Candidate:
        """Describe two candidates of a view as one."""
        box = Box.enclosing((first.box, second.box))
        others = [other.box.height for other in seen.candidates if not box.contains(other.box)]
        measures = compared(measure(seen.scene, box), box.height, others)
        if self._classifier is not None:
            image = candidate_images(seen.view.darkness, seen.probability, box)
            measures = recognised(measures, self._classifier.log_odds([image])[0])
        return Candidate(box, first.ink + second.ink, measures)


def _long_side(part: Box) -> float:
    """Return the long side in pixels of the copy on which signatures are searched."""
    aspect = max(part.width, part.height) / min(part.width, part.height)
    pixels = SLIP_PIXELS if part.width >= SLIP_ASPECT * part.height else PAGE_PIXELS
    return min(PAGE_SIDE, math.sqrt(pixels * aspect))


def _compared(one: Candidate, every: list[Candidate], parts: tuple[Candidate, ...]) -> Candidate:
    """Compare a candidate and its parts with the other candidates of the page."""
    others = [other.box.height for other in every if other is not one]
    compare = tuple(
        replace(part, measures=compared(part.measures, part.box.height, others))
        for part in (one, *(part for part in parts if part.box != one.box))
    )
    return replace(compare[0], parts=compare[1:])


def _recognised(
    classifier: CandidateClassifier, darkness: Grey, probability: Grey, candidates: list[Candidate]
) -> list[Candidate]:
    """Recognise the candidates with most ink, with their parts; leave out the others."""
    found: list[Candidate] = []
    looks = 0
    for candidate in sorted(candidates, key=lambda one: -one.ink):
        every = (candidate, *candidate.parts)
        looks += len(every)
        if looks > MAX_RECOGNISED:
            break
        log_odds = classifier.log_odds([candidate_images(darkness, probability, one.box) for one in every])
        first, *parts = (
            replace(one, measures=recognised(one.measures, odds))
            for one, odds in zip(every, log_odds, strict=True)
        )
        found.append(replace(first, parts=tuple(parts)))
    return found
