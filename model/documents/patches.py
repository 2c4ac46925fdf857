"""Training patches for the segmentation network: composed pages, captured, cut into patches of one size."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from model.documents.capture import Captured
from model.documents.digits import Digits
from model.documents.elements import Drawer
from model.documents.layouts import compose_page
from model.documents.material import SignatureSource, Typefaces
from model.preprocessing.segmentation import paper, relative_darkness

Pixels = NDArray[np.uint8]

PATCH = (256, 384)
"""Height and width of a patch in pixels."""

SMALL_SHARE = 0.2
"""Share of the pages that are reduced to the size at which an upload is looked at first."""

FULL, NONE = 110, 25
"""Coverage from which a pixel counts as signature, and below which it counts as none; those between weigh less."""


class Patches(IterableDataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """An endless stream of batches: darkness, target and weight, each ``(n, 1, *PATCH)``.

    Darkness and coverage are uint8, weights uint8 with 100 = 1. Batch ``step`` depends on the seed and the step only.

    Parameters
    ----------
    faces : Typefaces
    source : SignatureSource
    batch : int
        Patches to a batch; two are cut from each page.
    seed, first : int
        Seed of the run and its first step.
    digits : Digits, optional
        As for :class:`model.documents.elements.Drawer`.
    """

    def __init__(
        self,
        faces: Typefaces,
        source: SignatureSource,
        batch: int,
        seed: int,
        first: int = 0,
        digits: Digits | None = None,
    ) -> None:
        self._faces, self._source, self._digits = faces, source, digits
        self._batch, self._seed, self._first = batch, seed, first

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield batches; with several workers each yields its share, in turn."""
        worker = torch.utils.data.get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        step = self._first + number
        while True:
            yield self.at(step)
            step += count

    def at(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compose batch ``step``."""
        rng = np.random.default_rng([self._seed, step])
        rows: list[tuple[Pixels, Pixels, Pixels]] = []
        while len(rows) < self._batch:
            page = compose(Drawer(self._faces, self._source, rng, digits=self._digits))
            darkness = relative_darkness(page.grey, paper(page.grey))
            weight = weights(darkness, page.signature)
            count = min(2, self._batch - len(rows))
            rows.extend(cut((darkness, page.signature, weight), rng) for _ in range(count))
        first, second, third = (
            torch.from_numpy(np.stack(column)[:, None]) for column in zip(*rows, strict=True)
        )
        return first, second, third


def compose(drawer: Drawer) -> Captured:
    """Compose and capture a page of a random layout."""
    _, page = compose_page(drawer)
    if drawer.chance(SMALL_SHARE):
        factor = drawer.between(130, 400) / max(page.grey.shape)
        if factor < 1.0:
            size = tuple(max(16, round(side * factor)) for side in page.grey.shape[::-1])
            page = Captured(
                *(
                    np.asarray(cv2.resize(i, size, interpolation=cv2.INTER_AREA), np.uint8)
                    for i in (page.grey, page.signature)
                )
            )
    return page


def weights(darkness: Pixels, signature: Pixels) -> Pixels:
    """Weigh pixels for the loss: ink and what is near it count in full, empty paper a seventh."""
    ink = (np.maximum(darkness, signature) > 40).astype(np.uint8)
    near = cv2.dilate(ink, np.ones((5, 5), np.uint8))
    weight = np.where(near > 0, 100, 15).astype(np.uint8)
    weight[(signature >= NONE) & (signature < FULL)] = 30
    return weight


def cut(layers: tuple[Pixels, Pixels, Pixels], rng: np.random.Generator) -> tuple[Pixels, Pixels, Pixels]:
    """Cut a patch from three layers of one page, around a signature twice in three times; pad with zeros."""
    height, width = layers[0].shape
    tops, lefts = max(0, height - PATCH[0]), max(0, width - PATCH[1])
    top, left = int(rng.integers(tops + 1)), int(rng.integers(lefts + 1))
    ys, xs = np.nonzero(layers[1][::4, ::4] > FULL)
    if len(ys) and rng.random() < 0.67:
        index = int(rng.integers(len(ys)))
        top = int(np.clip(4 * ys[index] - rng.integers(PATCH[0]), 0, tops))
        left = int(np.clip(4 * xs[index] - rng.integers(PATCH[1]), 0, lefts))
    down, right = (
        int(rng.integers(max(0, side - size) + 1)) for side, size in zip(PATCH, (height, width), strict=True)
    )
    patches = []
    for layer in layers:
        patch = np.zeros(PATCH, np.uint8)
        part = layer[top : top + PATCH[0], left : left + PATCH[1]]
        patch[down : down + part.shape[0], right : right + part.shape[1]] = part
        patches.append(patch)
    return patches[0], patches[1], patches[2]
