"""The option ``--version`` of the command lines."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"countersign {version('countersign')}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
]
