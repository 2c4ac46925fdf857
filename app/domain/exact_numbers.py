"""Numbers of JSON with the digits that were sent: amounts of money are read from them."""

from __future__ import annotations


class ExactNumber(float):
    """A number of JSON with a fraction or an exponent, as a float and as its text.

    Most decimal fractions have no exact value as a binary floating-point number.

    Attributes
    ----------
    text : str
        The number as it was sent, such as ``2500.50``.
    """

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> ExactNumber:
        """Make a number from its text; raises ValueError when it is none."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text
