"""``python -m app new-key``: generates an API key for the settings."""

from __future__ import annotations

from typing import Annotated

import typer

from app.domain.api_keys import new_key as make_key
from app.domain.callers import DEFAULT_TENANT, SCOPES, parse_scopes
from app.domain.errors import StartRefused


def new_key(
    name: str,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(SCOPES)}; repeat the option for more.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Tenant whose data the key gives access to.")] = DEFAULT_TENANT,
) -> None:
    """Generate an API key for COUNTERSIGN_API_KEYS. Its text is shown once; only its hash is configured."""
    try:
        scopes = parse_scopes(scope or [])
    except ValueError as error:
        raise StartRefused(f"{error}.") from error
    text, entry = make_key(name, tuple(sorted(scopes)), tenant)
    typer.echo(f"key, shown once: {text}")
    typer.echo(f"for COUNTERSIGN_API_KEYS: {entry}")
