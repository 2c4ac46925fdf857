"""How often a caller may come: a limit for each key, and a stricter one on failed keys for each address.

Limits are counted in this process (the library `limits`, a sliding window): with several replicas behind a proxy
that spreads requests evenly, a caller gets as many times the limit as there are replicas.
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
        """Count a request of a key; raise TooManyRequests beyond its limit. Without a key nothing is counted."""
        if caller.key_id is None:
            return
        limit = self._per_key if caller.rate_limit is None else parse_limit(caller.rate_limit)
        if limit is None or self._keys.hit(limit, "key", caller.key_id):
            return
        wait = _seconds_until(self._keys.get_window_stats(limit, "key", caller.key_id).reset_time)
        raise TooManyRequests(f"Key {caller.name!r} may send {_words(limit)}; come back in {wait} s.", wait)

    def count_failure(self, address: str | None) -> None:
        """Count a key that opens nothing; raise TooManyRequests when this address shows too many of them.

        A good key from the same address is let in all the same: whoever sends bad ones through a shared proxy must
        not lock its other users out, and 256 random bits are not guessed at any rate.
        """
        if self._failed is None:
            return
        source = _network(address)
        if self._failures.hit(self._failed, "failed", source):
            return
        wait = _seconds_until(self._failures.get_window_stats(self._failed, "failed", source).reset_time)
        raise TooManyRequests(f"Too many keys that are not valid; come back in {wait} s.", wait)


def _words(limit: RateLimitItem) -> str:
    unit = limit.GRANULARITY.name
    span = unit if limit.multiples == 1 else f"{limit.multiples} {unit}s"
    return f"{limit.amount} requests in each {span}"


def _seconds_until(moment: float) -> int:
    return max(1, math.ceil(moment - time.time()))


def _network(address: str | None) -> str:
    """The address, or its /64 for IPv6, of which one host has as many addresses as it likes."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "-"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
