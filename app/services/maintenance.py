"""What the service does by itself, beside requests: every few minutes it looks after the store."""

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
    """Purge what is overdue and bring tombstones into step, until cancelled; failures are logged and tried again."""
    watch = maintenance.ErasureWatch(core.store, core.trail.erased_again, compared=True)
    while True:
        try:
            await core.store.run(lambda: _once(core, watch))
        except (CountersignError, OSError) as error:
            _log.warning("upkeep of the store is put off: %s", error)
        await asyncio.sleep(EVERY_S * random.uniform(0.9, 1.1))  # noqa: S311 # nosec B311 - so that replicas take turns


def _once(core: Core, watch: maintenance.ErasureWatch) -> None:
    settings = core.settings
    maintenance.purge(core.store, settings.keep_questioned_days, settings.keep_answers_hours)
    watch.look()
