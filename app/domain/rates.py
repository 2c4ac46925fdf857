"""Rates as settings and keys state them: ``60/minute``."""

from __future__ import annotations

from functools import lru_cache

from limits import RateLimitItem, parse


@lru_cache(1024)
def parse_limit(text: str) -> RateLimitItem | None:
    """Read ``60/minute`` or ``5 per 10 second``; None for an empty text; raise ValueError for anything else."""
    if not text.strip():
        return None
    try:
        return parse(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no rate; write 60/minute, 5/second or 1000/hour, or nothing for no limit"
        ) from None
