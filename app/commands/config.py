"""``python -m app config``: prints the effective settings, secrets masked."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import BaseModel, SecretBytes, SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.settings import PREFIX, Settings, load_settings

MASK = "**********"


def config(
    explain: Annotated[bool, typer.Option(help="Also print the description of each setting.")] = False,
) -> None:
    """Print the effective settings, secrets masked. Unknown and contradictory settings are refused."""
    settings = load_settings()
    for name, field in Settings.model_fields.items():
        if explain:
            typer.echo(f"# {field.description}")
        typer.echo(f"{PREFIX}{name.upper()}={_format(name, getattr(settings, name))}")
        if explain:
            typer.echo("")
    processes, threads = settings.workers
    typer.echo(f"# {processes} worker processes for decoding, {threads} threads of the network")


def _format(name: str, value: object) -> str:
    """Format the value of a setting, with secrets and passwords masked."""
    match value:
        case None:
            text = ""
        case SecretStr() | SecretBytes():
            text = MASK if value else ""
        case BaseModel():
            parts = ((key, _format(key, getattr(value, key))) for key in type(value).model_fields)
            text = " ".join(f"{key}={part}" for key, part in parts if part)
        case list() | tuple():
            text = ",".join(_format(name, item) for item in value)
        case set() | frozenset():
            text = "+".join(sorted(_format(name, item) for item in value))
        case str() if name.endswith(("_url", "_endpoint")):
            text = _without_password(value)
        case _:
            text = str(value)
    return text


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return MASK  # it may contain a password
