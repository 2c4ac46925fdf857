"""``python -m app inference``: the network as a Ray Serve deployment, for services with COUNTERSIGN_INFERENCE=ray://…."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.cluster import join_cluster
from app.domain.errors import InvalidSettings, StartRefused
from app.settings import load_settings

cli = typer.Typer(help="Run the network in a Ray cluster, apart from the service.", no_args_is_help=True)
RayAddress = Annotated[
    str,
    typer.Option("--ray", help="The Ray cluster: auto on one of its nodes, HOST:PORT, or ray://HOST:PORT."),
]


@cli.command()
def deploy(
    ray: RayAddress = "auto",
    min_replicas: Annotated[int, typer.Option(min=1)] = 1,
    max_replicas: Annotated[int, typer.Option(min=1)] = 1,
    upscale_delay: Annotated[
        float, typer.Option(min=0, help="Seconds of load after which replicas are added.")
    ] = 30.0,
    downscale_delay: Annotated[
        float, typer.Option(min=0, help="Seconds without it after which they are removed.")
    ] = 600.0,
    cpus: Annotated[float, typer.Option(min=0, help="CPUs, and threads, of each replica.")] = 1.0,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of each replica.")] = 0.0,
    host: Annotated[str, typer.Option(help="Address that Ray Serve listens on, on each node.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its TCP port.")] = 8000,
) -> None:
    """Deploy the network with the configured weights, or update the deployment, and wait until it answers.

    Every node needs this package and the weights folder at the same path. WEIGHTS, DEVICE, PRECISION,
    BATCH_SIZE and QUEUE_SIZE are those of the service's settings.
    """
    settings = load_settings()
    if max_replicas < min_replicas:
        raise InvalidSettings("--max-replicas must not be smaller than --min-replicas.")
    join_cluster(ray)
    from ray.exceptions import RayError  # noqa: PLC0415 - an extra

    from app.inference.deployment import Scale, deploy  # noqa: PLC0415 - imports torch and Ray

    device = "cuda" if gpus and settings.device == "auto" else settings.device
    batch_size = settings.batch("cuda" if device == "cuda" else "cpu")
    scale = Scale(
        min_replicas,
        max_replicas,
        cpus,
        gpus,
        batch_size,
        settings.queue_size,
        upscale_delay,
        downscale_delay,
    )
    try:
        deploy(settings.weights, device, settings.precision, scale, host, port)
    except (RuntimeError, RayError) as error:
        raise StartRefused(f"The deployment has not started: {error}") from error
    typer.echo(f"deployed; set COUNTERSIGN_INFERENCE=ray://HOST:{port}, with the hosts of the nodes")


@cli.command()
def delete(ray: RayAddress = "auto") -> None:
    """Stop the deployment."""
    join_cluster(ray)
    from app.inference.deployment import delete  # noqa: PLC0415

    delete()
