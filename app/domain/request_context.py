"""What belongs to the request in hand and is needed where no request object goes: its id, and who sent it."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

from app.domain.callers import COMMAND_LINE, Caller

_request_id: ContextVar[str] = ContextVar("request_id", default="-")
_prefix: ContextVar[str] = ContextVar("prefix", default="")
_caller: ContextVar[Caller] = ContextVar("caller", default=COMMAND_LINE)
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id() -> str:
    """The id of the request in hand, or ``-`` outside of one."""
    return _request_id.get()


def prefix() -> str:
    """The path at which a proxy publishes the service, without a slash at the end; empty where there is none."""
    return _prefix.get()


def begin_request(offered: str | None, root_path: str = "") -> str:
    """Take over the caller's request id when it is a sound one, else make one; return it."""
    _prefix.set(root_path.rstrip("/"))
    rid = offered if offered and _ACCEPTED.fullmatch(offered) else uuid.uuid4().hex
    _request_id.set(rid)
    return rid


def caller() -> Caller:
    """Who sent the request in hand; the command line outside of one."""
    return _caller.get()


def set_caller(known: Caller) -> None:
    """Note who sent the request in hand."""
    _caller.set(known)
