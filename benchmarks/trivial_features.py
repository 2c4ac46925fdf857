"""Detect trivial features that separate genuine signatures from forgeries, before and after preprocessing.

``python benchmarks/trivial_features.py [DATASET ...]``. If genuine signatures and forgeries were written or scanned
separately, paper, pen or size may identify the forgeries, and a network may learn that instead of the handwriting.
The AUC is 0.5 for a feature without information and 1 for one that separates perfectly, in either direction. *Pooled*
compares all signatures. *Within* compares those of one signer and averages over signers, as a verifier would.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.data.registry import open_dataset
from model.data.specimens import Dataset, Specimen
from model.errors import UnusableSignature
from model.evaluation.baselines import CANVAS
from model.evaluation.metrics import auc
from model.preprocessing.ink import fit, isolate

SETS = ("sigcomp2011-dutch", "svc2004")
FEATURES = (
    "paper brightness",
    "ink darkness",
    "ink saturation",
    "stroke width",
    "height",
    "width",
    "ink area",
)


@dataclass(frozen=True)
class Row:
    """The features of one specimen, each (7,) in the order of :data:`FEATURES`; NaN if not available."""

    signer: str
    genuine: bool
    before: NDArray[np.float64]
    after: NDArray[np.float64]


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", nargs="*", default=list(SETS))
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    args = parser.parse_args()
    print(f"`{shlex.join(['python', 'benchmarks/trivial_features.py', *sys.argv[1:]])}`\n")
    print("| data | feature | before, pooled | before, within | after, pooled | after, within |")
    print("|---|---|---:|---:|---:|---:|")
    for name in args.datasets:
        rows = measure(open_dataset(name, args.data))
        for i, feature in enumerate(FEATURES):
            cells = []
            for stage in ("before", "after"):
                values = np.array([getattr(row, stage)[i] for row in rows])
                cells += [_cell(pooled, rows, values) for pooled in (pooled_auc, within_auc)]
            print(f"| {name} | {feature} | {' | '.join(cells)} |", flush=True)


def measure(dataset: Dataset) -> list[Row]:
    """Compute the features of every specimen with a usable signature, for signers with forgeries."""
    rows = []
    for signer in dataset.signers():
        forged = dataset.forgeries(signer)
        for specimen in (*dataset.genuine(signer), *forged) if forged else ():
            grey = specimen.grey()
            try:
                density = isolate(grey).density
            except UnusableSignature:
                continue
            rows.append(Row(signer, specimen.genuine, _before(specimen, grey), _after(fit(density, CANVAS))))
    return rows


def pooled_auc(rows: list[Row], values: NDArray[np.float64]) -> float:
    """Compute the AUC of all genuine signatures against all forgeries."""
    genuine = np.array([row.genuine for row in rows])
    return _without_direction(auc(values[genuine], values[~genuine]))


def within_auc(rows: list[Row], values: NDArray[np.float64]) -> float:
    """Compute the mean over signers of the AUC within a signer; the direction is removed after averaging."""
    genuine = np.array([row.genuine for row in rows])
    signers = np.array([row.signer for row in rows])
    aucs = [
        auc(values[genuine & (signers == s)], values[~genuine & (signers == s)])
        for s in np.unique(signers)
        if genuine[signers == s].any() and not genuine[signers == s].all()
    ]
    return _without_direction(float(np.mean(aucs)))


def _without_direction(value: float) -> float:
    return max(value, 1.0 - value)


def _cell(
    measure_auc: Callable[[list[Row], NDArray[np.float64]], float],
    rows: list[Row],
    values: NDArray[np.float64],
) -> str:
    return "-" if np.isnan(values).any() else f"{measure_auc(rows, values):.2f}"


def _before(specimen: Specimen, grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute the features of a scan, with the ink by Otsu's threshold."""
    level, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    ink = grey <= level
    saturation = np.nan
    if specimen.path is not None and specimen.path.suffix.lower() in {
        ".webp",
        ".jpg",
        ".jpeg",
        ".png",
        ".tif",
        ".bmp",
    }:
        with Image.open(specimen.path) as image:
            hsv = np.asarray(image.convert("HSV"))
        if hsv.shape[:2] == ink.shape:
            saturation = float(hsv[..., 1][ink].mean())
    return np.array([float(np.median(grey[~ink])), 255.0 - float(grey[ink].mean()), saturation, *_shape(ink)])


def _after(canvas: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute the features of a canvas for networks; its saturation is NaN."""
    ink = canvas > 64
    return np.array([255.0 - float(np.median(canvas[~ink])), float(canvas[ink].mean()), np.nan, *_shape(ink)])


def _shape(ink: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Compute the mean stroke width, height, width and area of the ink, in pixels."""
    mask = ink.astype(np.uint8)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    outline = max(1.0, float(mask.sum() - inner.sum()))
    height = float(np.ptp(np.flatnonzero(ink.any(axis=1)))) + 1.0
    width = float(np.ptp(np.flatnonzero(ink.any(axis=0)))) + 1.0
    return 2.0 * float(mask.sum()) / outline, height, width, float(mask.sum())


if __name__ == "__main__":
    main()
