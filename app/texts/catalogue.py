"""A catalogue of texts, and numbers in its language."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

LANGUAGES = ("en", "de")
Catalogue = Mapping[str, Mapping[str, str]]
"""Texts by key and language."""


def load(file: Path) -> dict[str, dict[str, str]]:
    """Read a catalogue."""
    return tomllib.loads(file.read_text(encoding="utf-8"))


COMMON = load(Path(__file__).parent / "common.toml")
"""The texts that the desk and the reports share."""


class Texts:
    """A catalogue in one language.

    Parameters
    ----------
    language : str
        One of `LANGUAGES`.
    catalogue : Catalogue
    """

    def __init__(self, language: str, catalogue: Catalogue) -> None:
        self.language = language
        self._catalogue = catalogue

    def __call__(self, key: str, /, **values: object) -> str:
        """Return a text with the values filled in; raises KeyError for an unknown key."""
        return self._catalogue[key][self.language].format_map(values)

    def has(self, key: str) -> bool:
        """Whether there is a text with this key."""
        return key in self._catalogue

    def localized(self, number: str) -> str:
        """Write a number, as Python formats it, with the decimal sign of the language."""
        return number.replace(".", ",") if self.language == "de" else number

    def number(self, value: float, digits: int = 3) -> str:
        """Format a number with the decimal sign of the language."""
        return self.localized(f"{value:.{digits}f}")

    def whole(self, value: int) -> str:
        """Format a whole number with the thousands sign of the language."""
        text = f"{value:,}"
        return text.replace(",", ".") if self.language == "de" else text

    def amount(self, value: Decimal, currency: str | None) -> str:
        """Format an amount with the signs of the language and its currency."""
        text = f"{value:,.2f}" if value == round(value, 2) else f"{value:,.4f}"
        if self.language == "de":
            text = text.translate(str.maketrans(",.", ".,"))
        return f"{text} {currency}" if currency else text
