"""On what terms weights may be used, and whether the operator accepts them (`COUNTERSIGN_ALLOWED_TERMS`).

Two things carry terms: the weights, by the data they learned from, and the calibration, by the signatures it was
fitted on. With ``permissive`` both must be free to use.
"""

from __future__ import annotations

import json
from pathlib import Path

from model.decision.calibration import Calibration
from model.errors import TermsRefused
from model.networks.card import Card

ALLOW_ANY = "Set COUNTERSIGN_ALLOWED_TERMS=any only where research terms cover your use"


def refuse_terms(folder: Path, card: Card, calibration: Calibration) -> None:
    """Raise TermsRefused unless weights and calibration are both permissive; the message says what to do."""
    if card.terms != "permissive":
        learned = ", ".join(data.name for data in card.datasets if data.terms != "permissive")
        others = permissive_beside(folder)
        remedy = (
            f"Set COUNTERSIGN_WEIGHTS={others[0]}, whose terms are permissive"
            if others
            else "Set COUNTERSIGN_WEIGHTS to a folder whose card.json says permissive"
        )
        raise TermsRefused(
            f"COUNTERSIGN_ALLOWED_TERMS is permissive and the terms of {card.version} ({folder}) are {card.terms}"
            f"{f': it learned from {learned}' if learned else ''}. {remedy}. {ALLOW_ANY}."
        )
    if calibration.fitted_on.terms != "permissive":
        raise TermsRefused(
            f"COUNTERSIGN_ALLOWED_TERMS is permissive and the calibration of {card.version} was fitted on data of "
            f"{calibration.fitted_on.terms} terms ({', '.join(calibration.fitted_on.datasets)}). "
            f"`python -m model calibrate {folder}` fits it anew on invented writers. {ALLOW_ANY}."
        )


def permissive_beside(folder: Path) -> list[Path]:
    """Folders beside this one whose weights and calibration are both permissive."""
    return [
        card.parent
        for card in sorted(folder.absolute().parent.glob("*/card.json"))
        if _terms(card, "terms")
        == _terms(card.with_name("calibration.json"), "fitted_on", "terms")
        == "permissive"
    ]


def _terms(file: Path, *names: str) -> object:
    """A member of a JSON file; None for whatever is not there."""
    try:
        value: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
