"""Plots of a measurement as PNG: DET curves, score histograms, the calibration of the LLR, and the worst errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import ndtri

from model.decision.distances import Floats
from model.evaluation.metrics import calibration_points, error_curve

mpl.use("Agg")

TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
GENUINE, SKILLED, RANDOM = "#1b7837", "#b2182b", "#6a6a6a"


@dataclass(frozen=True)
class WorstError:
    """An error to show; images are (h, w) uint8, 255 = white."""

    title: str
    references: tuple[NDArray[np.uint8], ...]
    questioned: NDArray[np.uint8]


def det(path: Path, curves: Mapping[str, tuple[Floats, Floats]], title: str) -> None:
    """Plot DET curves of (genuine, forged) scores by label: FAR against FRR on probit axes.

    Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
    """
    figure = Figure(figsize=(5.2, 5.0), layout="constrained")
    axes = figure.add_subplot()
    for label, (genuine, forged) in curves.items():
        curve = error_curve(genuine, forged)
        # Rates of 0 and 1 are infinite on probit axes.
        finite = (curve.far > 0) & (curve.far < 1) & (curve.frr > 0) & (curve.frr < 1)
        axes.plot(ndtri(curve.far[finite]), ndtri(curve.frr[finite]), label=label, linewidth=1.5)
    ends = [float(ndtri(TICKS[0])), float(ndtri(TICKS[-1]))]
    axes.plot(ends, ends, color="#cccccc", linewidth=0.8, linestyle="--")
    positions = [float(ndtri(tick)) for tick in TICKS]
    names = [f"{100 * tick:g}" for tick in TICKS]
    axes.set_xticks(positions, names)
    axes.set_yticks(positions, names)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_xlabel("FAR: forgeries accepted, %")
    axes.set_ylabel("FRR: genuine signatures not accepted, %")
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, color="#eeeeee")
    axes.legend(fontsize=8)
    _save(figure, path)


def histograms(
    path: Path,
    genuine: Floats,
    skilled: Floats,
    random: Floats,
    title: str,
    *,
    threshold: float | None = None,
    label: str = "score",
) -> None:
    """Plot the densities of the scores of genuine signatures, skilled and random forgeries."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    all_scores = np.concatenate([genuine, skilled, random])
    bins = np.linspace(all_scores.min(), all_scores.max() + 1e-9, 61).tolist()
    for scores, colour, name in (
        (genuine, GENUINE, "genuine"),
        (skilled, SKILLED, "skilled forgeries"),
        (random, RANDOM, "random forgeries"),
    ):
        if scores.size:
            axes.hist(
                scores, bins=bins, density=True, histtype="stepfilled", alpha=0.4, color=colour, label=name
            )
    if threshold is not None:
        axes.axvline(threshold, color="black", linewidth=1, linestyle="--", label="threshold")
    axes.set_xlabel(label)
    axes.set_yticks([])
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    _save(figure, path)


def llr_calibration(path: Path, genuine: Floats, skilled: Floats, title: str) -> None:
    """Plot observed against stated log10 likelihood ratios; perfect calibration is the diagonal."""
    stated, observed = calibration_points(genuine, skilled)
    figure = Figure(figsize=(4.8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    limit = 1.1 * float(max(np.abs(stated).max(), np.abs(observed).max(), 0.5))
    axes.plot([-limit, limit], [-limit, limit], color="#bbbbbb", linestyle="--", linewidth=1)
    axes.plot(stated, observed, marker="o", color="#2166ac")
    axes.set_xlim(-limit, limit)
    axes.set_ylim(-limit, limit)
    axes.set_xlabel("stated log10 LR")
    axes.set_ylabel("observed log10 LR")
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, color="#eeeeee")
    _save(figure, path)


def worst_errors(path: Path, errors: Sequence[WorstError], title: str) -> None:
    """Show errors, one in each row: up to three references, then the questioned signature."""
    rows = max(1, len(errors))
    figure = Figure(figsize=(9.0, 1.35 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    for row in axes:
        for cell in row:
            cell.set_axis_off()
    for row, error in zip(axes, errors, strict=False):
        for cell, image in zip(row, error.references[:3], strict=False):
            cell.imshow(image, cmap="gray", vmin=0, vmax=255)
        row[0].set_title("references", fontsize=7, loc="left")
        row[3].imshow(error.questioned, cmap="gray", vmin=0, vmax=255)
        row[3].set_title(error.title, fontsize=7, loc="left", color=SKILLED)
    figure.suptitle(title if errors else f"{title}: none", fontsize=10)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
