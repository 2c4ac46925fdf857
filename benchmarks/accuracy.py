"""The accuracy tables: HOG and trained networks on test writers that none of them was trained on.

``python benchmarks/accuracy.py [WEIGHTS ...]``; by default, all ``weights/*`` and ``runs/*/weights`` are measured.
Each system is measured with two rules: the mean distance to the three nearest references, and the set rule of the
service. The set rule uses the calibration in the weights folder or, if there is none, one that is fitted here on
validation writers. Test writers are used neither for training nor for calibration.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.data.registry import open_dataset
from model.decision.calibration import FILE, Calibration
from model.errors import ModelError
from model.evaluation.baselines import Hog
from model.evaluation.calibrate import VALIDATION
from model.evaluation.calibration_fit import fit_calibration
from model.evaluation.error_rates import NearestThree, Result, Rule, ServiceRule, measure
from model.evaluation.features import Features, InkCache, WeightsFeatures, embed_dataset
from model.evaluation.reports import PROTOCOL, number, percent, write_json

ROOT = Path(__file__).resolve().parents[1]
SETS = (
    "sigcomp2011-dutch/test",
    "svc2004/test",
    "susig/test",
    "sigcomp2009/test",
    "bhsig260-hindi/test",
    "bhsig260-bengali/test",
)
REFERENCES = (1, 5, 10)


def main() -> None:
    """Measure every system on every set and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "weights", nargs="*", type=Path, help="weights folders; by default all in weights/ and runs/"
    )
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    parser.add_argument(
        "--set", action="append", dest="sets", help=f"test set, repeatable; default {', '.join(SETS)}"
    )
    parser.add_argument("--draws", type=int, default=5, help="draws of references for each signer")
    parser.add_argument("--samples", type=int, default=500, help="bootstrap samples")
    parser.add_argument("--target-far", type=float, default=0.05, help="target FAR of the service's decision")
    parser.add_argument(
        "--json", type=Path, default=ROOT / "runs" / "accuracy.json", help="file for the results"
    )
    args = parser.parse_args()

    ink_cache = InkCache()
    systems: list[Features] = [Hog(ink_cache), *_open(args.weights or _default_folders(), ink_cache)]
    sets = tuple(args.sets or SETS)
    results: list[Result] = []
    for system in systems:
        rules: list[Rule] = [
            NearestThree(),
            ServiceRule(_calibration(system, args.data), args.target_far),
        ]
        for name in sets:
            dataset_gallery = embed_dataset(system, open_dataset(name, args.data))
            results += [
                measure(dataset_gallery, system.name, rule, k, args.draws, samples=args.samples)
                for rule in rules
                for k in REFERENCES
            ]
        print(f"{system.name} done", file=sys.stderr, flush=True)
    command = shlex.join(["python", "benchmarks/accuracy.py", *sys.argv[1:]])
    print(f"`{command}`\n\n{PROTOCOL}\n")
    print(_summary(results, sets))
    for name in sets:
        print(_error_table([r for r in results if r.dataset == name], name))
        print(_decision_table([r for r in results if r.dataset == name], name, args.target_far))
    write_json(args.json, results, command)


def _default_folders() -> list[Path]:
    """List the released weights, then those of training runs."""
    released = sorted(p.parent for p in (ROOT / "weights").glob("*/model.safetensors"))
    return [*released, *sorted(p.parent for p in (ROOT / "runs").glob("*/weights/model.safetensors"))]


def _open(folders: Sequence[Path], ink_cache: InkCache) -> list[WeightsFeatures]:
    """Open weights folders; unusable folders and duplicates are skipped."""
    opened: list[WeightsFeatures] = []
    for folder in folders:
        try:
            features = WeightsFeatures(folder, ink_cache)
        except ModelError as error:
            print(f"{folder} skipped: {error}", file=sys.stderr)
            continue
        if any(features.embedder.version == other.embedder.version for other in opened):
            continue
        opened.append(features)
    return opened


def _calibration(system: Features, data: Path | None) -> Calibration:
    """Load the calibration of the weights, or fit one on validation writers."""
    if isinstance(system, WeightsFeatures):
        sha256 = system.embedder.card.sha256
        if (system.folder / FILE).exists():
            return Calibration.load(system.folder, sha256)
        trained_on = {d.name for d in system.embedder.card.datasets if d.name.endswith(("/full", "/all"))}
        if trained_on:
            print(
                f"Warning: {system.name} was trained on validation writers ({', '.join(trained_on)}), "
                "on which its calibration is fitted.",
                file=sys.stderr,
            )
    else:
        sha256 = "none"
    galleries = [embed_dataset(system, open_dataset(name, data)) for name in VALIDATION["research"]]
    return fit_calibration(galleries, sha256, system.metric)


def _summary(results: Sequence[Result], sets: Sequence[str]) -> str:
    """Format the EER on skilled forgeries with the set rule, in per cent: the mean over the sets, and each set."""
    lines = [
        "### EER on skilled forgeries in % with 1 / 5 / 10 references, set rule",
        "",
        "| system | " + " | ".join(["mean of the sets", *sets, "random, 10"]) + " |",
        "|---|" + "---:|" * (len(sets) + 2),
    ]
    for system in dict.fromkeys(r.features for r in results):
        set_rule = {
            (r.dataset, r.references): r
            for r in results
            if r.features == system and r.far_skilled is not None
        }
        rates = {key: r.eer_skilled.value for key, r in set_rule.items() if r.eer_skilled is not None}
        random = [
            r.eer_random.value
            for (_, k), r in set_rule.items()
            if k == REFERENCES[-1] and r.eer_random is not None
        ]
        means = [np.mean([rates[name, k] for name in sets if (name, k) in rates]) for k in REFERENCES]
        cells = [" / ".join(f"{100 * mean:.1f}" for mean in means)]
        for name in sets:
            shown = [rates.get((name, k)) for k in REFERENCES]
            cells.append(" / ".join("-" if rate is None else f"{100 * rate:.1f}" for rate in shown))
        lines.append(f"| {system} | " + " | ".join([*cells, f"{100 * float(np.mean(random)):.1f}"]) + " |")
    return "\n".join([*lines, ""])


def _error_table(results: Sequence[Result], name: str) -> str:
    lines = [
        f"### {name} ({max(r.writers for r in results)} writers): EER in % with 1, 5 and 10 references",
        "",
        "| system | rule | skilled, 1 | 5 | 10 | random, 1 | 5 | 10 |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for key in dict.fromkeys((r.features, r.rule) for r in results):
        rows = {r.references: r for r in results if (r.features, r.rule) == key}
        cells = [percent(rows[k].eer_skilled) for k in REFERENCES]
        cells += [percent(rows[k].eer_random) for k in REFERENCES]
        lines.append("| " + " | ".join([*key, *cells]) + " |")
    return "\n".join([*lines, ""])


def _decision_table(results: Sequence[Result], name: str, target_far: float) -> str:
    lines = [
        f"### {name}: at the service's decision, target FAR {100 * target_far:g} %",
        "",
        "| system | references | FAR skilled, % | FAR random, % | FRR, % | EER by signer, % | Cllr | Cllr_min |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.features} | {r.references} | {percent(r.far_skilled)} | {percent(r.far_random)} | {percent(r.frr)} "
        f"| {percent(r.eer_per_signer)} | {number(r.cllr)} | {number(r.cllr_min)} |"
        for r in results
        if r.far_skilled is not None
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
