"""Are the invented people that a calibration is fitted on as variable, and their forgers as good, as real ones?

``python -m benchmarks.likeness [WEIGHTS]``. The distances that released weights give between genuine signatures of
one person, and between them and their forgeries, of real people (none of the test writers) and of invented ones:
those that training draws, and those of ``synthetic/validation``, whose habits were set by this table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from app.settings import RELEASED_WEIGHTS
from model.data.readers.synthetic import HABITS, SyntheticDataset
from model.data.registry import open_dataset
from model.data.specimens import Dataset
from model.evaluation.features import InkCache, WeightsFeatures, gallery
from model.evaluation.trials import Gallery
from model.synthetic.writer import Habits

REAL = ("sigcomp2011-dutch/full", "svc2004/full")


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", nargs="?", type=Path, default=RELEASED_WEIGHTS)
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    args = parser.parse_args()
    features = WeightsFeatures(args.weights, InkCache())
    print(f"`python -m benchmarks.likeness {args.weights}`\n")
    print("| people | genuine distance | its deviation between people | forged distance | between the two |")
    print("|---|---:|---:|---:|---:|")
    people: dict[str, Dataset] = {name: open_dataset(name, args.data) for name in REAL}
    people["invented, as training draws them"] = SyntheticDataset(habits=Habits())
    people["invented, `synthetic/validation`"] = SyntheticDataset(habits=HABITS)
    for name, dataset in people.items():
        row = " | ".join(f"{value:.3f}" for value in _summary(gallery(features, dataset)))
        print(f"| {name} | {row} |", flush=True)


def _summary(own: Gallery) -> tuple[float, float, float, float]:
    """Mean distance between genuine signatures, its deviation between signers, mean to forgeries, difference."""
    rows = []
    for signer in np.unique(own.signers):
        genuine = np.flatnonzero((own.signers == signer) & own.genuine)
        forged = np.flatnonzero((own.signers == signer) & ~own.genuine)
        if len(genuine) > 2 and len(forged):
            pairs = own.between(genuine, genuine)[np.triu_indices(len(genuine), 1)]
            rows.append((pairs.mean(), own.between(genuine, forged).mean()))
    same, forgery = np.array(rows).T
    return float(same.mean()), float(same.std()), float(forgery.mean()), float((forgery - same).mean())


if __name__ == "__main__":
    main()
