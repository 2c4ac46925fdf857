"""Photographs of a sheet on a darker ground: find the sheet, and put it right.

The sheet is the largest bright area with four straight sides that does not fill the image. Scans and close-ups, in
which paper reaches the edges of the image, are left as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.box import Box
from model.preprocessing.segmentation import Grey, percentiles, shrink

SIDE = 480
"""Long side of the copy on which the sheet is searched, in pixels."""

MIN_SHARE, MAX_SHARE = 0.12, 0.94
"""Smallest and largest share of the image that a sheet covers."""

MIN_STEP = 45.0
"""Difference in brightness between the sheet and the ground beside it, of 255."""

DARK_SHARE = 0.15
"""Share of the pixels along an edge of the image that are dark where the ground is beside the sheet."""

SHRINK = 0.006
"""Share of the sheet's sides that is cut off at each edge: the edge itself casts a shadow."""


@dataclass(frozen=True)
class Sheet:
    """A sheet that was put right.

    Attributes
    ----------
    grey : uint8 (h, w)
        The sheet, upright and rectangular, 255 = white.
    to_image : float64 (3, 3)
        Maps homogeneous pixels of the sheet to pixels of the image.
    """

    grey: Grey
    to_image: NDArray[np.floating]

    def flatten(self, image: Grey) -> Grey:
        """Put another image of the same photograph right: (H, W) uint8 to (h, w) uint8."""
        return _flatten(image, self.to_image, self.grey.shape)

    def box_on_image(self, box: Box) -> Box:
        """Return the upright box in the image that encloses a box on the sheet."""
        return box.through(self.to_image)

    def box_on_sheet(self, box: Box) -> Box:
        """Return the upright box on the sheet that encloses a box in the image."""
        return box.through(np.linalg.inv(self.to_image))


def find_sheet(grey: Grey) -> Sheet | None:
    """Find a sheet on a darker ground and rectify it; None if the image shows none.

    Parameters
    ----------
    grey : uint8 (h, w)
        255 = white.
    """
    small, scale = shrink(grey, SIDE)
    if not _may_lie_on_ground(small):
        return None
    # Writing and print give way to the paper around them.
    soft = cv2.GaussianBlur(small, (0, 0), 1.0)
    filled = np.asarray(cv2.morphologyEx(soft, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)), np.uint8)
    _, bright = cv2.threshold(filled, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    outlines, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return None
    outline = np.asarray(max(outlines, key=cv2.contourArea), np.int32)
    if not MIN_SHARE <= cv2.contourArea(outline) / small.size <= MAX_SHARE:
        return None
    corners = _four_corners(outline)
    if corners is None or not _stands_out(filled, corners):
        return None
    return _rectify(grey, (corners + 0.5) / scale)


def _may_lie_on_ground(small: Grey) -> bool:
    """Whether two edges of the image or more are partly dark; quick, and enough for most scans."""
    bright = percentiles(small[::4, ::4].copy(), 90)[0]
    rim = max(1, round(0.01 * max(small.shape)))
    edges = (small[:rim], small[-rim:], small[:, :rim], small[:, -rim:])
    return sum(float(np.mean(edge < bright - MIN_STEP)) > DARK_SHARE for edge in edges) >= 2


def _four_corners(outline: NDArray[np.int32]) -> NDArray[np.float32] | None:
    """Return the corners of an outline with four sides, clockwise from the upper left: (4, 2); None for others."""
    hull = cv2.convexHull(outline)
    area = cv2.contourArea(outline)
    if area < 0.93 * cv2.contourArea(hull):
        return None
    length = cv2.arcLength(hull, closed=True)
    for share in (0.015, 0.025, 0.04):
        polygon = cv2.approxPolyDP(hull, share * length, closed=True)[:, 0].astype(np.float32)
        if len(polygon) == 4:
            break
    else:
        return None
    if not 0.93 <= area / cv2.contourArea(polygon) <= 1.07:
        return None
    total, difference = polygon.sum(axis=1), polygon[:, 1] - polygon[:, 0]
    order = [int(total.argmin()), int(difference.argmin()), int(total.argmax()), int(difference.argmax())]
    if len(set(order)) != 4:
        return None
    return polygon[order]


def _stands_out(filled: Grey, corners: NDArray[np.float32]) -> bool:
    """Whether the ground is darker beside each side that lies inside the image, and two sides or more do."""
    height, width = filled.shape
    middle = corners.mean(axis=0)
    inside_image = 0
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = start + np.linspace(0.15, 0.85, 25)[:, None] * (end - start)
        outwards = (along - middle) / np.linalg.norm(along - middle, axis=1, keepdims=True)
        inner, outer = np.rint(along - 5 * outwards).astype(int), np.rint(along + 6 * outwards).astype(int)
        visible = (outer >= 0).all(axis=1) & (outer[:, 0] < width) & (outer[:, 1] < height)
        if visible.mean() < 0.7:
            continue  # the sheet reaches the edge of the image there
        inside_image += 1
        inner, outer = np.clip(inner[visible], 0, (width - 1, height - 1)), outer[visible]
        step = filled[inner[:, 1], inner[:, 0]].astype(float) - filled[outer[:, 1], outer[:, 0]]
        if float(np.percentile(step, 20)) < MIN_STEP:
            return False
    return inside_image >= 2


def _rectify(grey: Grey, corners: NDArray[np.floating]) -> Sheet:
    upper, right, lower, left = (
        float(np.linalg.norm(corners[end] - corners[start]))
        for start, end in ((0, 1), (1, 2), (2, 3), (3, 0))
    )
    width, height = max(16, round((upper + lower) / 2)), max(16, round((left + right) / 2))
    inset = np.array([width, height]) * SHRINK
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - inset.astype(np.float32)
    shape = (max(16, round(height - 2 * inset[1])), max(16, round(width - 2 * inset[0])))
    to_image = np.asarray(cv2.getPerspectiveTransform(flat, np.asarray(corners, np.float32)), np.float64)
    return Sheet(_flatten(grey, to_image, shape), to_image)


def _flatten(image: Grey, to_image: NDArray[np.floating], shape: tuple[int, ...]) -> Grey:
    sheet = cv2.warpPerspective(
        image,
        to_image,
        shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(sheet, np.uint8)
