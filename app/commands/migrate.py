"""``python -m app migrate``: prepares the store as the start of the service does, without serving."""

from __future__ import annotations

import typer

from app.commands.common import store_and_trail


def migrate() -> None:
    """Create or migrate the store: tables, and erasures that a backup undid."""
    with store_and_trail():
        typer.echo("the store is up to date")
