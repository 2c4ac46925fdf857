"""What a signer may be called: what banks have, from customer numbers to names in any script."""

from __future__ import annotations

import unicodedata

from pydantic_core import PydanticCustomError

LONGEST = 128
_JOINERS = "\u200c\u200d"  # names in Persian and in Indic scripts are spelt with them
_KINDS = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cs": "half a character",
    "Co": "a character of private use",
    "Cn": "a character that Unicode does not define",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Zs": "a space other than U+0020",
}


def is_printable(text: str) -> bool:
    """Whether every character can be seen, is a space, or joins letters."""
    return all(character.isprintable() or character in _JOINERS for character in text)


def signer_id(text: str) -> str:
    """The id in the form in which it is stored and compared, Unicode's NFC.

    Raises
    ------
    PydanticCustomError
        It is empty or longer than :data:`LONGEST` characters, begins or ends with a space, is ``.`` or ``..``, or
        holds a character that cannot be seen; the message says which and what to send.
    """
    text = unicodedata.normalize("NFC", text)
    if not 1 <= len(text) <= LONGEST:
        raise _refused(f"a signer id has 1 to {LONGEST} characters, not {len(text)}")
    for position, character in enumerate(text, 1):
        if not is_printable(character):
            kind = _KINDS[unicodedata.category(character)]
            raise _refused(
                f"character {position} of the signer id is {kind} (U+{ord(character):04X}); send printable characters"
            )
    if text != text.strip(" "):
        raise _refused("a signer id neither begins nor ends with a space; leave it out")
    if text in {".", ".."}:
        raise _refused("a signer id cannot be . or .., which mean something else in an address")
    return text


def _refused(message: str) -> PydanticCustomError:
    # The braces of a template, which a message may hold, are no fields of it.
    return PydanticCustomError("signer_id", "{message}", {"message": message})
