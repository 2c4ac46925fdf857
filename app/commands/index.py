"""``python -m app index``: the vectors of signers in PostgreSQL, for identification with pgvector."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Annotated

import typer
from sqlalchemy import Engine

from app.commands.common import store_and_trail
from app.domain.errors import InvalidSettings, StartRefused
from app.settings import load_settings
from app.store import candidate_vectors
from app.store.candidate_vectors import PgvectorUnavailable

cli = typer.Typer(
    help="Build and drop the index of identification in PostgreSQL (pgvector).", no_args_is_help=True
)


@cli.command()
def build(
    memory_mb: Annotated[
        int,
        typer.Option(
            min=64,
            help="MiB of memory that the database may use to build a graph. One that does not fit takes several "
            "times as long; a million signers need 1,100.",
        ),
    ] = 2048,
) -> None:
    """Add the vectors of all signers who have none, and build the graphs of large tenants.

    The service does this too, but its searches find only signers who have been added: with many signers, run it
    before the service is started with COUNTERSIGN_CANDIDATE_INDEX=pgvector. It can be interrupted and run again.
    """
    settings = load_settings()
    if settings.candidate_index != "pgvector":
        raise InvalidSettings(
            "Set COUNTERSIGN_CANDIDATE_INDEX=pgvector: vectors are stored in clear text only then."
        )
    from app.main import load_embedder  # noqa: PLC0415 - imports torch
    from app.services.gallery import Reductions  # noqa: PLC0415
    from app.services.pgvector_index import PgvectorIndex  # noqa: PLC0415
    from app.services.signer_index import attach_writer  # noqa: PLC0415

    embedder = load_embedder(settings, embeds=False)
    with store_and_trail() as (store, _):
        _open_table(store.engine)
        writer = attach_writer(settings, store, embedder)
        assert writer is not None  # noqa: S101 # nosec B101 - the table was opened
        reductions = Reductions(embedder.search_vectors, embedder.candidate_vectors)
        index = PgvectorIndex(store, writer, reductions, settings.exhaustive_signers)
        started, total = time.monotonic(), 0
        with typer.progressbar(length=0, label="adding", file=sys.stderr) as bar:

            def added(count: int) -> None:
                nonlocal total
                total += count
                bar.length = max(bar.length or 0, total)
                bar.update(count)

            asyncio.run(index.add_missing(added))
        typer.echo(f"{total} vectors added in {time.monotonic() - started:.0f} s")
        started = time.monotonic()
        built = index.build_graphs(memory_mb)
        if built:
            typer.echo(f"graphs of {len(built)} tenants built in {time.monotonic() - started:.0f} s")


@cli.command()
def drop() -> None:
    """Delete all vectors and graphs, with their files. The templates, which are encrypted, stay."""
    with store_and_trail() as (store, _):
        if store.engine.dialect.name != "postgresql":
            raise InvalidSettings("The store is not PostgreSQL: it has no such vectors.")
        removed = candidate_vectors.clear(store.engine)
    typer.echo(f"{removed} vectors deleted")


def _open_table(engine: Engine) -> None:
    try:
        candidate_vectors.open_table(engine)
    except PgvectorUnavailable as error:
        raise StartRefused(f"The index cannot be built: {error}.") from error
