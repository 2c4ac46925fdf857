"""Times in requests: RFC 3339, always with a time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.ASCII | re.IGNORECASE
)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_TIME_EXPECTED = (
    "send a time with its time zone (RFC 3339), such as 2026-01-15T09:30:00Z or 2026-01-15T10:30:00+01:00; in an "
    "address, + is written %2B"
)


def parse_time(value: object) -> datetime:
    """Return a time of RFC 3339 in UTC. Raises ValueError for other values, also for those without a time zone.

    Digits of the fraction beyond microseconds are ignored. Times that have no year from 1 to 9999 in UTC become the
    first or the last one that has.
    """
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError(_TIME_EXPECTED)
    try:
        local = datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError(_TIME_EXPECTED) from None
    try:
        return local.astimezone(UTC)
    except OverflowError:
        return _FIRST if local.year == 1 else _LAST
