"""Parts of an image as the segmentation network looks at them: at a scale of its own, with a margin of paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from model.preprocessing.box import Box
from model.preprocessing.ink import Located
from model.preprocessing.ink_colour import Chroma, other_ink
from model.preprocessing.segmentation import Grey, is_light_on_dark, paper, relative_darkness
from model.preprocessing.stamps import Frame, find_frames, stamp_mask

MAX_ENLARGEMENT = 1.6
"""Small images are enlarged by this factor at most."""

MARGIN = 14
"""Margin of paper around what is looked at, in pixels: signatures in the training pages have paper around them."""


INK = 38
"""Darkness from which a pixel of a view counts as ink."""

BLACK = 90
"""Percentile of the darkness of ink that :meth:`View.with_contrast` makes black."""


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
    """

    darkness: Grey
    scale: float
    box: Box

    def on_image(self, box: Box) -> Box:
        """Map a box of the view to the image."""
        moved = box.moved(-MARGIN, -MARGIN).scaled(1.0 / self.scale)
        return moved.moved(self.box.left, self.box.top)

    def from_image(self, box: Box) -> Box:
        """Map a box of the image to the view."""
        return box.moved(-self.box.left, -self.box.top).scaled(self.scale).moved(MARGIN, MARGIN)

    def without(self, frames: Sequence[Frame]) -> View:
        """Return the view without stamps, whose frames are given in pixels of the image."""
        if not frames:
            return self
        left, top = MARGIN - self.box.left * self.scale, MARGIN - self.box.top * self.scale
        mapped = [frame.mapped(self.scale, left, top) for frame in frames]
        return self.without_ink(stamp_mask(self.darkness, mapped))

    def without_ink(self, marked: Grey) -> View:
        """Return the view without some ink: 1 where it is, uint8 of its shape."""
        return replace(self, darkness=self.darkness * (1 - marked))

    def without_other_ink(self, chroma: Chroma, strokes: Grey) -> View:
        """Return the view without ink of another colour than strokes, which are marked by 1 at any resolution."""
        known = np.pad(resized(strokes, self.without_margin(self.darkness).shape), MARGIN)
        other = other_ink(self.darkness, self.chroma(chroma), known)
        return self if other is None else self.without_ink(other)

    def chroma(self, chroma: Chroma) -> Chroma:
        """Bring the chroma of the image to the view."""

        def seen(plane: Grey) -> Grey:
            size = (self.darkness.shape[1] - 2 * MARGIN, self.darkness.shape[0] - 2 * MARGIN)
            part = np.asarray(cv2.resize(self.box.of(plane), size, interpolation=cv2.INTER_AREA), np.uint8)
            return np.pad(part, MARGIN, mode="edge")

        return chroma.through(seen)

    def frames(self, near: Grey, signatures: Sequence[Box]) -> list[Frame]:
        """Find the frames of stamps, in pixels of the image.

        Parameters
        ----------
        near : uint8 (h, w)
            1 where they are searched.
        signatures : sequence of Box
            Where signatures may be, in pixels of the view.
        """
        scale = 1.0 / self.scale
        left, top = self.box.left - MARGIN * scale, self.box.top - MARGIN * scale
        return [frame.mapped(scale, left, top) for frame in find_frames(self.darkness * near, signatures)]

    def with_contrast(self) -> View:
        """Return the view with a darkness at which faint ink is black: that of most ink becomes 255."""
        inked = self.darkness[self.darkness > INK]
        if not inked.size:
            return self
        black = float(np.percentile(inked, BLACK))
        return replace(
            self, darkness=np.asarray(cv2.convertScaleAbs(self.darkness, alpha=255.0 / black), np.uint8)
        )

    def without_margin(self, layer: Grey) -> Grey:
        """Cut the margin off an image of the size of the view."""
        return layer[MARGIN:-MARGIN, MARGIN:-MARGIN]


def resized(strokes: Grey, shape: tuple[int, ...]) -> Grey:
    """Bring marked strokes to the resolution of a look at a crop."""
    return np.asarray(cv2.resize(strokes, shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def look(grey: Grey, box: Box, side: float, *, with_contrast: bool = False) -> View:
    """Look at a part of an image at a scale at which its long side has ``side`` pixels.

    ``with_contrast``: faint ink is made black (:meth:`View.with_contrast`).
    """
    part = box.of(grey)
    scale = min(MAX_ENLARGEMENT, side / max(part.shape))
    size = (max(8, round(part.shape[1] * scale)), max(8, round(part.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    page = np.asarray(cv2.resize(part, size, interpolation=method), np.uint8)
    darkness = darkness_of(page)
    view = View(_framed(darkness), scale, box)
    return view.with_contrast() if with_contrast else view


def _framed(layer: Grey) -> Grey:
    """Add the margin."""
    return np.asarray(
        cv2.copyMakeBorder(layer, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=0), np.uint8
    )


def darkness_of(page: Grey) -> Grey:
    """Darkness relative to the paper, 255 = black; light writing on a dark ground is inverted."""
    page = 255 - page if is_light_on_dark(page) else page
    return relative_darkness(page, paper(page))


def first_look(located: Located, side: int) -> tuple[Grey, Grey]:
    """Reduce the ink of an image to ``side`` pixels on its long side, with a margin of paper.

    Returns
    -------
    darkness, ink : uint8 (h, w)
        ``ink`` is 1 where the ink is, without rulings, frames and specks.
    """
    box = Box.bounding(located.mask).grown(4).clipped(located.mask.shape)
    scale = min(MAX_ENLARGEMENT, side / max(box.width, box.height))
    size = (max(8, round(box.width * scale)), max(8, round(box.height * scale)))
    method = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    darkness, ink = (
        _framed(np.asarray(cv2.resize(box.of(layer), size, interpolation=method), np.uint8))
        for layer in (located.darkness, located.mask * np.uint8(255))
    )
    return darkness, (ink > 60).view(np.uint8)


def ink_box(located: Located, shape: tuple[int, ...]) -> Box:
    """Box of the ink of an image of (height, width), in its pixels."""
    return Box.bounding(located.mask).grown(4).scaled(1.0 / located.scale).clipped(shape)
