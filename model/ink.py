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

from model.errors import BlankImage, OnlyALine, TooLittleInk, TooMuchInk, TooSmall

Grey = NDArray[np.uint8]

CODE_VERSION = 1
"""Raised whenever the output of this module changes: caches and cards carry it."""

LOCATE_SIDE = 640  # px; long side at which ink is looked for on a page
CROP_SIDE = 400  # px; long side of the isolated ink: some three times what networks see
MIN_SIDE = 16  # px
MIN_CONTRAST = 0.10  # of the paper's brightness; fainter marks are paper, show-through or JPEG noise
MIN_INK_PIXELS = 60
MAX_INK_SHARE = 0.45  # of the page; signatures cover a few per cent
INK_PERCENTILE = 90.0


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
        ``touches-edge``, ``ruled-line-removed``, ``inverted``.
    """

    ink_pixels: int
    width_px: int
    height_px: int
    stroke_width_px: float
    contrast: float
    inverted: bool
    warnings: tuple[str, ...] = ()


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


def isolate(grey: Grey) -> Ink:
    """Isolate the ink of the signature in a scan.

    Parameters
    ----------
    grey : uint8 (height, width)
        255 = white. Light writing on a dark ground is recognised and inverted.

    Raises
    ------
    TooSmall, BlankImage, TooLittleInk, OnlyALine, TooMuchInk
        All are :class:`model.errors.UnusableSignature`.
    """
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise ValueError(f"expected a (height, width) uint8 array, got {grey.shape} {grey.dtype}")
    if min(grey.shape) < MIN_SIDE:
        raise TooSmall(
            f"The image is {grey.shape[1]} x {grey.shape[0]} pixels; a signature needs at least "
            f"{MIN_SIDE} in each direction and is best scanned at 300 dpi."
        )
    page, page_scale = _shrink(grey, LOCATE_SIDE)
    inverted = _is_light_on_dark(page)
    darkness = _flatten(255 - page if inverted else page)
    mask, contrast = _locate(darkness)
    mask, ruled = _without_rulings(mask)
    mask = _without_specks(mask)
    _refuse_unusable(mask)

    top, bottom, left, right = _bounds(mask)
    # Cut the writing out of the best resolution there is, with a rim for the stroke's soft edge.
    y0, y1, x0, x1 = _grow((top, bottom, left, right), 3, mask.shape)
    if page_scale < 1.0 and max(y1 - y0, x1 - x0) < CROP_SIDE:
        fy0, fy1, fx0, fx1 = (round(v / page_scale) for v in (y0, y1, x0, x1))
        fine = grey[fy0:fy1, fx0:fx1]
        fine, _ = _shrink(255 - fine if inverted else fine, CROP_SIDE)
        size = (fine.shape[1], fine.shape[0])
        paper = cv2.resize(_paper(255 - page if inverted else page)[y0:y1, x0:x1], size)
        darkness_crop = _relative_darkness(fine, paper)
        mask_crop = cv2.resize(mask[y0:y1, x0:x1], size, interpolation=cv2.INTER_NEAREST)
    else:
        darkness_crop, _ = _shrink(darkness[y0:y1, x0:x1], CROP_SIDE)
        size = (darkness_crop.shape[1], darkness_crop.shape[0])
        mask_crop = cv2.resize(mask[y0:y1, x0:x1], size, interpolation=cv2.INTER_NEAREST)

    density = _normalise(darkness_crop, mask_crop)
    ink_pixels = int(np.count_nonzero(mask))
    skeleton_length = max(1.0, _edge_length(mask) / 2.0)
    quality = Quality(
        ink_pixels=round(ink_pixels / page_scale**2),
        width_px=round((right - left) / page_scale),
        height_px=round((bottom - top) / page_scale),
        stroke_width_px=round(ink_pixels / skeleton_length / page_scale, 2),
        contrast=round(contrast, 3),
        inverted=inverted,
        warnings=_warnings(mask, page_scale, contrast, inverted=inverted, ruled=ruled),
    )
    return Ink(density, quality)


def fit(density: Grey, canvas: Canvas) -> Grey:
    """Put isolated ink on a canvas, aspect kept: uint8 (canvas.height, canvas.width), 0 = paper, 255 = ink."""
    matrix = placement(density, canvas)
    scale = float(matrix[0, 0])
    source = density
    if scale < 0.5:
        # warpAffine samples four neighbours only; below one half, strokes would break up without an area average.
        source, shrink = _shrink(density, max(1, round(max(density.shape) * scale * 1.5)))
        matrix = matrix.copy()
        matrix[:, :2] /= shrink
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
        centre_x, centre_y, sigma_x, sigma_y = _moments(density)
        # A uniform box has a standard deviation of its side / sqrt(12) = side / 3.46; writing tapers, hence 4.4.
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


def _moments(density: Grey) -> tuple[float, float, float, float]:
    """Centroid and standard deviations (x, y, sigma x, sigma y) of the ink, in pixels."""
    columns = density.sum(axis=0, dtype=np.float64)
    rows = density.sum(axis=1, dtype=np.float64)
    total = max(1.0, float(columns.sum()))
    x, y = np.arange(len(columns)), np.arange(len(rows))
    mean_x, mean_y = float(columns @ x) / total, float(rows @ y) / total
    sigma_x = float(np.sqrt(columns @ (x - mean_x) ** 2 / total))
    sigma_y = float(np.sqrt(rows @ (y - mean_y) ** 2 / total))
    return mean_x, mean_y, sigma_x, sigma_y


def _shrink(image: Grey, side: int) -> tuple[Grey, float]:
    """Reduce to ``side`` pixels on the long side by area averaging; never enlarge. Returns image and scale."""
    scale = side / max(image.shape)
    if scale >= 1.0:
        return image, 1.0
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), scale


def _is_light_on_dark(page: Grey) -> bool:
    """Dark ground with a minority of light pixels: the median is dark and the bright tail is the longer one."""
    low, median, high = (float(v) for v in np.percentile(page, (2, 50, 99.5)))
    return median < 128 and high - median > 2.0 * (median - low) and high - median > 255 * MIN_CONTRAST


def _paper(page: Grey) -> Grey:
    """Brightness of the paper at each pixel: what is left when everything as thin as a stroke is filled in."""
    height, width = page.shape
    factor = max(1, round(max(height, width) / 128))
    small = cv2.resize(
        page, (max(8, width // factor), max(8, height // factor)), interpolation=cv2.INTER_AREA
    )
    filled = cv2.dilate(small, np.ones((7, 7), np.uint8))  # strokes give way to the paper beside them
    filled = cv2.morphologyEx(filled, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
    smooth = cv2.GaussianBlur(cv2.erode(filled, np.ones((5, 5), np.uint8)), (0, 0), 4)
    return np.asarray(cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _relative_darkness(page: Grey, paper: Grey) -> Grey:
    """1 - page / paper as uint8, 0 = as bright as the paper around it, 255 = black."""
    ratio = page.astype(np.float32) / np.maximum(paper, 1)
    return np.asarray(np.clip(255.0 * (1.0 - ratio), 0, 255), dtype=np.uint8)


def _flatten(page: Grey) -> Grey:
    return _relative_darkness(page, _paper(page))


def _locate(darkness: Grey) -> tuple[Grey, float]:
    """Mask (uint8, 0 or 1) of the ink by hysteresis thresholds, and the ink's contrast in [0, 1].

    The high threshold is Otsu's over what is darker than paper noise; strokes are then followed down to half of it.
    """
    noise = 3.0 * max(1.0, 1.4826 * float(np.median(darkness)))
    floor = max(255.0 * MIN_CONTRAST, noise)
    candidates = darkness[darkness > floor]
    if candidates.size == 0:
        raise BlankImage("Nothing is written on the image; upload a scan that shows the signature.")
    otsu, _ = cv2.threshold(candidates.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    high = max(floor, 0.8 * float(otsu))
    low = max(0.6 * floor, 0.5 * high)
    weak = (darkness > low).astype(np.uint8)
    strong = darkness > high
    _, labels = cv2.connectedComponents(weak, connectivity=8)
    keep = np.zeros(int(labels.max()) + 1, dtype=np.uint8)
    keep[np.unique(labels[strong])] = 1
    keep[0] = 0
    mask = keep[labels]
    if not mask.any():
        raise BlankImage("Nothing is written on the image; upload a scan that shows the signature.")
    share = float(mask.mean())
    if share > MAX_INK_SHARE:
        raise TooMuchInk(
            f"{share:.0%} of the image is dark, so ink and paper cannot be told apart; "
            "upload a crop of the signature on plain paper."
        )
    return mask, float(np.percentile(darkness[mask > 0], INK_PERCENTILE)) / 255.0


def _without_rulings(mask: Grey) -> tuple[Grey, bool]:
    """Take out straight lines that run through most of the page and frames along its edge; keep strokes that cross."""
    height, width = mask.shape
    removed = False
    out = mask
    for axis, length in ((1, width), (0, height)):
        span = max(24, round(0.55 * length))
        kernel = np.ones((1, span) if axis == 1 else (span, 1), np.uint8)
        # Slightly slanted rulings are broken into runs: bridge by closing along the line first.
        bridged = cv2.morphologyEx(out, cv2.MORPH_CLOSE, np.ones((2, 9) if axis == 1 else (9, 2), np.uint8))
        lines = cv2.morphologyEx(bridged, cv2.MORPH_OPEN, kernel)
        if not lines.any():
            continue
        thickness = int(lines.sum(axis=1 - axis).max())
        across = int(np.count_nonzero(lines.any(axis=axis)))
        if across > 0.2 * (height if axis == 1 else width):
            continue  # a solid area, not a line
        rim = np.ones((3, 1) if axis == 1 else (1, 3), np.uint8)
        lines = cv2.dilate(lines, rim)
        # What stands out of the line on both sides is a stroke that crosses it.
        tall = np.ones((thickness + 4, 1) if axis == 1 else (1, thickness + 4), np.uint8)
        crossing = cv2.morphologyEx(out, cv2.MORPH_OPEN, tall)
        without = out & ~(lines & ~crossing & 1) & 1
        # The line may be a stroke of the signature (a long paraph): only a ruling leaves writing behind
        # and reaches (nearly) from edge to edge.
        reach = np.flatnonzero(lines.any(axis=1 - axis))
        if len(reach) >= 0.9 * length and without.sum() > MIN_INK_PIXELS:
            out, removed = without.astype(np.uint8), True
    return out, removed


def _without_specks(mask: Grey) -> Grey:
    """Take out dust, and what belongs to the page's edge rather than to the writing."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count <= 1:
        return mask
    height, width = mask.shape
    areas = stats[1:, cv2.CC_STAT_AREA]
    left, top = stats[1:, cv2.CC_STAT_LEFT], stats[1:, cv2.CC_STAT_TOP]
    wide, high = stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT]
    at_edge = (left == 0) | (top == 0) | (left + wide == width) | (top + high == height)
    # The page's own edge, a scanner's shadow or the next box on the form: thin, or as long as the page itself.
    thin = np.minimum(wide, high) <= 0.04 * max(height, width)
    frame = ((high >= 0.8 * height) & (wide <= 0.12 * width)) | ((wide >= 0.8 * width) & (high <= 0.12 * height))
    strip = at_edge & (thin | frame)
    dust = areas < max(6.0, 0.0015 * float(areas.sum()))
    keep = ~dust & ~strip
    if not keep.any() or areas[keep].sum() < MIN_INK_PIXELS:
        keep = ~dust  # the strip is all there is: let the caller judge it
    table = np.concatenate([[0], keep]).astype(np.uint8)
    return np.asarray(table[labels], dtype=np.uint8)


