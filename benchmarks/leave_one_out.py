"""The figure to steer by: trained without a data set, tested on all of its people.

``python -m benchmarks.leave_one_out RECIPE [--epochs N]``. For each data set that has forgeries the recipe is trained
without it (into ``runs/RECIPE-without-DATASET``, gone on with where it was stopped), calibrated on the validation
writers of the other and on invented ones, and measured on every writer of the one left out. It stands for a set that
nobody has seen: other people, pens, scanners, scripts. HOG and the released weights of free data, which know neither
set, are measured beside it.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from benchmarks.derived import derive, trained
from model.baselines import Hog
from model.calibration import Calibration
from model.data.registry import open_dataset
from model.features import Features, InkShelf, WeightsFeatures, gallery
from model.fitting import fit_calibration
from model.measure import Result, ServiceRule, measure
from model.recipes import read_recipe
from model.report import PROTOCOL, table, write_json

LEFT_OUT = ("sigcomp2011-dutch", "svc2004")
REFERENCES = (1, 5, 10)
FREE = Path("weights/countersign-2-free")  # knows neither set


def main() -> None:
    """Train, measure and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--epochs", type=int, default=0, help="of each run; the recipe's by default")
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--samples", type=int, default=500, help="of the bootstrap")
    parser.add_argument("--target-far", type=float, default=0.05)
    args = parser.parse_args()
    recipe, text = read_recipe(args.recipe)
    shelf = InkShelf()
    results: list[Result] = []
    for left_out in LEFT_OUT:
        name = f"{recipe.name}-without-{left_out}"
        weights = trained(derive(text, name, {}, without=left_out, epochs=args.epochs), args.data)
        features: tuple[Features, ...] = (
            Hog(shelf),
            WeightsFeatures(FREE, shelf),
            WeightsFeatures(weights, shelf),
        )
        for system in features:
            calibration = calibration_without(system, left_out, args.data)
            rule = ServiceRule(calibration, args.target_far)
            own = gallery(system, open_dataset(f"{left_out}/all", args.data))
            results += [
                measure(own, system.name, rule, k, args.draws, samples=args.samples) for k in REFERENCES
            ]
    command = shlex.join(["python", "-m", "benchmarks.leave_one_out", *sys.argv[1:]])
    print(f"`{command}`\n\n{PROTOCOL} Decisions at a target FAR of {100 * args.target_far:g} %.\n")
    print(table(results))
    write_json(Path("runs") / f"{recipe.name}-leave-one-out.json", results, command)


def calibration_without(system: Features, left_out: str, data: Path | None) -> Calibration:
    """Fitted on validation writers of the sets that were not left out, invented ones among them."""
    names = [f"{name}/validation" for name in (*LEFT_OUT, "synthetic") if name != left_out]
    galleries = [gallery(system, open_dataset(name, data)) for name in names]
    sha256 = system.embedder.card.sha256 if isinstance(system, WeightsFeatures) else "none"
    return fit_calibration(galleries, sha256, system.metric)


if __name__ == "__main__":
    main()
