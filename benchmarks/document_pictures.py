"""The picture of docs/documents.md: pages with the signatures that were found, and what is compared.

``python -m benchmarks.document_pictures``. Pages and signatures are drawn by this project's own code.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.settings import PAGE_NETWORK
from benchmarks.document_pages import KINDS, NoSignatures, compose
from model.documents.elements import Drawer
from model.documents.material import Typefaces, cropped
from model.preprocessing.extraction import extract_signatures
from model.preprocessing.finder import SignatureFinder
from model.preprocessing.ink import Canvas, fit
from model.preprocessing.scan import Scan
from model.synthetic.writer import Writer

SHOWN = (
    "cheque",
    "form",
    "card",
    "labelled",
    "stamped",
    "security paper",
    "photographed cheque",
    "photographed letter",
)
WIDTH, GAP = 520, 14
Pixels = NDArray[np.uint8]


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page-network", type=Path, default=PAGE_NETWORK)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/documents.png"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    finder, faces = SignatureFinder(args.page_network), Typefaces("test")
    rows = []
    for number, name in enumerate(SHOWN):
        drawer = Drawer(faces, NoSignatures(), np.random.default_rng(number + 3))
        ink = cropped(255 - Writer(number + 20).genuine_image(0, height_px=160))
        rows.append(row(compose(KINDS[name], drawer, ink).grey, finder))
    columns = [np.vstack(rows[start::2]) for start in (0, 1)]
    height = max(column.shape[0] for column in columns)
    padded = [
        cv2.copyMakeBorder(
            column, 0, height - column.shape[0], 0, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255)
        )
        for column in columns
    ]
    cv2.imwrite(str(args.out), np.hstack(padded), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def row(page: Pixels, finder: SignatureFinder) -> Pixels:
    """Draw a page with boxes around its signatures, and beside it the first signature alone."""
    shown = cv2.cvtColor(page, cv2.COLOR_GRAY2BGR)
    alone = np.full((112, 224), 255, np.uint8)
    for number, (found, ink) in enumerate(extract_signatures(Scan(page), finder).found):
        box = found.box
        thickness = max(2, page.shape[1] // 300)
        cv2.rectangle(shown, (box.left, box.top), (box.right, box.bottom), (40, 120, 220), thickness)
        if number == 0:
            alone = 255 - fit(ink.density, Canvas(112, 224))
    scale = min(WIDTH / shown.shape[1], 300 / shown.shape[0])
    small = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture = np.full((max(small.shape[0], 112) + GAP, WIDTH + GAP + 228, 3), 255, np.uint8)
    picture[: small.shape[0], : small.shape[1]] = small
    framed = cv2.copyMakeBorder(alone, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=170)
    left = WIDTH + GAP
    picture[: framed.shape[0], left : left + framed.shape[1]] = framed[..., None]
    return picture


if __name__ == "__main__":
    main()