def _refuse_unusable(mask: Grey) -> None:
    ink = int(mask.sum())
    ys, xs = np.nonzero(mask)
    if ink < MIN_INK_PIXELS:
        raise TooLittleInk(
            "There is only a speck of ink on the image; upload a scan that shows the whole signature."
        )
    spread = np.linalg.eigvalsh(np.cov(np.stack([xs, ys]).astype(np.float64)))
    minor, major = float(np.sqrt(max(spread[0], 0.0))), float(np.sqrt(spread[1]))
    stroke = ink / max(1.0, _edge_length(mask) / 2.0)
    if major < 2.5 * max(1.0, stroke) and major < 0.08 * max(mask.shape):
        raise TooLittleInk(
            "There is only a speck of ink on the image; upload a scan that shows the whole signature."
        )
    if minor < 0.025 * major or (minor < 0.05 * major and minor < 0.75 * stroke):
        raise OnlyALine(
            "All the ink on the image is one straight line; upload a scan of the signature, without its ruling."
        )
    if 6.93 * max(minor, 0.5 * major) < MIN_SIDE:  # 2 * sqrt(12) standard deviations: twice the side of a uniform box
        raise TooSmall(
            "The writing is only a few pixels high; scan it at 300 dpi, or upload a larger crop of it."
        )


