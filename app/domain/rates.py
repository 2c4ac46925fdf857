"""Rate limits as text, such as ``60/minute``."""

from __future__ import annotations

from functools import lru_cache

from limits import RateLimitItem, parse


@lru_cache(1024)
def parse_limit(text: str) -> RateLimitItem | None:
    """Parse a rate such as ``60/minute`` or ``5 per 10 second``. Returns None for an empty text.

    Raises ValueError when the text is not a rate.
    """
    if not text.strip():
        return None
    try:
        return parse(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a rate; write 60/minute, 5/second or 1000/hour, or leave it empty for no limit"
        ) from None
