"""Plots for the documentation: DET curves, the calibration of the likelihood ratio, and the worst errors.

``python -m benchmarks.pictures [WEIGHTS]`` writes them to ``docs/pictures``. The plots of the worst errors show
signatures. Those of real writers are written to ``runs/pictures``, which is not part of the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from app.settings import RELEASED_WEIGHTS
from model.data.registry import open_dataset
from model.decision.calibration import Calibration
from model.decision.distances import Floats
from model.evaluation import plots
from model.evaluation.error_rates import ScoredTrials, ServiceRule
from model.evaluation.evaluate import run, worst
from model.evaluation.features import InkCache, WeightsFeatures, embed_dataset
from model.evaluation.trials import Kind

REAL = ("sigcomp2011-dutch/test", "svc2004/test")
SYNTHETIC = "synthetic/validation"
REFERENCES = (1, 5, 10)
PRIVATE = Path("runs/pictures")
WORST_ERRORS_K = 5
"""Number of references in the plot of the worst errors."""


def main() -> None:
    """Measure the weights on each data set and plot the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", nargs="?", type=Path, default=RELEASED_WEIGHTS)
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    args = parser.parse_args()
    features = WeightsFeatures(args.weights, InkCache())
    rule = ServiceRule(Calibration.load(args.weights, features.embedder.card.sha256))
    args.out.mkdir(parents=True, exist_ok=True)
    PRIVATE.mkdir(parents=True, exist_ok=True)
    for name in (*REAL, SYNTHETIC):
        dataset = open_dataset(name, args.data)
        evaluation = run(features, embed_dataset(features, dataset), [rule], REFERENCES, samples=10)
        trials_by_k = {k: trials for (_, k), trials in evaluation.trials.items()}
        title = f"{features.name} on {name}"
        slug = name.replace("/", "-")
        _plot_det(args.out / f"det-{slug}.png", trials_by_k, title)
        for k, trials in trials_by_k.items():
            if trials.llr is not None:
                genuine, skilled = (trials.llr[trials.kind == kind] for kind in (Kind.GENUINE, Kind.SKILLED))
                plots.llr_calibration(args.out / f"llr-{slug}-{k}.png", genuine, skilled, f"{title}, k = {k}")
        folder = args.out if name == SYNTHETIC else PRIVATE
        errors = worst(trials_by_k[WORST_ERRORS_K], evaluation.gallery, dataset)
        plots.worst_errors(
            folder / f"worst-errors-{slug}.png", errors, f"{title}, k = {WORST_ERRORS_K}: worst errors"
        )


def _plot_det(path: Path, trials_by_k: dict[int, ScoredTrials], title: str) -> None:
    curves: dict[str, tuple[Floats, Floats]] = {}
    for kind, label in ((Kind.SKILLED, "skilled"), (Kind.RANDOM, "random")):
        for k, trials in trials_by_k.items():
            genuine, forged = (np.asarray(trials.score[trials.kind == side]) for side in (Kind.GENUINE, kind))
            curves[f"{label}, k = {k}"] = (genuine, forged)
    plots.det(path, curves, title)


if __name__ == "__main__":
    main()
