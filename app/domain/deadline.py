"""How long a request may take, and from when on it is not stopped any more.

`app.http.admission` gives each request a :class:`Deadline`. While the request waits or is computed, a deadline that
passes, or a server that shuts down, stops it. The thread that runs its write transaction first calls
:meth:`Deadline.begin_write`: in time, the request is no longer stopped, and is answered with what it did; too late,
nothing is stored at all. So a caller who gets a 503 knows that nothing was stored.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum

from app.domain.errors import DeadlinePassed

_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


class _State(Enum):
    OPEN = "open"
    DROPPED = "dropped"
    WRITING = "writing"


class Deadline:
    """The deadline of the request that the running task serves.

    :meth:`begin_write` and :meth:`drop` may be called on any thread, the rest on the event loop's.

    Attributes
    ----------
    expired : bool
        Whether the deadline has passed and has stopped the task.
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - made by a coroutine that runs  # nosec B101
        self.expired = False
        self._task = task
        self._state = _State.OPEN
        self._lock = threading.Lock()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Let the deadline pass so many seconds from now, instead of when it was set for before."""
        self.disarm()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.expire)

    def disarm(self) -> None:
        """Let it never pass."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def expire(self) -> None:
        """Stop the request, unless it writes already."""
        if self.drop():
            self.expired = True
            self._task.cancel()

    def drop(self) -> bool:
        """Keep the request from writing; False when it has begun to, or has written already."""
        with self._lock:
            if self._state is _State.WRITING:
                return False
            self._state = _State.DROPPED
            return True

    def begin_write(self) -> None:
        """Keep the request from being stopped; raises DeadlinePassed when it has been."""
        with self._lock:
            if self._state is _State.DROPPED:
                raise too_late()
            self._state = _State.WRITING

    def take_back(self) -> None:
        """Let the request be stopped again: of what it began to write nothing is stored."""
        with self._lock:
            self._state = _State.OPEN


def current() -> Deadline | None:
    """The deadline of the request that the running task serves, None outside of requests."""
    return _current.get()


@contextmanager
def deadline_of_request() -> Iterator[Deadline]:
    """A deadline, not set yet, which is the :func:`current` one inside of the block."""
    deadline = Deadline()
    token = _current.set(deadline)
    try:
        yield deadline
    finally:
        deadline.disarm()
        _current.reset(token)


def too_late() -> DeadlinePassed:
    """What is answered when the deadline has passed."""
    return DeadlinePassed("The answer was not ready in time and was dropped; nothing was stored. Try again.")
