"""From a page to the mask of what is written on it: paper, rulings, frames and dust are told from ink.

The steps of :func:`model.ink.isolate`, each a pure function of uint8 arrays. A *page* is grey, 255 = white; a
*mask* is 0 or 1, 1 = ink; *darkness* is 0 = as bright as the paper around, 255 = black.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from model.errors import BlankImage, TooMuchInk

Grey = NDArray[np.uint8]

MIN_CONTRAST = 0.10  # of the paper's brightness; fainter marks are paper, show-through or JPEG noise
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


def is_light_on_dark(page: Grey) -> bool:
    """Dark ground with a minority of light pixels: the median is dark and the bright tail is the longer one."""
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
    ratio = page.astype(np.float32) / np.maximum(paper, 1)
    return np.asarray(np.clip(255.0 * (1.0 - ratio), 0, 255), dtype=np.uint8)


def flatten(page: Grey) -> Grey:
    """Darkness relative to the paper, whatever its tint, shading and lighting."""
    return relative_darkness(page, paper(page))


def locate(darkness: Grey) -> tuple[Grey, float]:
    """Mask (uint8, 0 or 1) of the ink by hysteresis thresholds, and the ink's contrast in [0, 1].

    The high threshold is Otsu's over what is darker than paper noise; strokes are then followed down to half of it.
    """
    noise = 3.0 * max(1.0, 1.4826 * percentiles(darkness, 50)[0])
    floor = max(255.0 * MIN_CONTRAST, noise)
    candidates = darkness[darkness > floor]
    if candidates.size == 0:
        raise BlankImage("Nothing is written on the image; upload a scan that shows the signature.")
    otsu, _ = cv2.threshold(candidates.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    high = max(floor, 0.8 * float(otsu))
    low = max(0.6 * floor, 0.5 * high)
    weak = (darkness > low).astype(np.uint8)
    strong = darkness > high
    count, labels = cv2.connectedComponents(weak, connectivity=8)
    keep = np.zeros(count, dtype=np.uint8)
    keep[labels[strong]] = 1
    keep[0] = 0
    mask = np.take(keep, np.asarray(labels, np.int32))
    if not mask.any():
        raise BlankImage("Nothing is written on the image; upload a scan that shows the signature.")
    share = float(mask.mean())
    if share > MAX_INK_SHARE:
        raise TooMuchInk(
            f"{share:.0%} of the image is dark, so ink and paper cannot be told apart; "
            "upload a crop of the signature on plain paper."
        )
    return mask, percentiles(darkness[mask > 0], INK_PERCENTILE)[0] / 255.0


def without_rulings(mask: Grey) -> tuple[Grey, bool]:
    """Take out ruled lines that run from edge to edge, slightly slanted ones too; keep the strokes that cross them.

    Upright lines are left to :func:`without_specks`: letters have long upright strokes, forms have few such rulings.
    """
    lines = rulings(mask)
    if lines is None:
        return mask, False
    without = np.where(lines > 0, 0, mask).astype(np.uint8)
    rest = np.flatnonzero(without_specks(without).any(axis=0))
    if int(without.sum()) <= MIN_INK_PIXELS or rest[-1] - rest[0] >= RULING_MARGIN * mask.shape[1]:
        return mask, False
    return without, True


def rulings(mask: Grey) -> Grey | None:
    """Mask of the near-horizontal lines that span the page, without the strokes that cross them; None without any."""
    height, width = mask.shape
    if mask.any(axis=0).mean() < RULING_FILL:
        return None
    steps = max(1, round(width * RULING_SLANT))
    # Shearing by whole pixels levels a slanted line: its row then holds ink from edge to edge.
    best_rows, best_lean = 0, 0.0
    columns = np.arange(width)
    leans = np.linspace(-RULING_SLANT, RULING_SLANT, 2 * steps + 1)[
        np.argsort(np.abs(np.arange(-steps, steps + 1)))
    ]
    offsets = np.rint(leans[:, None] * columns).astype(int)
    hopeful = np.flatnonzero(_most_filled(mask, offsets) > RULING_FILL * width)
    if not len(hopeful):
        return None
    upto = np.zeros((width + 1, height), np.int32)  # ink of each row in the columns before this one
    np.cumsum(mask.T, axis=0, dtype=np.int32, out=upto[1:])
    for index in hopeful:
        rows = _sheared_rows(upto, offsets[index])
        # A ruling two pixels thick that is a little off still fills two rows together.
        filled = int(
            np.count_nonzero(np.maximum(rows[:-1], (rows[:-1] + rows[1:]) / 1.3) > RULING_FILL * width)
        )
        if filled > best_rows * 1.5:
            best_rows, best_lean = filled, float(leans[index])
    if not best_rows:
        return None
    ys, xs = np.nonzero(mask)
    offset = np.rint(best_lean * columns).astype(int)
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


def _most_filled(mask: Grey, offsets: NDArray[np.int_], blocks: int = 12) -> NDArray[np.float64]:
    """An upper bound, for each shear, of how filled a row is after its columns were moved up by `offsets`.

    Parameters
    ----------
    mask : uint8 (height, width)
    offsets : int (shears, width)
        Monotone along the width.

    Returns
    -------
    float64 (shears,)
        At least the ink of any one row, and of any two adjacent ones over 1.3. Within a block of columns a sheared
        row passes few rows of the mask; it takes from them at most all their ink, and at most one pixel of each
        column. Of a page without rulings that leaves no shear to look at more closely.
    """
    height, width = mask.shape
    edges = np.linspace(0, width, blocks + 1).astype(int)
    first, last = offsets[:, edges[:-1]], offsets[:, edges[1:] - 1]
    low = np.minimum(first, last)
    passed = int(np.abs(first - last).max()) + 1
    reach = int(np.abs(offsets).max()) + passed
    ink = np.zeros((blocks, height + 4 * reach + 2), np.float32)
    ink[:, 2 * reach + 1 : 2 * reach + 1 + height] = np.add.reduceat(
        mask, edges[:-1], axis=1, dtype=np.int32
    ).T
    upto = np.cumsum(ink, axis=1)
    columns = np.diff(edges)[:, None]
    one = np.minimum(upto[:, passed:-1] - upto[:, : -passed - 1], columns)  # rows y + 1 to y + passed
    two = np.minimum(upto[:, passed + 1 :] - upto[:, : -passed - 1], 2 * columns)  # and one more
    most = np.maximum(one, two / 1.3)
    rows = np.arange(height + 2 * reach) + reach
    found = np.zeros((len(offsets), len(rows)), np.float32)
    for block, row in enumerate(most):
        found += row[rows + low[:, block, None]]
    return np.asarray(found.max(axis=1), dtype=np.float64)


def _sheared_rows(upto: NDArray[np.int32], offset: NDArray[np.int_]) -> NDArray[np.int32]:
    """Ink in each row after every column was moved up by its offset, which changes by one at most between columns.

    Columns of one offset move together: their rows are a difference of `upto` (columns + 1, height), and a shear is
    a sum of few of those, each one row further, with an empty row beyond either end.
    """
    height = upto.shape[1]
    ends = np.r_[np.flatnonzero(np.diff(offset)) + 1, len(offset)]
    pieces = np.diff(upto[ends], axis=0, prepend=0)
    if offset[-1] > 0:
        pieces = pieces[::-1]  # the further right, the further up
    sheared = np.zeros((len(pieces), height + len(pieces) + 1), np.int32)
    # Row i of the view begins i columns further right: the diagonal band of the array.
    row, column = sheared.strides
    np.lib.stride_tricks.as_strided(sheared[:, 1:], pieces.shape, (row + column, column))[:] = pieces
    return np.asarray(sheared.sum(axis=0, dtype=np.int32))


def longest_run(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.r_[0, flags.astype(np.int8), 0]))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def without_specks(mask: Grey) -> Grey:
    """Take out dust, frames round the writing, and what belongs to the page's edge."""
    # Grana's labelling takes half the time of the default.
    count, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
        mask, 8, cv2.CV_32S, cv2.CCL_GRANA
    )
    if count <= 1:
        return mask
    height, width = mask.shape
    areas = stats[1:, cv2.CC_STAT_AREA]
    left, top = stats[1:, cv2.CC_STAT_LEFT], stats[1:, cv2.CC_STAT_TOP]
    wide, high = stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT]
    # The page's own edge, a scanner's shadow or the next box on the form: along the side that it touches.
    beside = ((left == 0) | (left + wide == width)) & (high >= 0.3 * height) & (wide <= 0.12 * width)
    above = ((top == 0) | (top + high == height)) & (wide >= 0.3 * width) & (high <= 0.12 * height)
    strip = (beside & (wide <= 0.15 * high)) | (above & (high <= 0.15 * wide))
    frame = np.zeros(count - 1, dtype=bool)
    for index in np.flatnonzero((wide > 0.3 * width) & (high > 0.15 * height) & (areas < 0.15 * wide * high)):
        x, y, w, h = left[index], top[index], wide[index], high[index]
        rim = max(3, round(0.03 * min(w, h)))
        middle = labels[y + rim : y + h - rim, x + rim : x + w - rim] == index + 1
        sides = labels[y : y + h, x : x + w] == index + 1
        covered = min(sides.any(axis=0).mean(), sides.any(axis=1).mean())
        frame[index] = middle.sum() < 0.03 * areas[index] and covered > 0.9
    dust = areas < max(6.0, 0.0015 * float(areas[~frame & ~strip].sum()))
    keep = ~dust & ~strip & ~frame
    if not keep.any() or areas[keep].sum() < MIN_INK_PIXELS:
        keep = ~dust  # the strip is all there is: let the caller judge it
    table = np.concatenate([[0], keep]).astype(np.uint8)
    return np.asarray(np.take(table, np.asarray(labels, np.int32)), dtype=np.uint8)
