"""How long a request may take, and from when on it must not be stopped any more.

The clock of a request is one `asyncio.Timeout` around the whole of its handling (`app.admission` winds it). While the
request waits or is computed, running out of time drops it. Just before something is written for it, the use case
calls :func:`point_of_no_return`: in time, the clock stops, and what is stored will also be told; too late, nothing is
stored at all. So a caller who got a 503 knows that nothing happened.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from app.errors import DeadlinePassed

_clock: ContextVar[asyncio.Timeout | None] = ContextVar("deadline", default=None)


def wind(clock: asyncio.Timeout | None) -> None:
    """Make `clock` the one of the request in hand; None: there is none."""
    _clock.set(clock)


def point_of_no_return() -> None:
    """Stop the clock of the request in hand; raises DeadlinePassed when it has run out already."""
    clock = _clock.get()
    if clock is None or clock.when() is None:
        return
    if clock.expired() or (clock.when() or 0.0) <= asyncio.get_running_loop().time():
        raise too_late()
    clock.reschedule(None)


def stop() -> None:
    """Stop the clock of the request in hand, if it has not run out: its answer is on the way."""
    clock = _clock.get()
    if clock is not None and not clock.expired():
        clock.reschedule(None)


def too_late() -> DeadlinePassed:
    """What is answered when the time has run out."""
    return DeadlinePassed("The answer was not ready in time and was dropped; nothing was stored. Try again.")
