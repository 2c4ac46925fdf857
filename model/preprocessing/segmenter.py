"""The segmentation network (:mod:`model.networks.page`) in OpenCV: decoding processes do not load torch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from model.preprocessing.segmentation import Grey

STRIDE = 16
"""The network's input is padded to a multiple of this."""

LARGE_PIXELS = 130_000
"""Pixels of an input of the network after which its memory is freed."""


class Segmenter:
    """Tells which pixels belong to signatures. Not thread-safe.

    Parameters
    ----------
    model : Path
        The network as ONNX: darkness (1, 1, h, w) to probability (1, 1, h, w).
    """

    def __init__(self, model: Path) -> None:
        self._model = str(model)
        self._network = cv2.dnn.readNetFromONNX(self._model)

    def probability(self, darkness: Grey) -> Grey:
        """Compute the probability that a pixel belongs to a signature: (h, w) uint8 to (h, w) uint8, 255 = 1."""
        height, width = darkness.shape
        padded = np.zeros((1, 1, -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE), np.float32)
        np.multiply(darkness, np.float32(1 / 255), out=padded[0, 0, :height, :width])
        self._network.setInput(padded)
        answer = self._network.forward()[0, 0, :height, :width]
        probability = cv2.convertScaleAbs(answer, alpha=255.0)
        if padded.size > LARGE_PIXELS:
            # It keeps some 200 bytes for each pixel of its largest input; loading it again takes 3 ms.
            self._network = cv2.dnn.readNetFromONNX(self._model)
        return np.asarray(probability, np.uint8)
