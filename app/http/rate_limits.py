"""Rate limits: one for each key, and a stricter one on invalid keys for each address.

Each process counts for itself (the library `limits`, a sliding window): with n replicas behind a proxy that balances
requests evenly, a key gets n times its limit.
"""

from __future__ import annotations

import ipaddress
import math
import time

from limits import RateLimitItem
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

from app.domain.callers import Caller
from app.domain.errors import TooManyRequests
from app.domain.rates import parse_limit


class Limits:
    """The limits of one service process.

    Parameters
    ----------
    per_key, failed_keys : str
        As `parse_limit` reads them.
    """

    def __init__(self, per_key: str, failed_keys: str) -> None:
        storage = MemoryStorage()
        self._keys = SlidingWindowCounterRateLimiter(storage)
        self._failures = MovingWindowRateLimiter(storage)
        self._per_key = parse_limit(per_key)
        self._failed = parse_limit(failed_keys)

    def count(self, caller: Caller) -> None:
        """Count a request of a key. Raises TooManyRequests beyond its limit. Keyless requests are not counted."""
        if caller.key_id is None:
            return
        limit = self._per_key if caller.rate_limit is None else parse_limit(caller.rate_limit)
        if limit is None or self._keys.hit(limit, "key", caller.key_id):
            return
        wait = _seconds_until(self._keys.get_window_stats(limit, "key", caller.key_id).reset_time)
        raise TooManyRequests(f"Key {caller.name!r} may send {_words(limit)}; try again in {wait} s.", wait)

    def count_failure(self, address: str | None) -> None:
        """Count an invalid key. Raises TooManyRequests when its address has sent too many of them.

        Valid keys from the same address are still accepted: invalid ones sent through a shared proxy must not lock
        out its other users, and keys of 256 random bits cannot be guessed.
        """
        if self._failed is None:
            return
        source = _network(address)
        if self._failures.hit(self._failed, "failed", source):
            return
        wait = _seconds_until(self._failures.get_window_stats(self._failed, "failed", source).reset_time)
        raise TooManyRequests(f"Too many invalid keys; try again in {wait} s.", wait)


def _words(limit: RateLimitItem) -> str:
    unit = limit.GRANULARITY.name
    span = unit if limit.multiples == 1 else f"{limit.multiples} {unit}s"
    return f"{limit.amount} requests in each {span}"


def _seconds_until(moment: float) -> int:
    return max(1, math.ceil(moment - time.time()))


def _network(address: str | None) -> str:
    """Return the address, or its /64 network for IPv6, since one host can use all addresses of a /64."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "-"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
