"""Error rates along the line between the weights before and after training on real writers, on validation writers.

``python -m benchmarks.interpolation [weights/countersign-3]``. The recipe of the released weights names those that
training started from and the share of the trained weights in the released ones (``interpolation``). Other shares are
computed from the two released networks, also those of the trained network itself (share 1).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.leave_one_out import LEFT_OUT
from model.data.registry import open_dataset
from model.evaluation.error_rates import NearestThree, measure
from model.evaluation.features import InkCache, WeightsFeatures, embed_dataset
from model.networks.embedder import Embedder
from model.networks.weights import load_card, load_network
from model.training.recipes import read_recipe

SHARES = (0.0, 0.3, 0.5, 0.7, 0.85, 1.0, 1.15)
REFERENCES = (1, 5, 10)
SPREAD_WEIGHT = 0.7


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, nargs="?", default=Path("weights/countersign-4"))
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    parser.add_argument("--draws", type=int, default=3)
    args = parser.parse_args()
    training = read_recipe(args.weights / "recipe.toml")[0].training
    datasets = [open_dataset(f"{name}/validation", args.data) for name in LEFT_OUT]
    rule, cache = NearestThree(SPREAD_WEIGHT), InkCache()
    print(
        f"`python -m benchmarks.interpolation {args.weights}`: EER in % on skilled forgeries with 1 / 5 / 10 "
    )
    print(f"references, validation writers, rule: {rule.name}.\n")
    print("| share of the trained weights | mean | " + " | ".join(LEFT_OUT) + " |")
    print("|---:|---:|" + "---:|" * len(LEFT_OUT))
    for share in SHARES:
        features = WeightsFeatures(args.weights, cache, name=f"share {share:g}")
        network = extrapolated(Path(training.start), args.weights, share / training.interpolation)
        features.embedder = Embedder(network, features.embedder.card, None)
        features.compare = features.embedder.compare
        rates = np.empty((len(datasets), len(REFERENCES)))
        for row, dataset in zip(rates, datasets, strict=True):
            gallery = embed_dataset(features, dataset)
            for column, references in enumerate(REFERENCES):
                result = measure(gallery, features.name, rule, references, args.draws, samples=2)
                row[column] = np.nan if result.eer_skilled is None else 100.0 * result.eer_skilled.value
        cells = [" / ".join(f"{rate:.1f}" for rate in row) for row in (rates.mean(axis=0), *rates)]
        print(f"| {share:g} | " + " | ".join(cells) + " |", flush=True)


def extrapolated(start: Path, end: Path, share: float) -> nn.Module:
    """The network whose weights are ``start + share * (end - start)``."""
    first, second = (load_network(folder, load_card(folder)) for folder in (start, end))
    origin = first.state_dict()
    with torch.no_grad():
        for name, values in second.state_dict().items():
            if values.is_floating_point():
                values.sub_(origin[name]).mul_(share).add_(origin[name])
    return second


if __name__ == "__main__":
    main()
