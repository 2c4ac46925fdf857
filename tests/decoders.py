"""Decoder pools that the services of one test session share: starting one takes a third of a second of a core."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.decoding.pool import DecoderPool


class SharedPool(DecoderPool):
    """A pool that stays open when a service closes it; the service that used it last is notified of deaths."""

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
