"""The plot of a report: the distance between the signer's own range and the population of the calibration."""

from __future__ import annotations

import numpy as np

from app.report.document import Label, Line, Plot
from app.report.wording import Words
from app.services.report import CaseReport
from model.decision.calibration import Curve
from model.decision.distances import Floats

WIDTH, HEIGHT = 640.0, 264.0
_LEFT, _RIGHT, _TOP, _BASE = 20.0, 620.0, 50.0, 164.0
_GENUINE, _SKILLED, _RANDOM, _INK = "#0b3d91", "#b3261e", "#7a7680", "#1c1b1f"


def plot_distances(t: Words, report: CaseReport) -> Plot | None:
    """Plot the distance over the densities of the calibration; None without the calibration of the verification."""
    evidence, finding = report.evidence, report.verification.finding
    if evidence is None:
        return None
    fitted = report.calibration.at(report.count)
    curves = (
        (t("population-genuine"), fitted.genuine, _GENUINE, False),
        (t("population-skilled"), fitted.skilled, _SKILLED, True),
        (t("population-random"), fitted.random, _RANDOM, False),
    )
    own = [item.own_distance for item in report.references if item.own_distance is not None]
    shown = [*own, finding.distance, finding.threshold, finding.review_threshold or finding.threshold]
    low = min(*shown, fitted.genuine.score(0.002) + evidence.allowance)
    high = max(*shown, fitted.random.score(0.998) + evidence.allowance)
    pad = 0.04 * (high - low)
    first, last = low - pad, high + pad
    grid = np.linspace(first, last, 161)

    def place(distance: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (distance - first) / (last - first)

    densities = [_density(curve, grid - evidence.allowance) for _, curve, _, _ in curves]
    top = max(float(density.max()) for density in densities)
    lines = [
        Line(
            tuple(
                (place(x), _BASE - (_BASE - _TOP) * y / top)
                for x, y in zip(grid.tolist(), density.tolist(), strict=True)
            ),
            colour,
            1.5,
            dashed,
        )
        for (_, _, colour, dashed), density in zip(curves, densities, strict=True)
    ]
    labels = []
    for row, (name, _, colour, dashed) in enumerate(curves):
        x = _LEFT + 10 + 190 * row
        lines.append(Line(((x, 12), (x + 24, 12)), colour, 1.5, dashed))
        labels.append(Label(x + 30, 16, name, colour, "start"))
    lines.append(Line(((_LEFT, _BASE), (_RIGHT, _BASE)), _INK))
    step = 10.0 ** np.floor(np.log10((grid[-1] - grid[0]) / 3))
    step *= 2 if (grid[-1] - grid[0]) / step > 8 else 1
    for value in np.arange(np.ceil(grid[0] / step), np.floor(grid[-1] / step) + 1) * step:
        lines.append(Line(((place(value), _BASE), (place(value), _BASE + 4)), _INK))
        labels.append(
            Label(place(value), _BASE + 15, t.localized(f"{value:g}" if step >= 0.1 else f"{value:.2f}"))
        )
    x = place(finding.distance)
    lines.append(Line(((x, _TOP - 8), (x, _BASE)), _INK, 2.0))
    labels.append(Label(x, _TOP - 11, t("plot-questioned")))
    for name, value in (("accept", finding.threshold), ("review", finding.review_threshold)):
        if value is not None:
            lines.append(
                Line(((place(value), _TOP + 20), (place(value), _BASE)), "#8a5a00", 1.0, dashed=True)
            )
            labels.append(
                Label(
                    place(value) - 3,
                    _TOP + (30 if name == "accept" else 44),
                    t(f"plot-{name}"),
                    "#8a5a00",
                    "end",
                )
            )
    below = _BASE + 42
    labels.append(Label(_LEFT, below, t("plot-own"), _INK, "start"))
    labels.append(Label(_LEFT, below + 36, t("plot-references"), _INK, "start"))
    lines += [Line(((place(value), below + 5), (place(value), below + 17)), _GENUINE, 1.5) for value in own]
    lines += [
        Line(((place(item.distance), below + 41), (place(item.distance), below + 53)), _INK, 1.5)
        for item in report.references
        if not item.is_repetition and grid[0] <= item.distance <= grid[-1]
    ]
    return Plot(
        WIDTH,
        HEIGHT,
        tuple(lines),
        tuple(labels),
        t("plot-caption"),
    )


def _density(curve: Curve, scores: Floats) -> Floats:
    """Estimate the density at evenly spaced scores from the distribution, smoothed over a few of them."""
    width = 3.0 * float(scores[1] - scores[0])
    return np.array([(_share(curve, s + width) - _share(curve, s - width)) / (2 * width) for s in scores])


def _share(curve: Curve, score: float) -> float:
    if score <= curve.scores[0]:
        return 0.0
    return 1.0 if score >= curve.scores[-1] else curve.share(score)
