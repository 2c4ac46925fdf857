"""The licence terms of weights, checked against those the operator allows (`COUNTERSIGN_ALLOWED_TERMS`).

The weights inherit terms from their training data, and the calibration from the signatures it was fitted on. If only
``permissive`` terms are allowed, both must be permissive.
"""

from __future__ import annotations

import json
from pathlib import Path

from model.decision.calibration import Calibration
from model.errors import TermsRefused
from model.networks.card import Card

_ALLOW_ANY = "Set COUNTERSIGN_ALLOWED_TERMS=any only where research terms permit your use"


def refuse_terms(folder: Path, card: Card, calibration: Calibration) -> None:
    """Raise TermsRefused, with a remedy in its message, unless weights and calibration are both permissive."""
    if card.terms != "permissive":
        datasets = ", ".join(data.name for data in card.datasets if data.terms != "permissive")
        alternatives = _permissive_siblings(folder)
        remedy = (
            f"Set COUNTERSIGN_WEIGHTS={alternatives[0]}, whose terms are permissive"
            if alternatives
            else "Set COUNTERSIGN_WEIGHTS to a folder whose card.json has permissive terms"
        )
        raise TermsRefused(
            f"COUNTERSIGN_ALLOWED_TERMS is permissive and the terms of {card.version} ({folder}) are {card.terms}"
            f"{f', because they were trained on {datasets}' if datasets else ''}. {remedy}. {_ALLOW_ANY}."
        )
    if calibration.fitted_on.terms != "permissive":
        raise TermsRefused(
            f"COUNTERSIGN_ALLOWED_TERMS is permissive and the calibration of {card.version} was fitted on data of "
            f"{calibration.fitted_on.terms} terms ({', '.join(calibration.fitted_on.datasets)}). "
            f"`python -m model calibrate {folder}` fits it again on synthetic writers. {_ALLOW_ANY}."
        )


def _permissive_siblings(folder: Path) -> list[Path]:
    """List the sibling folders whose weights and calibration are both permissive."""
    return [
        card.parent
        for card in sorted(folder.absolute().parent.glob("*/card.json"))
        if _terms(card, "terms")
        == _terms(card.with_name("calibration.json"), "fitted_on", "terms")
        == "permissive"
    ]


def _terms(file: Path, *names: str) -> object:
    """Read a member of a JSON file; None when the file or the member is missing or invalid."""
    try:
        value: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
