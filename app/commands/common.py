"""Helpers of the commands that open the store."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager

from app.domain.callers import COMMAND_LINE, Caller
from app.services.audit.trail import Trail
from app.services.open_store import open_store
from app.settings import load_settings
from app.store.store import Store


@contextmanager
def store_and_trail() -> Iterator[tuple[Store, Trail]]:
    """Open the configured store, migrate it, and yield it with the audit trail for its changes."""
    settings = load_settings()
    trail = Trail(settings.chain_keys())
    store = open_store(settings)
    try:
        yield store, trail
    finally:
        store.close()


def operator(tenant_id: str) -> Caller:
    """Return the user who runs the command, as the actor of audit entries of a tenant."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = "unnamed"
    return Caller(f"{COMMAND_LINE.name}:{user}"[:128], tenant_id, COMMAND_LINE.scopes)
