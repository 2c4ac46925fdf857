"""What is known of the database between two health checks."""

from __future__ import annotations

import asyncio
import threading
import time

from app.store.encryption.cipher import Place

HEALTHY_FOR_S = 1.0
"""Seconds for which a health check that found nothing is not repeated."""


class Condition:
    """What is known of the database between two looks."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.failed = False
        self.probed_at = float("-inf")
        self.tried: dict[Place, float] = {}
        self.well_at = float("-inf")
        self.check: asyncio.Task[list[str]] | None = None

    @property
    def well(self) -> bool:
        """Whether a look found nothing a moment ago, and nothing has failed since."""
        return time.monotonic() - self.well_at < HEALTHY_FOR_S

    def read_failed(self) -> None:
        """Have the next one who asks look again."""
        self.well_at = float("-inf")

    def write_failed(self) -> None:
        """Leave the mark."""
        self.failed = True
        self.well_at = float("-inf")
