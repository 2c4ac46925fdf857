"""``python -m app encryption``, ``erasures`` and ``purge``: looking after the store, beside a running service."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.common import operator
from app.domain.errors import StartRefused
from app.services.audit.trail import Action, Trail
from app.services.open_store import open_store
from app.settings import Settings, load_settings
from app.store import maintenance, reencryption
from app.store.encryption.data_keys import local_key_file, new_key_text, read_key_file, write_keys
from app.store.erasure import tombstones
from app.store.erasure.log import ErasureLog
from app.store.reencryption import SEALED_COLUMNS, Identity, Outcome, SealedColumn
from app.store.store import Store

encryption = typer.Typer(help="The keys that encrypt what is stored.", no_args_is_help=True)
erasures = typer.Typer(help="What was erased, and stays erased.", no_args_is_help=True)
Job = Callable[[Store, SealedColumn, Sequence[Identity]], Iterator[Outcome]]
FileOption = Annotated[
    Path | None, typer.Option(help="The key file; else the one that is configured, or lies beside the store.")
]


@encryption.command("new-key")
def new_key(file: FileOption = None) -> None:
    """Make a key and add it to the key file, where it encrypts from now on; without a file, print it.

    A running service reads the file again by itself. Then `encryption rotate` moves what is stored to the new key.
    """
    target = file or _key_file(load_settings())
    text = new_key_text()
    key_id = text.partition(":")[0]
    if target is None:
        typer.echo(f"key, shown once: {text}")
        typer.echo("add it to COUNTERSIGN_ENCRYPTION_KEYS, after a comma when there are others")
        return
    before = read_key_file(target) if target.exists() else []
    write_keys(target, [*before, text])
    typer.echo(f"key {key_id} added to {target}; keep a copy apart from the store and its backups")


@encryption.command()
def rotate() -> None:
    """Encrypt everything that is stored with the newest key; can be stopped and run again, while the service runs."""
    with _opened() as store:
        failed: dict[str, str] = {}
        for column in SEALED_COLUMNS:
            while True:  # a replica that has not read the key file again yet still writes with the older key
                waiting = [
                    i for i in store.read_now(reencryption.outdated, column) if "\0".join(i) not in failed
                ]
                if not waiting:
                    break
                for place, why in _through(store, column, waiting, reencryption.renew).failed.items():
                    failed["\0".join(column.identity_of(place))] = why
        store.sweep()
        active = store.cipher.keys.active.key_id
        _put_on_record(store, "encryption-rotate", key=active, failed=len(failed))
    _report(list(failed.values()), f"everything is encrypted with key {active}")


@encryption.command()
def check() -> None:
    """Decrypt everything that is stored and list what does not open."""
    with _opened() as store:
        failed: list[str] = []
        total = 0
        for column in SEALED_COLUMNS:
            seen = _through(store, column, store.read_now(reencryption.every, column), reencryption.check)
            failed += seen.failed.values()
            total += seen.done
    _report(failed, f"{total} values decrypt")


@encryption.command()
def status() -> None:
    """Print the keys, oldest first, and how many stored values each one encrypts."""
    with _opened() as store:
        counts = store.read_now(reencryption.count_by_key)
        active = store.cipher.keys.active.key_id
        known = [key.key_id for key in store.cipher.keys.all]
    for key_id in [*known, *sorted(set(counts) - set(known))]:
        note = "encrypts" if key_id == active else "decrypts" if key_id in known else "NOT CONFIGURED"
        typer.echo(f"{key_id}\t{counts.get(key_id, 0)} values\t{note}")


@encryption.command()
def retire(key_id: str) -> None:
    """Take the oldest key out of the key file, once nothing is encrypted with it any more.

    Then nothing that was ever encrypted with it can be read again, wherever a copy lies: in backups, in a database's
    log, in blocks of a disk that were not overwritten.
    """
    settings = load_settings()
    target = _key_file(settings)
    if target is None:
        raise StartRefused("The keys are configured by COUNTERSIGN_ENCRYPTION_KEYS: take the key out there.")
    with _opened() as store:
        used = store.read_now(reencryption.count_by_key)
    lines = read_key_file(target)
    ids = [line.partition(":")[0] for line in lines]
    if key_id not in ids:
        raise StartRefused(f"There is no key {key_id!r} in {target}.")
    if key_id != ids[0] or len(ids) == 1:
        raise StartRefused(f"Keys are retired oldest first, and the last one stays: {', '.join(ids)}.")
    if used.get(key_id):
        raise StartRefused(
            f"{used[key_id]} values are encrypted with key {key_id!r}: run `python -m app encryption rotate` first."
        )
    write_keys(target, lines[1:])
    with _opened() as store:
        _put_on_record(store, "encryption-retire", key=key_id)
    typer.echo(f"key {key_id} is out of {target}; destroy its other copies, too")


@erasures.command()
def apply(
    log: Annotated[
        Path | None, typer.Option(help="A log of erasures to apply as well, such as one kept elsewhere.")
    ] = None,
) -> None:
    """Erase again what a restored backup brought back; the service does this at every start, too."""
    with _opened() as store:
        note = _trail().erased_again
        back = maintenance.ErasureWatch(store, note).look()
        if log is not None:
            store.write_now(tombstones.add_all, ErasureLog(log).read())
            back += maintenance.ErasureWatch(store, note).look()
        standing = len(store.read_now(tombstones.everything))
        lost = store.read_now(tombstones.unknown_keys)
    typer.echo(
        f"{standing} erasures are on record; {back} signers and references had come back and are erased"
    )
    if lost:
        raise StartRefused(f"Tombstones made with key {', '.join(lost)} cannot be applied: add the key.")


@erasures.command()
def compact() -> None:
    """Write the store's tables anew, without the room that erased rows took; writing waits meanwhile."""
    with _opened() as store:
        store.compact(*reencryption.TABLES)
    typer.echo("the tables are written anew")


