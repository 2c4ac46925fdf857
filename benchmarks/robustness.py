"""The effect of another scanner or pen on distances, relative to the effect of a forgery.

``python benchmarks/robustness.py [hog|WEIGHTS ...]``. Each genuine signature is changed as another scanner or pen
would change it, and compared with the signer's other genuine signatures. *Cost* is the increase of the mean distance
to them, divided by the increase that the signer's skilled forgeries cause: 0 is no effect, 1 the effect of a forgery.
*Moved* is the distance between the changed and the unchanged signature, divided by the mean distance of a forgery.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from model.data.registry import open_dataset
from model.data.specimens import Dataset, Specimen
from model.decision.distances import distances
from model.evaluation.evaluate import open_features
from model.evaluation.features import Features, InkCache

Grey = NDArray[np.uint8]
PER_SIGNER = 4
KERNEL = np.ones((3, 3), np.uint8)


def rescaled(grey: Grey, scale: float) -> Grey:
    """Rescale a scan to another resolution."""
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=interpolation), dtype=np.uint8)


def jpeg(grey: Grey, quality: int) -> Grey:
    """Compress a scan as JPEG and decode it."""
    _, blob = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(blob, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def bitonal(grey: Grey) -> Grey:
    """Convert a scan to black and white by Otsu's threshold, as cheque scanners do."""
    return np.asarray(cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1], dtype=np.uint8)


CHANGES: dict[str, Callable[[Grey], Grey]] = {
    "rescaled 0.6": lambda g: rescaled(g, 0.6),
    "rescaled 0.8": lambda g: rescaled(g, 0.8),
    "rescaled 1.25": lambda g: rescaled(g, 1.25),
    "rescaled 1.6": lambda g: rescaled(g, 1.6),
    "thickened by 2 px": lambda g: np.asarray(cv2.erode(g, KERNEL), dtype=np.uint8),
    "thickened by 4 px": lambda g: np.asarray(cv2.erode(g, KERNEL, iterations=2), dtype=np.uint8),
    "thinned by 2 px": lambda g: np.asarray(cv2.dilate(g, KERNEL), dtype=np.uint8),
    "JPEG, quality 50": lambda g: jpeg(g, 50),
    "JPEG, quality 20": lambda g: jpeg(g, 20),
    "bi-tonal": bitonal,
    "half the contrast": lambda g: np.asarray(255 - (255 - g) // 2, dtype=np.uint8),
}


def main() -> None:
    """Measure every system and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["hog"], help="`hog` or weights folders")
    parser.add_argument("--dataset", default="sigcomp2011-dutch/validation")
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    args = parser.parse_args()
    dataset = open_dataset(args.dataset, args.data)
    ink_cache = InkCache()
    print(f"`{shlex.join(['python', 'benchmarks/robustness.py', *sys.argv[1:]])}`, on {dataset.name}\n")
    print("| system | change | cost, mean | cost, 95th percentile | moved, mean | refused |")
    print("|---|---|---:|---:|---:|---:|")
    for model in args.models:
        features = open_features(model, ink_cache)
        for change, (cost, moved, refused) in measure(features, dataset).items():
            print(
                f"| {features.name} | {change} | {np.mean(cost):.2f} | {np.quantile(cost, 0.95):.2f} "
                f"| {np.mean(moved):.2f} | {refused} |",
                flush=True,
            )


def measure(
    features: Features, dataset: Dataset
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], int]]:
    """Measure, by change, the costs (n,) and movements (n,) of the signatures, and count those without usable ink."""
    compare = features.compare or partial(distances, metric=features.metric)
    costs: dict[str, list[float]] = {change: [] for change in CHANGES}
    moves: dict[str, list[float]] = {change: [] for change in CHANGES}
    refused = dict.fromkeys(CHANGES, 0)
    for signer in dataset.signers():
        specimens, genuine = _usable(features, dataset.genuine(signer))
        _, forged = _usable(features, dataset.forgeries(signer))
        if len(genuine) < 3 or not len(forged):
            continue
        genuine_distances = compare(genuine, genuine).sum(axis=1) / (len(genuine) - 1)
        forgery_distance = float(compare(forged, genuine).mean())
        increase = forgery_distance - float(genuine_distances.mean())
        if increase <= 0:  # a signer whose forgeries are nearer than the genuine signatures gives no scale
            continue
        for change, apply in CHANGES.items():
            for index, specimen in enumerate(specimens[:PER_SIGNER]):
                changed = features.embed([_changed(specimen, change, apply)])[0]
                if not np.isfinite(changed).all():
                    refused[change] += 1
                    continue
                to_genuine = compare(changed[None], genuine)[0]
                to_others = np.delete(to_genuine, index)
                costs[change].append(float(to_others.mean() - genuine_distances[index]) / increase)
                moves[change].append(float(to_genuine[index]) / forgery_distance)
    return {change: (np.array(costs[change]), np.array(moves[change]), refused[change]) for change in CHANGES}


def _usable(features: Features, specimens: Sequence[Specimen]) -> tuple[list[Specimen], NDArray[np.float32]]:
    """Return the specimens with a usable signature, and their embeddings."""
    rows = features.embed(specimens)
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(rows).all(axis=1))
    return [s for s, use in zip(specimens, usable.tolist(), strict=True) if use], rows[usable]


def _changed(specimen: Specimen, change: str, apply: Callable[[Grey], Grey]) -> Specimen:
    return replace(specimen, key=f"{specimen.key} {change}", grey=lambda: apply(specimen.grey()), path=None)


if __name__ == "__main__":
    main()
