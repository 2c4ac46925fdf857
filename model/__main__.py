"""``python -m model``: the offline jobs. Each is a module of its own, imported when its command is run.

``synth`` needs the serving installation only; the others need ``pip install '.[train]'``.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import typer

from model.errors import DataError, ModelError
from model.synthetic.command import synth

cli = typer.Typer(
    help="Train, tune, calibrate and evaluate signature verification; draw synthetic signatures.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
TRAINING = ("matplotlib", "optuna", "pytorch_metric_learning", "skimage", "tensorboard", "tqdm")


def require_training() -> None:
    """Raise DataError with what to do when the packages that offline jobs need are not installed."""
    missing = [name for name in TRAINING if importlib.util.find_spec(name) is None]
    if missing:
        raise DataError(f"This command needs {', '.join(missing)}: pip install '.[train]', or `make setup`.")


@cli.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML file, such as recipes/countersign-3.toml.")],
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data sets; SIGNATURE_DATA by default.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop (and let a cosine schedule end) after so much training.")
    ] = None,
) -> None:
    """Train a recipe; killed at any moment, --resume goes on from the last checkpoint. Writes OUT/weights."""
    require_training()
    from model.training.recipes import read_recipe  # noqa: PLC0415
    from model.training.train import train as run  # noqa: PLC0415

    parsed, text = read_recipe(recipe)
    folder = out or Path("runs") / parsed.name
    card = run(parsed, text, folder, data=data, resume=resume, max_minutes=max_minutes)
    typer.echo(f"{folder / 'weights'}: {card.version}, {card.parameters:,} parameters, terms: {card.terms}")


@cli.command()
def tune(
    recipe: Annotated[Path, typer.Argument(help="The recipe to start from.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials to add to the study.")] = 20,
    out: Annotated[Path | None, typer.Option(help="The study's folder; runs/tune-NAME by default.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data sets; SIGNATURE_DATA by default.")
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0, help="Training time of each trial.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sampler.")] = 0,
) -> None:
    """Search learning rate, optimiser, margin and augmentation with Optuna; goes on with a study that is there."""
    require_training()
    from model.training.recipes import read_recipe  # noqa: PLC0415
    from model.training.tuning import search  # noqa: PLC0415

    parsed, text = read_recipe(recipe)
    folder = out or Path("runs") / f"tune-{parsed.name}"
    best = search(text, folder, trials, data=data, max_minutes=max_minutes, seed=seed)
    typer.echo(f"{folder / 'best.toml'}: validation {best.value:.4f} with {best.params}")


def _add_measuring_commands() -> None:
    """``evaluate`` and ``calibrate`` bring their own options: they are added as they are."""
    from model.evaluation.calibrate import calibrate  # noqa: PLC0415
    from model.evaluation.evaluate import evaluate  # noqa: PLC0415

    cli.command()(evaluate)
    cli.command()(calibrate)


cli.command()(synth)


def main() -> None:
    """Run the command line; what the model's side refuses is one line on stderr and status 2."""
    try:
        if not sys.argv[1:] or sys.argv[1] in {"evaluate", "calibrate", "--help"}:
            try:
                require_training()
            except DataError:
                if sys.argv[1:2] and sys.argv[1] != "--help":
                    raise
            else:
                _add_measuring_commands()
        cli(prog_name="python -m model")
    except ModelError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
