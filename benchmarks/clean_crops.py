"""What extraction does to clean crops: ``python -m benchmarks.clean_crops``.

Scans of test writers show nothing but one signature, so all of their ink should be compared. For each data set: the
share of the scans that are used as they are, that are refused, that are answered with several signatures, and that
lose more than a tenth of their ink.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from app.settings import PAGE_NETWORK
from benchmarks.accuracy import SETS as TEST_SETS
from model.data.registry import open_dataset
from model.errors import SeveralSignatures, UnusableSignature
from model.preprocessing.extraction import isolate_signature
from model.preprocessing.finder import SignatureFinder
from model.preprocessing.ink import isolate
from model.preprocessing.scan import Scan
from model.synthetic.writer import Writer

SETS = ("synthetic", *TEST_SETS, "cross-media-chinese/validation")
LOST = 0.1


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page-network", type=Path, default=PAGE_NETWORK)
    parser.add_argument("--scans", type=int, default=100, help="of each data set")
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    finder = SignatureFinder(args.page_network)
    print(f"`python -m benchmarks.clean_crops --page-network {args.page_network}`\n")
    print("| scans of | number | used as they are | refused | several signatures | lose ink |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in SETS:
        outcomes = [outcome(grey, finder) for grey in scans(name, args.scans, args.data)]
        shares = (
            100 * outcomes.count(kind) / len(outcomes) for kind in ("whole", "refused", "several", "lost")
        )
        print(
            f"| {name} | {len(outcomes)} | " + " | ".join(f"{share:.0f} %" for share in shares) + " |",
            flush=True,
        )


def scans(name: str, count: int, data: Path | None) -> Iterator[NDArray[np.uint8]]:
    """Draw genuine signatures of a data set, those with usable ink."""
    rng = np.random.default_rng(0)
    if name == "synthetic":
        for n in range(count):
            yield Writer(5_000 + n).genuine_image(n % 5, int(rng.integers(80, 300)))
        return
    dataset = open_dataset(name, data)
    specimens = [specimen for signer in dataset.signers() for specimen in dataset.genuine(signer)]
    for index in rng.permutation(len(specimens))[:count]:
        grey = specimens[int(index)].grey()
        try:
            isolate(grey)
        except UnusableSignature:
            continue
        yield grey


def outcome(grey: NDArray[np.uint8], finder: SignatureFinder) -> str:
    """Return ``whole``, ``refused``, ``several``, ``lost`` or, for other crops of the image, ``cut``."""
    try:
        ink = isolate_signature(Scan(grey), finder)
    except SeveralSignatures:
        return "several"
    except UnusableSignature:
        return "refused"
    if ink.quality.region is None:
        return "whole"
    kept = float(ink.density.sum(dtype=np.float64)) / float(isolate(grey).density.sum(dtype=np.float64))
    return "lost" if kept < 1.0 - LOST else "cut"


if __name__ == "__main__":
    main()
