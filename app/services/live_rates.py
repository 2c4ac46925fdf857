"""The error rates that closed cases show, read from the record when the metrics are."""

from __future__ import annotations

import time
from datetime import timedelta

from app.domain.errors import StoreUnavailable
from app.domain.records import now
from app.observability.metrics import Metrics
from app.store import outcomes
from app.store.store import Store

AGE_S = 60.0


class LiveRates:
    """Live FAR and FRR, from all replicas' cases: the record is the store's.

    Parameters
    ----------
    store : Store
    metrics : Metrics
        Where they are shown.
    model_version : str
        Only this model's decisions count.
    days : int
        Outcomes recorded within so many days count.
    """

    def __init__(self, store: Store, metrics: Metrics, model_version: str, days: int) -> None:
        self._store = store
        self._metrics = metrics
        self._model_version = model_version
        self._period = timedelta(days=days)
        self._read_at = float("-inf")

    def stale(self) -> None:
        """An outcome was recorded: read again at the next opportunity."""
        self._read_at = float("-inf")

    async def refresh(self) -> None:
        """Read them again when an outcome came or a minute has passed; without a store they stay as they were."""
        if time.monotonic() - self._read_at < AGE_S:
            return
        self._read_at = time.monotonic()
        try:
            counts = await self._store.read(outcomes.counts, self._model_version, now() - self._period)
        except StoreUnavailable:
            self.stale()
        else:
            self._metrics.live_rates(counts)
