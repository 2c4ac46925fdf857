"""Scores the protocol's trials and sums them up: error rates and likelihood-ratio costs with intervals over writers.

A :class:`Rule` scores the questioned signatures of one :class:`~model.evaluation.trials.Case`. :func:`measure` runs it over
all cases at one number of references. Rates are computed for each draw of references and averaged over the draws; the
bootstrap draws writers and takes all draws of a writer along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model.decision.calibration import Calibration
from model.decision.distances import Floats
from model.decision.set_rule import mean_among
from model.decision.verdict import Decision, judge
from model.evaluation import metrics
from model.evaluation.metrics import Estimate
from model.evaluation.trials import Case, Gallery, Kind, draw_cases


@dataclass(frozen=True)
class Scores:
    """What a rule says of m questioned signatures.

    Attributes
    ----------
    score : (m,) float64
        Comparable between signers; the smaller, the more genuine.
    llr : (m,) float64 or None
        log10 likelihood ratios, where the rule states them.
    accepted : (m,) bool or None
        The rule's own decision, where it takes one.
    """

    score: Floats
    llr: Floats | None = None
    accepted: NDArray[np.bool_] | None = None


class Rule(Protocol):
    """How a questioned signature is scored against k references."""

    name: str

    def __call__(self, case: Case) -> Scores:
        """Scores of all questioned signatures of a case."""


class NearestThree:
    """Mean distance to the three nearest references, minus a share of the mean distance among the references.

    With a share of 0 this is the plain rule of the literature, one threshold for everybody.
    """

    def __init__(self, spread_weight: float = 0.0) -> None:
        self.name = "nearest three" + (f" - {spread_weight:g} x spread" if spread_weight else "")
        self._spread_weight = spread_weight

    def __call__(self, case: Case) -> Scores:
        """As :class:`Rule`."""
        nearest = np.sort(case.to_references, axis=1)[:, :3].mean(axis=1)
        spread = mean_among(case.among_references) if len(case.references) > 1 else 0.0
        return Scores(nearest - self._spread_weight * spread)


class ServiceRule:
    """The service's own verdict, through :func:`model.decision.verdict.judge`."""

    def __init__(self, calibration: Calibration, target_far: float = 0.05) -> None:
        self.name = "set rule"
        self.target_far = target_far
        self._calibration = calibration

    def __call__(self, case: Case) -> Scores:
        """As :class:`Rule`; the score is the distance beyond the signer's threshold."""
        verdicts = [
            judge(row, case.among_references, self._calibration, self.target_far)
            for row in case.to_references
        ]
        return Scores(
            score=np.array([v.distance - v.threshold for v in verdicts]),
            llr=np.array([v.log_likelihood_ratio for v in verdicts]),
            accepted=np.array([v.decision == Decision.ACCEPT for v in verdicts]),
        )


@dataclass(frozen=True)
class Result:
    """What one rule on one model's distances achieved on one data set with k references; rates in [0, 1].

    Attributes
    ----------
    eer_skilled, eer_random : Estimate or None
        One threshold for everybody; None where there are no such forgeries.
    eer_per_signer : Estimate or None
        Skilled forgeries, the best threshold for each signer, averaged over signers.
    far_skilled, far_random, frr : Estimate or None
        At the rule's own decision.
    cllr, cllr_min : Estimate or None
        Of the stated likelihood ratios, genuine against skilled.
    genuine, skilled, random : int
        Trials in one draw.
    refused : int
        Specimens without a usable signature (failures to enrol or acquire); they are in none of the rates.
    """

    dataset: str
    features: str
    rule: str
    references: int
    writers: int
    draws: int
    genuine: int
    skilled: int
    random: int
    refused: int
    eer_skilled: Estimate | None
    eer_random: Estimate | None
    eer_per_signer: Estimate | None
    far_skilled: Estimate | None
    far_random: Estimate | None
    frr: Estimate | None
    cllr: Estimate | None
    cllr_min: Estimate | None


@dataclass(frozen=True)
class Pool:
    """All trials of one measurement side by side, (n,) each; ``writer`` indexes ``writers``."""

    cases: tuple[Case, ...]
    writers: tuple[str, ...]
    writer: NDArray[np.intp]
    draw: NDArray[np.intp]
    kind: NDArray[np.int8]
    case: NDArray[np.intp]
    within: NDArray[np.intp]
    score: Floats
    llr: Floats | None
    accepted: NDArray[np.bool_] | None


def pool(cases: Sequence[Case], rule: Rule) -> Pool:
    """Score every case.

    Raises
    ------
    ValueError
        No cases.
    """
    if not cases:
        raise ValueError("no signer has more genuine signatures than references are asked for")
    writers = tuple(sorted({case.writer for case in cases}))
    scored = [rule(case) for case in cases]
    sizes = [len(case.kinds) for case in cases]
    llrs = [s.llr for s in scored if s.llr is not None]
    accepted = [s.accepted for s in scored if s.accepted is not None]
    return Pool(
        cases=tuple(cases),
        writers=writers,
        writer=np.repeat([writers.index(case.writer) for case in cases], sizes),
        draw=np.repeat([case.draw for case in cases], sizes),
        kind=np.concatenate([case.kinds for case in cases]),
        case=np.repeat(np.arange(len(cases)), sizes),
        within=np.concatenate([np.arange(size) for size in sizes]),
        score=np.concatenate([s.score for s in scored]),
        llr=np.concatenate(llrs) if len(llrs) == len(scored) else None,
        accepted=np.concatenate(accepted) if len(accepted) == len(scored) else None,
    )


