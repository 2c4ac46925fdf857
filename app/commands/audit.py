"""``python -m app audit``: verify, export and anchor the audit."""

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

from app.commands.common import opened
from app.domain.audit_chain import Anchor, Entry
from app.domain.errors import StartRefused
from app.services.audit.verification import Report, verify_export, verify_store
from app.settings import load_settings
from app.store import audit

cli = typer.Typer(help="Verify, export and anchor the audit.", no_args_is_help=True)
_NAMES = frozenset(field.name for field in fields(Entry))


@cli.command()
def verify(
    anchors: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file with lines of `audit anchor`, of the service's log, or of an export; repeatable."
        ),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Verify this file of `audit export` instead of the store.")
    ] = None,
) -> None:
    """Look for changes, gaps and cut-off ends; status 1 when there is any."""
    kept = [anchor for path in anchors or [] for anchor in _anchors(path)]
    if export is not None:
        report = verify_export(_exported(export), load_settings().chain_keys(), kept)
    else:
        with opened() as (store, trail):
            report = store.read_now(verify_store, trail.keys, kept)
    _tell(report, len(kept))
    if report.faults:
        raise typer.Exit(1)


@cli.command("export")
def export_entries(
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    first: Annotated[int, typer.Option(min=1, help="From this entry on.")] = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file instead of stdout.")] = None,
) -> None:
    """Write all entries as JSON lines, tenant by tenant; they can be verified without the database."""

    def write(session: Session) -> int:
        written = 0
        with output.open("w", encoding="utf-8") if output else _Stdout() as out:
            for tenant_id in [tenant] if tenant else audit.tenants(session):
                for entry in audit.entries(session, tenant_id, first):
                    out.write(json.dumps(asdict(entry)) + "\n")
                    written += 1
        return written

    with opened() as (store, _):
        typer.echo(f"{store.read_now(write)} entries exported.", err=True)


@cli.command()
def anchor() -> None:
    """Print the head of each chain as a JSON line; kept elsewhere, it proves that nothing before it was cut off."""
    with opened() as (store, _):
        for head in store.read_now(audit.heads):
            typer.echo(json.dumps(asdict(head)))


@cli.command()
def new_key() -> None:
    """Print a fresh secret for COUNTERSIGN_AUDIT_KEY."""
    typer.echo(secrets.token_urlsafe(32))


class _Stdout:
    """Stdout as a context that does not close it."""

    def __enter__(self) -> typer.FileTextWrite:
        return sys.stdout  # type: ignore[return-value]

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()


def _tell(report: Report, anchors: int) -> None:
    for fault in report.faults:
        place = fault.tenant_id if fault.sequence is None else f"{fault.tenant_id} {fault.sequence}"
        typer.echo(f"FAULT {place}: {fault.what}")
    for head in report.heads:
        typer.echo(f"tenant {head.tenant_id}: {head.sequence} entries, head {head.hash}")
    verdict = f"{len(report.faults)} faults" if report.faults else "whole"
    typer.echo(
        f"The audit is {verdict if not report.faults else f'not whole: {verdict}'}; {anchors} anchors."
    )


def _lines(path: Path) -> Iterator[tuple[int, object]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield number, json.loads(line)
                except ValueError:
                    yield number, None
    except (OSError, UnicodeDecodeError) as error:
        raise StartRefused(f"{path} cannot be read: {error}.") from error


def _anchors(path: Path) -> list[Anchor]:
    found = []
    for _, line in _lines(path):
        told = line.get("audit_head", line) if isinstance(line, dict) else None
        if isinstance(told, dict) and {"tenant_id", "sequence", "hash"} <= told.keys():
            found.append(Anchor(str(told["tenant_id"]), int(told["sequence"]), str(told["hash"])))
    if not found:
        raise StartRefused(f"{path} holds no anchor.")
    return found


def _exported(path: Path) -> Iterator[Entry]:
    for number, line in _lines(path):
        if not isinstance(line, dict) or line.keys() != _NAMES:
            raise StartRefused(f"{path}, line {number}: this is no entry of an export.")
        yield Entry(**line)
