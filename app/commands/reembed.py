"""``python -m app reembed``: move all references to another model from their kept images, while the service runs."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.common import opened, operator
from app.domain.errors import StartRefused
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    from app.services.audit.trail import Trail
    from app.services.reembed import Outcome, Reembedding
    from app.store.store import Store

SHOWN = 20


def reembed(
    weights: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the new model, before it is served; by default COUNTERSIGN_WEIGHTS, the model that "
            "is served."
        ),
    ] = None,
    drop_old: Annotated[
        bool,
        typer.Option(
            help="Then delete the templates of all other models, of signers who moved entirely. For when no "
            "replica serves an old model any more."
        ),
    ] = False,
    repair: Annotated[
        bool, typer.Option(help="Also make templates of this model anew that are damaged.")
    ] = False,
    follow: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Go on until Ctrl-C, looking every so many seconds for what replicas of the old model enrol.",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, max=64, help="Images that are decoded at once; each takes a core.")
    ] = 1,
) -> None:
    """Move all references to a new model, while the service runs; can be stopped, or killed, and run again.

    Nothing is ever compared across models: a service answers 409 for a signer until all of their references have a
    template of its model. Status 1 when some references cannot be moved.
    """
    settings = load_settings()
    target = settings.model_copy(update={"weights": weights or settings.weights})
    if drop_old and follow is not None:
        raise StartRefused(
            "--follow is for replicas that serve the old model, and --drop-old for when there are none."
        )
    from app.decoding.pool import DecoderPool  # noqa: PLC0415
    from app.main import DECODING_TIMEOUT_S, load_embedder  # noqa: PLC0415 - torch comes with it
    from app.services.reembed import Reembedding  # noqa: PLC0415
    from model.networks.weights import load_card  # noqa: PLC0415

    embedder = load_embedder(target)
    if drop_old and embedder.version != (served := load_card(settings.weights).version):
        raise StartRefused(
            f"COUNTERSIGN_WEIGHTS is {served}, which needs the templates that --drop-old would delete. Set "
            f"COUNTERSIGN_WEIGHTS={target.weights} for every replica, start them anew, and run it then."
        )
    readers = DecoderPool(threads, DECODING_TIMEOUT_S, memory_mb=settings.reader_memory_mb)
    with closing(readers), opened() as (store, trail):
        by = operator(settings.operator_tenant)
        job = Reembedding(store, trail, embedder, by, readers)
        if repair:
            _through("looking", job.present()[0], job.repair())
        _move(job, follow)
        if drop_old:
            _through("dropping", job.present()[1], job.drop_others())
        _put_on_record(store, trail, settings, embedder.version, job.outcome)
    _tell(embedder.version, job.outcome)


def _move(job: Reembedding, follow: float | None) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # who runs it in the background stops it so
    try:
        _through("moving", job.waiting(), job.move())
        while follow is not None:
            time.sleep(follow)
            before = job.outcome.moved
            for _ in job.move():
                pass
            if job.outcome.moved > before:
                typer.echo(f"{job.outcome.moved} references moved", err=True)
    except KeyboardInterrupt:
        typer.echo("stopped; run it again for what is left", err=True)
        if follow is None:
            raise typer.Exit(130) from None


def _through(label: str, length: int, steps: Iterator[int]) -> None:
    """Take all steps under a progress bar on stderr."""
    with typer.progressbar(length=length, label=f"{label:<8}", file=sys.stderr) as bar:
        for step in steps:
            bar.length = max(length, bar.pos + step)  # what was enrolled meanwhile comes on top
            bar.update(step)


def _put_on_record(store: Store, trail: Trail, settings: Settings, version: str, outcome: Outcome) -> None:
    """The sum of it, on the audit of the operator's tenant; each signer's own entry is there already."""
    entry = trail.entry(
        "reembed",
        by=operator(settings.operator_tenant),
        model_version=version,
        moved=outcome.moved,
        dropped=outcome.dropped,
        failed=len(outcome.failed),
    )
    store.write_now(trail.append, entry)


def _tell(version: str, outcome: Outcome) -> None:
    typer.echo(f"{outcome.moved} references moved to {version}")
    if outcome.passed_over:
        typer.echo(f"{outcome.passed_over} were erased meanwhile, or moved by somebody else")
    for old, count in sorted(outcome.dropped.items()):
        typer.echo(f"{count} templates of {old} deleted")
    if outcome.kept:
        typer.echo(
            f"{outcome.kept} signers keep their old templates, as not all their references could be moved"
        )
    failed = list(outcome.failed.values())
    for one in failed[:SHOWN]:
        owner = one.owner
        typer.echo(
            f"tenant {owner.tenant_id}, signer {owner.signer_id}, reference {one.reference_id}: {one.why}"
        )
    if len(failed) > SHOWN:
        typer.echo(f"and {len(failed) - SHOWN} more")
    if failed:
        raise StartRefused(
            f"{len(failed)} references cannot be moved, and their signers cannot be verified with {version}: restore "
            "them from a backup and run this again, or delete them (`python -m app doctor` names the command)."
        )
