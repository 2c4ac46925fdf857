"""Pictures of what the network compared: difference maps with a legend, and overlays."""

from __future__ import annotations

import io
import math

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.decoding.pool import Picture
from model.decision.differences import LEVELS, colours, upsample
from model.decision.distances import Floats
from model.preprocessing.ink import ink_moments

Grey = NDArray[np.uint8]
ENLARGED = 4
"""Pixels of a picture, along each axis, for a pixel of the canvas."""
QUESTIONED_COLOUR, REFERENCE_COLOUR = (11, 61, 145), (179, 38, 30)
"""Colours of an overlay, as at the desk: blue and red, which overlap to a dark violet."""
_FAINT = (120, 150, 190)
_LEGEND_HEIGHT = 60
_NEAR = 6
"""Pixels of the canvas around ink that are coloured: a cell has 8."""


def draw_layer(differences: Floats, questioned: Grey, reference: Grey | None = None) -> Picture:
    """Draw a map without ink, as an overlay for the questioned signature. It is coloured near ink only.

    Parameters
    ----------
    differences : (rows, columns) float64
        Multiples of the usual contribution.
    questioned : uint8 (height, width)
        The questioned signature on the canvas, ink = 255; centre and spread of the picture are those of its ink.
    reference : uint8 (height, width), optional
        It is coloured near the ink of this reference as well.
    """
    height, width = (ENLARGED * side for side in questioned.shape)
    x, y, sigma_x, sigma_y = ink_moments(questioned)
    centre = ENLARGED * (x + 0.5) - 0.5, ENLARGED * (y + 0.5) - 0.5
    image = _ground(differences, questioned, reference)
    return Picture(_png(_rounded(image)), width, height, centre, ENLARGED * math.hypot(sigma_x, sigma_y))


def draw_differences(differences: Floats, questioned: Grey, reference: Grey | None = None) -> bytes:
    """Draw a map under the ink of the questioned signature, with a legend: PNG.

    Parameters
    ----------
    differences : (rows, columns) float64
        Multiples of the usual contribution.
    questioned : uint8 (height, width)
        Ink = 255, drawn black.
    reference : uint8 (height, width), optional
        Drawn faintly below.
    """
    ground = _ground(differences, questioned, reference)
    if reference is not None:
        ground = _inked(ground, reference, _FAINT)
    return _png(
        np.concatenate([_rounded(_inked(ground, questioned, (0, 0, 0))), _legend(questioned.shape[1])])
    )


def draw_overlay(questioned: Grey, reference: Grey) -> bytes:
    """Draw two signatures on the canvas over each other, the questioned one blue, the reference red: PNG."""
    paper = np.full((ENLARGED * questioned.shape[0], ENLARGED * questioned.shape[1], 3), 255.0)
    return _png(_rounded(_inked(_inked(paper, reference, REFERENCE_COLOUR), questioned, QUESTIONED_COLOUR)))


def _ground(differences: Floats, questioned: Grey, reference: Grey | None) -> Floats:
    """Colour a map near the ink: (height, width, 3) float64 in [0, 255], enlarged."""
    ink = questioned if reference is None else np.maximum(questioned, reference)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _NEAR + 1, 2 * _NEAR + 1))
    near = cv2.GaussianBlur(cv2.dilate((ink > 40).astype(np.float32), disc), (0, 0), _NEAR / 4)
    height, width = (ENLARGED * side for side in questioned.shape)
    share = np.asarray(cv2.resize(near, (width, height), interpolation=cv2.INTER_LINEAR), np.float64)[
        ..., None
    ]
    coloured = colours(upsample(differences, height, width)).astype(np.float64)
    return np.asarray(255.0 + share * (coloured - 255.0), dtype=np.float64)


def picture_size(image: bytes) -> tuple[int, int]:
    """Return width and height of a picture in pixels."""
    with Image.open(io.BytesIO(image)) as opened:
        return opened.size


def _inked(ground: Floats, canvas: Grey, colour: tuple[int, int, int]) -> Floats:
    """Multiply a ground (height, width, 3) by transparent ink of a colour."""
    size = (ground.shape[1], ground.shape[0])
    density = (
        np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_CUBIC), np.float64)[..., None] / 255.0
    )
    shade = 1.0 - np.clip(density, 0.0, 1.0) * (1.0 - np.asarray(colour) / 255.0)
    return np.asarray(ground * shade, dtype=np.float64)


def _legend(columns: int) -> Grey:
    """Draw the scale of the colours: uint8 (height, width, 3)."""
    width = ENLARGED * columns
    image = Image.new("RGB", (width, _LEGEND_HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    first, last = math.log2(LEVELS[0]) - 1.0, math.log2(LEVELS[-1])
    left, right = width // 8, width - width // 8
    ramp = colours(2.0 ** np.linspace(first, last, right - left))
    image.paste(Image.fromarray(np.repeat(ramp[None], 20, axis=0)), (left, 4))
    draw.rectangle((left - 1, 3, right, 24), outline="#555555")
    for level in (2.0**first, *LEVELS):
        x = left + (right - left) * (math.log2(level) - first) / (last - first)
        draw.line((x, 24, x, 29), fill="#555555")
        draw.text((x, 31), f"{level:g} \u00d7", fill="#000000", anchor="ma", font_size=22)
    return np.asarray(image, dtype=np.uint8)


def _rounded(image: Floats) -> Grey:
    return np.asarray(np.round(image), dtype=np.uint8)


def _png(image: Grey) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()
