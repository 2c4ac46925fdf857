"""Error rates and likelihood-ratio costs of the protocol's trials, with bootstrap intervals over writers.

A :class:`Rule` scores the questioned signatures of one :class:`~model.evaluation.trials.Case`, and :func:`measure`
applies it to all cases with one number of references. Rates are computed for each draw of references and averaged
over the draws; the bootstrap resamples writers, each with all of its draws.
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
    """A rule's results for m questioned signatures.

    Attributes
    ----------
    score : (m,) float64
        Comparable between signers; smaller values are more genuine.
    llr : (m,) float64 or None
        log10 likelihood ratios; None if the rule does not compute them.
    accepted : (m,) bool or None
        Decisions; None if the rule does not decide.
    """

    score: Floats
    llr: Floats | None = None
    accepted: NDArray[np.bool_] | None = None


class Rule(Protocol):
    """A rule that scores a questioned signature against k references."""

    name: str

    def __call__(self, case: Case) -> Scores:
        """Score all questioned signatures of a case."""


class NearestThree:
    """Mean distance to the three nearest references, minus ``spread_weight`` times the mean distance among them all.

    With ``spread_weight = 0`` this is the usual rule of the literature, with one threshold for all signers.
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
    """The verdict of the service, from :func:`model.decision.verdict.judge`."""

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
    """Error rates of one rule with one model's distances, on one data set with k references; rates in [0, 1].

    Attributes
    ----------
    eer_skilled, eer_random : Estimate or None
        EER at one threshold for all signers; None if there are no such forgeries.
    eer_per_signer : Estimate or None
        EER on skilled forgeries at a separate threshold for each signer, averaged over signers.
    far_skilled, far_random, frr : Estimate or None
        Rates of the rule's decisions; None if the rule does not decide.
    cllr, cllr_min : Estimate or None
        Costs of the rule's likelihood ratios, genuine against skilled; None if it does not compute them.
    genuine, skilled, random : int
        Number of trials in one draw.
    refused : int
        Number of specimens without a usable signature (failures to enrol or acquire). No rate includes them.
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
class ScoredTrials:
    """All trials of one measurement as arrays (n,).

    Attributes
    ----------
    cases : tuple of Case
    writers : tuple of str
    writer : (n,) intp
        Index into ``writers``.
    draw : (n,) intp
    kind : (n,) int8
    case : (n,) intp
        Index into ``cases``.
    index_in_case : (n,) intp
        Index of the trial among those of its case.
    score, llr, accepted : (n,)
        As :class:`Scores`.
    """

    cases: tuple[Case, ...]
    writers: tuple[str, ...]
    writer: NDArray[np.intp]
    draw: NDArray[np.intp]
    kind: NDArray[np.int8]
    case: NDArray[np.intp]
    index_in_case: NDArray[np.intp]
    score: Floats
    llr: Floats | None
    accepted: NDArray[np.bool_] | None


def score_cases(cases: Sequence[Case], rule: Rule) -> ScoredTrials:
    """Score the trials of all cases.

    Raises
    ------
    ValueError
        ``cases`` is empty.
    """
    if not cases:
        raise ValueError("no signer has more genuine signatures than the number of references")
    writers = tuple(sorted({case.writer for case in cases}))
    scored = [rule(case) for case in cases]
    sizes = [len(case.kinds) for case in cases]
    llrs = [s.llr for s in scored if s.llr is not None]
    accepted = [s.accepted for s in scored if s.accepted is not None]
    return ScoredTrials(
        cases=tuple(cases),
        writers=writers,
        writer=np.repeat([writers.index(case.writer) for case in cases], sizes),
        draw=np.repeat([case.draw for case in cases], sizes),
        kind=np.concatenate([case.kinds for case in cases]),
        case=np.repeat(np.arange(len(cases)), sizes),
        index_in_case=np.concatenate([np.arange(size) for size in sizes]),
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
    """Run the protocol with one rule and compute its error rates.

    Parameters
    ----------
    features : str
        Name of the features behind the distances, for tables.
    draws, seed
        As in :func:`model.evaluation.trials.draw_cases`.
    samples : int
        Number of bootstrap samples.
    """
    trials = score_cases(draw_cases(gallery, references, draws, seed), rule)
    return summarise(trials, gallery, features, rule.name, references, samples)


def summarise(
    trials: ScoredTrials, gallery: Gallery, features: str, rule: str, references: int, samples: int = 500
) -> Result:
    """Compute error rates and costs of scored trials."""
    writers = len(trials.writers)
    draws = len(np.unique(trials.draw))

    def estimate(statistic: Callable[[Floats], float] | None) -> Estimate | None:
        return None if statistic is None else metrics.bootstrap(statistic, writers, samples)

    per_draw = {kind: int(np.sum(trials.kind == kind)) // draws for kind in Kind}
    accepted = None if trials.accepted is None else trials.accepted.astype(np.float64)
    llr = trials.llr
    return Result(
        dataset=gallery.name,
        features=features,
        rule=rule,
        references=references,
        writers=writers,
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


def _between(
    trials: ScoredTrials, values: Floats, forged: Kind, metric: _Metric
) -> Callable[[Floats], float] | None:
    """Return a function from the writers' counts to a metric of genuine against forged values, averaged over draws.

    Returns None if there are no such forgeries.
    """
    parts = []
    for draw in np.unique(trials.draw):
        in_draw = trials.draw == draw
        g, f = in_draw & (trials.kind == Kind.GENUINE), in_draw & (trials.kind == forged)
        if not f.any():
            return None
        parts.append((values[g], values[f], trials.writer[g], trials.writer[f]))

    def statistic(counts: Floats) -> float:
        # A bootstrap sample may contain no writer with forgeries. NaN excludes it from the interval.
        if not all(counts[writers_f].any() for _, _, _, writers_f in parts):
            return float("nan")
        return float(
            np.mean(
                [
                    metric(genuine, forged, counts[writers_g], counts[writers_f])
                    for genuine, forged, writers_g, writers_f in parts
                ]
            )
        )

    return statistic


def _mean(trials: ScoredTrials, values: Floats | None, kind: Kind) -> Callable[[Floats], float] | None:
    """Return a function from the writers' counts to the mean value of one kind; None if there are no values."""
    selected = trials.kind == kind
    if values is None or not selected.any():
        return None
    sums = np.bincount(trials.writer[selected], weights=values[selected], minlength=len(trials.writers))
    sizes = np.bincount(trials.writer[selected], minlength=len(trials.writers)).astype(np.float64)
    return lambda counts: float(counts @ sums / max(float(counts @ sizes), 1e-12))


def _eer_per_signer(trials: ScoredTrials) -> Callable[[Floats], float] | None:
    """Return a function from the writers' counts to the mean EER of the writers; None without skilled forgeries."""
    rates: dict[int, list[float]] = {}
    for index in range(len(trials.cases)):
        in_case = trials.case == index
        genuine = trials.score[in_case & (trials.kind == Kind.GENUINE)]
        skilled = trials.score[in_case & (trials.kind == Kind.SKILLED)]
        if skilled.size:
            rates.setdefault(int(trials.writer[in_case][0]), []).append(metrics.eer(genuine, skilled))
    if not rates:
        return None
    means = np.array([np.mean(rates.get(i, [0.0])) for i in range(len(trials.writers))])
    has_rate = np.array([float(i in rates) for i in range(len(trials.writers))])
    return lambda counts: float(counts @ means / max(float(counts @ has_rate), 1e-12))
