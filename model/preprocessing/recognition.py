"""Recognition of candidates: a network looks at a part of a page and its surroundings.

The measures of :mod:`model.preprocessing.evidence` describe how a part of a page looks to the segmentation network,
and where it is. They do not tell a date or an amount on a line from a signature on a line; the candidate network
(:mod:`model.networks.candidate`) does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.box import Box
from model.preprocessing.segmentation import Grey

HEIGHT, WIDTH = 64, 160
"""Size of the pictures in pixels."""

RIM, SURROUNDINGS = 1.4, 3.0
"""Size of the near picture relative to the box, and of the far one relative to the near one."""

CHANNELS = 4
"""Darkness and probability, near and far."""


def candidate_images(darkness: Grey, probability: Grey, box: Box) -> NDArray[np.uint8]:
    """Cut out a candidate and its surroundings: (CHANNELS, HEIGHT, WIDTH) uint8.

    Parameters
    ----------
    darkness, probability : uint8 (h, w)
        A view and what the segmentation network says of it.
    box : Box
        In pixels of the view.
    """
    near = min(WIDTH / (box.width * RIM + 6), HEIGHT / (box.height * RIM + 6))
    pictures = [
        _window(layer, box, scale)
        for scale in (near, near / SURROUNDINGS)
        for layer in (darkness, probability)
    ]
    return np.stack(pictures)


def _window(layer: Grey, box: Box, scale: float) -> Grey:
    """Cut a window around the centre of a box, scaled: (HEIGHT, WIDTH) uint8, zero outside the layer."""
    height, width = layer.shape
    across, down = WIDTH / scale, HEIGHT / scale
    left, top = (box.left + box.right - across) / 2, (box.top + box.bottom - down) / 2
    inside = Box(
        max(0, round(left)),
        max(0, round(top)),
        min(width, round(left + across)),
        min(height, round(top + down)),
    )
    picture = np.zeros((HEIGHT, WIDTH), np.uint8)
    x, y = (max(0, round(gap * scale)) for gap in (inside.left - left, inside.top - top))
    size = (
        max(1, min(WIDTH - x, round(inside.width * scale))),
        max(1, min(HEIGHT - y, round(inside.height * scale))),
    )
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    picture[y : y + size[1], x : x + size[0]] = cv2.resize(inside.of(layer), size, interpolation=method)
    return picture


class CandidateClassifier:
    """The candidate network in OpenCV. Not thread-safe.

    Parameters
    ----------
    model : Path
        The network as ONNX: (n, CHANNELS, HEIGHT, WIDTH) in [0, 1] to (n, 1).
    """

    def __init__(self, model: Path) -> None:
        self._network = cv2.dnn.readNetFromONNX(str(model))

    def log_odds(self, images: Sequence[NDArray[np.uint8]]) -> list[float]:
        """Compute the log-odds that candidates are signatures, from :func:`candidate_images` of each."""
        found = []
        for image in images:  # one at a time: memory for another number of images would be allocated anew
            self._network.setInput(image[None].astype(np.float32) / np.float32(255))
            found.append(float(self._network.forward()[0, 0]))
        return found