def measure(
    gallery: Gallery,
    features: str,
    rule: Rule,
    references: int,
    draws: int = 5,
    seed: int = 0,
    samples: int = 500,
) -> Result:
    """Run the protocol and sum it up.

    Parameters
    ----------
    features : str
        Name of what made the distances, for the table.
    draws, seed
        As :func:`model.evaluation.trials.draw_cases`.
    samples : int
        Of the bootstrap.
    """
    trials = pool(draw_cases(gallery, references, draws, seed), rule)
    return summarise(trials, gallery, features, rule.name, references, samples)


def summarise(
    trials: Pool, gallery: Gallery, features: str, rule: str, references: int, samples: int = 500
) -> Result:
    """Error rates and costs of scored trials."""
    count = len(trials.writers)
    draws = len(np.unique(trials.draw))

    def estimate(statistic: Callable[[Floats], float] | None) -> Estimate | None:
        return None if statistic is None else metrics.bootstrap(statistic, count, samples)

    per_draw = {kind: int(np.sum(trials.kind == kind)) // draws for kind in Kind}
    accepted = None if trials.accepted is None else trials.accepted.astype(np.float64)
    llr = None if trials.llr is None else trials.llr
    return Result(
        dataset=gallery.name,
        features=features,
        rule=rule,
        references=references,
        writers=count,
        draws=draws,
        genuine=per_draw[Kind.GENUINE],
        skilled=per_draw[Kind.SKILLED],
        random=per_draw[Kind.RANDOM],
        refused=len(gallery.refused),
        eer_skilled=estimate(_between(trials, trials.score, Kind.SKILLED, metrics.eer)),
        eer_random=estimate(_between(trials, trials.score, Kind.RANDOM, metrics.eer)),
        eer_per_signer=estimate(_eer_per_signer(trials)),
        far_skilled=estimate(_mean(trials, accepted, Kind.SKILLED)),
        far_random=estimate(_mean(trials, accepted, Kind.RANDOM)),
        frr=estimate(_mean(trials, None if accepted is None else 1.0 - accepted, Kind.GENUINE)),
        cllr=estimate(None if llr is None else _between(trials, llr, Kind.SKILLED, metrics.cllr)),
        cllr_min=estimate(None if llr is None else _between(trials, llr, Kind.SKILLED, metrics.cllr_min)),
    )


_Metric = Callable[[Floats, Floats, Floats, Floats], float]


def _between(trials: Pool, values: Floats, forged: Kind, metric: _Metric) -> Callable[[Floats], float] | None:
    """A metric of genuine against forged values, averaged over draws, as a function of the writers' counts."""
    parts = []
    for draw in np.unique(trials.draw):
        here = trials.draw == draw
        g, f = here & (trials.kind == Kind.GENUINE), here & (trials.kind == forged)
        if not f.any():
            return None
        parts.append((values[g], values[f], trials.writer[g], trials.writer[f]))

    def statistic(counts: Floats) -> float:
        # A bootstrap sample may hold nobody whose signature was forged: it has no value, and no part in the interval.
        if not all(counts[wf].any() for _, _, _, wf in parts):
            return float("nan")
        return float(np.mean([metric(g, f, counts[wg], counts[wf]) for g, f, wg, wf in parts]))

    return statistic


def _mean(trials: Pool, values: Floats | None, kind: Kind) -> Callable[[Floats], float] | None:
    own = trials.kind == kind
    if values is None or not own.any():
        return None
    sums = np.bincount(trials.writer[own], weights=values[own], minlength=len(trials.writers))
    sizes = np.bincount(trials.writer[own], minlength=len(trials.writers)).astype(np.float64)
    return lambda counts: float(counts @ sums / max(float(counts @ sizes), 1e-12))


def _eer_per_signer(trials: Pool) -> Callable[[Floats], float] | None:
    rates: dict[int, list[float]] = {}
    for index in range(len(trials.cases)):
        own = trials.case == index
        genuine = trials.score[own & (trials.kind == Kind.GENUINE)]
        skilled = trials.score[own & (trials.kind == Kind.SKILLED)]
        if skilled.size:
            rates.setdefault(int(trials.writer[own][0]), []).append(metrics.eer(genuine, skilled))
    if not rates:
        return None
    means = np.array([np.mean(rates.get(i, [0.0])) for i in range(len(trials.writers))])
    known = np.array([float(i in rates) for i in range(len(trials.writers))])
    return lambda counts: float(counts @ means / max(float(counts @ known), 1e-12))
