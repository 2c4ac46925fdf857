"""Rules that turn the measures of a part of a page (:mod:`model.preprocessing.evidence`) into log-odds.

They are fitted for a segmentation network by :mod:`model.documents.rules` and lie beside its weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.preprocessing.evidence import MEASURES

REACH = 4.0
"""Standard deviations from the mean at which measures are cut off: squares beyond them would decide alone."""


@dataclass(frozen=True)
class Rule:
    """Log-odds as a polynomial of second degree in standardised measures.

    Attributes
    ----------
    mean, deviation : float64 (n,)
        Of each measure, where the rule was fitted.
    weights : float64 (terms(n),)
        Of the terms of :func:`terms`.
    bias : float
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float

    def log_odds(self, measures: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the log-odds that parts of pages are signatures: (parts, n) to (parts,)."""
        return np.asarray(terms(self.standard(measures)) @ self.weights + self.bias)

    def standard(self, measures: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardise measures, cut off at :data:`REACH`."""
        return np.clip((measures - self.mean) / self.deviation, -REACH, REACH)


def terms(standard: NDArray[np.float64]) -> NDArray[np.float64]:
    """Append all products of two measures: (parts, n) to (parts, n + n * (n + 1) / 2)."""
    first, second = np.triu_indices(standard.shape[1])
    return np.hstack([standard, standard[:, first] * standard[:, second]])


@dataclass(frozen=True)
class Look:
    """How an image is recognised as a crop of a signature, at one size.

    Attributes
    ----------
    side : int
        Long side of the ink in pixels.
    rule : Rule
    accept : float
        Log-odds from which the image is used as it is.
    reject : float
        Log-odds below which it is not; between the two, the next look decides.
    """

    side: int
    rule: Rule
    accept: float
    reject: float


@dataclass(frozen=True)
class Rules:
    """The rules that belong to the weights of a segmentation network, in ``rules.json`` beside them.

    Attributes
    ----------
    looks : tuple of Look
        The first one is the quickest.
    page : Rule
        For parts of a page.
    least : float
        Log-odds from which a part of a page is a signature.
    rival : float
        Log-odds from which a second one makes the choice a guess.
    """

    looks: tuple[Look, ...]
    page: Rule
    least: float
    rival: float

    @classmethod
    def load(cls, path: Path) -> Rules:
        """Read the file; raises OSError, ValueError or KeyError if it is missing or damaged."""
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["measures"] != list(MEASURES):
            raise ValueError(
                f"{path} was fitted on other measures; fit it with python -m model.documents.rules"
            )
        looks = tuple(
            Look(look["side"], _rule(look["rule"]), look["accept"], look["reject"]) for look in found["looks"]
        )
        page = found["page"]
        return cls(looks, _rule(page["rule"]), page["least"], page["rival"])

    def save(self, path: Path, rates: dict[str, float]) -> None:
        """Write the file, with the error rates that were measured when the rules were fitted."""
        looks = [
            {"side": look.side, "accept": look.accept, "reject": look.reject, "rule": _listed(look.rule)}
            for look in self.looks
        ]
        page = {"least": self.least, "rival": self.rival, "rule": _listed(self.page)}
        content = {"measures": MEASURES, "rates": rates, "looks": looks, "page": page}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _rule(found: dict[str, Any]) -> Rule:
    mean, deviation, weights = (np.array(found[key]) for key in ("mean", "deviation", "weights"))
    return Rule(mean, deviation, weights, float(found["bias"]))


def _listed(rule: Rule) -> dict[str, Any]:
    return {
        "mean": np.round(rule.mean, 5).tolist(),
        "deviation": np.round(rule.deviation, 5).tolist(),
        "weights": np.round(rule.weights, 5).tolist(),
        "bias": round(rule.bias, 5),
    }
