"""``python -m model evaluate``: measure a model, or HOG, on one data set under the protocol.

Prints a Markdown table with the command that made it, and writes the same as JSON beside the plots.
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
from numpy.typing import NDArray

from model.data.registry import open_dataset
from model.data.specimens import Dataset, Specimen
from model.decision.calibration import FILE, Calibration
from model.decision.distances import Floats
from model.evaluation.baselines import Hog
from model.evaluation.error_rates import NearestThree, Pool, Result, Rule, ServiceRule, pool, summarise
from model.evaluation.features import Features, InkCache, WeightsFeatures, gallery
from model.evaluation.metrics import identification_rate
from model.evaluation.reports import PROTOCOL, table, write_json
from model.evaluation.trials import Gallery, Kind, draw_cases, one_shot
from model.networks.embedder import Device

if TYPE_CHECKING:
    from model.evaluation.plots import WorstError

WORST = 10


@dataclass(frozen=True)
class Evaluation:
    """Results and the trials behind them, by (rule, references)."""

    results: tuple[Result, ...]
    pools: dict[tuple[str, int], Pool]
    gallery: Gallery


def evaluate(
    model: Annotated[str, typer.Argument(help="A weights folder, or `hog`.")],
    dataset: Annotated[
        str, typer.Argument(help="A data set or a split: sigcomp2011-dutch/test, cedar, FOLDER.")
    ],
    root: Annotated[
        Path | None, typer.Option(help="Folder that holds the data set; SIGNATURE_DATA by default.")
    ] = None,
    references: Annotated[
        list[int] | None,
        typer.Option("--references", "-k", min=1, help="IdempotencyKey; 1, 5 and 10 by default."),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws of references for each signer.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    samples: Annotated[int, typer.Option(min=10, help="Bootstrap samples of the intervals.")] = 500,
    target_far: Annotated[float, typer.Option(help="FAR on skilled forgeries that decides.")] = 0.05,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the table, JSON and plots; default runs/evaluation/….")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = "auto",
) -> None:
    """Measure a model under the protocol: error rates with intervals, likelihood-ratio costs, plots."""
    command = "python -m model " + shlex.join(sys.argv[1:])
    shelf = InkCache()
    features = open_features(model, shelf, device)
    opened = open_dataset(dataset, root)
    evaluation = run(
        features,
        gallery(features, opened),
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
    typer.echo(f"Written to {folder}.")


def open_features(model: str, shelf: InkCache, device: Device = "auto", name: str = "") -> Features:
    """``hog``, or the network of a weights folder; raises WeightsError or DeviceUnavailable."""
    if model == "hog":
        return Hog(shelf)
    return WeightsFeatures(Path(model), shelf, name, device)


def rules_for(features: Features, target_far: float) -> list[Rule]:
    """The service's rule where there is a calibration, and the uncalibrated ones beside it.

    Raises
    ------
    CalibrationMissing, CalibrationMismatched
        There is a calibration, but not one that can be applied.
    """
    rules: list[Rule] = [NearestThree(), NearestThree(0.7)]
    if isinstance(features, WeightsFeatures) and (features.folder / FILE).exists():
        calibration = Calibration.load(features.folder, features.embedder.card.sha256)
        rules.append(ServiceRule(calibration, target_far))
    return rules


def run(
    features: Features,
    own: Gallery,
    rules: Sequence[Rule],
    references: Sequence[int],
    draws: int = 5,
    seed: int = 0,
    samples: int = 500,
) -> Evaluation:
    """Measure every rule at every number of references that somebody has enough signatures for."""
    results, pools = [], {}
    for k in references:
        cases = draw_cases(own, k, draws, seed)
        if not cases:
            typer.echo(f"No signer of {own.name} has more than {k} genuine signatures: left out.", err=True)
            continue
        for rule in rules:
            pools[rule.name, k] = pool(cases, rule)
            results.append(summarise(pools[rule.name, k], own, features.name, rule.name, k, samples))
    return Evaluation(tuple(results), pools, own)


def draw_plots(folder: Path, evaluation: Evaluation, name: str, dataset: Dataset) -> None:
    """DET curves, histograms, the calibration of the LLR and the worst errors, under the last rule."""
    from model.evaluation import plots  # noqa: PLC0415 - Matplotlib takes half a second, also of `--help`

    if not evaluation.pools:
        return
    last = list(evaluation.pools)[-1][0]
    chosen = {k: trials for (rule, k), trials in evaluation.pools.items() if rule == last}
    where = f"{name} on {evaluation.gallery.name}, {last}"
    curves: dict[str, tuple[Floats, Floats]] = {}
    for kind, word in ((Kind.SKILLED, "skilled"), (Kind.RANDOM, "random")):
        for k, trials in chosen.items():
            if np.any(trials.kind == kind):
                curves[f"{word}, {_references(k)}"] = (_of(trials, Kind.GENUINE), _of(trials, kind))
    plots.det(folder / "det.png", curves, where)
    for k, trials in chosen.items():
        decided = trials.accepted is not None
        plots.histograms(
            folder / f"scores-{k}.png",
            _of(trials, Kind.GENUINE),
            _of(trials, Kind.SKILLED),
            _of(trials, Kind.RANDOM),
            f"{where}, {_references(k)}",
            threshold=0.0 if decided else None,
            label="distance beyond the signer's threshold" if decided else "score",
        )
        if trials.llr is not None and np.any(trials.kind == Kind.SKILLED):
            genuine, skilled = (trials.llr[trials.kind == kind] for kind in (Kind.GENUINE, Kind.SKILLED))
            plots.llr_calibration(folder / f"llr-{k}.png", genuine, skilled, f"{where}, {_references(k)}")
    middle = sorted(chosen)[len(chosen) // 2]
    errors = worst(chosen[middle], evaluation.gallery, dataset)
    plots.worst_errors(folder / "worst-errors.png", errors, f"{where}, {_references(middle)}: worst errors")


def worst(trials: Pool, own: Gallery, dataset: Dataset, count: int = WORST) -> list[WorstError]:
    """The genuine signatures with the highest and the forgeries with the lowest scores, half of each.

    No specimen appears twice, and the images are the scans themselves, not what the network saw.
    """
    from model.evaluation.plots import WorstError  # noqa: PLC0415 - as above

    specimens: dict[str, Specimen] = {}
    for signer in dataset.signers():
        specimens |= {s.key: s for s in (*dataset.genuine(signer), *dataset.forgeries(signer))}
    errors = []
    for kind, order, word in (
        (Kind.SKILLED, 1.0, "skilled forgery taken for genuine"),
        (Kind.GENUINE, -1.0, "genuine signature taken for a forgery"),
    ):
        seen: set[int] = set()
        for index in np.argsort(np.where(trials.kind == kind, order * trials.score, np.inf)):
            case = trials.cases[int(trials.case[index])]
            questioned = int(case.questioned[trials.within[index]])
            if trials.kind[index] != kind or len(seen) >= count // 2:
                break
            if questioned in seen:
                continue
            seen.add(questioned)
            references = tuple(_image(specimens[own.keys[int(i)]]) for i in case.references[:3])
            title = f"{word}\n{own.keys[questioned]}"
            errors.append(WorstError(title, references, _image(specimens[own.keys[questioned]])))
    return errors


def _image(specimen: Specimen) -> NDArray[np.uint8]:
    return specimen.grey()


def _of(trials: Pool, kind: Kind) -> Floats:
    return np.asarray(trials.score[trials.kind == kind], dtype=np.float64)


def _references(k: int) -> str:
    return "1 reference" if k == 1 else f"{k} references"


def _identification_lines(own: Gallery, seed: int) -> list[str]:
    able = len(np.unique(own.signers[own.genuine]))
    lines = []
    for ways in sorted({5, 10, 20} & set(range(2, able + 1))):
        try:
            distances, truth = one_shot(own, ways, seed=seed)
        except ValueError:
            continue
        first = identification_rate(distances, truth)
        lines.append(
            f"One-shot classification among {ways} signers, one reference each: {100 * first:.1f} % right."
        )
    return lines


def _refused_lines(own: Gallery) -> list[str]:
    if not own.refused:
        return []
    shown = ", ".join(own.refused[:5]) + (" …" if len(own.refused) > 5 else "")
    return [f"{len(own.refused)} images hold no usable signature and take no part: {shown}."]
