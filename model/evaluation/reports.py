"""Results as Markdown tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from model.evaluation.error_rates import Result
from model.evaluation.metrics import Estimate

PROTOCOL = (
    "For each signer, k genuine signatures are drawn as references. The questioned signatures are the signer's other "
    "genuine signatures, all skilled forgeries and 20 signatures of other writers as random forgeries. Rates are at "
    "one threshold for all signers and are averages over seeded draws, with 95 % bootstrap intervals over writers."
)


def percent(estimate: Estimate | None) -> str:
    """Format an estimate in per cent, ``12.3 (9.8 to 15.0)``; None as a dash."""
    if estimate is None:
        return "-"
    return f"{100 * estimate.value:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def number(estimate: Estimate | None) -> str:
    """Format an estimate as a number, ``0.312 (0.250 to 0.380)``; None as a dash."""
    if estimate is None:
        return "-"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def table(results: Sequence[Result]) -> str:
    """Format results as a Markdown table with one row each: error rates in per cent with intervals."""
    header = (
        "features",
        "rule",
        "data",
        "writers",
        "references",
        "EER skilled, %",
        "EER skilled, a threshold for each signer, %",
        "EER random, %",
        "FAR skilled, %",
        "FAR random, %",
        "FRR, %",
        "Cllr",
        "Cllr_min",
    )
    lines = ["| " + " | ".join(header) + " |", "|---|---|---|" + "---:|" * (len(header) - 3)]
    for r in results:
        cells = (
            r.features,
            r.rule,
            r.dataset,
            str(r.writers),
            str(r.references),
            percent(r.eer_skilled),
            percent(r.eer_per_signer),
            percent(r.eer_random),
            percent(r.far_skilled),
            percent(r.far_random),
            percent(r.frr),
            number(r.cllr),
            number(r.cllr_min),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_json(path: Path, results: Sequence[Result], command: str) -> None:
    """Write results as JSON with the command that produced them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"command": command, "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
