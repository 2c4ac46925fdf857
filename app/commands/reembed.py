"""``python -m app reembed``: moves all references to another model while the service runs.

The templates of the new model are computed from the stored images.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.common import operator, store_and_trail
from app.domain.errors import InvalidSettings, StartRefused
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    from app.services.audit.trail import Trail
    from app.services.reembed import Outcome, Reembedding
    from app.services.reembed_forgeries import ForgeryOutcome
    from app.store.store import Store

MAX_LISTED = 20
"""Maximum number of failed references that are printed."""


def reembed(
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a new model that is not served yet. Default: COUNTERSIGN_WEIGHTS, the model that is "
            "served."
        ),
    ] = None,
    drop_old: Annotated[
        bool,
        typer.Option(
            help="Afterwards, delete the templates of all other models, for signers with all references moved. "
            "Use it when no replica serves an old model any more."
        ),
    ] = False,
    repair: Annotated[bool, typer.Option(help="Also replace damaged templates of this model.")] = False,
    follow: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Continue until Ctrl-C: at this interval in seconds, move references that replicas of the old model "
            "have enrolled.",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, max=64, help="Number of images decoded in parallel; each uses one core.")
    ] = 1,
) -> None:
    """Move all references and known forgeries to a new model while the service runs.

    The command can be interrupted and run again.

    Templates of different models are never compared: the service answers 409 for a signer until all of their
    references have a template of its model. The exit status is 1 when some references cannot be moved.
    """
    settings = load_settings()
    target = settings.model_copy(update={"weights": weights or settings.weights})
    if drop_old and follow is not None:
        raise InvalidSettings(
            "--follow is for the time while replicas serve the old model, and --drop-old is for the time after that; "
            "use only one of them."
        )
    from app.decoding.pool import DecoderPool  # noqa: PLC0415
    from app.main import DECODING_TIMEOUT_S, load_embedder  # noqa: PLC0415 - imports torch
    from app.services.reembed import Reembedding  # noqa: PLC0415
    from app.services.reembed_forgeries import move_forgeries  # noqa: PLC0415
    from app.services.signer_index import attach_writer  # noqa: PLC0415
    from app.store import questioned_templates  # noqa: PLC0415
    from model.networks.weights import load_card  # noqa: PLC0415

    embedder = load_embedder(target)
    if drop_old and embedder.version != (served := load_card(settings.weights).version):
        raise InvalidSettings(
            f"COUNTERSIGN_WEIGHTS is {served}, which needs the templates that --drop-old would delete. Set "
            f"COUNTERSIGN_WEIGHTS={target.weights} for every replica, restart them, and run this command again."
        )
    decoders = DecoderPool(
        threads,
        DECODING_TIMEOUT_S,
        memory_mb=settings.reader_memory_mb,
        page_network=settings.page_network,
    )
    with closing(decoders), store_and_trail() as (store, trail):
        actor = operator(settings.operator_tenant)
        attach_writer(settings, store, embedder)
        job = Reembedding(store, trail, embedder, actor, decoders)
        if repair:
            _show_progress("checking", job.present()[0], job.repair())
        _move(job, follow)
        forged = move_forgeries(store, trail, embedder, actor, decoders)
        if drop_old:
            _show_progress("deleting", job.present()[1], job.drop_others())
            while store.write_now(questioned_templates.drop_others, embedder.version):
                pass
        _append_entry(store, trail, settings, embedder.version, job.outcome)
    _report_forgeries(forged)
    _report(embedder.version, job.outcome)


def _move(job: Reembedding, follow: float | None) -> None:
    with _stop_requests() as stopped:

        def moves() -> Iterator[int]:
            for processed in job.move():
                yield processed
                if stopped.is_set():
                    raise KeyboardInterrupt

        try:
            _show_progress("moving", job.waiting(), moves())
            while follow is not None:
                if stopped.wait(follow):
                    raise KeyboardInterrupt
                moved_before = job.outcome.moved
                for _ in moves():
                    pass
                if job.outcome.moved > moved_before:
                    typer.echo(f"{job.outcome.moved} references moved", err=True)
        except KeyboardInterrupt:
            typer.echo("interrupted; run the command again for the remaining references", err=True)
            if follow is None:
                raise typer.Exit(130) from None


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """Turn SIGTERM and Ctrl-C into an event, to stop between transactions: what one has moved is counted after it."""
    stopped = threading.Event()
    interrupt = signal.getsignal(signal.SIGINT)  # ignored in what a script runs in the background
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
        signal.signal(signal.SIGINT, interrupt)


def _show_progress(label: str, length: int, steps: Iterator[int]) -> None:
    """Run all steps with a progress bar on stderr."""
    with typer.progressbar(length=length, label=f"{label:<8}", file=sys.stderr) as bar:
        for step in steps:
            bar.length = max(length, bar.pos + step)  # more may be enrolled meanwhile
            bar.update(step)


def _append_entry(store: Store, trail: Trail, settings: Settings, version: str, outcome: Outcome) -> None:
    """Append an audit entry with the totals for the operator's tenant; the signers have their own entries."""
    entry = trail.entry(
        "reembed",
        by=operator(settings.operator_tenant),
        model_version=version,
        moved=outcome.moved,
        dropped=outcome.dropped,
        failed=len(outcome.failed),
    )
    store.write_now(trail.append, entry)


def _report_forgeries(outcome: ForgeryOutcome) -> None:
    if outcome.moved:
        typer.echo(f"{outcome.moved} known forgeries moved")
    if outcome.left:
        typer.echo(
            f"{outcome.left} known forgeries cannot be moved, because their images are not kept or cannot be read; "
            "they are not compared with by this model"
        )


def _report(version: str, outcome: Outcome) -> None:
    typer.echo(f"{outcome.moved} references moved to {version}")
    if outcome.passed_over:
        typer.echo(f"{outcome.passed_over} were erased meanwhile or moved by another process")
    for old, count in sorted(outcome.dropped.items()):
        typer.echo(f"{count} templates of {old} deleted")
    if outcome.kept:
        typer.echo(
            f"{outcome.kept} signers keep their old templates because some of their references could not be moved"
        )
    failed = list(outcome.failed.values())
    for failure in failed[:MAX_LISTED]:
        owner = failure.owner
        typer.echo(
            f"tenant {owner.tenant_id}, signer {owner.signer_id}, reference {failure.reference_id}: {failure.why}"
        )
    if len(failed) > MAX_LISTED:
        typer.echo(f"and {len(failed) - MAX_LISTED} more")
    if failed:
        raise StartRefused(
            f"{len(failed)} references cannot be moved, and their signers cannot be verified with {version}: restore "
            "them from a backup and run this command again, or delete them. `python -m app doctor` lists the faults."
        )
