"""What commands that look after the store share: the settings, the store, the audit's trail."""

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
def opened() -> Iterator[tuple[Store, Trail]]:
    """The store of the settings, brought up to date, and the trail on which changes go."""
    settings = load_settings()
    trail = Trail(settings.chain_keys())
    store = open_store(settings)
    try:
        yield store, trail
    finally:
        store.close()


def operator(tenant_id: str) -> Caller:
    """Whoever runs the command, for the audit of a tenant."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        user = "unnamed"
    return Caller(f"{COMMAND_LINE.name}:{user}"[:128], tenant_id, COMMAND_LINE.scopes)
