"""``python -m model calibrate``: fit the calibration of released weights on validation writers.

Prints the quality of the likelihood ratios on the writers that the calibration was fitted on and, with ``--check``,
on other data sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from model.data.registry import open_dataset
from model.decision.calibration import Calibration
from model.evaluation.calibration_fit import fit_calibration
from model.evaluation.error_rates import ServiceRule
from model.evaluation.evaluate import run
from model.evaluation.features import InkCache, WeightsFeatures, embed_dataset
from model.evaluation.reports import table
from model.evaluation.trials import Gallery
from model.networks.weights import load_card
from model.types import Terms

VALIDATION: dict[Terms, tuple[str, ...]] = {
    "research": (
        "sigcomp2011-dutch/validation",
        "svc2004/validation",
        "susig/validation",
        "sigcomp2009/validation",
        "bhsig260-hindi/validation",
        "bhsig260-bengali/validation",
        "synthetic/validation",
    ),
    "permissive": ("synthetic/validation",),
}
"""Validation sets by the terms of the weights. Permissive weights must not get a calibration with research terms."""


def calibrate(
    weights: Annotated[Path, typer.Argument(help="The weights folder; calibration.json is written into it.")],
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            "-d",
            help="Validation writers to fit on, repeatable; by default synthetic/validation and, for weights with "
            "research terms, the validation writers of all data sets with skilled forgeries.",
        ),
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option("--check", help="Another data set to measure the likelihood ratios on, repeatable."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the data sets; SIGNATURE_DATA by default.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws of references for each writer.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    target_far: Annotated[
        float, typer.Option(help="Target FAR on skilled forgeries for the printed error rates.")
    ] = 0.05,
) -> None:
    """Fit the calibration of a weights folder, write it there, and print its quality."""
    card = load_card(weights)
    features = WeightsFeatures(weights, InkCache())
    fitted_on = [
        embed_dataset(features, open_dataset(name, root)) for name in dataset or VALIDATION[card.terms]
    ]
    calibration = fit_calibration(fitted_on, card.sha256, card.metric, draws=draws, seed=seed)
    calibration.save(weights)
    low, high = calibration.far_range
    typer.echo(
        f"{weights / 'calibration.json'} ({calibration.identifier}) for {card.version}: "
        f"{calibration.fitted_on.writers} writers, {calibration.fitted_on.skilled_forgeries} skilled forgeries; "
        f"target_far from {100 * low:.2f} to {100 * high:.0f} %."
    )
    typer.echo(_weights_table(calibration))
    checked = [embed_dataset(features, open_dataset(name, root)) for name in check or ()]
    typer.echo(_quality_table(features, calibration, [*fitted_on, *checked], target_far))


def _quality_table(
    features: WeightsFeatures, calibration: Calibration, galleries: Sequence[Gallery], target_far: float
) -> str:
    rule = ServiceRule(calibration, target_far)
    references = [p.references for p in calibration.parameters]
    evaluations = [
        run(features, dataset_gallery, [rule], references, samples=200) for dataset_gallery in galleries
    ]
    return table([result for evaluation in evaluations for result in evaluation.results])


def _weights_table(calibration: Calibration) -> str:
    lines = [
        "",
        "| references | minimum | nearest two | mean | median | spread | slope | threshold at FAR 5 % |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for p in calibration.parameters:
        weights = " | ".join(f"{w:.2f}" for w in p.weights)
        threshold = calibration.threshold(max(0.05, calibration.floor_skilled), p.references)
        lines.append(
            f"| {p.references} | {weights} | {p.spread_weight:.2f} | {p.slope:.2f} | {threshold:.4f} |"
        )
    return "\n".join([*lines, ""])
