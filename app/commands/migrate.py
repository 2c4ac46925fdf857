"""``python -m app migrate``: what a start does to the store, without serving."""

from __future__ import annotations

import typer

from app.commands.common import opened


def migrate() -> None:
    """Make the store or bring it up to date: its tables, its encryption, its erasures."""
    with opened():
        typer.echo("the store is up to date")
