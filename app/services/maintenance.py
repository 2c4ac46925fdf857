"""Periodic maintenance of the store while the service runs."""

from __future__ import annotations

import asyncio
import logging
import random

from app.domain.errors import CountersignError
from app.services.context import AppContext
from app.store import maintenance

EVERY_S = 300.0
_log = logging.getLogger(__name__)


async def run_maintenance(context: AppContext) -> None:
    """Purge expired data, apply tombstones and save indexes every few minutes, until cancelled; log failures."""
    watch = maintenance.ErasureWatch(context.store, context.trail.erased_again, compared=True)
    while True:
        try:
            await context.store.run(lambda: _maintain(context, watch))
            await context.signer_index.maintain()
        except (CountersignError, OSError) as error:
            _log.warning("store maintenance failed and will be retried: %s", error)
        await asyncio.sleep(EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311 # nosec B311 - spreads the replicas


def _maintain(context: AppContext, watch: maintenance.ErasureWatch) -> None:
    maintenance.purge(context.store, maintenance.Retention.of(context.settings))
    watch.synchronize()
