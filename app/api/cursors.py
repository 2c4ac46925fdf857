"""Cursors: positions in listings. A cursor belongs to the listing that issued it, and every other one refuses it."""

from __future__ import annotations

import base64
import binascii
import hashlib

from app.domain.caller_ids import is_printable
from app.domain.errors import InvalidCursor

_TAG_BYTES = 6
_AGAIN = "send the `next_cursor` of the previous page as it is, or start again without a cursor."


class Listing:
    """What a caller lists, and the cursors of its pages.

    Parameters
    ----------
    name : str
        Of the call.
    *chosen : object
        What chooses the entries and their order: ids in the path, and the parameters other than `limit` and `cursor`.
        Equal values need equal representations (`repr`).
    """

    def __init__(self, name: str, *chosen: object) -> None:
        self._tag = hashlib.blake2b(repr((name, *chosen)).encode(), digest_size=_TAG_BYTES).digest()

    def encode(self, after: str | None) -> str | None:
        """Encode the position `after` as an opaque cursor; None if there is no next page."""
        return None if after is None else _to_text(self._tag + after.encode())

    def decode(self, cursor: str | None) -> str | None:
        """Decode a cursor to its position, which is printable. Raises InvalidCursor."""
        if cursor is None:
            return None
        try:
            decoded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            position = decoded[_TAG_BYTES:].decode()
        except (binascii.Error, ValueError):
            decoded, position = b"", ""
        if not position or not is_printable(position) or _to_text(decoded) != cursor:
            raise InvalidCursor(f"The cursor was not issued by this service; {_AGAIN}")
        if not decoded.startswith(self._tag):
            raise InvalidCursor(
                f"The cursor belongs to another listing, or to other parameters than those of the request; {_AGAIN}"
            )
        return position

    def decode_number(self, cursor: str | None, largest: int) -> int | None:
        """Decode a cursor whose position is a number, at most `largest`. Raises InvalidCursor."""
        position = self.decode(cursor)
        if position is None:
            return None
        if not position.isascii() or not position.isdigit() or (number := int(position[:30])) > largest:
            raise InvalidCursor(f"The cursor was not issued by this listing; {_AGAIN}")
        return number


def _to_text(decoded: bytes) -> str:
    return base64.urlsafe_b64encode(decoded).decode().rstrip("=")
