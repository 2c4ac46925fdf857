"""Validation of the ids that the caller chooses, of signers and accounts: numbers, or names in any script."""

from __future__ import annotations

import unicodedata

from pydantic_core import PydanticCustomError

MAX_LENGTH = 128
_REPLACEMENT = "\ufffd"
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
    return _validated(text, "signer_id", "a signer id", "the signer id")


def account_id(text: str) -> str:
    """Validate an account id, by the same rules as :func:`signer_id`."""
    return _validated(text, "account_id", "an account id", "the account id")


def _validated(text: str, kind: str, an_id: str, the_id: str) -> str:
    text = unicodedata.normalize("NFC", text)
    if not 1 <= len(text) <= MAX_LENGTH:
        raise _refused(kind, f"{an_id} must have 1 to {MAX_LENGTH} characters, not {len(text)}")
    for position, character in enumerate(text, 1):
        if character == _REPLACEMENT or not is_printable(character):
            what = (
                "the replacement character, which stands for text in another encoding"
                if character == _REPLACEMENT
                else _CATEGORIES[unicodedata.category(character)]
            )
            raise _refused(
                kind,
                f"character {position} of {the_id} is {what} (U+{ord(character):04X}); send printable characters",
            )
    if text != text.strip(" "):
        raise _refused(kind, f"{an_id} must not begin or end with a space; remove it")
    if text in {".", ".."}:
        raise _refused(kind, f"{an_id} must not be . or .., which have a special meaning in URLs")
    return text


def _refused(kind: str, message: str) -> PydanticCustomError:
    # Passed as a value because pydantic formats the template: braces in the message would be taken for fields.
    return PydanticCustomError(kind, "{message}", {"message": message})
