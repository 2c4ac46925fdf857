"""From a grey scan to the ink of a signature on a canvas of fixed size: the one preprocessing there is.

Training, calibration and the service all go through :func:`isolate` and :func:`fit`; nothing else touches
pixels in between. Two halves:

1. :func:`isolate` removes what paper, lighting, scanner and pen colour leave behind: the background is
   flattened to white, ink is located by hysteresis thresholds, rulings and specks are taken out, and the ink's
   darkness is normalised by its own 90th percentile. What stays is the relative darkness within the strokes.
2. :func:`fit` puts that ink on a canvas, centred and scaled by its moments or its bounding box, aspect kept.

Both are pure: arrays in, arrays out, the same bytes for the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import OnlyALine, TooLittleInk, TooSmall
from model.preprocessing.segmentation import (
    INK_PERCENTILE,
    MIN_INK_PIXELS,
    Grey,
    is_light_on_dark,
    locate,
    paper,
    percentiles,
    relative_darkness,
    shrink,
    without_rulings,
    without_specks,
)

CODE_VERSION = 1
"""Raised whenever the output of this module changes: caches and cards carry it."""

LOCATE_SIDE = 640  # px; long side at which ink is looked for on a page
CROP_SIDE = 400  # px; long side of the isolated ink: some three times what networks see
MIN_SIDE = 16  # px

A_SPECK = "There is only a speck of ink on the image; upload a scan that shows the whole signature."


@dataclass(frozen=True)
class Quality:
    """What the isolation saw, for the caller who wants to know how good a scan is.

    Attributes
    ----------
    ink_pixels : int
        Pixels of ink, at the resolution of the upload.
    width_px, height_px : int
        Size of the writing at the resolution of the upload.
    stroke_width_px : float
        Mean stroke width at the resolution of the upload.
    contrast : float
        Ink against paper in [0, 1]: 0 is invisible, 1 is black on white.
    inverted : bool
        Whether light writing on a dark ground was turned round.
    warnings : tuple of str
        Codes of what may make the comparison less reliable: ``low-resolution``, ``low-contrast``,
        ``touches-edge``, ``ruled-line-removed``, ``inverted``, ``other-marks-removed``, ``other-signatures``,
        ``sheet-rectified``, ``page-straightened``, ``page-turned``, ``red-print-removed``,
        ``signature-not-located``, ``uncertain-region``.
    region : tuple of four ints or None
        Left, top, right and bottom of the part of the page that the signature was cut out of, in pixels; None if the
        image was used as a whole.
    """

    ink_pixels: int
    width_px: int
    height_px: int
    stroke_width_px: float
    contrast: float
    inverted: bool
    warnings: tuple[str, ...] = ()
    region: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Ink:
    """Isolated ink: ``density`` is (height, width) uint8, 0 = paper, 255 = full ink, cropped to the writing."""

    density: Grey
    quality: Quality


@dataclass(frozen=True)
class Canvas:
    """The frame that a network looks at.

    Attributes
    ----------
    height, width : int
        Pixels.
    method : {"box", "moments"}
        ``box`` letterboxes the ink's bounding box; ``moments`` centres the ink's centroid and scales by its
        standard deviations, so that one long flourish does not shrink the rest.
    fill : float
        Share of the canvas that the box, or 4.4 standard deviations, may take, in (0, 1].
    """

    height: int
    width: int
    method: Literal["box", "moments"] = "moments"
    fill: float = 0.9


@dataclass(frozen=True)
class Prepared:
    """A signature ready for the network: ``canvas`` is (height, width) uint8, ink = 255."""

    canvas: Grey
    quality: Quality


def prepare(grey: Grey, canvas: Canvas) -> Prepared:
    """Isolate the ink of a scan and put it on a network's canvas; raises as :func:`isolate` does."""
    ink = isolate(grey)
    return Prepared(fit(ink.density, canvas), ink.quality)


