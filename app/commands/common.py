"""Helpers of the commands that open the store."""

from __future__ import annotations

import difflib
import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.domain.callers import COMMAND_LINE, DEFAULT_TENANT, Caller
from app.domain.errors import InvalidSettings
from app.services.audit.trail import Trail
from app.services.open_store import open_store
from app.settings import load_settings
from app.store import audit
from app.store.store import Store
from model.errors import DeviceUnavailable, WeightsError

SecretFile = Annotated[
    Path | None,
    typer.Option("--file", help="Write the secret to this new file, which only its owner can read."),
]


@contextmanager
def store_and_trail() -> Iterator[tuple[Store, Trail]]:
    """Open the configured store, migrate it, and yield it with the audit trail for its changes."""
    settings = load_settings()
    trail = Trail(settings.chain_keys())
    store = open_store(settings)
    try:
        yield store, trail
    finally:
        store.close()


def exit_status(error: BaseException | None) -> int:
    """Return the exit status of a command: 2 when a setting, an option or an argument is wrong, otherwise 1."""
    return 2 if isinstance(error, InvalidSettings | WeightsError | DeviceUnavailable) else 1


@contextmanager
def secret_file(path: Path) -> Iterator[Callable[[str], None]]:
    """Create a file for a secret, readable by its owner only, and yield the function that writes the secret.

    The file is removed when the block fails. One that exists is not replaced: its secret may be in use.

    Raises
    ------
    InvalidSettings
        There is a file of this name, or it cannot be created.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InvalidSettings(f"{path} exists; name a new file, so that no secret is lost.") from None
    except OSError as error:
        raise InvalidSettings(f"The file {path} cannot be created: {error.strerror}.") from error
    try:
        with os.fdopen(handle, "w", encoding="ascii") as out:
            yield lambda text: print(text, file=out)
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def put_secret(text: str, file: Path | None, name: str) -> None:
    """Print a secret, or write it to a new file that only its owner can read. Raises InvalidSettings."""
    if file is None:
        typer.echo(text)
        return
    with secret_file(file) as write:
        write(text)
    typer.echo(f"{name} written to {file}, readable by its owner only", err=True)


def warn_of_new_tenant(store: Store, tenant_id: str) -> None:
    """Print a warning when a tenant other than the default one has neither a key nor data: it may be misspelt."""
    if tenant_id == DEFAULT_TENANT:
        return
    known = store.read_now(audit.tenants)
    if tenant_id in known:
        return
    near = difflib.get_close_matches(tenant_id, known, 1, 0.7)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    typer.echo(f"warning: the tenant {tenant_id!r} has no key and no data yet.{hint}", err=True)


def operator(tenant_id: str) -> Caller:
    """Return the user who runs the command, as the actor of audit entries of a tenant."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = "unnamed"
    return Caller(f"{COMMAND_LINE.name}:{user}"[:128], tenant_id, COMMAND_LINE.scopes)
