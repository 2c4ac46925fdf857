"""Context variables of the current request: its id, its caller and the public path prefix."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

from app.domain.callers import COMMAND_LINE, Caller

_request_id: ContextVar[str] = ContextVar("request_id", default="-")
_prefix: ContextVar[str] = ContextVar("prefix", default="")
_caller: ContextVar[Caller] = ContextVar("caller", default=COMMAND_LINE)
_VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id() -> str:
    """Return the id of the current request; ``-`` outside of requests."""
    return _request_id.get()


def prefix() -> str:
    """Return the path under which a proxy publishes the service, without a trailing slash; empty without a prefix."""
    return _prefix.get()


def begin_request(offered: str | None, root_path: str = "") -> str:
    """Set the id and the prefix of the current request, and return the id.

    Parameters
    ----------
    offered : str or None
        Id sent by the caller. It is used if it has 1 to 64 letters, digits, ``.``, ``_`` or ``-``; otherwise a new id
        is generated.
    root_path : str
    """
    _prefix.set(root_path.rstrip("/"))
    rid = offered if offered and _VALID_ID.fullmatch(offered) else uuid.uuid4().hex
    _request_id.set(rid)
    return rid


def caller() -> Caller:
    """Return the caller of the current request; `COMMAND_LINE` outside of requests."""
    return _caller.get()


def set_caller(authenticated: Caller) -> None:
    """Set the caller of the current request."""
    _caller.set(authenticated)