@dataclass(frozen=True)
class Located:
    """Where the ink of an image is, on a copy of it whose long side has at most :data:`LOCATE_SIDE` pixels.

    Attributes
    ----------
    scale : float
        Pixels of the copy to a pixel of the image, at most 1.
    inverted : bool
        Whether light writing on a dark ground was turned round.
    ground : uint8 (h, w)
        Brightness of the paper, after that.
    darkness : uint8 (h, w)
        Darkness relative to the paper, 255 = black.
    mask : uint8 (h, w)
        1 = ink without rulings, frames and specks; there is some.
    contrast : float
        Ink against paper in [0, 1].
    ruled : bool
        Whether a ruled line was taken out.
    """

    scale: float
    inverted: bool
    ground: Grey
    darkness: Grey
    mask: Grey
    contrast: float
    ruled: bool


def locate_ink(grey: Grey, keep: Grey | None = None) -> Located:
    """Locate the ink of an image: the first half of :func:`isolate`, with the same parameters.

    Raises
    ------
    TooSmall, BlankImage, TooLittleInk, TooMuchInk
    """
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise ValueError(f"expected a (height, width) uint8 array, got {grey.shape} {grey.dtype}")
    if min(grey.shape) < MIN_SIDE:
        raise TooSmall(
            f"The image is {grey.shape[1]} x {grey.shape[0]} pixels; a signature needs at least "
            f"{MIN_SIDE} in each direction and is best scanned at 300 dpi."
        )
    page, scale = shrink(grey, LOCATE_SIDE)
    inverted = is_light_on_dark(page)
    page = 255 - page if inverted else page
    ground = paper(page)
    darkness = relative_darkness(page, ground)
    if keep is not None:
        kept = _resized(keep, (darkness.shape[1], darkness.shape[0]), cv2.INTER_LINEAR)
        darkness = np.where(kept > 127, darkness, np.uint8(0))
    parts, contrast = locate(darkness)
    parts, ruled = without_rulings(parts)
    mask = without_specks(parts).mask
    if not mask.any():
        raise TooLittleInk(A_SPECK)
    return Located(scale, inverted, ground, darkness, mask, contrast, ruled)


def isolate(grey: Grey, keep: Grey | None = None, located: Located | None = None) -> Ink:
    """Isolate the ink of the signature in a scan.

    Parameters
    ----------
    grey : uint8 (height, width)
        255 = white. Light writing on a dark ground is recognised and inverted.
    keep : uint8 (h, w), optional
        255 where the signature is, 0 where ink is left out, in a resolution of its own; all ink is kept without it.
    located : Located, optional
        What :func:`locate_ink` returned for these parameters, if that was computed before.

    Raises
    ------
    TooSmall, BlankImage, TooLittleInk, OnlyALine, TooMuchInk
        All are :class:`model.errors.UnusableSignature`.
    """
    where = located or locate_ink(grey, keep)
    mask, darkness, page_scale = where.mask, where.darkness, where.scale
    spread = _spread(mask)
    _refuse_unusable(spread, mask.shape)

    top, bottom, left, right = spread.bounds
    # Cut the writing out of the best resolution there is, with a rim for the stroke's soft edge.
    y0, y1, x0, x1 = _grow((top, bottom, left, right), 3, mask.shape)
    if page_scale < 1.0 and max(y1 - y0, x1 - x0) < CROP_SIDE:
        fy0, fy1, fx0, fx1 = (round(v / page_scale) for v in (y0, y1, x0, x1))
        fine = grey[fy0:fy1, fx0:fx1]
        fine, _ = shrink(255 - fine if where.inverted else fine, CROP_SIDE)
        size = (fine.shape[1], fine.shape[0])
        ground_crop = _resized(where.ground[y0:y1, x0:x1], size, cv2.INTER_LINEAR)
        darkness_crop = relative_darkness(fine, ground_crop)
        mask_crop = _resized(mask[y0:y1, x0:x1], size, cv2.INTER_NEAREST)
    else:
        darkness_crop, _ = shrink(darkness[y0:y1, x0:x1], CROP_SIDE)
        size = (darkness_crop.shape[1], darkness_crop.shape[0])
        mask_crop = _resized(mask[y0:y1, x0:x1], size, cv2.INTER_NEAREST)

    density = _normalise(darkness_crop, mask_crop)
    quality = Quality(
        ink_pixels=round(spread.ink / page_scale**2),
        width_px=round((right - left) / page_scale),
        height_px=round((bottom - top) / page_scale),
        stroke_width_px=round(spread.stroke / page_scale, 2),
        contrast=round(where.contrast, 3),
        inverted=where.inverted,
        warnings=_warnings(where, max(bottom - top, right - left) / page_scale),
    )
    return Ink(density, quality)


