"""The texts of reports in their languages, and how numbers and findings are put into words."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from app.domain.records import ResultWarning
from app.domain.verbal_scale import grade_of
from app.services.report import CaseReport
from app.texts import catalogue
from app.texts.catalogue import COMMON
from model.decision.bootstrap import Interval
from model.decision.calibration import RATE_DIGITS

CATALOGUE = COMMON | catalogue.load(Path(__file__).parent / "strings.toml")
ROUNDING = 0.5 * 10.0**-RATE_DIGITS
"""Largest rounding error of a recorded rate."""
COPIES = frozenset({"possible-copy", "identical-image"})
"""Warnings by which neither proposition may hold: the questioned signature may be a copy or a tracing."""
FEW = 5
"""Number of references below which they say little of how much a signer varies."""


def warning_codes(report: CaseReport) -> set[str]:
    """Return the codes of the warnings of a verification."""
    return {warning.code for warning in report.verification.finding.warnings}


class Words(catalogue.Texts):
    """The texts of reports in one language.

    Parameters
    ----------
    language : str
        One of :data:`app.texts.catalogue.LANGUAGES`.
    """

    def __init__(self, language: str) -> None:
        super().__init__(language, CATALOGUE)

    def ratio(self, log_ratio: float) -> str:
        """Write the size of a log10 likelihood ratio, with no more digits than the data support."""
        value = 10 ** abs(log_ratio)
        if value < 2:
            return self.number(value, 1)
        digits = 1 - len(str(int(value)))
        return f"{int(round(value, digits))}"

    def support(self, log_ratio: float, other: str = "skilled") -> str:
        """Say whether a log10 likelihood ratio supports H1 or the other proposition, and how much.

        Parameters
        ----------
        other : {"skilled", "random"}
        """
        one, another = self("genuine"), self(other)
        grade = grade_of(log_ratio)
        if grade is None:
            return self("support-none", one=one, other=another)
        favoured, against = (one, another) if log_ratio > 0 else (another, one)
        return self("support-for", grade=self(f"support-{grade}"), favoured=favoured, against=against)

    def favour(self, log_ratio: float, other: str = "H2") -> str:
        """Write a log10 likelihood ratio with the proposition that it favours."""
        side = "H1" if log_ratio >= 0 else other
        return self("in-favour", ratio=self.ratio(log_ratio), side=side)

    def interval(self, found: Interval) -> str:
        """Put an interval of log10 likelihood ratios in words, the end that favours H2 first."""
        low = self._end(found.low, is_limit=found.low_is_limit)
        return self("range", low=low, high=self._end(found.high, is_limit=found.high_is_limit))

    def _end(self, log_ratio: float, *, is_limit: bool) -> str:
        if abs(log_ratio) < 0.02:
            return self("neither")
        ratio = self.ratio(log_ratio)
        side = "H1" if log_ratio > 0 else "H2"
        return self("in-favour", ratio=self("or-more", ratio=ratio) if is_limit else ratio, side=side)

    def share(self, value: float | None, floor: float = 0.0) -> str:
        """Put a share in [0, 1] as a percentage; at its floor, only as a limit."""
        if value is None:
            return self("share-unknown")
        margin = floor + ROUNDING
        if floor and value <= margin:
            return self("share-at-most", share=self.localized(f"{100 * floor:.2g}"))
        if floor and value >= 1.0 - margin:
            return self("share-at-least", share=self.localized(f"{100 * (1 - floor):.4g}"))
        text = f"{100 * value:.2g}" if value < 0.995 else f"{100 * value:.3g}"
        return self("share", share=self.localized(text))

    def moment(self, time: datetime | None) -> str:
        """Write a time in UTC, to the second."""
        return self("not-recorded") if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

    def warning(self, warning: ResultWarning) -> str:
        """Return a warning with its code: in English as recorded, otherwise in the words of the catalogue."""
        key = f"warning-{warning.code}"
        text = self(key) if self.language != "en" and self.has(key) else warning.detail
        return f"{warning.code}: {text}"

    def code(self, prefix: str, code: str) -> str:
        """Return the text for a code, or the code itself when there is none."""
        key = f"{prefix}{code}"
        return self(key) if self.has(key) else code
