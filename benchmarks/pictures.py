"""The pictures of the docs: DET curves, the calibration of the likelihood ratio, the worst errors.

``python -m benchmarks.pictures [WEIGHTS]`` draws them anew into ``docs/pictures``. Worst errors show signatures:
those of invented people go into the docs, of real people into ``runs/pictures``, which is no part of the repository.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from app.settings import RELEASED_WEIGHTS
from model.data.registry import open_dataset
from model.data.specimens import Dataset
from model.decision.calibration import Calibration
from model.decision.distances import Floats
from model.evaluation import plots
from model.evaluation.error_rates import Pool, ServiceRule
from model.evaluation.evaluate import Evaluation, run, worst
from model.evaluation.features import InkCache, WeightsFeatures, gallery
from model.evaluation.trials import Kind

REAL = ("sigcomp2011-dutch/test", "svc2004/test")
INVENTED = "synthetic/validation"
REFERENCES = (1, 5, 10)
PRIVATE = Path("runs/pictures")
WORST_AT = 5  # references


def main() -> None:
    """Measure the weights on each set and draw."""
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
    for name in (*REAL, INVENTED):
        dataset = open_dataset(name, args.data)
        evaluation = run(features, gallery(features, dataset), [rule], REFERENCES, samples=10)
        pools = {k: trials for (_, k), trials in evaluation.pools.items()}
        title = f"{features.name} on {name}"
        slug = name.replace("/", "-")
        _curves(args.out / f"det-{slug}.png", pools, title)
        for k, trials in pools.items():
            if trials.llr is not None:
                genuine, skilled = (trials.llr[trials.kind == kind] for kind in (Kind.GENUINE, Kind.SKILLED))
                plots.llr_calibration(args.out / f"llr-{slug}-{k}.png", genuine, skilled, f"{title}, k = {k}")
        _worst(args.out if name == INVENTED else PRIVATE, slug, evaluation, pools, dataset, title)


def _curves(path: Path, pools: dict[int, Pool], title: str) -> None:
    curves: dict[str, tuple[Floats, Floats]] = {}
    for kind, word in ((Kind.SKILLED, "skilled"), (Kind.RANDOM, "random")):
        for k, trials in pools.items():
            genuine, forged = (np.asarray(trials.score[trials.kind == own]) for own in (Kind.GENUINE, kind))
            curves[f"{word}, k = {k}"] = (genuine, forged)
    plots.det(path, curves, title)


def _worst(
    folder: Path, slug: str, evaluation: Evaluation, pools: dict[int, Pool], dataset: Dataset, title: str
) -> None:
    errors = worst(pools[WORST_AT], evaluation.gallery, dataset)
    plots.worst_errors(folder / f"worst-errors-{slug}.png", errors, f"{title}, k = {WORST_AT}: worst errors")


if __name__ == "__main__":
    main()
