"""``python -m app new-key``: an API key for the settings."""

from __future__ import annotations

from typing import Annotated

import typer

from app.auth import new_key as make_key
from app.errors import StartRefused
from app.settings import SCOPES, Scope


def new_key(
    name: str,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(SCOPES)}; repeat for more.")
    ] = None,
) -> None:
    """Make an API key: it is shown once, only its hash is configured."""
    scopes: list[Scope] = []
    for text in scope or []:
        known = next((known for known in SCOPES if known == text), None)
        if known is None:
            raise StartRefused(f"There is no scope {text!r}; there are {', '.join(SCOPES)}.")
        scopes.append(known)
    text, line = make_key(name, tuple(scopes))
    typer.echo(f"key, shown once: {text}")
    typer.echo(f"for COUNTERSIGN_API_KEYS: {line}")
