"""Rendering of one page of a PDF document, by PDFium.

PDFium reads the table of objects and then loads no more than the requested page. Errors of PDFium are raised as
`pypdfium2.PdfiumError`. PDFium ends the process when it cannot allocate memory; `app.decoding.pool` handles that, as
it handles a page that takes too much processor time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from PIL import Image
from pypdfium2 import PdfDocument, PdfImage, PdfiumError, PdfObject, PdfPage, raw

from app.decoding.structure import no_such_page
from app.domain.errors import DamagedImage, TooExpensive, TooManyPixels, UnsupportedImage

MAX_PAGES = 200
MAX_DPI = 300
POINTS_PER_INCH = 72
MAX_CHECKED_OBJECTS = 20_000
"""Only so many objects of a page are looked at for images that are too large; the limits of the worker remain."""
_FULL_PAGE = 0.95
"""Share of the width and height of a page that an image covers when the page is a scan."""

logging.getLogger("pypdfium2").setLevel(logging.ERROR)  # its hints are for developers


def render_page(data: bytes, page: int, max_pixels: int, max_side: int, max_aspect: float) -> Image.Image:
    """Render a page, with its annotations and form fields, on white paper.

    The resolution is 300 dpi, or that of the image if the page is nothing but a scan of a lower resolution, or less
    if the picture would exceed the limits.

    Parameters
    ----------
    data : bytes
    page : int
        Counted from 0.
    max_pixels, max_side : int
        Limits on the picture in px; `max_pixels` applies to each image on the page as well.
    max_aspect : float
        Limit on the ratio of the sides of the page.

    Raises
    ------
    NoSuchPage, DamagedImage, UnsupportedImage, TooManyPixels, TooExpensive
    PdfiumError
        The document is damaged.
    """
    with _open(data) as document:
        document.init_forms()  # has to precede the loading of pages
        pages = len(document)
        if pages > MAX_PAGES:
            raise TooExpensive(
                f"The PDF document has {pages:,} pages; the maximum is {MAX_PAGES}. Upload the page with the "
                "signature."
            )
        if page >= pages:
            raise no_such_page(page, pages)
        loaded = document[page]
        width, height = loaded.get_size()
        if max(width, height) > max_aspect * min(width, height):
            raise DamagedImage(
                f"The page measures {width:,.2f} x {height:,.2f} points, which is not the shape of a document; "
                "save it again."
            )
        objects = list(islice(loaded.get_objects(), MAX_CHECKED_OBJECTS))
        _check_images(objects, max_pixels)
        scale = min(
            _scale_of_scan(loaded, objects) or math.inf,
            MAX_DPI / POINTS_PER_INCH,
            _largest_scale(width, height, max_pixels, max_side),
        )
        scale *= 1.0 - 1e-6  # sides are rounded up: 3300.0001 px must not become 3301
        bitmap = loaded.render(scale=scale, rev_byteorder=True, limit_image_cache=True)
        image: Image.Image = bitmap.to_pil().convert("RGB")
        return image


def count_pdf_pages(data: bytes) -> int:
    """Count the pages of a document that PDFium can open."""
    with _open(data) as document:
        return len(document)


@contextmanager
def _open(data: bytes) -> Iterator[PdfDocument]:
    """Open a document. Raises PdfiumError, or UnsupportedImage when it needs a password."""
    try:
        document = PdfDocument(data)
    except PdfiumError as error:
        if error.err_code in {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}:
            raise UnsupportedImage(
                "The PDF document is encrypted and needs a password; save it without one, or export the page with "
                "the signature as an image."
            ) from error
        raise
    with document:
        yield document


def _check_images(objects: list[PdfObject], max_pixels: int) -> None:
    """Raise TooManyPixels when an image on the page has too many pixels; reads only their dictionaries."""
    for item in objects:
        if isinstance(item, PdfImage):
            width, height = item.get_px_size()
            if width * height > max_pixels:
                raise TooManyPixels(
                    f"The page contains an image of {width:,} x {height:,} pixels; the maximum is {max_pixels:,} "
                    "pixels. Scan or save it with a lower resolution."
                )


def _scale_of_scan(page: PdfPage, objects: list[PdfObject]) -> float | None:
    """Return the pixels per point of the image that fills the page; None when the page is not just one image.

    Rendered at a higher resolution than its own, a scan would only be blurred. Text that is not painted, which
    character recognition adds to scans, does not count.
    """
    painted = [item for item in objects if not _is_invisible_text(item)]
    if len(painted) != 1 or not isinstance(painted[0], PdfImage) or raw.FPDFPage_GetAnnotCount(page):
        return None
    image = painted[0]
    left, bottom, right, top = image.get_bounds()
    page_left, page_bottom, page_right, page_top = page.get_bbox()
    covered_width = (min(right, page_right) - max(left, page_left)) / (page_right - page_left)
    covered_height = (min(top, page_top) - max(bottom, page_bottom)) / (page_top - page_bottom)
    if min(covered_width, covered_height) < _FULL_PAGE:
        return None
    a, b, c, d, _, _ = image.get_matrix().get()
    columns, rows = image.get_px_size()
    sides = math.hypot(a, b), math.hypot(c, d)
    if min(*sides, columns, rows) <= 0:
        return None
    return float(max(columns / sides[0], rows / sides[1]))


def _is_invisible_text(item: PdfObject) -> bool:
    if item.type != raw.FPDF_PAGEOBJ_TEXT:
        return False
    return bool(raw.FPDFTextObj_GetTextRenderMode(item) == raw.FPDF_TEXTRENDERMODE_INVISIBLE)


def _largest_scale(width: float, height: float, max_pixels: int, max_side: int) -> float:
    """Return the largest scale at which both sides, rounded up to whole pixels, stay within the limits.

    Solves (width s + 1) (height s + 1) = max_pixels.
    """
    total, area = width + height, width * height
    by_pixels = (math.sqrt(total * total + 4.0 * area * (max_pixels - 1)) - total) / (2.0 * area)
    return min(by_pixels, (max_side - 1) / max(width, height))
