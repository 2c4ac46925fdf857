"""From a page to the mask of what is written on it: paper, rulings, frames and dust are told from ink.

The steps of :func:`model.preprocessing.ink.isolate`, each a pure function of uint8 arrays. A *page* is grey, 255 =
white; a *mask* is 0 or 1, 1 = ink; *darkness* is 0 = as bright as the paper around, 255 = black.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import BlankImage, TooMuchInk

Grey = NDArray[np.uint8]

MIN_CONTRAST = 0.10  # of the paper's brightness; fainter marks are paper, show-through or JPEG noise
NOISE = 3.0 * 1.4826  # times the median darkness: three standard deviations of the paper's grain
MIN_INK_PIXELS = 60
MAX_INK_SHARE = 0.45  # of the page; signatures cover a few per cent
INK_PERCENTILE = 90.0
RULING_REACH = 0.95  # of the page's width lies between a ruling's two ends
RULING_FILL = 0.8  # of a row must be ink for it to be a ruling's
RULING_MARGIN = 0.85  # of the page's width at most holds the other ink: a tight crop has strokes, not rulings
RULING_SLANT = 0.035  # rise over run: two degrees


def shrink(image: Grey, side: int) -> tuple[Grey, float]:
    """Reduce to ``side`` pixels on the long side by area averaging; never enlarge. Returns image and scale."""
    scale = side / max(image.shape)
    if scale >= 1.0:
        return image, 1.0
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), scale


def percentiles(pixels: Grey, *percents: float) -> tuple[float, ...]:
    """``np.percentile`` of at most 2**24 uint8, to the bit, by counting: sorting a page costs more than all else."""
    upto = np.cumsum(cv2.calcHist([pixels], [0], None, [256], [0, 256]).ravel().astype(np.int64))
    found = []
    for percent in percents:
        place = (int(upto[-1]) - 1) * (percent / 100.0)
        part = place - int(place)
        low, high = (
            float(np.searchsorted(upto, rank, side="right"))
            for rank in (int(place), min(int(place) + 1, int(upto[-1]) - 1))
        )
        found.append(low + (high - low) * part if part < 0.5 else high - (high - low) * (1.0 - part))
    return tuple(found)


def true_of_median(flags: NDArray[np.bool_]) -> bool:
    """Whether most pixels have a flag, and so both middle ones in any order; much quicker than to find the median."""
    return 2 * int(np.count_nonzero(flags)) > flags.size + 1


def is_light_on_dark(page: Grey) -> bool:
    """Dark ground with a minority of light pixels: the median is dark and the bright tail is the longer one."""
    if true_of_median(page >= 128):
        return False
    low, median, high = percentiles(page, 2, 50, 99.5)
    return median < 128 and high - median > 2.0 * (median - low) and high - median > 255 * MIN_CONTRAST


def paper(page: Grey) -> Grey:
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


def relative_darkness(page: Grey, paper: Grey) -> Grey:
    """1 - page / paper as uint8, 0 = as bright as the paper around it, 255 = black."""
    ratio = page.astype(np.float32)
    ratio /= np.maximum(paper, 1)
    np.subtract(1.0, ratio, out=ratio)
    ratio *= 255.0
    return np.maximum(ratio, 0.0, out=ratio).astype(np.uint8)


@dataclass(frozen=True)
class Parts:
    """A mask and its connected parts, eight neighbours to a pixel: labelled once, then left out one by one.

    Attributes
    ----------
    mask : uint8 (height, width)
        The parts that are left.
    labels : int32 (height, width)
        The part of each pixel, those left out included; 0 is no ink.
    stats : int32 (parts, 5)
        Left, top, width, height and area of each part, in OpenCV's order.
    left : bool (parts,)
        Which are left; never the first, which is no ink.
    """

    mask: Grey
    labels: NDArray[np.int32]
    stats: NDArray[np.int32]
    left: NDArray[np.bool_]

    @classmethod
    def of(cls, mask: Grey) -> Parts:
        """All parts of a mask."""
        # Grana's labelling takes half the time of the default.
        count, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
            mask, 8, cv2.CV_32S, cv2.CCL_GRANA
        )
        return cls(mask, np.asarray(labels, np.int32), np.asarray(stats, np.int32), np.arange(count) > 0)

    def only(self, keep: NDArray[np.bool_]) -> Parts:
        """Without the parts that are not to be kept: bool (parts,)."""
        left = self.left & keep
        if np.array_equal(left, self.left):
            return self
        return replace(self, mask=np.take(left.view(np.uint8), self.labels), left=left)


def locate(darkness: Grey) -> tuple[Parts, float]:
    """The ink by hysteresis thresholds, and its contrast in [0, 1].

    The high threshold is Otsu's over what is darker than paper noise; strokes are then followed down to half of it.
    """
    floor = 255.0 * MIN_CONTRAST
    if not true_of_median(darkness <= int(floor / NOISE)):
        floor = max(floor, NOISE * percentiles(darkness, 50)[0])
    # For whole numbers "> int(x)" is "> x", and numpy takes a tenth of the time.
    candidates = darkness[darkness > int(floor)]
    if candidates.size == 0:
        raise BlankImage(
            "Nothing is written on the image, or too faintly to be read; upload a scan that shows the signature."
        )
    otsu, _ = cv2.threshold(candidates.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    high = max(floor, 0.8 * float(otsu))
    low = max(0.6 * floor, 0.5 * high)
    parts = Parts.of((darkness > int(low)).view(np.uint8))
    strong = np.zeros_like(parts.left)
    strong[parts.labels[darkness > int(high)]] = True
    parts = parts.only(strong)
    share = int(parts.stats[parts.left, cv2.CC_STAT_AREA].sum()) / darkness.size
    if not share:
        raise BlankImage(
            "Nothing is written on the image, or too faintly to be read; upload a scan that shows the signature."
        )
    if share > MAX_INK_SHARE:
        raise TooMuchInk(
            f"{share:.0%} of the image is dark, so ink and paper cannot be told apart; "
            "upload a crop of the signature on plain paper."
        )
    return parts, percentiles(darkness[parts.mask > 0], INK_PERCENTILE)[0] / 255.0


def without_rulings(parts: Parts) -> tuple[Parts, bool]:
    """Take out ruled lines that run from edge to edge, slightly slanted ones too; keep the strokes that cross them.

    Upright lines are left to :func:`without_specks`: letters have long upright strokes, forms have few such rulings.
    """
    lines = rulings(parts.mask)
    if lines is None:
        return parts, False
    without = Parts.of(np.where(lines > 0, 0, parts.mask).astype(np.uint8))
    rest = np.flatnonzero(without_specks(without).mask.any(axis=0))
    if int(without.mask.sum()) <= MIN_INK_PIXELS or rest[-1] - rest[0] >= RULING_MARGIN * lines.shape[1]:
        return parts, False
    return without, True


def rulings(mask: Grey) -> Grey | None:
    """Mask of the near-horizontal lines that span the page, without the strokes that cross them; None without any."""
    height, width = mask.shape
    if mask.any(axis=0).mean() < RULING_FILL:
        return None
    # Shearing by whole pixels levels a slanted line: its row then holds ink from edge to edge.
    steps = max(1, round(width * RULING_SLANT))
    leans = np.linspace(-RULING_SLANT, RULING_SLANT, 2 * steps + 1)[
        np.argsort(np.abs(np.arange(-steps, steps + 1)), kind="stable")
    ]
    rows = _sheared_rows(mask, leans)
    # A ruling two pixels thick that is a little off still fills two rows together.
    full = np.maximum(rows[:, :-1], (rows[:, :-1] + rows[:, 1:]) / 1.3) > RULING_FILL * width
    best_rows, best_lean = 0, 0.0
    for lean, filled in zip(leans, np.count_nonzero(full, axis=1), strict=True):
        if filled > best_rows * 1.5:
            best_rows, best_lean = int(filled), float(lean)
    if not best_rows:
        return None
    ys, xs = np.nonzero(mask)
    offset = np.rint(best_lean * np.arange(width)).astype(int)
    level = np.zeros((height + 2 * width, width), np.uint8)
    level[ys - offset[xs] + width, xs] = 1
    rows = level.sum(axis=1)
    on_line = np.maximum(rows, np.r_[(rows[:-1] + rows[1:]) / 1.3, 0]) > RULING_FILL * width
    on_line |= np.r_[False, on_line[:-1]] & (rows > 0.3 * width)
    thickness = longest_run(on_line)
    if thickness > 0.05 * height:
        return None  # a solid area, not a line
    band = cv2.dilate(on_line.astype(np.uint8).reshape(-1, 1), np.ones((5, 1), np.uint8)).ravel() > 0
    tall = np.ones((thickness + 4, 1), np.uint8)
    crossing = cv2.morphologyEx(level, cv2.MORPH_OPEN, tall)
    lines = np.where(crossing > 0, 0, level).astype(np.uint8)
    lines[~band] = 0
    ends = np.flatnonzero(level[on_line].any(axis=0))
    if ends[-1] - ends[0] < RULING_REACH * width:
        return None  # a long straight stroke of the signature
    back = np.zeros_like(mask)
    back[ys, xs] = lines[ys - offset[xs] + width, xs]
    return back


def _sheared_rows(mask: Grey, leans: NDArray[np.float64]) -> NDArray[np.int16]:
    """Ink in each row after every column was moved up by rint(lean * column).

    Parameters
    ----------
    mask : uint8 (height, width)
    leans : float64 (shears,)
        Rise over run, between -1 and 1.

    Returns
    -------
    int16 (shears, rows)
        As many rows as the steepest shear needs, and an empty one at the end; where in them the mask lies differs.
    """
    height, width = mask.shape
    # Ink of each row in the columns before this one, (width + 1, height); numpy takes five times as long for it.
    upto = cv2.transpose(np.diff(cv2.integral(mask), axis=0).astype(np.int16))
    # Columns of one offset move together: their rows are a difference of `upto`.
    offsets = np.rint(np.abs(leans)[:, None] * np.arange(width)).astype(int)
    most = int(offsets.max()) + 1
    wide = np.bincount((offsets + most * np.arange(len(leans))[:, None]).ravel(), minlength=most * len(leans))
    ends = np.cumsum(wide.reshape(-1, most), axis=1)
    pieces = np.diff(upto[ends], axis=1, prepend=np.int16(0))
    # A shear is the sum of its pieces, each one row further down than the one before, or further up.
    sheared = np.zeros((len(leans), most, height + most), np.int16)
    shear, row, column = sheared.strides
    diagonal = np.lib.stride_tricks.as_strided(sheared, pieces.shape, (shear, row + column, column))
    up = leans > 0
    diagonal[~up], diagonal[up] = pieces[~up], pieces[up, ::-1]
    return np.asarray(sheared.sum(axis=1, dtype=np.int16))


def longest_run(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.r_[0, flags.astype(np.int8), 0]))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def without_specks(parts: Parts) -> Parts:
    """Take out dust, frames round the writing, and what belongs to the page's edge."""
    height, width = parts.mask.shape
    left, top, wide, high, areas = parts.stats.T
    # The page's own edge, a scanner's shadow or the next box on the form: along the side that it touches.
    beside = ((left == 0) | (left + wide == width)) & (high >= 0.3 * height) & (wide <= 0.12 * width)
    above = ((top == 0) | (top + high == height)) & (wide >= 0.3 * width) & (high <= 0.12 * height)
    strip = (beside & (wide <= 0.15 * high)) | (above & (high <= 0.15 * wide))
    frame = np.zeros_like(parts.left)
    spread = (wide > 0.3 * width) & (high > 0.15 * height) & (areas < 0.15 * wide * high)
    for index in np.flatnonzero(parts.left & spread):
        x, y, w, h = left[index], top[index], wide[index], high[index]
        rim = max(3, round(0.03 * min(w, h)))
        middle = parts.labels[y + rim : y + h - rim, x + rim : x + w - rim] == index
        sides = parts.labels[y : y + h, x : x + w] == index
        covered = min(sides.any(axis=0).mean(), sides.any(axis=1).mean())
        frame[index] = middle.sum() < 0.03 * areas[index] and covered > 0.9
    dust = areas < max(6.0, 0.0015 * float(areas[parts.left & ~frame & ~strip].sum()))
    keep = parts.left & ~dust & ~strip & ~frame
    if not keep.any() or areas[keep].sum() < MIN_INK_PIXELS:
        keep = ~dust  # the strip is all there is: let the caller judge it
    return parts.only(keep)
