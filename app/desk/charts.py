"""Geometry of the plots of the dashboard, which are drawn as SVG by the templates. All units are those of the SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from app.services.statistics import Day

WIDTH, HEIGHT = 560, 160
GAP = 0.2
"""Part of the width of a bar that is left free."""


@dataclass(frozen=True)
class Segment:
    """A part of a bar: its kind, upper edge and height."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True)
class DayBar:
    """The bar of one day."""

    day: date
    x: float
    width: float
    segments: list[Segment]


@dataclass(frozen=True)
class StackedDays:
    """Decisions by day; `top` is the number at the upper edge."""

    top: int
    bars: list[DayBar]

    @classmethod
    def of(cls, days: Sequence[Day]) -> StackedDays:
        """Stack accept, review and reject of each day, from below."""
        top = max(1, *(day.accept + day.review + day.reject for day in days))
        step = WIDTH / len(days)
        bars = []
        for number, day in enumerate(days):
            y, segments = float(HEIGHT), []
            for kind, count in (("accept", day.accept), ("review", day.review), ("reject", day.reject)):
                height = HEIGHT * count / top
                y -= height
                if count:
                    segments.append(Segment(kind, round(y, 1), round(height, 1)))
            bars.append(DayBar(day.day, round(number * step, 1), round(step * (1 - GAP), 1), segments))
        return cls(top, bars)


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Bars:
    """A histogram of shares; `even` is the height at which all bars would end if the shares were equal."""

    bars: list[Bar]
    even: float

    @classmethod
    def of(cls, shares: Sequence[float]) -> Bars:
        """Draw shares in [0, 1]; without shares, there are no bars."""
        if not shares:
            return cls([], HEIGHT)
        top = max(2 / len(shares), *shares)
        step = WIDTH / len(shares)
        bars = []
        for number, share in enumerate(shares):
            height = round(HEIGHT * share / top, 1)
            bars.append(
                Bar(round(number * step, 1), round(HEIGHT - height, 1), round(step * (1 - GAP), 1), height)
            )
        return cls(bars, round(HEIGHT * (1 - 1 / (len(shares) * top)), 1))
