"""``python -m app demo``: the review desk with signatures of synthetic writers, in a store of its own."""

from __future__ import annotations

import io
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from PIL import Image

from app.commands.serve import run_service
from app.domain.callers import DEFAULT_TENANT
from app.domain.errors import StartRefused
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.services.context import AppContext

REFERENCES = 5
ATTEMPTS = 12
"""Maximum number of verifications of one signer, genuine signatures and forgeries in turn."""
FORGERS = 3
AMOUNTS = ("480", "25000", None, "1999.90", "7250.50", "120", "64000")
"""Amounts of the documents, in euros, in turn; None: none is sent."""
SEED = 4711


def demo(
    folder: Annotated[
        Path,
        typer.Option(help="Folder of the demonstration's own store; the configured store is not touched."),
    ] = Path("var/demo"),
    cases: Annotated[int, typer.Option(min=1, max=1000, help="Number of cases to begin with.")] = 30,
    host: Annotated[
        str, typer.Option(help="A loopback address: the demonstration has no keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port to listen on.")] = 8000,
) -> None:
    """Serve a demonstration of the review desk, with cases that the synthetic writer draws while it serves.

    It takes the configured model. As long as the folder exists, its cases are used again; it can be deleted.
    """
    settings = demo_settings(load_settings(), folder, host, port)
    _make_folder(folder)

    def invite() -> None:
        typer.echo(f"Open http://{host}:{port}/desk and sign in with any name. Ctrl-C ends it.", err=True)

    typer.echo(
        f"Making the first of at least {cases} cases in {folder}, the others while it serves ...", err=True
    )
    run_service(settings, lambda app: fill(app.state.context, cases, invite))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartRefused(f"The folder of the demonstration cannot be created: {error}.") from error


def demo_settings(settings: Settings, folder: Path, host: str, port: int) -> Settings:
    """Return the settings: no keys, images are kept, and more verifications are left to a person than by default."""
    return settings.model_copy(
        update={
            "host": host,
            "port": port,
            "root_path": "",
            "trusted_proxies": "",
            "bootstrap_key": None,
            "database_url": f"sqlite:///{folder / 'demo.sqlite3'}",
            "encryption_keys": None,
            "encryption_key_file": None,
            "encryption_key_id": None,
            "erasure_log": None,
            "keep_questioned_days": 36_500.0,
            "fixed_threshold": None,
            "target_far": 0.01,
            "review_far": 0.5,
            "rate_limit": "",
        }
    )


async def fill(context: AppContext, cases: int, ready: Callable[[], object] = lambda: None) -> None:
    """Enrol synthetic signers and verify signatures until enough of them are left to a person.

    A store with signers is left as it is. `ready` is called as soon as there is something to see.
    """
    from app.domain.amounts import Money  # noqa: PLC0415
    from app.domain.records import Upload  # noqa: PLC0415
    from app.services.cases import count_open_cases  # noqa: PLC0415
    from app.services.enrol import enrol  # noqa: PLC0415
    from app.services.records import list_signers  # noqa: PLC0415
    from app.services.verify import verify  # noqa: PLC0415
    from model.synthetic.writer import Writer  # noqa: PLC0415 - imports SciPy

    if (await list_signers(context.store, DEFAULT_TENANT, 1, None)).items:
        ready()
        return
    number = found = 0
    while found < cases:
        number += 1
        writer, signer_id = Writer(SEED + number), f"writer-{number:03d}"
        uploads = [Upload(_png(writer.genuine_image(n)), None) for n in range(REFERENCES)]
        await enrol(context, DEFAULT_TENANT, signer_id, uploads, lambda _: {})
        for n in range(ATTEMPTS):
            half = n // 2
            image = (
                writer.forgery_image(half % FORGERS, half // FORGERS)
                if n % 2
                else writer.genuine_image(REFERENCES + half)
            )
            amount = AMOUNTS[(number * ATTEMPTS + n) % len(AMOUNTS)]
            money = None if amount is None else Money(Decimal(amount), "EUR")
            upload = Upload(_png(image), None)
            await verify(context, DEFAULT_TENANT, signer_id, upload, lambda _: {}, money=money)
        before, found = found, max(found, await count_open_cases(context.store, DEFAULT_TENANT))
        if found and not before:
            ready()


def _png(image: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", dpi=(300, 300))
    return out.getvalue()
