"""Which strokes of a crop belong to the signature, and which lie across it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.segmentation import Grey, Parts
from model.preprocessing.views import INK


def signature_mask(darkness: Grey, probability: Grey) -> Grey:
    """Decide for each connected part of ink whether it is kept, left out, or kept where the network is sure.

    Most parts are either all signature or none. Where a stroke and a printed line touch, they are one part, and the
    pixels decide; security printing touches all strokes, and these are a small share of its part.

    Parameters
    ----------
    darkness, probability : uint8 (h, w)
        Of the paper to black ink, and that a pixel belongs to a signature; 255 = black, and 1.

    Returns
    -------
    uint8 (h, w)
        255 where the signature is, with a rim of one pixel; 0 elsewhere.
    """
    parts = Parts.of((darkness > INK // 2).view(np.uint8))
    areas, shares = _shares(parts, probability > 127)
    probable = areas * shares
    is_mixed = (shares <= 0.8) & ((shares > 0.05) | (probable > 0.1 * probable.sum()))
    sure = cv2.dilate((probability > 100).astype(np.uint8), np.ones((3, 3), np.uint8))
    whole = (shares[parts.labels] > 0.8) & (probability > 12)
    mixed = is_mixed[parts.labels] & (sure > 0)
    kept = (whole | mixed).astype(np.uint8)
    return np.asarray(cv2.dilate(kept, np.ones((3, 3), np.uint8)) * 255, np.uint8)


def _shares(parts: Parts, flags: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Count the pixels of each connected part, and the share of them that has a flag; 0 for what is no ink."""
    labels, count = parts.labels.ravel(), len(parts.left)
    areas = np.bincount(labels, minlength=count).astype(np.float64)
    shares = np.bincount(labels, flags.ravel(), minlength=count) / np.maximum(areas, 1)
    areas[0] = shares[0] = 0.0
    return areas, shares
