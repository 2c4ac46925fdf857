"""One change at a time: what each part of the recipe is worth on people that none of its data know.

``python -m benchmarks.ablations [--steps N] [VARIANT ...]``. The recipe of free data is trained anew with one change,
for the same few steps (into ``runs/ablation-VARIANT``; what is finished is not trained again), and measured on the
people of two sets with skilled forgeries, on neither of which it was trained. Rule: the mean distance to the three
nearest references, less 0.7 of the mean distance among the references.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.derived import RUNS, derive, take_over, trained
from model.data.registry import open_dataset
from model.evaluation.baselines import Hog
from model.evaluation.error_rates import NearestThree, Result, measure
from model.evaluation.features import Features, InkCache, WeightsFeatures, gallery
from model.training.recipes import read_recipe

RECIPE = Path("recipes/countersign-2-free.toml")
SETS = ("sigcomp2011-dutch/full", "svc2004/full")
REFERENCES = (1, 5, 10)
SIMILARITY = {"name": "signature-similarity", "forgeries": "own-class"}
WITH_REFINEMENT: dict[str, dict[str, Any]] = {
    "not refined": {"refinement": None},
    "whitened, one size": {"refinement.sizes": [1.0]},
}
"""Made of the first run, without training again."""
VARIANTS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "canvas 64 x 128": {
        "canvas.height": 64,
        "canvas.width": 128,
        "canvas.fill": 0.8,
        "network.options.grid": [4, 8],
    },
    "embeddings of learned length": {"network.options.yardstick": True},
    "without the reference-set objective": {"objectives": [SIMILARITY]},
    "co-tuplet instead of signature-similarity": {
        "objectives": [
            {"name": "co-tuplet", "forgeries": "own-class"},
            {"name": "reference-set", "forgeries": "own-class"},
        ]
    },
    "without invented forgers": {"sampler.forgeries": 0},
    "without spreading ink": {"augmentation.ink": 0.0, "augmentation.uneven": 0.0},
    "pooled over the whole canvas": {"network.options.grid": [1, 1], "network.options.cell": 768},
    # On top of the best of these:
    "similarity alone, without spreading ink": {
        "objectives": [SIMILARITY],
        "augmentation.ink": 0.0,
        "augmentation.uneven": 0.0,
    },
    "similarity alone, wider": {
        "objectives": [SIMILARITY],
        "network.options.widths": [32, 56, 112, 192],
    },
    "similarity alone, longer descriptors": {"objectives": [SIMILARITY], "network.options.cell": 48},
    "similarity alone, softer": {
        "objectives": [SIMILARITY | {"options": {"alpha": 4.0, "beta": 20.0}}],
    },
    "similarity alone, more forgeries": {
        "objectives": [SIMILARITY],
        "sampler.genuine": 5,
        "sampler.forgeries": 6,
    },
}


def main() -> None:
    """Train, measure and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "variants", nargs="*", help=f"of {', '.join(VARIANTS | WITH_REFINEMENT)}; all by default"
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    args = parser.parse_args()
    _, text = read_recipe(RECIPE)
    shelf = InkCache()
    print(f"`{shlex.join(['python', '-m', 'benchmarks.ablations', *sys.argv[1:]])}`\n")
    print("| variant | set | skilled EER, %: 1 reference | 5 | 10 | random, 1 | 5 | 10 |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    _report("HOG, untrained", Hog(shelf), args.data)
    for variant in args.variants or (VARIANTS | WITH_REFINEMENT):
        name = _name(variant)
        changes = (VARIANTS | WITH_REFINEMENT)[variant] | {"training.steps_per_epoch": args.steps}
        derived = derive(text, name, changes, epochs=1)
        if variant in WITH_REFINEMENT and not (RUNS / name).exists():
            take_over(derived, RUNS / _name(next(iter(VARIANTS))))
        _report(variant, WeightsFeatures(trained(derived, args.data), shelf), args.data)


def _name(variant: str) -> str:
    return f"ablation-{variant.replace(' ', '-').replace(',', '')}"


def _report(variant: str, system: Features, data: Path | None) -> None:
    rows: list[list[Result]] = []
    for name in SETS:
        own = gallery(system, open_dataset(name, data))
        rows.append([measure(own, variant, NearestThree(0.7), k, 5, samples=10) for k in REFERENCES])
        _row(variant, name, rows[-1:])
    _row(variant, "mean", rows)


def _row(variant: str, name: str, rows: list[list[Result]]) -> None:
    def mean(kind: str) -> list[str]:
        return [
            f"{100 * np.mean([getattr(row[i], kind).value for row in rows]):.1f}"
            for i in range(len(REFERENCES))
        ]

    print("| " + " | ".join([variant, name, *mean("eer_skilled"), *mean("eer_random")]) + " |", flush=True)


if __name__ == "__main__":
    main()
