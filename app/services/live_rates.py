"""Live error rates: FAR and FRR of closed cases, read from the store for the metrics."""

from __future__ import annotations

import time
from datetime import timedelta

from app.domain.errors import StoreUnavailable
from app.domain.records import now
from app.observability.metrics import Metrics
from app.store import outcomes
from app.store.store import Store

MAX_AGE_S = 60.0


class LiveRates:
    """Live FAR and FRR over the cases of all replicas, as recorded in the store.

    Parameters
    ----------
    store : Store
    metrics : Metrics
        Publishes the rates.
    model_version : str
        Only decisions of this model count.
    days : int
        Only outcomes recorded within this number of days count.
    """

    def __init__(self, store: Store, metrics: Metrics, model_version: str, days: int) -> None:
        self._store = store
        self._metrics = metrics
        self._model_version = model_version
        self._period = timedelta(days=days)
        self._read_at = float("-inf")

    def invalidate(self) -> None:
        """Make the next :meth:`refresh` read the store; called when an outcome was recorded."""
        self._read_at = float("-inf")

    async def refresh(self) -> None:
        """Read the rates if they are invalid or a minute old; keep them when the store is unavailable."""
        if time.monotonic() - self._read_at < MAX_AGE_S:
            return
        self._read_at = time.monotonic()
        try:
            counts = await self._store.read(outcomes.counts, self._model_version, now() - self._period)
        except StoreUnavailable:
            self.invalidate()
        else:
            self._metrics.live_rates(counts)
