"""What comparing a rejected signature turned as well does to genuine signatures and to forgeries.

``python -m benchmarks.turning [WEIGHTS]``. Signers of two test sets, five references, the service's default
thresholds. The questioned signatures are compared as they are and turned by 15 degrees, and decided with the turns of
:mod:`app.services.turning`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.services.turning import GAIN, QUARTER_TURNS, SMALL_TURNS
from app.settings import RELEASED_WEIGHTS, Settings
from model.data.registry import open_dataset
from model.data.specimens import Specimen
from model.decision.verdict import Decision, judge
from model.networks.embedder import Embedder
from model.preprocessing.ink import fit, isolate
from model.preprocessing.turning import turn

SETS = ("sigcomp2011-dutch/test", "svc2004/test")
REFERENCES, QUESTIONED = 5, 10
TILTS = (0, 15)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, nargs="?", default=RELEASED_WEIGHTS)
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    embedder = Embedder.load(args.weights, "auto")
    print(f"`python -m benchmarks.turning {args.weights}`\n")
    print("| data set | questioned | turned by | number | accepted upright | accepted with turns |")
    print("|---|---|---:|---:|---:|---:|")
    for name in SETS:
        dataset = open_dataset(name, args.data)
        decided: dict[tuple[str, int], list[tuple[bool, bool]]] = {}
        for signer in tqdm(dataset.signers(), desc=name, leave=False):
            genuine, forged = dataset.genuine(signer), dataset.forgeries(signer)
            references = embed(embedder, genuine[:REFERENCES], 0)[:, 0]
            for kind, specimens in (
                ("genuine", genuine[REFERENCES : REFERENCES + QUESTIONED]),
                ("forged", forged[:QUESTIONED]),
            ):
                for tilt in TILTS:
                    rows = decided.setdefault((kind, tilt), [])
                    for at_angles in embed(embedder, specimens, tilt):
                        rows.append(decide(embedder, at_angles, references))
        for (kind, tilt), rows in decided.items():
            upright, turned = np.mean(rows, axis=0)
            print(
                f"| {name} | {kind} | {tilt} degrees | {len(rows)} | {100 * upright:.1f} % | {100 * turned:.1f} % |"
            )


def embed(embedder: Embedder, specimens: Sequence[Specimen], tilt: float) -> NDArray[np.float32]:
    """Embed specimens turned by ``tilt`` degrees, upright and at all turns: (n, 1 + turns, dimension)."""
    angles = (0, *SMALL_TURNS, *QUARTER_TURNS)
    rows = []
    for specimen in specimens:
        density = turn(isolate(specimen.grey()).density, tilt)
        rows.append(
            embedder.embed(np.stack([fit(turn(density, angle), embedder.canvas) for angle in angles]))
        )
    return np.stack(rows)


def decide(
    embedder: Embedder, at_angles: NDArray[np.float32], references: NDArray[np.float32]
) -> tuple[bool, bool]:
    """Decide as the service does: whether the upright signature is accepted, and whether it is with turns."""
    among = embedder.compare_among(references)
    target_far, review_far = (Settings.model_fields[name].default for name in ("target_far", "review_far"))
    upright, *turned = (
        judge(row, among, embedder.calibration, target_far, review_far)
        for row in embedder.compare(at_angles, references)
    )
    if upright.decision is not Decision.REJECT:
        return (upright.decision is Decision.ACCEPT,) * 2
    nearest = min(range(len(turned)), key=lambda index: turned[index].distance)
    is_applied = nearest >= len(SMALL_TURNS) or turned[nearest].distance <= GAIN * upright.distance
    return False, turned[nearest].decision is Decision.ACCEPT and is_applied


if __name__ == "__main__":
    main()
