"""The edge of a desk beside a sheet: what shows it is no crop of a signature."""

from __future__ import annotations

import cv2
import numpy as np

from model.preprocessing.ink import Located
from model.preprocessing.segmentation import Parts

EDGE_LENGTH, EDGE_THICKNESS = 0.9, 2.5
"""Length of the edge of a desk, as a share of a side of the image, and its thickness relative to other ink."""


def has_dark_edge(located: Located) -> bool:
    """Whether the image shows the edge of a desk beside the sheet, or of a shadow.

    Its darkness extends along a whole side of the image, and is much thicker than the strokes.
    """
    mask = located.mask
    parts = Parts.of(mask)
    height, width = mask.shape
    along = (parts.stats[:, cv2.CC_STAT_HEIGHT] >= EDGE_LENGTH * height) | (
        parts.stats[:, cv2.CC_STAT_WIDTH] >= EDGE_LENGTH * width
    )
    along[0] = False
    if not along.any():
        return False
    areas = parts.stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0
    rim = mask - cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=1)
    rims = np.bincount(parts.labels[rim > 0], minlength=len(areas))
    others_area, others_rim = areas.sum() - areas, rims.sum() - rims
    is_thick = areas * np.maximum(others_rim, 1) >= EDGE_THICKNESS * others_area * np.maximum(rims, 1)
    return bool(np.any(along & is_thick & (others_area > 0)))
