"""HOG with the Euclidean distance: an untrained baseline for the networks.

Histograms of oriented gradients (Dalal and Triggs, CVPR 2005) of the isolated ink on a canvas of 64 x 128 pixels:
9 orientations, cells of 8 x 8 pixels, blocks of 2 x 2 cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog

from model.data.specimens import Specimen
from model.evaluation.features import InkCache
from model.evaluation.trials import Compare
from model.preprocessing.ink import Canvas, fit
from model.types import Metric

CANVAS = Canvas(64, 128, "moments", 0.8)


class Hog:
    """Untrained features; see :class:`model.evaluation.features.Features`."""

    name = "HOG"
    metric: Metric = "euclidean"
    compare: Compare | None = None

    def __init__(self, ink_cache: InkCache, canvas: Canvas = CANVAS) -> None:
        self._ink_cache = ink_cache
        self._canvas = canvas

    def embed(self, specimens: Sequence[Specimen]) -> NDArray[np.float32]:
        """Embed specimens: (n, 3780) float32 for a canvas of 64 x 128; NaN where no usable signature was found."""
        length = len(self._describe(np.zeros((self._canvas.height, self._canvas.width), dtype=np.uint8)))
        out = np.full((len(specimens), length), np.nan, dtype=np.float32)
        for row, specimen in zip(out, specimens, strict=True):
            ink = self._ink_cache.ink(specimen)
            if ink is not None:
                row[:] = self._describe(fit(ink.density, self._canvas))
        return out

    @staticmethod
    def _describe(canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
        features = hog(canvas, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
        return np.asarray(features, dtype=np.float32)
