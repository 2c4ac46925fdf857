"""Compare the variability of synthetic writers and the skill of their forgers with those of real writers.

``python -m benchmarks.likeness [WEIGHTS]``. The table shows the distances, by released weights, between genuine
signatures of one writer and between genuine signatures and forgeries. The writers are real ones (no test writers),
the synthetic writers of training, and those of ``synthetic/validation``, whose habits were chosen by this table.
"""

from __future__ import annotations

import numpy as np

from benchmarks.command_line import parse_arguments
from model.data.readers.synthetic import HABITS, SyntheticDataset
from model.data.registry import open_dataset
from model.data.specimens import Dataset
from model.evaluation.features import InkCache, WeightsFeatures, embed_dataset
from model.evaluation.trials import Gallery
from model.synthetic.writer import Habits

REAL = ("sigcomp2011-dutch/full", "svc2004/full")


def main() -> None:
    """Measure and print one table."""
    args = parse_arguments(__doc__)
    features = WeightsFeatures(args.weights, InkCache())
    print(f"`python -m benchmarks.likeness {args.weights}`\n")
    print("| writers | genuine distance | its deviation between writers | forged distance | difference |")
    print("|---|---:|---:|---:|---:|")
    datasets: dict[str, Dataset] = {name: open_dataset(name, args.data) for name in REAL}
    datasets["synthetic, as in training"] = SyntheticDataset(habits=Habits())
    datasets["synthetic, `synthetic/validation`"] = SyntheticDataset(habits=HABITS)
    for name, dataset in datasets.items():
        row = " | ".join(f"{value:.3f}" for value in _summary(embed_dataset(features, dataset)))
        print(f"| {name} | {row} |", flush=True)


def _summary(writers: Gallery) -> tuple[float, float, float, float]:
    """Return the mean genuine distance, its deviation between writers, the mean forged distance, the difference."""
    means = []
    for signer in np.unique(writers.signers):
        genuine = np.flatnonzero((writers.signers == signer) & writers.genuine)
        forged = np.flatnonzero((writers.signers == signer) & ~writers.genuine)
        if len(genuine) > 2 and len(forged):
            pairs = writers.distances(genuine, genuine)[np.triu_indices(len(genuine), 1)]
            means.append((pairs.mean(), writers.distances(genuine, forged).mean()))
    genuine_means, forged_means = np.array(means).T
    difference = float((forged_means - genuine_means).mean())
    return float(genuine_means.mean()), float(genuine_means.std()), float(forged_means.mean()), difference


if __name__ == "__main__":
    main()
