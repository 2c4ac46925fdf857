"""Periodic maintenance of the store while the service runs."""

from __future__ import annotations

import asyncio
import logging
import random

from app.domain.errors import CountersignError
from app.services.core import Core
from app.store import maintenance

EVERY_S = 300.0
_log = logging.getLogger(__name__)


async def run_maintenance(core: Core) -> None:
    """Purge expired data, apply tombstones and save indexes every few minutes, until cancelled; log failures."""
    watch = maintenance.ErasureWatch(core.store, core.trail.erased_again, compared=True)
    while True:
        try:
            await core.store.run(lambda: _maintain(core, watch))
            await core.gallery.maintain()
        except (CountersignError, OSError) as error:
            _log.warning("store maintenance failed and will be retried: %s", error)
        await asyncio.sleep(EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311 # nosec B311 - spreads the replicas


def _maintain(core: Core, watch: maintenance.ErasureWatch) -> None:
    maintenance.purge(core.store, maintenance.Retention.of(core.settings))
    watch.look()
