"""The keys in use: those of the settings and those in the store, which are read again every few seconds.

Each replica follows the store by itself, so a key that was revoked by any command or process opens nothing any more
after `key_refresh_s`. When the store cannot be read for half a minute the stored keys stop working, as nobody can
say then whether they were revoked; keys of the settings go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from app.domain.api_keys import Key, Keyring
from app.domain.errors import CountersignError, StoreUnavailable
from app.domain.records import now
from app.store import api_keys
from app.store.store import Store

STALE_S = 30.0
_ASK_AGAIN_S = 0.2
_NOTE_USE_EVERY = timedelta(minutes=1)
_log = logging.getLogger(__name__)


class ApiKeyCache:
    """The keys that open a running service.

    Parameters
    ----------
    configured : iterable of Key
        Those of the settings.
    refresh_s : float
        Seconds between two readings of the store.
    """

    def __init__(self, configured: Iterable[Key], refresh_s: float) -> None:
        self._configured = tuple(configured)
        self._refresh_s = refresh_s
        self._own = Keyring(self._configured)
        self._stored = Keyring()
        self._store: Store | None = None
        self._read_at = float("-inf")
        self._asked_at = float("-inf")
        self._used: dict[str, datetime] = {}
        self._noted: dict[str, datetime] = {}
        self._watch: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    @property
    def keyless(self) -> bool:
        """Whether no key was ever made."""
        known = self._read_at > float("-inf")
        return known and not self._own and not self._stored

    @property
    def live(self) -> int:
        """How many keys open something."""
        at = now()
        return self._own.live(at) + self._stored.live(at)

    async def open(self, store: Store) -> None:
        """Read the store's keys and go on doing so."""
        self._store = store
        await self._refresh()
        self._watch = asyncio.create_task(self._keep_fresh(), name="keys")

    async def close(self) -> None:
        """Stop reading; note the last uses."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        try:
            await self._note_uses(everything=True)
        except CountersignError:
            _log.warning("the last uses of keys could not be noted")
        self._store = None

    async def find(self, text: str) -> Key | None:
        """The key with this text, live or not; raises StoreUnavailable when the store's keys are not known."""
        if (own := self._own.find(text)) is not None:
            return own
        stored = self._stored.find(text)
        if stored is None and time.monotonic() - self._asked_at > _ASK_AGAIN_S:
            self._asked_at = time.monotonic()
            await self._try_refresh()  # it may have been made this very moment
            stored = self._stored.find(text)
        if time.monotonic() - self._read_at > max(STALE_S, 3 * self._refresh_s):
            raise StoreUnavailable("The store of the API keys cannot be read at the moment. Try again.")
        return stored

    def used(self, key: Key) -> None:
        """Note that a key was used; it is written down within a minute."""
        if key.created_at is not None:  # those of the settings have no row
            self._used[key.key_id] = now()

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_s)
            await self._try_refresh()
            try:
                await self._note_uses()
            except CountersignError:
                _log.warning("the uses of keys could not be noted; they are kept for later")

    async def _try_refresh(self) -> None:
        async with self._lock:
            try:
                await self._refresh()
            except Exception:  # noqa: BLE001 - whatever it was, the watch must go on
                _log.warning("the API keys cannot be read from the store", exc_info=True)

    async def _refresh(self) -> None:
        if self._store is None:
            return
        begin = time.monotonic()
        found = await self._store.read(api_keys.listed)
        self._stored = Keyring(found, ever=bool(found))
        self._read_at = begin

    async def _note_uses(self, *, everything: bool = False) -> None:
        if self._store is None:
            return
        due = {
            key_id: at
            for key_id, at in self._used.items()
            if everything or key_id not in self._noted or at - self._noted[key_id] >= _NOTE_USE_EVERY
        }
        if due:
            await self._store.write(api_keys.note_use, due)
            self._noted |= due
            self._used = {key: at for key, at in self._used.items() if at != due.get(key)}
