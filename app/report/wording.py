"""How numbers and findings are put into words in a report."""

from __future__ import annotations

from datetime import UTC, datetime

from app.domain.verbal_scale import grade_of
from app.services.report import CaseReport
from model.decision.bootstrap import Interval
from model.decision.calibration import RATE_DIGITS

ROUNDING = 0.5 * 10.0**-RATE_DIGITS
"""Largest rounding error of a recorded rate."""
GENUINE = "H1 (written by the signer)"
SKILLED = "H2 (a skilled forgery)"


COPIES = frozenset({"possible-copy", "identical-image"})
"""Warnings by which neither proposition may hold: the questioned signature may be a copy or a tracing."""
FEW = 5
"""Number of references below which they say little of how much a signer varies."""


def warning_codes(report: CaseReport) -> set[str]:
    """Return the codes of the warnings of a verification."""
    return {warning.code for warning in report.verification.finding.warnings}


def ratio(log_ratio: float) -> str:
    """Put the size of a log10 likelihood ratio in words, with no more digits than the data support."""
    value = 10 ** abs(log_ratio)
    if value < 2:
        return f"{value:.1f}"
    digits = 1 - len(str(int(value)))
    return f"{int(round(value, digits))}"


def support(log_ratio: float, one: str = GENUINE, other: str = SKILLED) -> str:
    """Say which of two propositions a log10 likelihood ratio supports, and how much."""
    grade = grade_of(log_ratio)
    if grade is None:
        return f"no support for either {one} or {other}"
    favoured, against = (one, other) if log_ratio > 0 else (other, one)
    return f"{grade.replace('-', ' ')} support for {favoured} rather than {against}"


def interval(found: Interval) -> str:
    """Put an interval of log10 likelihood ratios in words, the end that favours H2 first."""
    return (
        f"{_end(found.low, is_limit=found.low_is_limit)} to {_end(found.high, is_limit=found.high_is_limit)}"
    )


def _end(log_ratio: float, *, is_limit: bool) -> str:
    more = " or more" if is_limit else ""
    if abs(log_ratio) < 0.02:
        return "1 (neither)"
    return f"{ratio(log_ratio)}{more} in favour of {'H1' if log_ratio > 0 else 'H2'}"


def share(value: float | None, floor: float = 0.0) -> str:
    """Put a share in [0, 1] as a percentage; at its floor, only as a limit."""
    if value is None:
        return "not estimated"
    margin = floor + ROUNDING
    if floor and value <= margin:
        return f"at most {100 * floor:.2g} %"
    if floor and value >= 1.0 - margin:
        return f"at least {100 * (1 - floor):.4g} %"
    return f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:.3g} %"


def moment(time: datetime | None) -> str:
    """Write a time in UTC, to the second."""
    return "not recorded" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def number(value: float) -> str:
    """Write a distance."""
    return f"{value:.3f}"
