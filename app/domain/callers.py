"""Who a request comes from: a key's name, its tenant and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Scope = Literal["enrol", "verify", "read", "admin"]
SCOPES: tuple[Scope, ...] = ("enrol", "verify", "read", "admin")
DEFAULT_TENANT = "default"


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request, and what they may do.

    Attributes
    ----------
    name : str
        The key's name; it stands in logs and in the audit.
    tenant_id : str
        Whose data the caller sees: this tenant's and nobody else's.
    scopes : frozenset of str
    key_id : str or None
        Tells two keys of one name apart; None without a key.
    rate_limit : str or None
        The key's own limit, such as ``60/minute``; None takes the service's.
    """

    name: str
    tenant_id: str
    scopes: frozenset[Scope]
    key_id: str | None = None
    rate_limit: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the caller has `scope`; `admin` has them all."""
        return scope in self.scopes or "admin" in self.scopes


LOOPBACK = Caller("loopback", DEFAULT_TENANT, frozenset(SCOPES))
"""A caller on this machine while no key was ever made."""

COMMAND_LINE = Caller("command-line", DEFAULT_TENANT, frozenset(SCOPES))
"""Whoever runs ``python -m app`` on the service's machine."""


def parse_scopes(names: list[str]) -> frozenset[Scope]:
    """Read names of scopes; raise ValueError for one that there is not."""
    if unknown := sorted(set(names) - set(SCOPES)):
        raise ValueError(f"unknown scope {', '.join(unknown)}; there are {', '.join(SCOPES)}")
    return frozenset(scope for scope in SCOPES if scope in names)
