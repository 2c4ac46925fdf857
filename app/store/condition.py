"""The result of the last health check of the database, and the failures since."""

from __future__ import annotations

import asyncio
import threading
import time

from app.store.encryption.cipher import Place

HEALTHY_FOR_S = 1.0
"""Seconds for which a successful health check is not repeated."""


class Condition:
    """The known health of the database.

    Attributes
    ----------
    lock : threading.Lock
        Held while a check runs.
    failed : bool
        Whether a write or a probe has failed since the last successful probe.
    probed_at : float
        Monotonic time of the last successful write probe.
    retried_at : dict
        Monotonic time at which each unreadable value was last retried.
    healthy_at : float
        Monotonic time of the last check that found no fault, minus infinity after a failure.
    check : asyncio.Task or None
        The check that is running, or the last one.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.failed = False
        self.probed_at = float("-inf")
        self.retried_at: dict[Place, float] = {}
        self.healthy_at = float("-inf")
        self.check: asyncio.Task[list[str]] | None = None

    @property
    def healthy(self) -> bool:
        """Whether a check found no fault in the last :data:`HEALTHY_FOR_S` seconds and nothing has failed since."""
        return time.monotonic() - self.healthy_at < HEALTHY_FOR_S

    def read_failed(self) -> None:
        """Record a failed read: the next health check is not answered from the last result."""
        self.healthy_at = float("-inf")

    def write_failed(self) -> None:
        """Record a failed write: the store is unhealthy until a write probe succeeds."""
        self.failed = True
        self.healthy_at = float("-inf")
