"""``python -m model``: the offline commands. The module of a command is imported when the command runs.

``synth`` needs the serving installation only; the other commands need ``pip install '.[train]'``.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from model.errors import DataError, ModelError
from model.synthetic.command import synth
from model.version_option import VersionOption

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
TRAINING_PACKAGES = ("matplotlib", "optuna", "pytorch_metric_learning", "skimage", "tensorboard", "tqdm")


def require_training_packages() -> None:
    """Raise DataError, with the install command, if a package of the ``train`` extra is not installed."""
    missing = [name for name in TRAINING_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise DataError(
            f"This command needs {', '.join(missing)}: run pip install '.[train]', or `make setup`."
        )


@cli.callback()
def options(_: VersionOption = False) -> None:
    """Train, tune, calibrate and evaluate signature verification; generate synthetic signatures."""


@cli.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML file, such as recipes/countersign-5.toml.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data sets; SIGNATURE_DATA by default.")
    ] = None,
    masters: Annotated[
        Path, typer.Option(help='Folder of the master images, for recipes with rendering = "device".')
    ] = Path(".cache/masters"),
    max_minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Maximum training time in minutes; a cosine schedule ends with it."),
    ] = None,
) -> None:
    """Train a recipe and write OUT/weights. --resume continues an interrupted run from its last checkpoint.

    `torchrun --nproc-per-node=N -m model train RECIPE` trains on N devices, with the result of one.
    """
    require_training_packages()
    from model.training.recipes import read_recipe  # noqa: PLC0415
    from model.training.train import train as run  # noqa: PLC0415

    parsed, text = read_recipe(recipe)
    folder = out or Path("runs") / parsed.name
    card = run(parsed, text, folder, data=data, masters=masters, resume=resume, max_minutes=max_minutes)
    if os.environ.get("RANK", "0") != "0":
        return  # torchrun started several processes; the first one speaks
    typer.echo(f"{folder / 'weights'}: {card.version}, {card.parameters:,} parameters, terms: {card.terms}")


@cli.command()
def pack(
    recipe: Annotated[Path, typer.Argument(help='A recipe with rendering = "device".')],
    out: Annotated[Path, typer.Option(help="Folder of the master images.")] = Path(".cache/masters"),
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data sets; SIGNATURE_DATA by default.")
    ] = None,
) -> None:
    """Write the master images of a recipe's data sets, from which training on a GPU renders its batches."""
    require_training_packages()
    from model.training.data import pack_masters  # noqa: PLC0415
    from model.training.recipes import read_recipe  # noqa: PLC0415

    for path in pack_masters(read_recipe(recipe)[0], out, data):
        typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


@cli.command()
def tune(
    recipe: Annotated[Path, typer.Argument(help="The recipe to start from.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials to add to the study.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Folder of the study; runs/tune-NAME by default.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data sets; SIGNATURE_DATA by default.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0, help="Maximum training time of each trial, in minutes.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampler.")] = 0,
) -> None:
    """Tune optimiser, learning rate, margins and augmentation with Optuna. An existing study is continued."""
    require_training_packages()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise DataError("A study runs in one process: start it without torchrun.")
    from model.training.recipes import read_recipe  # noqa: PLC0415
    from model.training.tuning import search  # noqa: PLC0415

    parsed, text = read_recipe(recipe)
    folder = out or Path("runs") / f"tune-{parsed.name}"
    best = search(text, folder, trials, data=data, max_minutes=max_minutes, seed=seed)
    typer.echo(f"{folder / 'best.toml'}: validation {best.value:.4f} with {best.params}")


def _add_evaluation_commands() -> None:
    """Register the commands whose modules import packages of the ``train`` extra."""
    from model.evaluation.calibrate import calibrate  # noqa: PLC0415
    from model.evaluation.calibration_bootstrap import bootstrap  # noqa: PLC0415
    from model.evaluation.evaluate import evaluate  # noqa: PLC0415
    from model.training.ensembling import combine  # noqa: PLC0415

    cli.command()(evaluate)
    cli.command()(calibrate)
    cli.command()(combine)
    cli.command()(bootstrap)


cli.command()(synth)


def main() -> None:
    """Run the command line. A ModelError is printed to stderr as one line, and the exit status is 2."""
    try:
        if not sys.argv[1:] or sys.argv[1] in {"bootstrap", "calibrate", "combine", "evaluate", "--help"}:
            try:
                require_training_packages()
            except DataError:
                if sys.argv[1:2] and sys.argv[1] != "--help":
                    raise
            else:
                _add_evaluation_commands()
        cli(prog_name="python -m model")
    except ModelError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
