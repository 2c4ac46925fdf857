"""What belongs to the request in hand and is needed where no request object goes: its id."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

_request_id: ContextVar[str] = ContextVar("request_id", default="-")
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id() -> str:
    """The id of the request in hand, or ``-`` outside of one."""
    return _request_id.get()


def begin_request(offered: str | None) -> str:
    """Take over the caller's request id when it is a sound one, else make one; return it."""
    rid = offered if offered and _ACCEPTED.fullmatch(offered) else uuid.uuid4().hex
    _request_id.set(rid)
    return rid
