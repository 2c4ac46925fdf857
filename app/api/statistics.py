"""``GET /statistics``: decisions by day, live error rates, drift, and the work of the clerks."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.api.dependencies import COMMON_PROBLEMS, Integer, RunningContext
from app.api.schemas import Out
from app.http.authorization import Reading
from app.http.problems import documented
from app.services.statistics import Share, Statistics, compute_statistics

router = APIRouter(tags=["record"])


class DayOut(Out):
    """Verifications of one day in UTC, by decision."""

    day: date = Field(examples=["2026-01-31"])
    accept: int = Field(examples=[812])
    review: int = Field(examples=[95])
    reject: int = Field(examples=[41])


class ShareOut(Out):
    """A share that was counted, with its Wilson score interval of 95 %."""

    count: int = Field(examples=[3])
    of: int = Field(examples=[60])
    share: float | None = Field(description="null when `of` is 0.", examples=[0.05])
    low: float | None = Field(description="Lower end of the interval.", examples=[0.0171])
    high: float | None = Field(description="Upper end of the interval.", examples=[0.137])

    @classmethod
    def of_share(cls, share: Share) -> ShareOut:
        """Convert a share."""
        return cls(**vars(share))


class DriftOut(Out):
    """Where the latest verifications are among the genuine signatures of the calibration.

    The rank of a verification is the share of them that are closer to their references. Without drift, the ranks of
    genuine signatures are uniform in [0, 1]; forgeries raise the last bin.
    """

    verifications: int = Field(
        description="Number of the latest verifications, at most 1000.", examples=[1000]
    )
    psi: float | None = Field(
        description="Population stability index: below 0.1 no change, above 0.25 a significant one; null with fewer "
        "than 100 verifications.",
        examples=[0.04],
    )
    ks: float | None = Field(description="Kolmogorov-Smirnov statistic, in [0, 1].", examples=[0.03])
    shares: list[float] = Field(
        description="Share of the ranks in each tenth of [0, 1]; empty without verifications.",
        examples=[[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]],
    )


class ClerksOut(Out):
    """The decisions of clerks in the period."""

    decided: int = Field(examples=[90])
    median_seconds: float | None = Field(
        description="Median time that a clerk looked at a case; null when none is known.", examples=[6.5]
    )
    slow_seconds: float | None = Field(description="90 % were faster.", examples=[21.0])
    disagreed: ShareOut = Field(
        description="Of the decisions in quality control, those that differ from that of the service."
    )


class StatisticsOut(Out):
    """Statistics of a tenant."""

    days: list[DayOut] = Field(description="Oldest first; the last one is today.")
    review: ShareOut = Field(description="Of the verifications of these days, those left to a person.")
    outcome_days: int = Field(
        description="Days of recorded outcomes from which `far` and `frr` are computed.", examples=[90]
    )
    far: ShareOut = Field(description="Of the signatures recorded as forged, those that were accepted.")
    frr: ShareOut = Field(description="Of the signatures recorded as genuine, those that were not accepted.")
    drift: DriftOut
    clerks: ClerksOut
    model_version: str = Field(
        description="The model in use: `far`, `frr` and `drift` are about its verifications.",
        examples=["countersign-6@0a1b2c3d4e5f"],
    )

    @classmethod
    def of(cls, found: Statistics) -> StatisticsOut:
        """Convert statistics."""
        clerks = found.clerks
        return cls(
            days=[DayOut(**vars(day)) for day in found.days],
            review=ShareOut.of_share(found.review),
            outcome_days=found.outcome_days,
            far=ShareOut.of_share(found.far),
            frr=ShareOut.of_share(found.frr),
            drift=DriftOut(**(vars(found.drift) | {"shares": list(found.drift.shares)})),
            clerks=ClerksOut(**(vars(clerks) | {"disagreed": ShareOut.of_share(clerks.disagreed)})),
            model_version=found.model_version,
        )


@router.get(
    "/statistics",
    summary="Show statistics",
    response_model=StatisticsOut,
    responses=documented(*COMMON_PROBLEMS),
)
async def get_statistics(
    context: RunningContext,
    caller: Reading,
    days: Annotated[Integer, Query(ge=1, le=92, description="Number of days, today included.")] = 14,
) -> StatisticsOut:
    """Return decisions by day, live error rates, drift, and the work of the clerks. Requires the scope `read`.

    The rates are those of the signatures whose outcome was recorded, which may be others than average.

    ```sh
    curl 'http://127.0.0.1:8000/statistics?days=30'
    ```
    """
    return StatisticsOut.of(await compute_statistics(context, caller.tenant_id, days))
