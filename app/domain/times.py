"""Times in requests: RFC 3339, always with a time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):\d{2}:(?P<second>\d{2})(\.\d+)?(Z|[+-]\d{2}:\d{2})",
    re.ASCII | re.IGNORECASE,
)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_TIME_EXPECTED = (
    "send a time with its time zone (RFC 3339), such as 2026-01-15T09:30:00Z or 2026-01-15T10:30:00+01:00; in an "
    "address, + is written %2B"
)
_LEAP_SECOND = (
    "the second 60 of a minute is a leap second, which the times of this service do not have; send the second 59, or "
    "the second 00 of the next minute"
)


def parse_time(value: object) -> datetime:
    """Return a time of RFC 3339 in UTC.

    Raises ValueError for other values, also for those without a time zone and for leap seconds.

    Digits of the fraction beyond microseconds are ignored. Times that have no year from 1 to 9999 in UTC become the
    first or the last one that has.
    """
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(_TIME_EXPECTED)
    if match["second"] == "60":
        raise ValueError(_LEAP_SECOND)
    try:
        local = datetime.fromisoformat(match[0].upper())
    except ValueError as error:
        reason = "a time zone is less than 24 hours from UTC" if "offset" in str(error) else str(error)
        raise ValueError(f"there is no such time ({reason}); {_TIME_EXPECTED}") from None
    try:
        return local.astimezone(UTC)
    except OverflowError:
        return _FIRST if local.year == 1 else _LAST
