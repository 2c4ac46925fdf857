"""Statistics of one tenant: decisions by day, live error rates, drift, and the work of the clerks."""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from sqlalchemy.orm import Session

from app.domain.records import now
from app.observability.drift import BINS, DRIFT_WINDOW, RankWindow, rank_of
from app.services.context import AppContext
from app.store import statistics as store
from app.store.statistics import Compared, DecidedCase
from model.decision.calibration import Calibration

Z_95 = 1.959964
"""97.5 % quantile of the standard normal distribution."""


@dataclass(frozen=True)
class Day:
    """Verifications of one day in UTC, by decision."""

    day: date
    accept: int
    review: int
    reject: int


@dataclass(frozen=True)
class Share:
    """A share that was counted.

    Attributes
    ----------
    count, of : int
    share : float or None
        In [0, 1]; None when `of` is 0, like `low` and `high`.
    low, high : float or None
        Ends of the Wilson score interval of 95 % (Wilson 1927).
    """

    count: int
    of: int
    share: float | None
    low: float | None
    high: float | None

    @classmethod
    def counted(cls, count: int, of: int) -> Share:
        """Compute a share with its interval."""
        if not of:
            return cls(count, of, None, None, None)
        share = count / of
        shrink = 1 + Z_95**2 / of
        centre = (share + Z_95**2 / (2 * of)) / shrink
        half = Z_95 / shrink * math.sqrt(share * (1 - share) / of + Z_95**2 / (4 * of**2))
        return cls(
            count, of, round(share, 4), round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4)
        )


@dataclass(frozen=True)
class Drift:
    """How the ranks of the latest verifications among the genuine signatures of the calibration are distributed.

    Attributes
    ----------
    verifications : int
    psi, ks : float or None
        As in `app.observability.drift`; None with too few verifications.
    shares : tuple of float
        Share of the ranks in each of ten equal bins of [0, 1]; empty without verifications.
    """

    verifications: int
    psi: float | None
    ks: float | None
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Clerks:
    """The decisions of clerks in the period.

    Attributes
    ----------
    decided : int
    median_seconds, slow_seconds : float or None
        Median and 90 % quantile of the durations, as far as they are known.
    disagreed : Share
        Of the decisions in quality control, those that differ from the decision of the service.
    """

    decided: int
    median_seconds: float | None
    slow_seconds: float | None
    disagreed: Share


@dataclass(frozen=True)
class Statistics:
    """The statistics of one tenant.

    Attributes
    ----------
    days : tuple of Day
        Oldest first, today last.
    review : Share
        Of the verifications of these days, those that were left to a person.
    outcome_days : int
        Days of recorded outcomes from which `far` and `frr` are computed.
    far, frr : Share
        Of the signatures recorded as forged, those that were accepted; of those recorded as genuine, those that were
        not.
    """

    days: tuple[Day, ...]
    review: Share
    outcome_days: int
    far: Share
    frr: Share
    drift: Drift
    clerks: Clerks
    model_version: str


@dataclass(frozen=True)
class _Read:
    by_day: list[tuple[date, dict[str, int]]]
    outcomes: dict[tuple[str, str], int]
    latest: list[Compared]
    decided: list[DecidedCase]


async def compute_statistics(context: AppContext, tenant_id: str, days: int) -> Statistics:
    """Compute the statistics of the last days, today included, in UTC."""
    version, outcome_days = context.model_version, context.settings.outcome_days
    found = await context.store.read(_read, tenant_id, version, days, outcome_days, now())
    drift = await asyncio.to_thread(_drift, context.embedder.calibration, found.latest)
    by_day = tuple(
        Day(day, counts.get("accept", 0), counts.get("review", 0), counts.get("reject", 0))
        for day, counts in found.by_day
    )
    reviews = sum(day.review for day in by_day)
    total = reviews + sum(day.accept + day.reject for day in by_day)
    forged, genuine = _of_outcome(found.outcomes, "forged"), _of_outcome(found.outcomes, "genuine")
    refused = sum(genuine.values()) - genuine.get("accept", 0)
    return Statistics(
        days=by_day,
        review=Share.counted(reviews, total),
        outcome_days=outcome_days,
        far=Share.counted(forged.get("accept", 0), sum(forged.values())),
        frr=Share.counted(refused, sum(genuine.values())),
        drift=drift,
        clerks=_clerks(found.decided),
        model_version=version,
    )


def _read(
    session: Session, tenant_id: str, model_version: str, days: int, outcome_days: int, at: datetime
) -> _Read:
    today = at.replace(hour=0, minute=0, second=0, microsecond=0)
    begins = [today - timedelta(days=back) for back in reversed(range(days))]
    return _Read(
        [
            (begin.date(), store.decisions(session, tenant_id, begin, begin + timedelta(days=1)))
            for begin in begins
        ],
        store.outcomes(session, tenant_id, model_version, at - timedelta(days=outcome_days)),
        store.latest(session, tenant_id, model_version, DRIFT_WINDOW),
        store.decided_cases(session, tenant_id, begins[0]),
    )


def _of_outcome(counts: Mapping[tuple[str, str], int], wanted: str) -> dict[str, int]:
    return {decision: count for (outcome, decision), count in counts.items() if outcome == wanted}


def _drift(calibration: Calibration, latest: Sequence[Compared]) -> Drift:
    if not latest:
        return Drift(0, None, None, ())
    ranks = [rank_of(calibration, one.distance, one.spread, one.references) for one in latest]
    window = RankWindow(len(ranks))
    for rank in ranks:
        window.add(rank)
    counts, _ = np.histogram(ranks, bins=BINS, range=(0.0, 1.0))
    shares = tuple(round(float(share), 4) for share in counts / len(ranks))
    return Drift(len(ranks), _known(window.psi()), _known(window.ks()), shares)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _clerks(decided: Sequence[DecidedCase]) -> Clerks:
    durations = sorted(one.seconds for one in decided if one.seconds is not None)
    drawn = [one for one in decided if one.kind == "quality-control"]
    disagreed = sum(one.decision != one.automatic for one in drawn)
    return Clerks(
        len(decided),
        round(statistics.median(durations), 1) if durations else None,
        round(float(np.quantile(durations, 0.9)), 1) if durations else None,
        Share.counted(disagreed, len(drawn)),
    )
