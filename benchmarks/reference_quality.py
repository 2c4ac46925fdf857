"""How often the descriptions of ``GET /signers/{id}/quality`` are right on real signatures.

``python -m benchmarks.reference_quality [WEIGHTS]``. Sets of references of test writers: genuine ones, of which
variants and outliers are false alarms; with one signature of another writer or one skilled forgery among them; and of
two writers, half of each, in place of two variants. Then, how far the distances tell that SUSIG's signatures are of
one session.
"""

from __future__ import annotations

import re

import numpy as np

from benchmarks.command_line import parse_arguments
from model.data.registry import open_dataset
from model.decision.calibration import Calibration
from model.decision.distances import Floats
from model.decision.reference_set import ReferenceSet, describe_references
from model.decision.set_rule import mean_among
from model.evaluation.features import InkCache, WeightsFeatures, embed_dataset
from model.evaluation.trials import Gallery, Indices

SETS = (
    "sigcomp2011-dutch/test",
    "svc2004/test",
    "susig/test",
    "bhsig260-hindi/test",
    "bhsig260-bengali/test",
)
COUNTS = (3, 5, 8)
DRAWS = 5
SEED = 0


def main() -> None:
    """Measure and print the tables."""
    args = parse_arguments(__doc__)
    features = WeightsFeatures(args.weights, InkCache())
    calibration = Calibration.load(args.weights, features.embedder.card.sha256)
    print(f"`python -m benchmarks.reference_quality {args.weights}`\n")
    print(
        "| data set | references | little | much | two variants | outlier | one of another writer found | one "
        "skilled forgery found | two writers found |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    galleries = {name: embed_dataset(features, open_dataset(name, args.data)) for name in SETS}
    for name, gallery in galleries.items():
        for count in COUNTS:
            row = " | ".join(f"{100 * share:.1f} %" for share in _shares(gallery, calibration, count))
            print(f"| {name} | {count} | {row} |", flush=True)
    _print_sessions(galleries["susig/test"])


def _shares(gallery: Gallery, calibration: Calibration, count: int) -> list[float]:
    """Return the shares of the false alarms, and of the faults that are found."""
    rng = np.random.default_rng(SEED)
    signers = np.unique(gallery.signers)
    rows: list[list[bool]] = []

    def describe(indices: Indices) -> ReferenceSet:
        return describe_references(_among(gallery, indices), calibration)

    for signer in signers:
        own = np.flatnonzero((gallery.signers == signer) & gallery.genuine)
        forged = np.flatnonzero((gallery.signers == signer) & ~gallery.genuine)
        if len(own) < count or not len(forged):
            continue
        for _ in range(DRAWS):
            other = rng.choice(signers[signers != signer])
            others = rng.permutation(np.flatnonzero((gallery.signers == other) & gallery.genuine))
            drawn = rng.permutation(own)[:count]
            genuine = describe(drawn)
            stranger = describe(np.append(drawn[:-1], others[0]))
            forgery = describe(np.append(drawn[:-1], rng.choice(forged)))
            mixed = describe(np.append(drawn[: count - count // 2], others[: count // 2]))
            rows.append(
                [
                    genuine.variation == "little",
                    genuine.variation == "much",
                    bool(genuine.variants),
                    bool(genuine.outliers),
                    count - 1 in stranger.outliers,
                    count - 1 in forgery.outliers,
                    bool(mixed.variants),
                ]
            )
    return list(np.mean(rows, axis=0))


def _print_sessions(gallery: Gallery) -> None:
    """Print how far the mean distance among five signatures tells that they are of one session."""
    rng = np.random.default_rng(SEED)
    session = np.array(
        [found[1] if (found := re.search(r"_g_([12])\d\d\.", key)) else "0" for key in gallery.keys]
    )
    spreads: dict[str, list[float]] = {"one": [], "two": []}
    ratios = []
    for signer in np.unique(gallery.signers):
        first, second = (np.flatnonzero((gallery.signers == signer) & (session == one)) for one in "12")
        if len(first) < 5 or len(second) < 5:
            continue
        within = (mean_among(_among(gallery, first)) + mean_among(_among(gallery, second))) / 2
        ratios.append(gallery.distances(first, second).mean() / within)
        for _ in range(10):
            spreads["one"].append(mean_among(_among(gallery, rng.permutation(first)[:5])))
            both = np.append(rng.permutation(first)[:3], rng.permutation(second)[:2])
            spreads["two"].append(mean_among(_among(gallery, both)))
    less = np.less.outer(np.array(spreads["one"]), np.array(spreads["two"])).mean()
    print(
        f"\nSUSIG visual, {len(ratios)} test writers: the distance between sessions is {np.median(ratios):.3f} "
        "times that within one (median). Of five references of one session and five of two sessions, those of one "
        f"vary less in {100 * less:.0f} of 100 pairs (50: no information)."
    )


def _among(gallery: Gallery, indices: Indices) -> Floats:
    table = np.triu(gallery.distances(indices, indices), 1)
    return np.asarray(table + table.T)


if __name__ == "__main__":
    main()
