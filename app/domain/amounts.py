"""Amounts of the documents that were signed, and the share of forgeries that may be accepted by amount."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

from app.domain.mandate_form import amount, amount_text

ABOVE = "above"
"""Stands for the amounts above all others in the text of bands."""
_BAND = re.compile(r"([^:=]+):([^:=]+)")


@dataclass(frozen=True)
class Money:
    """The amount of a document.

    Attributes
    ----------
    value : Decimal
    currency : str or None
        ISO 4217; None when it was not stated.
    """

    value: Decimal
    currency: str | None

    def to_basis(self) -> dict[str, Any]:
        """Return it as JSON values, as it is stored with a verification."""
        return {"amount": amount_text(self.value), "currency": self.currency}


@dataclass(frozen=True)
class RateBand:
    """The share of skilled forgeries that may be accepted for a range of amounts.

    Attributes
    ----------
    number : int
        Counted from 1, by increasing amount.
    up_to : Decimal or None
        Largest amount of the band; None in the last one.
    target_far : float
        In (0, 1).
    """

    number: int
    up_to: Decimal | None
    target_far: float

    def to_basis(self) -> dict[str, Any]:
        """Return it as JSON values, as it is stored with a verification."""
        up_to = None if self.up_to is None else amount_text(self.up_to)
        return {"number": self.number, "up_to": up_to, "target_far": self.target_far}


def parse_bands(text: str) -> tuple[RateBand, ...]:
    """Parse bands such as ``10000:0.1,50000:0.05,above:0.02``; no bands for an empty text.

    Raises
    ------
    ValueError
        A part is not an amount and a share in (0, 1), the amounts do not increase, the shares do, or the last
        amount is not ``above``.
    """
    if not text.strip():
        return ()
    bands = tuple(_parse_band(number, part.strip()) for number, part in enumerate(text.split(","), 1))
    if bands[-1].up_to is not None:
        raise ValueError(f"the last band has to be for all larger amounts, such as {ABOVE}:0.02")
    for before, after in pairwise(bands):
        if before.up_to is None or (after.up_to is not None and after.up_to <= before.up_to):
            raise ValueError(f"the amounts have to increase, and only the last one may be {ABOVE}")
        if after.target_far > before.target_far:
            raise ValueError("the share of forgeries must not be higher for larger amounts")
    return bands


def _parse_band(number: int, text: str) -> RateBand:
    found = _BAND.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an amount and a share of forgeries, such as 10000:0.1")
    return RateBand(number, _parse_limit(found[1].strip()), _parse_share(found[2].strip()))


def _parse_limit(text: str) -> Decimal | None:
    if text == ABOVE:
        return None
    try:
        return amount(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither an amount, such as 10000 or 2500.50, nor {ABOVE}") from None


def _parse_share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise ValueError(f"the share of forgeries {text!r} is not a number between 0 and 1, such as 0.02")
    return share


def band_of(bands: Sequence[RateBand], value: Decimal) -> RateBand | None:
    """Return the band of an amount; None when there are no bands."""
    return next((band for band in bands if band.up_to is None or value <= band.up_to), None)
