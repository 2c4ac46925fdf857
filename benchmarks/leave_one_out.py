"""Error rates on data sets that the network was not trained on, by leaving out each data set in turn.

``python -m benchmarks.leave_one_out RECIPE [--epochs N]``. For each data set with skilled forgeries, the recipe is
trained without it (into ``runs/RECIPE-without-DATASET``), calibrated on the validation writers of the other data
sets, and measured on all writers of the data set that was left out. Its signers, forgers, pens and scanners, and for
some data sets the script, are new to the network. HOG and the released weights that were not trained on the data set
are measured too, calibrated on the same writers. With ``--weights FOLDER``, these weights are measured instead of the
released ones.

An interrupted run can be repeated: training resumes from its checkpoint, and finished measurements are reused.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from benchmarks.derived import RUNS, derive, trained_weights
from model.data.registry import open_dataset
from model.data.specimens import Dataset
from model.data.splits import Subset
from model.evaluation.baselines import Hog
from model.evaluation.calibration_fit import fit_calibration
from model.evaluation.error_rates import Result, ServiceRule, measure
from model.evaluation.features import Features, InkCache, WeightsFeatures, embed_dataset
from model.evaluation.metrics import Estimate
from model.evaluation.reports import PROTOCOL, number, percent, write_json
from model.evaluation.trials import Gallery
from model.training.recipes import read_recipe

LEFT_OUT = ("sigcomp2011-dutch", "svc2004", "susig", "sigcomp2009", "bhsig260-hindi", "bhsig260-bengali")
REFERENCES = (1, 3, 5, 10)
RELEASED = Path("weights")
RESULTS = TypeAdapter(list[Result])


def main() -> None:
    """Train, measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path, nargs="?", help="recipe to train without each data set in turn")
    parser.add_argument(
        "--weights", type=Path, action="append", default=[], help="weights folder to measure, repeatable"
    )
    parser.add_argument("--alone", action="store_true", help="measure the trained networks only")
    parser.add_argument(
        "--without", action="append", choices=LEFT_OUT, help="leave out this data set only, repeatable"
    )
    parser.add_argument("--epochs", type=int, default=0, help="epochs of each run; the recipe's by default")
    parser.add_argument(
        "--threads", type=int, default=0, help="threads of each training run; the recipe's by default"
    )
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    parser.add_argument(
        "--writers",
        type=int,
        default=0,
        help="maximum number of writers of the data set that is left out, evenly spaced; all by default",
    )
    parser.add_argument("--draws", type=int, default=5, help="draws of references for each signer")
    parser.add_argument("--samples", type=int, default=500, help="bootstrap samples")
    parser.add_argument("--target-far", type=float, default=0.05, help="target FAR of the service's decision")
    args = parser.parse_args()
    ink_cache = InkCache()
    baselines: list[Features] = []
    if not args.alone:
        folders = args.weights or [card.parent for card in sorted(RELEASED.glob("*/card.json"))]
        baselines = [
            *([] if args.weights else [Hog(ink_cache)]),
            *(WeightsFeatures(folder, ink_cache) for folder in folders),
        ]

    @cache
    def embed(system: Features, name: str) -> Gallery:
        return embed_dataset(system, open_dataset(name, args.data))

    results: list[Result] = []
    for left_out in args.without or LEFT_OUT:
        systems = [system for system in baselines if not was_trained_on(system, left_out)]
        if args.recipe is not None:
            recipe, text = read_recipe(args.recipe)
            name = f"{recipe.name}-without-{left_out}"
            changes = {"training.threads": args.threads} if args.threads else {}
            derived = derive(text, name, changes, without=left_out, epochs=args.epochs)
            weights = trained_weights(derived, args.data)
            systems.append(
                WeightsFeatures(weights, ink_cache, name=f"{recipe.name}, trained without the set")
            )
        for system in systems:
            path = (
                RUNS / "leave-one-out" / f"{system.name}-{left_out}.json".replace(", ", "-").replace(" ", "-")
            )
            identity = {
                "weights": system.embedder.card.sha256 if isinstance(system, WeightsFeatures) else "none",
                "arguments": [args.writers, args.draws, args.samples, args.target_far],
            }
            results += load_results(path, identity) or save_results(
                path, identity, _measure(system, left_out, args, embed)
            )
            print(f"{system.name} without {left_out}: done", file=sys.stderr, flush=True)
    command = shlex.join(["python", "-m", "benchmarks.leave_one_out", *sys.argv[1:]])
    print(f"`{command}`\n\n{PROTOCOL} Decisions at a target FAR of {100 * args.target_far:g} %.\n")
    print(error_table(results))
    print(decision_table(results))
    write_json(RUNS / "leave-one-out" / "results.json", results, command)


