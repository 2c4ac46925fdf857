"""Verbal scale of likelihood ratios: ENFSI Guideline for Evaluative Reporting (2015), page 17."""

from __future__ import annotations

NO_SUPPORT = 0.3
"""log10 of a likelihood ratio below which neither proposition is supported: a ratio below 2."""
SCALE = (
    (1.0, "weak"),
    (2.0, "moderate"),
    (3.0, "moderately-strong"),
    (4.0, "strong"),
    (6.0, "very-strong"),
)
"""Upper limits of the grades by log10 of the likelihood ratio; beyond the last one: extremely strong."""


def grade_of(log_ratio: float) -> str | None:
    """Return the grade of support that a log10 likelihood ratio lends to one proposition; None below 2."""
    strength = abs(log_ratio)
    if strength < NO_SUPPORT:
        return None
    return next((grade for limit, grade in SCALE if strength < limit), "extremely-strong")
