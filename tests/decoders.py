"""Decoder pools that the services of one test session share.

Starting a pool takes a third of a second of a core, and hundreds of tests enrol the same few signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from app.decoding.pool import DecoderPool

T = TypeVar("T")


class SharedPool(DecoderPool):
    """A pool that stays open when a service closes it; the service that used it last is notified of deaths.

    The same request with the same upload is decoded once; failures are not kept. Tests of decoding itself switch this
    off with :attr:`keeps_results`.
    """

    keeps_results = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._results: dict[tuple[str, bytes], Any] = {}

    def _ask(
        self, request: dict[str, Any], data: bytes, max_data: int, parse: Callable[[dict[str, Any], bytes], T]
    ) -> T:
        if not self.keeps_results:
            return super()._ask(request, data, max_data, parse)
        key = (repr(request), hashlib.blake2b(data).digest())
        if key not in self._results:
            self._results[key] = super()._ask(request, data, max_data, parse)
        result: T = self._results[key]
        return result

    def notify(self, on_death: Callable[[], object]) -> None:
        """Call `on_death` from now on."""
        self._on_death = on_death

    def close(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """End the worker processes."""
        super().close()


_pools: dict[tuple[object, ...], SharedPool] = {}


def shared_pool(
    processes: int, patience_s: float, on_death: Callable[[], object], memory_mb: int, page_network: Path
) -> SharedPool:
    """Return the pool with these limits; takes the place of :class:`DecoderPool` in a service under test."""
    key = (processes, patience_s, memory_mb, page_network)
    if key not in _pools:
        _pools[key] = SharedPool(processes, patience_s, on_death, memory_mb, page_network)
    _pools[key].notify(on_death)
    return _pools[key]


def stop_shared_pools() -> None:
    """End the worker processes of all shared pools; the next service starts new ones."""
    while _pools:
        _pools.popitem()[1].stop()
