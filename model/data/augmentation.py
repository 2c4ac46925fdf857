"""Augmentation of isolated ink: variations that pens, scanners and genuine writing cause.

Strokes are thickened or thinned at the resolution of the crop. A single affine transformation then maps the crop to
the canvas, so that it is resampled only once. Effects of scanners are added on the canvas. With :data:`NONE`, the
result is identical to that of :func:`model.preprocessing.ink.fit`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from model.preprocessing.ink import Canvas, placement
from model.preprocessing.segmentation import shrink

Pixels = NDArray[np.uint8]
Affine = NDArray[np.float64]

INK_LEVEL = 96
"""Minimum density of ink pixels in measurements of strokes; in [0, 255]."""


class Augmentation(BaseModel):
    """Ranges and probabilities of the augmentations. If all values are 0, nothing is changed.

    The defaults follow published work: rotation within 8 degrees, scale within 0.1, mild elastic deformation,
    dilation and erosion of strokes, JPEG compression and blur.

    Attributes
    ----------
    rotation : float
        Maximum angle in degrees.
    scale, aspect : float
        Maximum change of the logarithm.
    shear : float
        Maximum slope.
    shift : float
        Maximum shift as a share of the canvas.
    stroke : float
        Maximum change of the stroke width, in pixels of a crop whose larger side has 400 pixels.
    gamma : float
        Maximum change of the logarithm of gamma.
    blur, noise, jpeg, bitonal, elastic, erase : float
        Probabilities.
    ink : float
        Probability of :func:`spread_ink`, which simulates another pen or threshold.
    uneven : float
        Probability that the darkness varies over the signature.
    perturb : float
        Strength of :func:`model.synthetic.pen.perturb` for recorded trajectories.
    widths : (float, float) or None
        Minimum and maximum stroke width in pixels of the canvas. Each crop is changed to a width drawn from this
        range (log-uniform), regardless of its original width. If genuine signatures and forgeries were written with
        different pens, ``stroke`` alone would not remove the difference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rotation: float = Field(default=8.0, ge=0, le=45)
    scale: float = Field(default=0.1, ge=0, le=0.7)
    aspect: float = Field(default=0.08, ge=0, le=0.5)
    shear: float = Field(default=0.1, ge=0, le=1)
    shift: float = Field(default=0.03, ge=0, le=0.3)
    stroke: float = Field(default=2.0, ge=0, le=6)
    gamma: float = Field(default=0.4, ge=0, le=2)
    blur: float = Field(default=0.2, ge=0, le=1)
    noise: float = Field(default=0.2, ge=0, le=1)
    jpeg: float = Field(default=0.1, ge=0, le=1)
    bitonal: float = Field(default=0.1, ge=0, le=1)
    elastic: float = Field(default=0.2, ge=0, le=1)
    erase: float = Field(default=0.0, ge=0, le=1)
    ink: float = Field(default=0.0, ge=0, le=1)
    uneven: float = Field(default=0.0, ge=0, le=1)
    perturb: float = Field(default=1.0, ge=0, le=3)
    widths: tuple[float, float] | None = None


NONE = Augmentation(
    rotation=0,
    scale=0,
    aspect=0,
    shear=0,
    shift=0,
    stroke=0,
    gamma=0,
    blur=0,
    noise=0,
    jpeg=0,
    bitonal=0,
    elastic=0,
    perturb=0,
)


def random_affine(rng: np.random.Generator, canvas: Canvas, ranges: Augmentation) -> Affine:
    """Draw an affine transformation about the centre of the canvas, in pixels: float64 (2, 3)."""
    angle = math.radians(rng.uniform(-ranges.rotation, ranges.rotation))
    scale = math.exp(rng.uniform(-ranges.scale, ranges.scale))
    aspect = math.exp(rng.uniform(-ranges.aspect, ranges.aspect) / 2.0)
    shear = rng.uniform(-ranges.shear, ranges.shear)
    rotate = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = scale * rotate @ np.array([[aspect, shear], [0.0, 1.0 / aspect]])
    shift = rng.uniform(-ranges.shift, ranges.shift, size=2) * (canvas.width, canvas.height)
    return np.column_stack([linear, shift])


