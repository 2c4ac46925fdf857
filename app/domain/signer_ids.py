"""Validation of signer ids, which the caller chooses: customer numbers, or names in any script."""

from __future__ import annotations

import unicodedata

from pydantic_core import PydanticCustomError

MAX_LENGTH = 128
_JOINERS = "\u200c\u200d"  # part of the spelling of names in Persian and in Indic scripts
_CATEGORIES = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cs": "half of a surrogate pair",
    "Co": "a private-use character",
    "Cn": "not assigned in Unicode",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Zs": "a space other than U+0020",
}


def is_printable(text: str) -> bool:
    """Whether every character is visible, a space, or a joiner of letters."""
    return all(character.isprintable() or character in _JOINERS for character in text)


def signer_id(text: str) -> str:
    """Validate a signer id and return it in the form in which it is stored and compared, Unicode NFC.

    Raises
    ------
    PydanticCustomError
        The id is empty or longer than :data:`MAX_LENGTH` characters, begins or ends with a space, is ``.`` or ``..``,
        or contains a character that is not printable. The message states the reason and what to send instead.
    """
    text = unicodedata.normalize("NFC", text)
    if not 1 <= len(text) <= MAX_LENGTH:
        raise _refused(f"a signer id must have 1 to {MAX_LENGTH} characters, not {len(text)}")
    for position, character in enumerate(text, 1):
        if not is_printable(character):
            kind = _CATEGORIES[unicodedata.category(character)]
            raise _refused(
                f"character {position} of the signer id is {kind} (U+{ord(character):04X}); send printable characters"
            )
    if text != text.strip(" "):
        raise _refused("a signer id must not begin or end with a space; remove it")
    if text in {".", ".."}:
        raise _refused("a signer id must not be . or .., which have a special meaning in URLs")
    return text


def _refused(message: str) -> PydanticCustomError:
    # Passed as a value because pydantic formats the template: braces in the message would be taken for fields.
    return PydanticCustomError("signer_id", "{message}", {"message": message})
