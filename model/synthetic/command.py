"""``python -m model synth``: write signatures of synthetic writers, ``OUT/WRITER/{genuine,forged}/NN.png``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from rich.progress import Progress

from model.errors import DataError

FORGERS = 3


def write_folder(
    out: Path, writers: int, genuine: int, forged: int, seed: int, done: Callable[[str], None] | None = None
) -> None:
    """Generate and write signatures; the same arguments give identical files.

    Parameters
    ----------
    out : Path
        Created if missing; must be empty, so that the files of two runs are not mixed.
    done : callable, optional
        Called with the name of each writer after all signatures of the writer have been written.

    Raises
    ------
    DataError
        ``out`` is a file, or a folder that is not empty.
    """
    from model.synthetic.writer import Writer  # noqa: PLC0415 - imports SciPy, which other commands do not need

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is not an empty folder; give another folder or empty it first.")
    for index in range(writers):
        name = f"writer-{index + 1:0{max(3, len(str(writers)))}d}"
        writer = Writer(seed * 1_000_003 + index)
        kinds = {
            "genuine": [writer.genuine_image(n) for n in range(genuine)],
            "forged": [writer.forgery_image(n % FORGERS, n // FORGERS) for n in range(forged)],
        }
        for kind, images in kinds.items():
            folder = out / name / kind
            folder.mkdir(parents=True)
            for number, image in enumerate(images, start=1):
                Image.fromarray(image).save(folder / f"{number:02d}.png", optimize=False, dpi=(300, 300))
        if done is not None:
            done(name)


def synth(
    out: Annotated[Path, typer.Argument(help="Output folder; created if missing, must be empty.")],
    writers: Annotated[int, typer.Option(min=1, help="Number of synthetic writers.")] = 5,
    genuine: Annotated[int, typer.Option(min=0, help="Genuine specimens per writer.")] = 8,
    forged: Annotated[
        int, typer.Option(min=0, help="Skilled forgeries per writer, by three forgers in turn.")
    ] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; other seeds give other writers.")] = 0,
) -> None:
    """Generate signatures of synthetic writers and skilled forgeries of them, as PNG files."""
    with Progress(transient=True) as progress:
        task = progress.add_task("generating", total=writers)
        write_folder(out, writers, genuine, forged, seed, lambda _: progress.advance(task))
    typer.echo(f"{writers} writers with {genuine} genuine signatures and {forged} forgeries each in {out}")
