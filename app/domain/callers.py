"""Callers: the authenticated senders of requests, and the scopes of their keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["enrol", "verify", "read", "admin"]
SCOPES: tuple[Scope, ...] = ("enrol", "verify", "read", "admin")
DEFAULT_TENANT = "default"


@dataclass(frozen=True)
class Caller:
    """The sender of a request, and what they are allowed to do.

    Attributes
    ----------
    name : str
        Name of the key; it is written to the log and the audit.
    tenant_id : str
        The only tenant whose data the caller can access.
    scopes : frozenset of str
    key_id : str or None
        Distinguishes keys with the same name; None without a key.
    rate_limit : str or None
        Limit of the key, such as ``60/minute``; None: the limit of the service.
    """

    name: str
    tenant_id: str
    scopes: frozenset[Scope]
    key_id: str | None = None
    rate_limit: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the caller has `scope`; `admin` includes all scopes."""
        return scope in self.scopes or "admin" in self.scopes


LOOPBACK = Caller("loopback", DEFAULT_TENANT, frozenset(SCOPES))
"""A caller on this machine, as long as no key has ever existed."""

COMMAND_LINE = Caller("command-line", DEFAULT_TENANT, frozenset(SCOPES))
"""A user of ``python -m app`` on the machine of the service."""


def parse_scopes(names: list[str]) -> frozenset[Scope]:
    """Parse names of scopes. Raises ValueError for an unknown one."""
    if unknown := sorted(set(names) - set(SCOPES)):
        raise ValueError(f"unknown scope {', '.join(unknown)}; the scopes are {', '.join(SCOPES)}")
    return frozenset(scope for scope in SCOPES if scope in names)