def was_trained_on(system: Features, left_out: str) -> bool:
    """Return whether a system was trained on a part of the data set, or on a data set that contains it."""
    if not isinstance(system, WeightsFeatures):
        return False
    names = {data.name.partition("/")[0] for data in system.embedder.card.datasets}
    return any(left_out == name or left_out.startswith(f"{name}-") for name in names)


def load_results(path: Path, identity: dict[str, Any]) -> list[Result]:
    """Load the results of an earlier run with the same weights and arguments; empty if there are none."""
    if not path.is_file():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    return RESULTS.validate_python(content["results"]) if content["identity"] == identity else []


def save_results(path: Path, identity: dict[str, Any], results: list[Result]) -> list[Result]:
    """Write results for :func:`load_results`, and return them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"identity": identity, "results": RESULTS.dump_python(results)}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return results


def _measure(
    system: Features, left_out: str, args: argparse.Namespace, embed: Callable[..., Gallery]
) -> list[Result]:
    """Calibrate a system on the validation writers of the other data sets, and measure it on the left-out one."""
    names = [f"{name}/validation" for name in (*LEFT_OUT, "synthetic") if name != left_out]
    validation = [embed(system, name) for name in names]
    sha256 = system.embedder.card.sha256 if isinstance(system, WeightsFeatures) else "none"
    rule = ServiceRule(fit_calibration(validation, sha256, system.metric), args.target_far)
    dataset = open_dataset(f"{left_out}/all", args.data)
    test_gallery = embed_dataset(system, evenly_spaced(dataset, args.writers) if args.writers else dataset)
    return [measure(test_gallery, system.name, rule, k, args.draws, samples=args.samples) for k in REFERENCES]


def evenly_spaced(dataset: Dataset, writers: int) -> Dataset:
    """Select at most ``writers`` signers with skilled forgeries, evenly spaced in their sorted order."""
    forged = [signer for signer in dataset.signers() if dataset.forgeries(signer)]
    indices = np.linspace(0, len(forged) - 1, min(writers, len(forged))).round().astype(int)
    return Subset(dataset, [forged[index] for index in indices], "all")


def error_table(results: Sequence[Result]) -> str:
    """Format the EER in per cent with 1, 5 and 10 references, for each data set that was left out and their mean."""
    shown = (1, 5, 10)
    lines = [
        "### EER on skilled forgeries in % with 1, 5 and 10 references",
        "",
        "| system | left out | writers | EER, 1 | 5 | 10 | a threshold for each signer, 1 | 5 | 10 | random, 10 |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for system in dict.fromkeys(r.features for r in results):
        sets = list(dict.fromkeys(r.dataset for r in results if r.features == system))
        tables = [{r.references: r for r in results if (r.features, r.dataset) == (system, s)} for s in sets]
        for name, rows in zip(sets, tables, strict=True):
            cells = [percent(rows[k].eer_skilled) for k in shown] + [
                percent(rows[k].eer_per_signer) for k in shown
            ]
            cells.append(percent(rows[10].eer_random))
            lines.append(f"| {system} | {name} | {rows[1].writers} | " + " | ".join(cells) + " |")
        means = [mean([rows[k].eer_skilled for rows in tables]) for k in shown]
        means += [mean([rows[k].eer_per_signer for rows in tables]) for k in shown]
        means.append(mean([rows[10].eer_random for rows in tables]))
        lines.append(f"| **{system}** | **mean of {len(sets)} sets** | | " + " | ".join(means) + " |")
    return "\n".join([*lines, ""])


def decision_table(results: Sequence[Result]) -> str:
    """Format the error rates of the service's decision and the costs of its likelihood ratios."""
    lines = [
        "### At the service's decision",
        "",
        "| system | left out | references | FAR skilled, % | FAR random, % | FRR, % | Cllr | Cllr - Cllr_min |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        loss = "-" if r.cllr is None or r.cllr_min is None else f"{r.cllr.value - r.cllr_min.value:.3f}"
        lines.append(
            f"| {r.features} | {r.dataset} | {r.references} | {percent(r.far_skilled)} "
            f"| {percent(r.far_random)} | {percent(r.frr)} | {number(r.cllr)} | {loss} |"
        )
    return "\n".join([*lines, ""])


def mean(estimates: Sequence[Estimate | None]) -> str:
    """Format the mean of estimates in per cent."""
    return f"**{100 * float(np.mean([e.value for e in estimates if e is not None])):.1f}**"


if __name__ == "__main__":
    main()
