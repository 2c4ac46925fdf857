"""Turning isolated ink, for scans that do not lie straight."""

from __future__ import annotations

import math

import cv2
import numpy as np

from model.preprocessing.segmentation import Grey


def turn(density: Grey, degrees: float) -> Grey:
    """Turn isolated ink counter-clockwise: (h, w) uint8, 0 = paper, to (h', w') that holds all of it."""
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(density, int(degrees) // 90))
    height, width = density.shape
    cosine, sine = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    size = (math.ceil(width * cosine + height * sine) + 2, math.ceil(width * sine + height * cosine) + 2)
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    matrix[:, 2] += ((size[0] - width) / 2, (size[1] - height) / 2)
    return np.asarray(cv2.warpAffine(density, matrix, size, flags=cv2.INTER_LINEAR), np.uint8)
