"""Parts of an image as the segmentation network looks at them: at a scale of its own, with a margin of paper."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import UnusableSignature
from model.preprocessing.box import Box
from model.preprocessing.ink import LOCATE_SIDE
from model.preprocessing.segmentation import (
    Grey,
    is_light_on_dark,
    locate,
    paper,
    relative_darkness,
    shrink,
    without_rulings,
    without_specks,
)

MAX_ENLARGEMENT = 1.6
"""Small images are enlarged by this factor at most."""

LARGE_SIDE = 660
"""Long side of a view, in pixels, above which it is a page rather than a signature and gets a narrow margin."""


@dataclass(frozen=True)
class View:
    """A part of an image at another scale, with a margin of paper.

    Attributes
    ----------
    darkness : uint8 (h, w)
    scale : float
        Its pixels to a pixel of the image.
    box : Box
        The part, in pixels of the image.
    margin : tuple of two ints
        Columns at the left and right, rows at the top and bottom.
    """

    darkness: Grey
    scale: float
    box: Box
    margin: tuple[int, int]

    def on_image(self, box: Box) -> Box:
        """Map a box of the view to the image."""
        across, down = self.margin
        moved = box.moved(-across, -down).scaled(1.0 / self.scale)
        return moved.moved(self.box.left, self.box.top)

    def from_image(self, box: Box) -> Box:
        """Map a box of the image to the view."""
        across, down = self.margin
        return box.moved(-self.box.left, -self.box.top).scaled(self.scale).moved(across, down)

    def without_margin(self, layer: Grey) -> Grey:
        """Cut the margin off an image of the size of the view."""
        across, down = self.margin
        return layer[down : layer.shape[0] - down, across : layer.shape[1] - across]


def look(grey: Grey, box: Box, side: float) -> View:
    """Look at a part of an image at a scale at which its long side has ``side`` pixels.

    Signatures in the training pages have paper around them, hence the margin.
    """
    part = box.of(grey)
    scale = min(MAX_ENLARGEMENT, side / max(part.shape))
    size = (max(8, round(part.shape[1] * scale)), max(8, round(part.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    page = np.asarray(cv2.resize(part, size, interpolation=method), np.uint8)
    darkness = darkness_of(page)
    across, down = round(0.12 * max(size)), max(14, round(0.2 * size[1]))
    if max(size) > LARGE_SIDE:
        across = down = 14
    framed = cv2.copyMakeBorder(darkness, down, down, across, across, cv2.BORDER_CONSTANT, value=0)
    return View(np.asarray(framed, np.uint8), scale, box, (across, down))


def darkness_of(page: Grey) -> Grey:
    """Darkness relative to the paper, 255 = black; light writing on a dark ground is inverted."""
    page = 255 - page if is_light_on_dark(page) else page
    return relative_darkness(page, paper(page))


def ink_mask(darkness: Grey) -> NDArray[np.uint8] | None:
    """Mask of the ink without rulings, frames and specks; None if there is none or it cannot be told from paper."""
    try:
        parts, _ = locate(darkness)
    except UnusableSignature:
        return None
    mask = without_specks(without_rulings(parts)[0]).mask
    return mask if mask.any() else None


def ink_box(grey: Grey) -> Box | None:
    """Box of the ink of an image, in its pixels; None if there is none or it cannot be told from paper."""
    page, scale = shrink(grey, LOCATE_SIDE)
    mask = ink_mask(darkness_of(page))
    return None if mask is None else Box.bounding(mask).grown(4).scaled(1.0 / scale).clipped(grey.shape)
