"""Ablations: the effect of each part of a recipe on signers of data sets that it was not trained on.

``python -m benchmarks.ablations [--steps N] [VARIANT ...]``. Each variant is the recipe with permissive data and one
change. All variants are trained for the same small number of steps into ``runs/ablation-VARIANT``; finished runs are
not repeated. They are measured on all writers of two data sets with skilled forgeries that no variant was trained on.
The score is the mean distance to the three nearest references, minus 0.7 times the mean distance among the
references.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.derived import RUNS, derive, reuse_training, trained_weights
from model.data.registry import open_dataset
from model.evaluation.baselines import Hog
from model.evaluation.error_rates import NearestThree, Result, measure
from model.evaluation.features import Features, InkCache, WeightsFeatures, embed_dataset
from model.training.recipes import read_recipe

RECIPE = Path("recipes/countersign-2-free.toml")
SETS = ("sigcomp2011-dutch/full", "svc2004/full")
REFERENCES = (1, 5, 10)
SIMILARITY = {"name": "signature-similarity", "forgeries": "own-class"}
WITH_REFINEMENT: dict[str, dict[str, Any]] = {
    "not refined": {"refinement": None},
    "whitened, one size": {"refinement.sizes": [1.0]},
}
"""Variants that differ in the refinement only; they reuse the training of the first variant."""
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
    "without synthetic forgeries": {"sampler.forgeries": 0},
    "without spreading ink": {"augmentation.ink": 0.0, "augmentation.uneven": 0.0},
    "pooled over the whole canvas": {"network.options.grid": [1, 1], "network.options.cell": 768},
    # Further changes to the best of the variants above:
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
        "variants", nargs="*", help=f"any of {', '.join(VARIANTS | WITH_REFINEMENT)}; all by default"
    )
    parser.add_argument("--steps", type=int, default=300, help="training steps of each variant")
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    args = parser.parse_args()
    _, text = read_recipe(RECIPE)
    ink_cache = InkCache()
    print(f"`{shlex.join(['python', '-m', 'benchmarks.ablations', *sys.argv[1:]])}`\n")
    print("| variant | set | skilled EER, %: 1 reference | 5 | 10 | random, 1 | 5 | 10 |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    _report("HOG, untrained", Hog(ink_cache), args.data)
    for variant in args.variants or (VARIANTS | WITH_REFINEMENT):
        name = _run_name(variant)
        changes = (VARIANTS | WITH_REFINEMENT)[variant] | {"training.steps_per_epoch": args.steps}
        derived = derive(text, name, changes, epochs=1)
        if variant in WITH_REFINEMENT and not (RUNS / name).exists():
            reuse_training(derived, RUNS / _run_name(next(iter(VARIANTS))))
        _report(variant, WeightsFeatures(trained_weights(derived, args.data), ink_cache), args.data)


def _run_name(variant: str) -> str:
    return f"ablation-{variant.replace(' ', '-').replace(',', '')}"


def _report(variant: str, system: Features, data: Path | None) -> None:
    """Measure a variant and print its row for each data set and for their mean."""
    results: list[list[Result]] = []
    for name in SETS:
        dataset_gallery = embed_dataset(system, open_dataset(name, data))
        results.append(
            [measure(dataset_gallery, variant, NearestThree(0.7), k, 5, samples=10) for k in REFERENCES]
        )
        _print_row(variant, name, results[-1:])
    _print_row(variant, "mean", results)


def _print_row(variant: str, name: str, results: list[list[Result]]) -> None:
    def mean(rate: str) -> list[str]:
        return [
            f"{100 * np.mean([getattr(by_k[i], rate).value for by_k in results]):.1f}"
            for i in range(len(REFERENCES))
        ]

    print("| " + " | ".join([variant, name, *mean("eer_skilled"), *mean("eer_random")]) + " |", flush=True)


if __name__ == "__main__":
    main()
