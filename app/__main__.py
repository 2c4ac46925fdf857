"""``python -m app``: the command line of the service. Its commands are in `app.commands`."""

from __future__ import annotations

import sys

import typer

from app.commands import audit, bulk, index, inference, keys, store
from app.commands.common import exit_status
from app.commands.config import config
from app.commands.demo import demo
from app.commands.doctor import doctor
from app.commands.migrate import migrate
from app.commands.reembed import reembed
from app.commands.serve import serve
from app.domain.errors import CountersignError
from model.errors import ModelError
from model.version_option import VersionOption

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@cli.callback()
def options(_: VersionOption = False) -> None:
    """Run and administer Countersign."""


cli.command()(serve)
cli.command()(demo)
cli.command()(config)
cli.add_typer(keys.cli, name="keys")
cli.add_typer(audit.cli, name="audit")
cli.add_typer(bulk.cli, name="bulk")
cli.add_typer(index.cli, name="index")
cli.add_typer(inference.cli, name="inference")
cli.command()(reembed)
cli.command()(doctor)
cli.command()(migrate)
store.install(cli)


def main() -> None:
    """Run the command line. An error of the service or the model is printed as one line on stderr.

    The exit status is 2 when a setting is wrong, as it is for a wrong option or argument, and 1 for other errors.
    """
    try:
        cli(standalone_mode=True)
    except (CountersignError, ModelError) as error:
        sys.stderr.write(f"countersign: {error}\n")
        sys.exit(exit_status(error))


if __name__ == "__main__":
    main()
