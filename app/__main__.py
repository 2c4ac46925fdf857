"""``python -m app``: serve, print the settings, and the groups of `app.commands`."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer
import uvicorn

from app import store_cli
from app.callers import DEFAULT_TENANT, SCOPES, parse_scopes
from app.commands import audit, keys
from app.errors import CountersignError, StartRefused
from app.keys import new_key as make_key
from app.settings import load_settings
from app.telemetry import configure_logging

cli = typer.Typer(help="The Countersign service.", no_args_is_help=True, pretty_exceptions_enable=False)
cli.add_typer(keys.cli, name="keys")
cli.add_typer(audit.cli, name="audit")


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
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
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
    tenant: Annotated[str, typer.Option(help="The tenant whose data the key opens.")] = DEFAULT_TENANT,
) -> None:
    """Make an API key for COUNTERSIGN_API_KEYS: it is shown once, only its hash is configured."""
    try:
        scopes = parse_scopes(scope or [])
    except ValueError as error:
        raise StartRefused(f"{error}.") from error
    text, line = make_key(name, tuple(sorted(scopes)), tenant)
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