def augment_crop(density: Pixels, canvas: Canvas, ranges: Augmentation, rng: np.random.Generator) -> Pixels:
    """Augment isolated ink: ``(h, w) uint8`` to ``(canvas.height, canvas.width) uint8``, ink = 255."""
    place = placement(density, canvas)
    if ranges.widths is not None:
        low, high = np.log(ranges.widths)
        density = bring_to_width(density, float(np.exp(rng.uniform(low, high))) / float(place[0, 0]))
    source = change_strokes(density, ranges.stroke, rng)
    affine = random_affine(rng, canvas, ranges)
    on_canvas = _warp(source, place, affine, canvas)
    return age_scan(on_canvas, ranges, rng)


def change_strokes(density: Pixels, reach: float, rng: np.random.Generator) -> Pixels:
    """Thicken or thin strokes by a random amount, including fractions of a pixel.

    Parameters
    ----------
    density : uint8 (h, w)
        0 = paper, 255 = ink.
    reach : float
        Maximum amount in pixels of a crop whose larger side has 400 pixels.
    rng : numpy Generator
    """
    if reach <= 0:
        return density
    amount = rng.uniform(-reach, reach) * max(density.shape) / 400.0
    whole = math.ceil(abs(amount))
    if whole == 0:
        return density
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * ((whole + 1) // 2) + 1,) * 2)
    operation = cv2.dilate if amount > 0 else cv2.erode
    changed = operation(density, kernel)
    share = abs(amount) / (2 * ((whole + 1) // 2))
    if amount < 0:
        share *= 0.7  # thin strokes must remain visible
    return np.asarray(cv2.addWeighted(changed, share, density, 1.0 - share, 0.0), dtype=np.uint8)


def stroke_width(density: Pixels) -> float:
    """Estimate the mean stroke width in pixels: twice the area divided by the length of the outline."""
    mask = (density > INK_LEVEL).astype(np.uint8)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    ink = cv2.countNonZero(mask)
    return 2.0 * ink / max(1, ink - cv2.countNonZero(inner))


def bring_to_width(density: Pixels, width: float) -> Pixels:
    """Change the stroke width of isolated ink.

    The outline of the strokes is moved by a constant distance. If strokes are thinned, their centre line is kept.

    Parameters
    ----------
    density : uint8 (h, w)
        0 = paper, 255 = ink.
    width : float
        Mean stroke width of the result, in pixels of the crop.

    Returns
    -------
    uint8 (h, w)
    """
    mask = (density > INK_LEVEL).astype(np.uint8)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)
    signed = np.where(mask > 0, 0.5 - inside, outside - 0.5)
    ridge = (mask > 0) & (inside >= cv2.dilate(inside, np.ones((3, 3), np.uint8)) - 0.01)

    def move_outline(by: float) -> Pixels:
        cover = np.clip(by - signed + 0.5, 0.0, 1.0)
        if by <= 0:
            return np.asarray(np.rint(np.maximum(cover, 0.7 * ridge) * density), dtype=np.uint8)
        reach = 2 * math.ceil(by + 0.5) + 1
        tone = cv2.dilate(density, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
        return np.asarray(np.rint(cover * tone), dtype=np.uint8)

    by = (width - stroke_width(density)) / 2.0
    # Curved and crossing strokes grow by less than twice the distance, so the remaining difference is added once.
    return move_outline(by + (width - stroke_width(move_outline(by))) / 2.0)


def age_scan(canvas: Pixels, ranges: Augmentation, rng: np.random.Generator) -> Pixels:
    """Apply elastic deformation, darkness, blur, noise, JPEG, thresholding and gaps: uint8 (h, w), ink = 255."""
    # All random numbers are drawn even if unused, so that one setting does not change the numbers of the others.
    elastic, blur, noise, jpeg, bitonal, erase, ink, uneven = rng.random(8)
    gamma = math.exp(rng.uniform(-ranges.gamma, ranges.gamma))
    strength = rng.random(4)
    out = canvas
    if elastic < ranges.elastic:
        out = _elastic(out, rng)
    if ink < ranges.ink:
        out = spread_ink(out, rng)
    if uneven < ranges.uneven:
        out = _fade(out, rng)
    if ranges.gamma > 0:
        table = (255.0 * (np.arange(256) / 255.0) ** gamma).round().astype(np.uint8)
        out = np.asarray(cv2.LUT(out, table), dtype=np.uint8)
    if blur < ranges.blur:
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), 0.3 + 0.7 * strength[0]), dtype=np.uint8)
    if noise < ranges.noise:
        grain = rng.standard_normal(out.shape, dtype=np.float32) * np.float32(6.0 + 24.0 * strength[1])
        # After the isolation, paper is uniformly white, so noise is added in strokes and at their edges only.
        out = np.clip(out + grain * (out > 16), 0, 255).astype(np.uint8)
    if jpeg < ranges.jpeg:
        _, coded = cv2.imencode(".jpg", 255 - out, [cv2.IMWRITE_JPEG_QUALITY, int(25 + 60 * strength[2])])
        out = np.asarray(255 - np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)), dtype=np.uint8)
    if bitonal < ranges.bitonal:
        level = int(70 + 90 * strength[3])
        out = np.where(out > level, 255, 0).astype(np.uint8)
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), 0.5), dtype=np.uint8)
    if erase < ranges.erase:
        out = _erase(out, rng)
    return out


