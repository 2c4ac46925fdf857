"""``python -m app config``: every setting as it would apply, secrets masked."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import BaseModel, SecretBytes, SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from app.settings import PREFIX, Settings, load_settings

MASK = "**********"


def config(
    explain: Annotated[bool, typer.Option(help="Say what each setting does.")] = False,
) -> None:
    """Print every setting, secrets masked; refuse what is unknown or contradictory."""
    settings = load_settings()
    for name, field in Settings.model_fields.items():
        if explain:
            typer.echo(f"# {field.description}")
        typer.echo(f"{PREFIX}{name.upper()}={shown(name, getattr(settings, name))}")
        if explain:
            typer.echo("")
    reading, network = settings.workers
    typer.echo(f"# {reading} reading processes, {network} threads for the network")


def shown(name: str, value: object) -> str:
    """A setting's value as it may be seen by anybody."""
    match value:
        case None:
            text = ""
        case SecretStr() | SecretBytes():
            text = MASK if value else ""
        case BaseModel():
            parts = ((key, shown(key, getattr(value, key))) for key in type(value).model_fields)
            text = " ".join(f"{key}={part}" for key, part in parts if part)
        case list() | tuple():
            text = ",".join(shown(name, item) for item in value)
        case set() | frozenset():
            text = "+".join(sorted(shown(name, item) for item in value))
        case str() if name.endswith(("_url", "_endpoint")):
            text = _without_password(value)
        case _:
            text = str(value)
    return text


def _without_password(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return MASK  # whatever it is, it may hold a password
