"""API keys in memory: the stored keys, which are re-read every few seconds, and the key of the settings.

Each replica refreshes its own cache, so a key revoked by any process or command is rejected after at most
`key_refresh_s` seconds. When the store has been unreadable for half a minute, stored keys are no longer accepted
because it is unknown whether they were revoked; the key of the settings still is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime, timedelta

from app.domain.api_keys import Key, Keyring
from app.domain.errors import CountersignError, StoreUnavailable
from app.domain.records import now
from app.store import api_keys
from app.store.store import Store

STALE_S = 30.0
_UNKNOWN_KEY_INTERVAL_S = 0.2
"""Minimum seconds between two reads of the store because of unknown keys."""
_USE_INTERVAL = timedelta(minutes=1)
"""Minimum time between two writes of a key's last use."""
_log = logging.getLogger(__name__)


class ApiKeyCache:
    """The API keys of a running service.

    Parameters
    ----------
    bootstrap : Key or None
        The key of the settings.
    refresh_s : float
        Seconds between two reads of the store.
    """

    def __init__(self, bootstrap: Key | None, refresh_s: float) -> None:
        self._refresh_s = refresh_s
        self._bootstrap = Keyring([bootstrap] if bootstrap else [])
        self._stored = Keyring()
        self._store: Store | None = None
        self._read_at = float("-inf")
        self._unknown_key_at = float("-inf")
        self._used: dict[str, datetime] = {}
        self._written_uses: dict[str, datetime] = {}
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    @property
    def keyless(self) -> bool:
        """Whether no key was ever created."""
        was_read = self._read_at > float("-inf")
        return was_read and not self._bootstrap and not self._stored

    @property
    def live(self) -> int:
        """The number of keys that are neither revoked nor expired."""
        moment = now()
        return self._bootstrap.live(moment) + self._stored.live(moment)

    async def open(self, store: Store) -> None:
        """Read the stored keys and start the periodic refresh."""
        self._store = store
        await self._refresh()
        self._task = asyncio.create_task(self._run(), name="keys")

    async def close(self) -> None:
        """Stop the periodic refresh; write the remaining uses."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._write_uses(write_all=True)
        except CountersignError:
            _log.warning("the last uses of API keys could not be stored")
        self._store = None

    async def find(self, sha256: str) -> Key | None:
        """Find the key whose text has this SHA-256, live or not.

        Raises
        ------
        StoreUnavailable
            The stored keys are stale.
        """
        if (bootstrap := self._bootstrap.find(sha256)) is not None:
            return bootstrap
        stored = self._stored.find(sha256)
        if stored is None and time.monotonic() - self._unknown_key_at > _UNKNOWN_KEY_INTERVAL_S:
            self._unknown_key_at = time.monotonic()
            await self._try_refresh()  # it may have been created since the last refresh
            stored = self._stored.find(sha256)
        if time.monotonic() - self._read_at > max(STALE_S, 3 * self._refresh_s):
            raise StoreUnavailable("The stored API keys cannot be read at the moment. Try again.")
        return stored

    def used(self, key: Key) -> None:
        """Record that a key was used; the store is updated within a minute."""
        if key.created_at is not None:  # the key of the settings is not in the store
            self._used[key.key_id] = now()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_s)
            await self._try_refresh()
            try:
                await self._write_uses()
            except CountersignError:
                _log.warning("the uses of API keys could not be stored and will be retried")

    async def _try_refresh(self) -> None:
        async with self._lock:
            try:
                await self._refresh()
            except Exception:  # noqa: BLE001 - the periodic refresh must continue
                _log.warning("the API keys cannot be read from the store", exc_info=True)

    async def _refresh(self) -> None:
        if self._store is None:
            return
        started_at = time.monotonic()
        keys = await self._store.read(api_keys.all_keys)
        self._stored = Keyring(keys, ever=bool(keys))
        self._read_at = started_at

    async def _write_uses(self, *, write_all: bool = False) -> None:
        if self._store is None:
            return
        due = {
            key_id: used_at
            for key_id, used_at in self._used.items()
            if write_all
            or key_id not in self._written_uses
            or used_at - self._written_uses[key_id] >= _USE_INTERVAL
        }
        if due:
            await self._store.write(api_keys.record_use, due)
            self._written_uses |= due
            self._used = {
                key_id: used_at for key_id, used_at in self._used.items() if used_at != due.get(key_id)
            }
