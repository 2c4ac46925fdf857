"""``python -m app``: the command line of the service. Each command is a file of `app.commands`."""

from __future__ import annotations

import sys

import typer

from app.commands.config import config
from app.commands.new_key import new_key
from app.commands.serve import serve
from app.errors import StartRefused

cli = typer.Typer(help="The Countersign service.", no_args_is_help=True, pretty_exceptions_enable=False)
cli.command()(serve)
cli.command()(config)
cli.command("settings", hidden=True)(config)  # its former name
cli.command()(new_key)


def main() -> None:
    """Run the command line; a refusal is one line on stderr and status 1."""
    try:
        cli(standalone_mode=True)
    except StartRefused as error:
        sys.stderr.write(f"countersign: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