def _edge_length(mask: Grey) -> float:
    """Length of the outline in pixels (both sides of every stroke)."""
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return float(np.count_nonzero(mask & ~inner & 1))


def _bounds(mask: Grey) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _grow(box: tuple[int, int, int, int], rim: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    top, bottom, left, right = box
    return max(0, top - rim), min(shape[0], bottom + rim), max(0, left - rim), min(shape[1], right + rim)


def _normalise(darkness: Grey, mask: Grey) -> Grey:
    """Scale darkness so that the ink's 90th percentile is 255 and paper 0, and wipe what lies off the strokes."""
    inside = darkness[mask > 0]
    full = float(np.percentile(inside, INK_PERCENTILE)) if inside.size else 255.0
    near = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    # The soft edge below a tenth of full ink is lens blur and JPEG ringing.
    floor = 0.1 * full
    scaled = (darkness.astype(np.float32) - floor) * (255.0 / max(1.0, full - floor))
    return np.asarray(np.clip(scaled, 0, 255) * near, dtype=np.uint8)


def _warnings(mask: Grey, scale: float, contrast: float, *, inverted: bool, ruled: bool) -> tuple[str, ...]:
    top, bottom, left, right = _bounds(mask)
    found = []
    if max(bottom - top, right - left) / scale < 100:
        found.append("low-resolution")
    if contrast < 0.25:
        found.append("low-contrast")
    edges = int(mask[0].sum()) + int(mask[-1].sum()) + int(mask[:, 0].sum()) + int(mask[:, -1].sum())
    if edges > 8:
        found.append("touches-edge")
    if ruled:
        found.append("ruled-line-removed")
    if inverted:
        found.append("inverted")
    return tuple(found)