def purge() -> None:
    """Let go of questioned images and kept answers whose time is over; the service does this by itself, too."""
    settings = load_settings()
    with _opened() as store:
        gone = maintenance.purge(store, settings.keep_questioned_days, settings.keep_answers_hours)
    typer.echo(f"{gone.questioned_images} questioned images and {gone.answers} answers are gone")


def install(cli: typer.Typer) -> None:
    """Add these commands to the service's command line."""
    cli.add_typer(encryption, name="encryption")
    cli.add_typer(erasures, name="erasures")
    cli.command("purge")(purge)


@contextmanager
def _opened() -> Iterator[Store]:
    store = open_store(load_settings())
    try:
        yield store
    finally:
        store.close()


def _trail() -> Trail:
    return Trail(load_settings().chain_keys())


def _put_on_record(store: Store, action: Action, **details: Any) -> None:
    """Put on the audit of the operator's tenant what concerns all of them."""
    trail = _trail()
    by = operator(load_settings().operator_tenant)
    store.write_now(trail.append, trail.entry(action, by=by, **details))


def _key_file(settings: Settings) -> Path | None:
    if settings.encryption_keys is not None:
        return None
    return settings.encryption_key_file or local_key_file(settings)


def _through(store: Store, column: SealedColumn, identities: Sequence[Identity], job: Job) -> Outcome:
    total = Outcome()
    with typer.progressbar(length=len(identities), label=f"{column.kind:<10}", file=sys.stderr) as bar:
        for outcome in job(store, column, identities):
            total.done += outcome.done
            total.failed |= outcome.failed
            bar.update(min(reencryption.BATCH, len(identities) - bar.pos))
    return total


def _report(failed: Sequence[str], otherwise: str) -> None:
    for line in failed:
        typer.echo(line)
    if failed:
        raise StartRefused(
            f"{len(failed)} values do not open: restore them from a backup, add the key they need, or erase them."
        )
    typer.echo(otherwise)
