"""``python -m app bulk``: verifies, enrols or extracts from all images of a manifest, without the HTTP service."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.common import operator, store_and_trail, warn_of_new_tenant
from app.domain.callers import DEFAULT_TENANT
from app.domain.errors import StartRefused
from app.domain.request_context import begin_request, set_caller
from app.settings import load_settings

if TYPE_CHECKING:
    from app.services.bulk.operations import Name

cli = typer.Typer(
    help="Carry out a manifest of many images, with one result for each row.", no_args_is_help=True
)

ManifestPath = Annotated[
    Path,
    typer.Argument(
        help="CSV or Parquet with the columns image, signer_id and, if needed, id, page and region.",
        exists=True,
        dir_okay=False,
    ),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Parquet file of the results; it must not exist.")
]
ImagesUrl = Annotated[
    str,
    typer.Option(
        "--images",
        help="Folder, tar archive or URL (s3://bucket/scans) that the names of images refer to. "
        "Default: the folder of the manifest.",
    ),
]
Tenant = Annotated[str, typer.Option(help="Tenant whose signers are meant.")]
PartRows = Annotated[
    int,
    typer.Option(
        min=1, max=100_000, help="Rows whose results are written together, until the job is complete."
    ),
]
DEFAULT_PART_ROWS = 200
RayAddress = Annotated[
    str,
    typer.Option(
        "--ray",
        help="Run on the nodes of this Ray cluster: auto on one of them, HOST:PORT, or ray://HOST:PORT. The store, "
        "the weights and the images must be reachable from all nodes. Needs the extra `ray`.",
    ),
]
RayWorkers = Annotated[
    int,
    typer.Option("--ray-workers", min=0, help="Processes in the Ray cluster; 0: one for each of its CPUs."),
]


@cli.command()
def verify(
    manifest: ManifestPath,
    output: Output,
    images: ImagesUrl = "",
    tenant: Tenant = DEFAULT_TENANT,
    part_rows: PartRows = DEFAULT_PART_ROWS,
    ray: RayAddress = "",
    ray_workers: RayWorkers = 0,
) -> None:
    """Verify each image against the signer of its row; verifications are stored as by the service.

    The command can be interrupted or killed at any time and run again: it continues, and no row is carried out twice.
    """
    _run("verify", manifest, output, images, tenant, part_rows, ray, ray_workers)


@cli.command()
def enrol(
    manifest: ManifestPath,
    output: Output,
    images: ImagesUrl = "",
    tenant: Tenant = DEFAULT_TENANT,
    part_rows: PartRows = DEFAULT_PART_ROWS,
    ray: RayAddress = "",
    ray_workers: RayWorkers = 0,
) -> None:
    """Enrol each image as a reference of the signer of its row. It can be interrupted and run again like `verify`."""
    _run("enrol", manifest, output, images, tenant, part_rows, ray, ray_workers)


@cli.command()
def extract(
    manifest: ManifestPath,
    output: Output,
    images: ImagesUrl = "",
    tenant: Tenant = DEFAULT_TENANT,
    part_rows: PartRows = DEFAULT_PART_ROWS,
    ray: RayAddress = "",
    ray_workers: RayWorkers = 0,
    crops: Annotated[bool, typer.Option("--crops", help="Also return each signature as an image.")] = False,
) -> None:
    """Find the signatures on each page. It can be interrupted and run again like `verify`."""
    _run("extract", manifest, output, images, tenant, part_rows, ray, ray_workers, crops=crops)


def _run(
    name: Name,
    manifest: Path,
    output: Path,
    images: str,
    tenant: str,
    part_rows: int,
    ray: str,
    ray_workers: int,
    *,
    crops: bool = False,
) -> None:
    settings = load_settings()
    if importlib.util.find_spec("pyarrow") is None:
        raise StartRefused("Bulk jobs need the extra `bulk`: pip install -e '.[bulk]' -c constraints.txt.")
    from app.main import open_context_for_commands  # noqa: PLC0415 - imports torch
    from app.services.bulk.images import Images, open_images  # noqa: PLC0415 - an extra
    from app.services.bulk.job import CHUNKS_AT_ONCE, CarryOut, Job, RowRunner  # noqa: PLC0415
    from app.services.bulk.manifests import Manifest  # noqa: PLC0415
    from app.services.bulk.operations import operation  # noqa: PLC0415
    from app.services.bulk.results import Results  # noqa: PLC0415

    chosen = operation(name, crops=crops)
    table = Manifest(manifest, needs_signer=chosen.needs_signer)
    source = images or str(manifest.resolve().parent)
    description = {
        "operation": name,
        "manifest_sha256": table.sha256,
        "images": source,
        "tenant": tenant,
        "crops": crops,
        "part_rows": part_rows,
    }

    async def carry_out(job: Job, carry: CarryOut, chunks_at_once: int) -> None:
        with typer.progressbar(length=len(table), label=f"{name:<8}", file=sys.stderr) as bar:
            await job.run(carry, 1 if chosen.in_order else chunks_at_once, bar.update)

    async def in_this_process(job: Job, opened: Images) -> None:
        set_caller(operator(tenant))
        begin_request(f"bulk-{job.results.job_id}")
        async with open_context_for_commands(settings) as context:
            rows = RowRunner(context, tenant, chosen, opened, job.results.job_id)
            await carry_out(job, rows.run, CHUNKS_AT_ONCE)

    async def in_cluster(job: Job) -> None:
        from app.commands.bulk_workers import Work, open_workers  # noqa: PLC0415 - imports Ray

        work = Work(name, crops, source, job.results.job_id, operator(tenant))
        async with open_workers(ray, ray_workers, settings, work) as workers:
            await carry_out(job, workers.carry_out, CHUNKS_AT_ONCE * workers.count)

    if tenant != DEFAULT_TENANT:
        with store_and_trail() as (store, _):
            warn_of_new_tenant(store, tenant)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # treat SIGTERM like Ctrl-C
    with (
        # One byte more than the limit, so that the decoders see that an image is too large.
        nullcontext() if ray else open_images(source, settings.max_upload_bytes + 1) as opened,
        Results(output, description, chosen.schema) as results,
    ):
        job = Job(table, results, part_rows)
        try:
            asyncio.run(in_cluster(job) if opened is None else in_this_process(job, opened))
        except KeyboardInterrupt:
            typer.echo("interrupted; run the command again to continue", err=True)
            raise typer.Exit(130) from None
    _report(output)


def _report(output: Path) -> None:
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    codes = parquet.read_table(output, columns=["code"]).column("code")
    failed = [
        (counted["values"], counted["counts"])
        for counted in codes.value_counts().to_pylist()
        if counted["values"] is not None
    ]
    typer.echo(f"{len(codes)} rows, {sum(count for _, count in failed)} with an error; results in {output}")
    for code, count in sorted(failed):
        typer.echo(f"  {code}: {count}")
