"""Decoder pools that the services of one test session share.

Starting a pool takes a third of a second of a core, and hundreds of tests enrol the same few signatures.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from app.decoding.pool import DecoderPool
from model.errors import UnusableSignature

T = TypeVar("T")


class SharedPool(DecoderPool):
    """A pool that stays open when a service closes it; the service that used it last is notified of deaths.

    The same request with the same upload is decoded once, also by all processes of the test run, which keep results
    in :attr:`folder`. Of failures, only those are kept that say what is on the image. Tests of decoding itself switch
    this off with :attr:`keeps_results`.
    """

    keeps_results = True
    folder: Path

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._settings = repr(arguments[0:2] + arguments[3:])
        self._results: dict[str, Any] = {}

    def _ask(
        self, request: dict[str, Any], data: bytes, max_data: int, parse: Callable[[dict[str, Any], bytes], T]
    ) -> T:
        if not self.keeps_results:
            return super()._ask(request, data, max_data, parse)
        key = hashlib.blake2b(repr((self._settings, request)).encode() + data, digest_size=16).hexdigest()
        if key not in self._results:
            self._results[key] = self._read_or_ask(self.folder / key, request, data, max_data, parse)
        result = self._results[key]
        if isinstance(result, UnusableSignature):
            raise result.with_traceback(None)
        kept: T = result
        return kept

    def _read_or_ask(self, file: Path, *asked: Any) -> Any:
        """Return the result that another process has kept, or else the result of a worker process, and keep it."""
        if file.exists():
            return pickle.loads(file.read_bytes())
        try:
            result = super()._ask(*asked)
        except UnusableSignature as error:
            return error  # pickle would lose what it says
        unfinished = file.with_name(f"{file.name}.{os.getpid()}.{id(result)}")
        unfinished.write_bytes(pickle.dumps(result))
        unfinished.rename(file)
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