def spread_ink(canvas: Pixels, rng: np.random.Generator) -> Pixels:
    """Simulate another pen, paper or threshold: blur, then a steeper or flatter transition from paper to ink."""
    soft = cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))
    gain = math.exp(rng.uniform(math.log(0.9), math.log(4.0)))
    bias = rng.uniform(0.0, 40.0) if gain > 1.5 else 0.0
    changed = np.clip((soft - bias) * gain, 0.0, 255.0)
    inked = changed[changed > 20.0]
    full = float(np.percentile(inked, 90)) if inked.size else 255.0
    return np.asarray(np.clip(changed * (255.0 / max(full, 30.0)), 0, 255), dtype=np.uint8)


def _fade(canvas: Pixels, rng: np.random.Generator) -> Pixels:
    """Vary the darkness smoothly between 0.55 and 1, as with uneven pressure or a ballpoint low on ink."""
    height, width = canvas.shape
    field = rng.uniform(0.55, 1.0, (5, 10)).astype(np.float32)
    share = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(canvas * share, 0, 255), dtype=np.uint8)


def _warp(density: Pixels, place: Affine, affine: Affine, canvas: Canvas) -> Pixels:
    """Place the crop on the canvas and apply ``affine`` about the centre, in one resampling."""
    centre = np.array([(canvas.width - 1) / 2.0, (canvas.height - 1) / 2.0])
    linear = affine[:, :2] @ place[:, :2]
    shift = affine[:, :2] @ place[:, 2] + (centre - affine[:, :2] @ centre) + affine[:, 2]
    matrix = np.column_stack([linear, shift])
    scale = math.sqrt(abs(float(np.linalg.det(linear))))
    source = density
    if scale < 0.5:  # average areas first, as model.preprocessing.ink.fit does
        source, reduced = shrink(density, max(1, round(max(density.shape) * scale * 1.5)))
        matrix[:, :2] /= reduced
    out = cv2.warpAffine(
        source, matrix, (canvas.width, canvas.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(out, dtype=np.uint8)


def _elastic(canvas: Pixels, rng: np.random.Generator) -> Pixels:
    """Displace pixels smoothly, by up to about 2 % of the canvas, using an upsampled random field."""
    height, width = canvas.shape
    field = rng.standard_normal((2, 4, 6)).astype(np.float32) * np.float32(0.01 * height)
    dx, dy = (cv2.resize(f, (width, height), interpolation=cv2.INTER_CUBIC) for f in field)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(canvas, x + dx, y + dy, cv2.INTER_LINEAR), dtype=np.uint8)


def _erase(canvas: Pixels, rng: np.random.Generator) -> Pixels:
    """Erase a narrow band, as where a pen skipped or a ruling was removed together with the ink on it."""
    height, width = canvas.shape
    out = canvas.copy()
    thickness = int(rng.integers(1, max(2, height // 16)))
    if rng.random() < 0.7:
        top = int(rng.integers(0, height - thickness))
        out[top : top + thickness] = 0
    else:
        left, span = int(rng.integers(0, width)), int(rng.integers(4, max(5, width // 8)))
        out[:, left : left + span] = 0
    return out
