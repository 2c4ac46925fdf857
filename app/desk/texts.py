"""The texts of the desk in its languages, and the words in which the numbers of a verification are put."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from starlette.requests import Request

from app.domain.records import Finding, ResultWarning
from app.domain.verbal_scale import grade_of
from app.services.differences import COUNTED, DifferenceMaps
from app.services.reference_quality import QualityFinding
from app.texts import catalogue
from app.texts.catalogue import COMMON, LANGUAGES
from app.texts.negotiation import choose_language

LANGUAGE_COOKIE = "countersign_language"
CATALOGUE = COMMON | catalogue.load(Path(__file__).parent / "strings.toml")


class Texts(catalogue.Texts):
    """The catalogue of the desk in one language.

    Parameters
    ----------
    language : str
        One of `LANGUAGES`.
    """

    def __init__(self, language: str) -> None:
        super().__init__(language, CATALOGUE)

    @property
    def other(self) -> str:
        """The other language."""
        return next(language for language in LANGUAGES if language != self.language)

    def error(self, code: str, status: int) -> str | None:
        """Return the text for a problem code; None when there is none."""
        key = (
            f"error-{code}" if f"error-{code}" in CATALOGUE else "error-unavailable" if status == 503 else ""
        )
        return self(key) if key else None

    def warning(self, warning: ResultWarning) -> str:
        """Return a warning in words for a clerk, or else in the words of the API."""
        key = f"warning-{warning.code}"
        return self(key) if key in CATALOGUE else warning.detail

    def quality(self, finding: QualityFinding) -> str:
        """Return a finding about references in words for a clerk, or else in the words of the API."""
        key = f"quality-{finding.code}"
        return self(key) if key in CATALOGUE else f"{finding.detail} {finding.advice}"

    def action(self, action: str) -> str:
        """Return an action of the audit trail in words, or else its code."""
        key = f"action-{action}"
        return self(key) if key in CATALOGUE else action

    def findings(self, finding: Finding) -> Iterable[str]:
        """Put distance, thresholds, likelihood ratio and error rates of a verification in sentences."""
        yield self(
            "finding-distance",
            distance=self.number(finding.distance),
            threshold=self.number(finding.threshold),
        )
        if finding.review_threshold is not None:
            yield self("finding-review", review=self.number(finding.review_threshold))
        yield self._evidence(finding.log_likelihood_ratio)
        point = finding.operating_point
        if point.frr is not None and point.far_skilled is not None:
            yield self(
                "finding-rates",
                frr=self.number(100 * point.frr, 0),
                far=self.number(100 * point.far_skilled, 0),
            )

    def differences(self, maps: DifferenceMaps) -> str:
        """Say how many cells of the map to all references are far beyond the usual, and of the references' own."""
        own = maps.own_beyond
        if own is None:
            return self("differences-one", count=maps.beyond, cells=maps.mean.size, times=f"{COUNTED:g}")
        return self(
            "differences-count",
            count=maps.beyond,
            cells=maps.mean.size,
            times=f"{COUNTED:g}",
            fewest=own[0],
            most=own[1],
        )

    def _evidence(self, log_ratio: float) -> str:
        """Put a log10 likelihood ratio, genuine against skilled forgery, in words."""
        grade = grade_of(log_ratio)
        if grade is None:
            return self("finding-neither")
        ratio = 10 ** abs(log_ratio)
        shown = self.number(ratio, 1) if ratio < 10 else f"{float(f'{ratio:.2g}'):.0f}"
        side = "finding-genuine" if log_ratio > 0 else "finding-forged"
        return self(side, ratio=shown, words=self(f"support-{grade}"))


def texts_of(request: Request) -> Texts:
    """Return the texts in the language that was chosen on a page, or else in one that the browser asks for."""
    chosen = request.query_params.get("lang") or request.cookies.get(LANGUAGE_COOKIE)
    if chosen in LANGUAGES:
        return Texts(chosen)
    return Texts(choose_language(request.headers.get("accept-language", "")))
