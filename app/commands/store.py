"""``python -m app encryption``, ``erasures`` and ``purge``: maintenance of the store, also while the service runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.common import operator
from app.domain.errors import InvalidSettings, StartRefused
from app.services.audit.trail import Action, Trail
from app.services.open_store import open_store
from app.settings import Settings, load_settings
from app.store import candidate_vectors, maintenance, reencryption
from app.store.encryption.data_keys import local_key_file, new_key_text, read_key_file, write_keys
from app.store.erasure import tombstones
from app.store.erasure.log import ErasureLog
from app.store.reencryption import SEALED_COLUMNS, Identity, Outcome, SealedColumn
from app.store.store import Store

encryption = typer.Typer(help="Manage the keys that encrypt stored values.", no_args_is_help=True)
erasures = typer.Typer(
    help="Apply erasures again after a restore, and compact the tables.", no_args_is_help=True
)
Job = Callable[[Store, SealedColumn, Sequence[Identity]], Iterator[Outcome]]
FileOption = Annotated[
    Path | None, typer.Option(help="The key file. Default: the configured one, or the one beside the store.")
]


@encryption.command("new-key")
def new_key(file: FileOption = None) -> None:
    """Generate a key and add it to the key file; without a key file, print it.

    From then on, the new key encrypts. A running service reads the changed file automatically. Run
    `encryption rotate` afterwards to encrypt stored values with the new key.
    """
    target = file or _key_file(load_settings())
    text = new_key_text()
    key_id = text.partition(":")[0]
    if target is None:
        typer.echo(f"key, shown once: {text}")
        typer.echo("add it to COUNTERSIGN_ENCRYPTION_KEYS as the last one of the comma-separated keys")
        return
    existing = read_key_file(target) if target.exists() else []
    write_keys(target, [*existing, text])
    typer.echo(f"key {key_id} added to {target}; keep a copy separate from the store and its backups")


@encryption.command()
def rotate() -> None:
    """Encrypt all stored values with the newest key while the service runs.

    The command can be interrupted and run again.
    """
    with _configured_store() as store:
        failed: dict[str, str] = {}
        for column in SEALED_COLUMNS:
            while True:  # until a replica has read the key file again, it still encrypts with the older key
                outdated = [
                    identity
                    for identity in store.read_now(reencryption.find_outdated, column)
                    if "\0".join(identity) not in failed
                ]
                if not outdated:
                    break
                outcome = _run_job(store, column, outdated, reencryption.reencrypt)
                for place, reason in outcome.failed.items():
                    failed["\0".join(column.identity_of(place))] = reason
        store.sweep()
        active = store.cipher.keys.active.key_id
        _append_entry(store, "encryption-rotate", key=active, failed=len(failed))
    _report(list(failed.values()), f"all values are encrypted with key {active}")


@encryption.command()
def check() -> None:
    """Decrypt all stored values and list those that cannot be decrypted."""
    with _configured_store() as store:
        failed: list[str] = []
        total = 0
        for column in SEALED_COLUMNS:
            identities = store.read_now(reencryption.find_all, column)
            outcome = _run_job(store, column, identities, reencryption.check)
            failed += outcome.failed.values()
            total += outcome.done
    _report(failed, f"{total} values decrypt")


@encryption.command()
def status() -> None:
    """List the keys, oldest first, with the number of values that each one has encrypted."""
    with _configured_store() as store:
        counts = store.read_now(reencryption.count_by_key)
        active = store.cipher.keys.active.key_id
        configured = [key.key_id for key in store.cipher.keys.all]
    for key_id in [*configured, *sorted(set(counts) - set(configured))]:
        note = "encrypts" if key_id == active else "decrypts" if key_id in configured else "NOT CONFIGURED"
        typer.echo(f"{key_id}\t{counts.get(key_id, 0)} values\t{note}")


@encryption.command()
def retire(key_id: str) -> None:
    """Remove the oldest key from the key file, once no stored value needs it.

    Afterwards, no copy of a value that was encrypted with it can be decrypted: neither in backups, nor in the log of
    the database, nor in disk blocks that were not overwritten.
    """
    settings = load_settings()
    target = _key_file(settings)
    if target is None:
        raise StartRefused("The keys are configured in COUNTERSIGN_ENCRYPTION_KEYS; remove the key there.")
    with _configured_store() as store:
        used = store.read_now(reencryption.count_by_key)
    lines = read_key_file(target)
    ids = [line.partition(":")[0] for line in lines]
    if key_id not in ids:
        raise InvalidSettings(f"{target} has no key {key_id!r}.")
    if key_id != ids[0] or len(ids) == 1:
        raise StartRefused(
            f"Only the oldest key can be retired, and not the last one left; oldest first: {', '.join(ids)}."
        )
    if used.get(key_id):
        raise StartRefused(
            f"{used[key_id]} values are encrypted with key {key_id!r}; run `python -m app encryption rotate` first."
        )
    write_keys(target, lines[1:])
    with _configured_store() as store:
        _append_entry(store, "encryption-retire", key=key_id)
    typer.echo(f"key {key_id} removed from {target}; destroy all other copies of it")


@erasures.command()
def apply(
    log: Annotated[
        Path | None, typer.Option(help="Another erasure log to apply, such as a copy from another machine.")
    ] = None,
) -> None:
    """Erase again what a restored backup has brought back. The service does this at every start, too."""
    with _configured_store() as store:
        record_erasure = _trail().erased_again
        erased = maintenance.ErasureWatch(store, record_erasure).synchronize()
        if log is not None:
            store.write_now(tombstones.add_all, ErasureLog(log).read())
            erased += maintenance.ErasureWatch(store, record_erasure).synchronize()
        total = len(store.read_now(tombstones.all_tombstones))
        missing_keys = store.read_now(tombstones.unknown_keys)
    typer.echo(f"{total} erasures are on record; {erased} signers and references were erased again")
    if missing_keys:
        raise StartRefused(
            f"Tombstones made with key {', '.join(missing_keys)} cannot be applied: add the key."
        )


@erasures.command()
def compact() -> None:
    """Rewrite the tables of the store without the space of erased rows. Writes are blocked meanwhile."""
    with _configured_store() as store:
        vectors = (candidate_vectors.NAME,) if store.read_now(candidate_vectors.state).has_table else ()
        store.compact(*reencryption.TABLES, *vectors)
    typer.echo("the tables were rewritten")


def purge() -> None:
    """Delete questioned images, their templates and kept answers that have expired.

    The service does this regularly, too.
    """
    settings = load_settings()
    with _configured_store() as store:
        purged = maintenance.purge(store, maintenance.Retention.of(settings))
    typer.echo(
        f"{purged.questioned_images} questioned images, {purged.questioned_templates} of their templates and "
        f"{purged.answers} answers deleted"
    )


def install(cli: typer.Typer) -> None:
    """Add these commands to the command line."""
    cli.add_typer(encryption, name="encryption")
    cli.add_typer(erasures, name="erasures")
    cli.command("purge")(purge)


@contextmanager
def _configured_store() -> Iterator[Store]:
    store = open_store(load_settings())
    try:
        yield store
    finally:
        store.close()


def _trail() -> Trail:
    return Trail(load_settings().chain_keys())


def _append_entry(store: Store, action: Action, **details: Any) -> None:
    """Append an audit entry that concerns all tenants, for the operator's tenant."""
    trail = _trail()
    actor = operator(load_settings().operator_tenant)
    store.write_now(trail.append, trail.entry(action, by=actor, **details))


def _key_file(settings: Settings) -> Path | None:
    if settings.encryption_keys is not None:
        return None
    return settings.encryption_key_file or local_key_file(settings)


def _run_job(store: Store, column: SealedColumn, identities: Sequence[Identity], job: Job) -> Outcome:
    total = Outcome()
    with typer.progressbar(length=len(identities), label=f"{column.kind:<10}", file=sys.stderr) as bar:
        for outcome in job(store, column, identities):
            total.done += outcome.done
            total.failed |= outcome.failed
            bar.update(min(reencryption.BATCH, len(identities) - bar.pos))
    return total


def _report(failed: Sequence[str], success: str) -> None:
    for line in failed:
        typer.echo(line)
    if failed:
        raise StartRefused(
            f"{len(failed)} values cannot be decrypted; restore them from a backup, add the missing key, or erase "
            "them."
        )
    typer.echo(success)
