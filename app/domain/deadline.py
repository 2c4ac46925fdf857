"""The deadline of a request, which ends when its write transaction begins.

`app.http.admission` gives each request a :class:`Deadline`. Until the request writes, an expired deadline or a
shutdown of the server cancels it. The thread of its write transaction calls :meth:`Deadline.begin_write` first. If
the request has not been cancelled by then, it can no longer be cancelled, and its response reports what was stored.
If it has been, the call raises and nothing is stored. A 503 therefore always means that nothing was stored.
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
    CANCELLED = "cancelled"
    WRITING = "writing"


class Deadline:
    """The deadline of the request that the current task serves. It is created disarmed.

    :meth:`cancel`, :meth:`begin_write` and :meth:`abort_write` may be called on any thread, the other methods on the
    thread of the event loop only.

    Attributes
    ----------
    expired : bool
        Whether the deadline has passed and has cancelled the task.
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - created inside a coroutine  # nosec B101
        self.expired = False
        self._task = task
        self._state = _State.OPEN
        self._lock = threading.Lock()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Arm the deadline to expire in `seconds` from now. Replaces an earlier call."""
        self.disarm()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.expire)

    def disarm(self) -> None:
        """Disarm the deadline: it does not expire."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def expire(self) -> None:
        """Cancel the task of the request, unless its write has begun."""
        if self.cancel():
            self.expired = True
            self._task.cancel()

    def cancel(self) -> bool:
        """Prevent the request from writing. Returns False when its write has begun or is complete."""
        with self._lock:
            if self._state is _State.WRITING:
                return False
            self._state = _State.CANCELLED
            return True

    def begin_write(self) -> None:
        """Prevent the request from being cancelled. Raises DeadlinePassed when it has been cancelled."""
        with self._lock:
            if self._state is _State.CANCELLED:
                raise too_late()
            self._state = _State.WRITING

    def abort_write(self) -> None:
        """Allow the request to be cancelled again, after its transaction was rolled back."""
        with self._lock:
            self._state = _State.OPEN


def current() -> Deadline | None:
    """Return the deadline of the request that the current task serves; None outside of requests."""
    return _current.get()


@contextmanager
def deadline_of_request() -> Iterator[Deadline]:
    """Create a disarmed deadline, which :func:`current` returns inside the block."""
    deadline = Deadline()
    token = _current.set(deadline)
    try:
        yield deadline
    finally:
        deadline.disarm()
        _current.reset(token)


def too_late() -> DeadlinePassed:
    """Return the error of a request whose deadline has passed."""
    return DeadlinePassed("The response was not ready in time; nothing was stored. Try again.")
