"""The checks behind /livez and /readyz."""

from __future__ import annotations

import asyncio

from app.domain.errors import NotReady, StoreUnavailable
from app.inference.interface import Inference
from app.store import health
from app.store.store import Store

STORE_TIMEOUT_S = 5.0
STALLED_S = 60.0


def check_live(inference: Inference) -> None:
    """Raise NotReady when only a restart helps: the inference worker has ended, or hangs in one batch."""
    if not inference.alive:
        raise NotReady("The inference worker has ended; restart the service.")
    if inference.busy_s > STALLED_S:
        raise NotReady(
            f"The inference worker has been busy with one batch for {inference.busy_s:.0f} s; restart the service."
        )


async def check_ready(inference: Inference, store: Store, *, closing: bool) -> None:
    """Raise NotReady or StoreUnavailable when the service should get no requests."""
    if closing:
        raise NotReady("The service is shutting down; send requests to another replica.")
    check_live(inference)
    await inference.check()
    try:
        async with asyncio.timeout(STORE_TIMEOUT_S):
            faults = await health.faults(store)
    except TimeoutError:
        faults = [f"The store has not answered for {STORE_TIMEOUT_S:g} s; check the database."]
    if faults:
        raise StoreUnavailable("; ".join(faults))
