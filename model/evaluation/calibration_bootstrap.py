"""``python -m model bootstrap``: how far the likelihood ratios of a calibration depend on its writers.

The writers of the calibration are resampled with replacement, and the rule is fitted again on each sample, for every
number of references. The mean distance of the population and the weight that it has for a signer's spread are kept.
The rules go into ``bootstrap.json`` beside the calibration, where the service finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from model.data.registry import open_dataset
from model.decision.bootstrap import Bootstrap, Resampled
from model.decision.calibration import Calibration
from model.decision.distances import Floats
from model.errors import DataError
from model.evaluation.calibration_fit import Rule, Trials, fit_rule, flatten_trials
from model.evaluation.features import InkCache, WeightsFeatures, embed_dataset
from model.evaluation.trials import Gallery, Kind, draw_cases
from model.networks.weights import load_card

SAMPLES = 200
DIGITS = 5
"""Decimals of the stored parameters; a likelihood ratio changes by less than a thousandth."""


def resample_calibration(
    galleries: Sequence[Gallery], calibration: Calibration, samples: int = SAMPLES, seed: int = 0
) -> Bootstrap:
    """Fit the rules of a calibration again on resampled writers.

    Parameters
    ----------
    galleries : sequence of Gallery
        Those that the calibration was fitted on.
    samples : int
        Number of samples of writers, at least 2.
    seed : int

    Raises
    ------
    DataError
        The galleries are not those of the calibration, or a sample does not separate genuine signatures from
        forgeries.
    """
    forged = [gallery for gallery in galleries if not gallery.genuine.all()]
    fitted_on = calibration.fitted_on
    if tuple(gallery.name for gallery in forged) != fitted_on.datasets:
        raise DataError(
            f"The calibration was fitted on {', '.join(fitted_on.datasets)}; resample the same data."
        )
    by_count = {
        k: flatten_trials(
            [
                case
                for gallery in forged
                for case in draw_cases(gallery, k, fitted_on.draws, fitted_on.seed)
                if np.any(case.kinds == Kind.SKILLED)
            ],
            calibration.spread_mean,
            calibration.spread_prior,
        )
        for k in (parameters.references for parameters in calibration.parameters)
    }
    writers = sorted({str(writer) for trials in by_count.values() for writer in np.unique(trials.writer)})
    rng = np.random.default_rng(seed)
    drawn = [rng.multinomial(len(writers), np.full(len(writers), 1.0 / len(writers))) for _ in range(samples)]
    return Bootstrap(
        calibration=calibration.identifier,
        samples=samples,
        writers=len(writers),
        seed=seed,
        rules=tuple(
            _resample(
                k, trials, [_weights(trials, writers, counts) for counts in drawn], calibration.spread_mean
            )
            for k, trials in by_count.items()
        ),
    )


def _weights(trials: Trials, writers: Sequence[str], counts: NDArray[np.int64]) -> Floats:
    """Return the weights of the trials in a sample: those of a writer who was drawn twice count twice."""
    places = np.searchsorted(np.asarray(writers), trials.writer)
    return np.asarray(trials.weight * counts[places], dtype=np.float64)


def _resample(k: int, trials: Trials, weights: Sequence[Floats], spread_mean: float) -> Resampled:
    used = trials.kind != Kind.RANDOM
    compact = Trials(*(column[used] for column in vars(trials).values()))
    rules: list[Rule] = []
    for sample in weights:
        present = sample[used] > 0
        drawn = Trials(*(column[present] for column in vars(compact).values()))
        rules.append(fit_rule(k, replace(drawn, weight=sample[used][present]), spread_mean))
    return Resampled(
        references=k,
        weights=tuple(
            (round(w0, DIGITS), round(w1, DIGITS), round(w2, DIGITS), round(w3, DIGITS))
            for w0, w1, w2, w3 in (rule.weights for rule in rules)
        ),
        spread_weight=tuple(round(rule.spread_weight, DIGITS) for rule in rules),
        slope=tuple(round(rule.slope, DIGITS) for rule in rules),
        intercept=tuple(round(rule.intercept, DIGITS) for rule in rules),
    )


def bootstrap(
    weights: Annotated[Path, typer.Argument(help="The weights folder; bootstrap.json is written into it.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder of the data sets; SIGNATURE_DATA by default.")
    ] = None,
    samples: Annotated[int, typer.Option(min=2, help="Samples of writers.")] = SAMPLES,
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
) -> None:
    """Fit the calibration of a weights folder on resampled writers, for the uncertainty of its likelihood ratios."""
    card = load_card(weights)
    calibration = Calibration.load(weights, card.sha256)
    features = WeightsFeatures(weights, InkCache())
    galleries = [embed_dataset(features, open_dataset(name, root)) for name in calibration.fitted_on.datasets]
    made = resample_calibration(galleries, calibration, samples, seed)
    typer.echo(f"{made.save(weights)}: {made.samples} samples of {made.writers} writers.")
