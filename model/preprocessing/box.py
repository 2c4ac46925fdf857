"""Rectangles in pixels of an image."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from model.preprocessing.segmentation import Grey

Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of an image; right and bottom are the first pixels outside."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, image: Grey) -> Box:
        """Return the box of a whole image."""
        return cls(0, 0, image.shape[1], image.shape[0])

    @classmethod
    def bounding(cls, mask: NDArray[np.uint8]) -> Box:
        """Return the smallest box around the pixels of a mask that are not 0; empty if there are none."""
        x, y, width, height = cv2.boundingRect(mask)
        return cls(x, y, x + width, y + height)

    @classmethod
    def enclosing(cls, boxes: Iterable[Box]) -> Box:
        """Return the smallest box around others; there is one at least."""
        lefts, tops, rights, bottoms = zip(*(box.as_tuple() for box in boxes), strict=True)
        return cls(min(lefts), min(tops), max(rights), max(bottoms))

    def moved(self, right: int, down: int) -> Box:
        """Return the box moved by so many pixels."""
        return Box(self.left + right, self.top + down, self.right + right, self.bottom + down)

    def scaled(self, factor: float) -> Box:
        """Return the box in an image that is ``factor`` times as large, rounded outwards."""
        return Box(
            math.floor(self.left * factor),
            math.floor(self.top * factor),
            math.ceil(self.right * factor),
            math.ceil(self.bottom * factor),
        )

    def clipped(self, shape: tuple[int, ...]) -> Box:
        """Return the part of the box inside an image of (height, width)."""
        height, width = shape[:2]
        return Box(max(0, self.left), max(0, self.top), min(width, self.right), min(height, self.bottom))

    def grown(self, rim: float) -> Box:
        """Return the box with a rim of ``rim`` pixels."""
        by = math.ceil(rim)
        return Box(self.left - by, self.top - by, self.right + by, self.bottom + by)

    def through(self, matrix: NDArray[np.floating]) -> Box:
        """Return the upright box that encloses this one after a homography (3, 3), rounded outwards."""
        corners = [
            [self.left, self.top],
            [self.right, self.top],
            [self.right, self.bottom],
            [self.left, self.bottom],
        ]
        moved = cv2.perspectiveTransform(np.array([corners], np.float64), matrix)[0]
        (left, top), (right, bottom) = np.floor(moved.min(axis=0)), np.ceil(moved.max(axis=0))
        return Box(int(left), int(top), int(right), int(bottom))

    def overlap(self, other: Box) -> float:
        """Return the area that two boxes have in common over the area that they cover together, in [0, 1]."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        common = max(0, wide) * max(0, high)
        return common / (self.width * self.height + other.width * other.height - common)

    def contains(self, other: Box) -> bool:
        """Whether another box lies within this one."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )

    def of(self, image: NDArray[Pixel]) -> NDArray[Pixel]:
        """Cut the box out of an image."""
        return image[self.top : self.bottom, self.left : self.right]

    def padded(self, image: NDArray[Pixel]) -> NDArray[Pixel]:
        """Copy the box out of an image (h, w); it is 0 where the box extends beyond the image."""
        copy = np.zeros((self.height, self.width), image.dtype)
        inside = self.clipped(image.shape)
        if inside.width > 0 and inside.height > 0:
            inside.moved(-self.left, -self.top).of(copy)[:] = inside.of(image)
        return copy

    def as_tuple(self) -> tuple[int, int, int, int]:
        """Return left, top, right, bottom."""
        return self.left, self.top, self.right, self.bottom

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.bottom - self.top
