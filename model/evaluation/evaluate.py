"""``python -m model evaluate``: measure the error rates of a model, or of HOG, on one data set.

Prints a Markdown table with the command line, and writes the table, the results as JSON and plots into a folder.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from model.data.registry import open_dataset
from model.data.specimens import Dataset, Specimen
from model.decision.calibration import FILE, Calibration
from model.decision.distances import Floats
from model.evaluation.baselines import Hog
from model.evaluation.error_rates import (
    NearestThree,
    Result,
    Rule,
    ScoredTrials,
    ServiceRule,
    score_cases,
    summarise,
)
from model.evaluation.features import Features, InkCache, WeightsFeatures, embed_dataset
from model.evaluation.metrics import identification_rate
from model.evaluation.reports import PROTOCOL, table, write_json
from model.evaluation.trials import Gallery, Kind, draw_cases, one_shot
from model.networks.embedder import Device

if TYPE_CHECKING:
    from model.evaluation.plots import WorstError

WORST_ERRORS = 10
"""Number of errors that are shown, half of them forgeries."""


@dataclass(frozen=True)
class Evaluation:
    """Results, and the scored trials behind them by (rule, references)."""

    results: tuple[Result, ...]
    trials: dict[tuple[str, int], ScoredTrials]
    gallery: Gallery


def evaluate(
    model: Annotated[str, typer.Argument(help="A weights folder, or `hog`.")],
    dataset: Annotated[
        str, typer.Argument(help="A data set or one of its splits: sigcomp2011-dutch/test, cedar, FOLDER.")
    ],
    root: Annotated[
        Path | None, typer.Option(help="Folder of the data sets; SIGNATURE_DATA by default.")
    ] = None,
    references: Annotated[
        list[int] | None,
        typer.Option(
            "--references", "-k", min=1, help="Number of references, repeatable; 1, 5 and 10 by default."
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws of references for each signer.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    samples: Annotated[int, typer.Option(min=10, help="Bootstrap samples for the intervals.")] = 500,
    target_far: Annotated[
        float, typer.Option(help="Target FAR on skilled forgeries, at which the service's rule decides.")
    ] = 0.05,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the table, JSON and plots; runs/evaluation/MODEL/DATASET by default."),
    ] = None,
    device: Annotated[Device, typer.Option(help="Device that the network runs on.")] = "auto",
) -> None:
    """Measure a model: error rates with intervals, likelihood-ratio costs and plots."""
    command = "python -m model " + shlex.join(sys.argv[1:])
    features = open_features(model, InkCache(), device)
    opened = open_dataset(dataset, root)
    evaluation = run(
        features,
        embed_dataset(features, opened),
        rules_for(features, target_far),
        references or [1, 5, 10],
        draws,
        seed,
        samples,
    )
    lines = [f"`{command}`", "", PROTOCOL, "", table(evaluation.results), ""]
    lines += [*_identification_lines(evaluation.gallery, seed), *_refused_lines(evaluation.gallery)]
    text = "\n".join(lines) + "\n"
    typer.echo(text)
    folder = out or Path("runs") / "evaluation" / features.name / dataset.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(text, encoding="utf-8")
    write_json(folder / "results.json", evaluation.results, command)
    draw_plots(folder, evaluation, features.name, opened)
    typer.echo(f"Results written to {folder}.")


def open_features(model: str, ink_cache: InkCache, device: Device = "auto", name: str = "") -> Features:
    """Open ``hog`` or the network of a weights folder. Raises WeightsError or DeviceUnavailable."""
    if model == "hog":
        return Hog(ink_cache)
    return WeightsFeatures(Path(model), ink_cache, name, device)


def rules_for(features: Features, target_far: float) -> list[Rule]:
    """List the uncalibrated rules and, if the weights have a calibration, the service's rule.

    Raises
    ------
    CalibrationMissing, CalibrationMismatched
        The calibration cannot be applied.
    """
    rules: list[Rule] = [NearestThree(), NearestThree(0.7)]
    if isinstance(features, WeightsFeatures) and (features.folder / FILE).exists():
        calibration = Calibration.load(features.folder, features.embedder.card.sha256)
        rules.append(ServiceRule(calibration, target_far))
    return rules


def run(
    features: Features,
    dataset_gallery: Gallery,
    rules: Sequence[Rule],
    references: Sequence[int],
    draws: int = 5,
    seed: int = 0,
    samples: int = 500,
) -> Evaluation:
    """Measure every rule with every number of references for which a signer has enough signatures."""
    results, trials = [], {}
    for k in references:
        cases = draw_cases(dataset_gallery, k, draws, seed)
        if not cases:
            typer.echo(
                f"Not measured with {_references(k)}: no signer of {dataset_gallery.name} has more than {k} "
                "genuine signatures.",
                err=True,
            )
            continue
        for rule in rules:
            scored = trials[rule.name, k] = score_cases(cases, rule)
            results.append(summarise(scored, dataset_gallery, features.name, rule.name, k, samples))
    return Evaluation(tuple(results), trials, dataset_gallery)


def draw_plots(folder: Path, evaluation: Evaluation, name: str, dataset: Dataset) -> None:
    """Plot DET curves, histograms, the calibration of the LLR and the worst errors of the last rule."""
    from model.evaluation import plots  # noqa: PLC0415 - importing Matplotlib would slow down `--help`

    if not evaluation.trials:
        return
    last_rule = list(evaluation.trials)[-1][0]
    trials_by_k = {k: trials for (rule, k), trials in evaluation.trials.items() if rule == last_rule}
    title = f"{name} on {evaluation.gallery.name}, {last_rule}"
    curves: dict[str, tuple[Floats, Floats]] = {}
    for kind, label in ((Kind.SKILLED, "skilled"), (Kind.RANDOM, "random")):
        for k, trials in trials_by_k.items():
            if np.any(trials.kind == kind):
                curves[f"{label}, {_references(k)}"] = (_scores(trials, Kind.GENUINE), _scores(trials, kind))
    plots.det(folder / "det.png", curves, title)
    for k, trials in trials_by_k.items():
        has_decisions = trials.accepted is not None
        plots.histograms(
            folder / f"scores-{k}.png",
            _scores(trials, Kind.GENUINE),
            _scores(trials, Kind.SKILLED),
            _scores(trials, Kind.RANDOM),
            f"{title}, {_references(k)}",
            threshold=0.0 if has_decisions else None,
            label="distance minus the signer's threshold" if has_decisions else "score",
        )
        if trials.llr is not None and np.any(trials.kind == Kind.SKILLED):
            genuine, skilled = (trials.llr[trials.kind == kind] for kind in (Kind.GENUINE, Kind.SKILLED))
            plots.llr_calibration(folder / f"llr-{k}.png", genuine, skilled, f"{title}, {_references(k)}")
    middle = sorted(trials_by_k)[len(trials_by_k) // 2]
    errors = worst(trials_by_k[middle], evaluation.gallery, dataset)
    plots.worst_errors(folder / "worst-errors.png", errors, f"{title}, {_references(middle)}: worst errors")


def worst(
    trials: ScoredTrials, dataset_gallery: Gallery, dataset: Dataset, count: int = WORST_ERRORS
) -> list[WorstError]:
    """Return the genuine signatures with the highest and the forgeries with the lowest scores, half of each.

    No specimen appears twice. The images are the scans, not the network's canvases.
    """
    from model.evaluation.plots import WorstError  # noqa: PLC0415 - as above

    specimens: dict[str, Specimen] = {}
    for signer in dataset.signers():
        specimens |= {s.key: s for s in (*dataset.genuine(signer), *dataset.forgeries(signer))}
    errors = []
    for kind, sign, description in (
        (Kind.SKILLED, 1.0, "skilled forgery with a low score"),
        (Kind.GENUINE, -1.0, "genuine signature with a high score"),
    ):
        shown: set[int] = set()
        for index in np.argsort(np.where(trials.kind == kind, sign * trials.score, np.inf)):
            case = trials.cases[int(trials.case[index])]
            questioned = int(case.questioned[trials.index_in_case[index]])
            if trials.kind[index] != kind or len(shown) >= count // 2:
                break
            if questioned in shown:
                continue
            shown.add(questioned)
            references = tuple(specimens[dataset_gallery.keys[int(i)]].grey() for i in case.references[:3])
            key = dataset_gallery.keys[questioned]
            errors.append(WorstError(f"{description}\n{key}", references, specimens[key].grey()))
    return errors


def _scores(trials: ScoredTrials, kind: Kind) -> Floats:
    return np.asarray(trials.score[trials.kind == kind], dtype=np.float64)


def _references(k: int) -> str:
    return "1 reference" if k == 1 else f"{k} references"


def _identification_lines(dataset_gallery: Gallery, seed: int) -> list[str]:
    signers = len(np.unique(dataset_gallery.signers[dataset_gallery.genuine]))
    lines = []
    for ways in sorted({5, 10, 20} & set(range(2, signers + 1))):
        try:
            distances, truth = one_shot(dataset_gallery, ways, seed=seed)
        except ValueError:
            continue
        rate = identification_rate(distances, truth)
        lines.append(
            f"One-shot classification among {ways} signers, one reference each: {100 * rate:.1f} % correct."
        )
    return lines


def _refused_lines(dataset_gallery: Gallery) -> list[str]:
    refused = dataset_gallery.refused
    if not refused:
        return []
    shown = ", ".join(refused[:5]) + (" …" if len(refused) > 5 else "")
    return [f"{len(refused)} images without a usable signature are not included: {shown}."]
