"""``python -m app``: serve, make a key, print the settings."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer
import uvicorn

from app import store_cli
from app.auth import new_key as make_key
from app.errors import CountersignError, StartRefused
from app.settings import SCOPES, Scope, load_settings
from app.telemetry import configure_logging

cli = typer.Typer(help="The Countersign service.", no_args_is_help=True, pretty_exceptions_enable=False)


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Instead of COUNTERSIGN_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Instead of COUNTERSIGN_PORT.")] = None,
) -> None:
    """Load the weights, open the store and serve until SIGTERM."""
    from app.main import create_app  # noqa: PLC0415 - torch comes with it, and no other command needs that

    settings = load_settings()
    given = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    settings = settings.model_copy(update=given)
    settings.refuse_open_door()
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.shutdown_grace_s),
    )
    logging.getLogger("uvicorn.error").addFilter(_without_lifespan_traceback)
    server = uvicorn.Server(config)
    server.run()
    if not server.started:
        raise SystemExit(1)


def _without_lifespan_traceback(record: logging.LogRecord) -> bool:
    """Keep a refusal to start to one line: what uvicorn prints is a traceback that ends in it."""
    message = record.getMessage()
    if "StartRefused" in message:
        refusal = next(line for line in reversed(message.splitlines()) if "StartRefused" in line)
        record.msg = refusal.partition("StartRefused: ")[2]
        record.args = ()
    return "Application startup failed" not in message


@cli.command()
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


store_cli.install(cli)


@cli.command()
def settings() -> None:
    """Print every setting; secrets are masked."""
    for key, value in load_settings():
        typer.echo(f"COUNTERSIGN_{key.upper()}={value!r}")


def main() -> None:
    """Run the command line; a refusal is one line on stderr and status 1."""
    try:
        cli(standalone_mode=True)
    except CountersignError as error:
        sys.stderr.write(f"countersign: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