def fit(density: Grey, canvas: Canvas) -> Grey:
    """Put isolated ink on a canvas, aspect kept: uint8 (canvas.height, canvas.width), 0 = paper, 255 = ink."""
    matrix = placement(density, canvas)
    scale = float(matrix[0, 0])
    source = density
    if scale < 0.5:
        # warpAffine samples four neighbours only; below one half, strokes would break up without
        # an area average.
        source, reduced = shrink(density, max(1, round(max(density.shape) * scale * 1.5)))
        matrix = matrix.copy()
        matrix[:, :2] /= reduced
    out = cv2.warpAffine(
        source, matrix, (canvas.width, canvas.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(out, dtype=np.uint8)


def placement(density: Grey, canvas: Canvas) -> NDArray[np.float64]:
    """The 2 x 3 affine matrix that :func:`fit` applies: density pixels to canvas pixels, one scale, no rotation."""
    height, width = density.shape
    if canvas.method == "box":
        scale = min(canvas.width * canvas.fill / width, canvas.height * canvas.fill / height)
        centre_x, centre_y = (width - 1) / 2.0, (height - 1) / 2.0
    else:
        centre_x, centre_y, sigma_x, sigma_y = ink_moments(density)
        # A uniform box has a standard deviation of its side / sqrt(12) = side / 3.46; writing
        # tapers, hence 4.4.
        scale = min(
            canvas.width * canvas.fill / (4.4 * sigma_x + 1.0),
            canvas.height * canvas.fill / (4.4 * sigma_y + 1.0),
        )
    return np.array(
        [
            [scale, 0.0, (canvas.width - 1) / 2.0 - scale * centre_x],
            [0.0, scale, (canvas.height - 1) / 2.0 - scale * centre_y],
        ]
    )


def ink_moments(density: Grey) -> tuple[float, float, float, float]:
    """Centroid and standard deviations (x, y, sigma x, sigma y) of the ink, in pixels."""
    columns = density.sum(axis=0, dtype=np.float64)
    rows = density.sum(axis=1, dtype=np.float64)
    total = max(1.0, float(columns.sum()))
    (mean_x, squares_x), (mean_y, squares_y) = _about_mean(columns, total), _about_mean(rows, total)
    return mean_x, mean_y, float(np.sqrt(squares_x / total)), float(np.sqrt(squares_y / total))


def _about_mean(profile: NDArray[np.float64], total: float) -> tuple[float, float]:
    """Mean position of the ink that a row or column profile counts, and the sum of squares about it."""
    at = np.arange(len(profile))
    mean = float(profile @ at) / total
    return mean, float(profile @ (at - mean) ** 2)


@dataclass(frozen=True)
class _Spread:
    """Where the ink of a mask lies, in its pixels.

    Attributes
    ----------
    ink : int
        Pixels of ink.
    bounds : tuple of int
        Top, bottom, left and right; bottom and right are the first without ink.
    major, minor : float
        Standard deviations along the principal axes.
    stroke : float
        Mean width of the strokes.
    """

    ink: int
    bounds: tuple[int, int, int, int]
    major: float
    minor: float
    stroke: float


def _spread(mask: Grey) -> _Spread:
    ink = cv2.countNonZero(mask)
    if ink < MIN_INK_PIXELS:
        raise TooLittleInk(A_SPECK)
    # Sums of at most 640 columns' numbers are exact in float32, and its products are BLAS'.
    dots = mask.astype(np.float32)
    height, width = mask.shape
    x = np.arange(width, dtype=np.float32)
    in_row, times_x = (dots @ np.stack([np.ones_like(x), x], axis=1)).astype(np.float64).T
    in_column = (np.ones(height, np.float32) @ dots).astype(np.float64)
    _, across = _about_mean(in_column, ink)
    mean_y, down = _about_mean(in_row, ink)
    both = times_x @ (np.arange(height) - mean_y)
    least, most = np.linalg.eigvalsh(np.array([[across, both], [both, down]]) / (ink - 1))
    rows, columns = np.flatnonzero(in_row), np.flatnonzero(in_column)
    return _Spread(
        ink=ink,
        bounds=(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1),
        major=float(np.sqrt(most)),
        minor=float(np.sqrt(max(least, 0.0))),
        stroke=ink / max(1.0, _edge_length(mask, ink) / 2.0),
    )


def _refuse_unusable(spread: _Spread, shape: tuple[int, ...]) -> None:
    major, minor, stroke = spread.major, spread.minor, spread.stroke
    if major < 2.5 * max(1.0, stroke) and major < 0.08 * max(shape):
        raise TooLittleInk(A_SPECK)
    if minor < 0.025 * major or (minor < 0.05 * major and minor < 0.75 * stroke):
        raise OnlyALine(
            "All the ink on the image is one straight line; upload a scan of the signature, not of its ruling."
        )
    if (
        6.93 * max(minor, 0.5 * major) < MIN_SIDE
    ):  # 2 * sqrt(12) standard deviations: twice the side of a uniform box
        raise TooSmall(
            "The writing is only a few pixels high; scan it at 300 dpi, or upload a larger crop of it."
        )


def _resized(image: Grey, size: tuple[int, int], interpolation: int) -> Grey:
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.uint8)


def _edge_length(mask: Grey, ink: int) -> float:
    """Length of the outline in pixels (both sides of every stroke) of a mask with so many pixels of ink."""
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return float(ink - cv2.countNonZero(inner))


def _grow(box: tuple[int, int, int, int], rim: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    top, bottom, left, right = box
    return max(0, top - rim), min(shape[0], bottom + rim), max(0, left - rim), min(shape[1], right + rim)


def _normalise(darkness: Grey, mask: Grey) -> Grey:
    """Scale darkness so that the ink's 90th percentile is 255 and paper 0; wipe what lies off the strokes."""
    inside = darkness[mask > 0]
    full = percentiles(inside, INK_PERCENTILE)[0] if inside.size else 255.0
    near = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    # The soft edge below a tenth of full ink is lens blur and JPEG ringing.
    floor = 0.1 * full
    scaled = (np.arange(256, dtype=np.float32) - floor) * (255.0 / max(1.0, full - floor))
    return np.asarray(cv2.LUT(darkness, np.clip(scaled, 0, 255).astype(np.uint8)) * near, dtype=np.uint8)


def _warnings(where: Located, side: float) -> tuple[str, ...]:
    """What to warn of; `side` is the writing's longer one at the resolution of the upload."""
    found, mask = [], where.mask
    if side < 100:
        found.append("low-resolution")
    if where.contrast < 0.25:
        found.append("low-contrast")
    edges = int(mask[0].sum()) + int(mask[-1].sum()) + int(mask[:, 0].sum()) + int(mask[:, -1].sum())
    if edges > 8:
        found.append("touches-edge")
    if where.ruled:
        found.append("ruled-line-removed")
    if where.inverted:
        found.append("inverted")
    return tuple(found)
