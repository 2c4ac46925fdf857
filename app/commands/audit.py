"""``python -m app audit``: verifies, exports and anchors the audit log."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from app.commands.common import SecretFile, put_secret, store_and_trail, warn_of_new_tenant
from app.domain.audit_chain import Anchor, Entry
from app.domain.errors import InvalidSettings
from app.services.audit.verification import Report, verify_export, verify_store
from app.settings import load_settings
from app.store import audit

cli = typer.Typer(help="Verify, export and anchor the audit log.", no_args_is_help=True)
_ENTRY_FIELDS = frozenset(field.name for field in fields(Entry))


@cli.command()
def verify(
    anchors: Annotated[
        list[Path] | None,
        typer.Option(
            help="File with anchors: output of `audit anchor`, the log of the service, or an export. Repeatable."
        ),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Verify this output of `audit export` instead of the store.")
    ] = None,
) -> None:
    """Verify the chain of each tenant: changes, gaps, cut-off ends. The exit status is 1 when a fault is found."""
    known_anchors = [anchor for path in anchors or [] for anchor in _read_anchors(path)]
    if export is not None:
        report = verify_export(_read_export(export), load_settings().chain_keys(), known_anchors)
    else:
        with store_and_trail() as (store, trail):
            report = store.read_now(verify_store, trail.keys, known_anchors)
    _print_report(report, len(known_anchors))
    if report.faults:
        raise typer.Exit(1)


@cli.command("export")
def export_entries(
    tenant: Annotated[str | None, typer.Option(help="Export only this tenant.")] = None,
    first: Annotated[int, typer.Option(min=1, help="Sequence number of the first exported entry.")] = 1,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Output file. Default: stdout.")
    ] = None,
) -> None:
    """Export all entries as JSON lines, ordered by tenant. An export can be verified without the database."""

    def write(session: Session) -> int:
        written = 0
        with output.open("w", encoding="utf-8") if output else _Stdout() as out:
            for tenant_id in [tenant] if tenant else audit.tenants(session):
                for entry in audit.entries(session, tenant_id, first):
                    out.write(json.dumps(asdict(entry)) + "\n")
                    written += 1
        return written

    with store_and_trail() as (store, _):
        if tenant is not None:
            warn_of_new_tenant(store, tenant)
        typer.echo(f"{store.read_now(write)} entries exported.", err=True)


@cli.command()
def anchor() -> None:
    """Print the head of each chain as a JSON line.

    Stored on another machine, it later proves that no entry up to it was cut off.
    """
    with store_and_trail() as (store, _):
        for head in store.read_now(audit.heads):
            typer.echo(json.dumps(asdict(head)))


@cli.command()
def new_key(file: SecretFile = None) -> None:
    """Generate a secret for COUNTERSIGN_AUDIT_KEY, or a file for COUNTERSIGN_AUDIT_KEY_FILE."""
    put_secret(secrets.token_urlsafe(32), file, "secret")


class _Stdout:
    """A context manager for stdout that does not close it."""

    def __enter__(self) -> typer.FileTextWrite:
        return sys.stdout  # type: ignore[return-value]

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()


def _print_report(report: Report, anchor_count: int) -> None:
    for fault in report.faults:
        place = fault.tenant_id if fault.sequence is None else f"{fault.tenant_id} {fault.sequence}"
        typer.echo(f"FAULT {place}: {fault.what}")
    for head in report.heads:
        typer.echo(f"tenant {head.tenant_id}: {head.sequence} entries, head {head.hash}")
    result = f"not intact: {len(report.faults)} faults" if report.faults else "intact"
    typer.echo(f"The audit log is {result}; {anchor_count} anchors.")


def _read_lines(path: Path) -> Iterator[tuple[int, object]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield number, json.loads(line)
                except ValueError:
                    yield number, None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} cannot be read: {error}.") from error


def _read_anchors(path: Path) -> list[Anchor]:
    found = []
    for _, line in _read_lines(path):
        head = line.get("audit_head", line) if isinstance(line, dict) else None
        if isinstance(head, dict) and {"tenant_id", "sequence", "hash"} <= head.keys():
            found.append(Anchor(str(head["tenant_id"]), int(head["sequence"]), str(head["hash"])))
    if not found:
        raise InvalidSettings(f"{path} contains no anchor.")
    return found


def _read_export(path: Path) -> Iterator[Entry]:
    for number, line in _read_lines(path):
        if not isinstance(line, dict) or line.keys() != _ENTRY_FIELDS:
            raise InvalidSettings(f"{path}, line {number}: this is not an exported audit entry.")
        yield Entry(**line)
