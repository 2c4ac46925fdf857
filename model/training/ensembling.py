"""``python -m model combine``: join trained local networks into one whose descriptors are matched together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from model.data.registry import open_dataset
from model.errors import UnusableSignature, WeightsMismatched
from model.evaluation.calibrate import VALIDATION
from model.networks.card import Card
from model.networks.embedder import to_tensor
from model.networks.ensemble import LocalEnsemble, principal_projection
from model.networks.local import LocalNetwork
from model.networks.weights import load_card, load_network, save
from model.preprocessing.ink import Canvas, prepare
from model.training.release import commit
from model.types import Terms

BATCH = 64


def combine(
    weights: Annotated[list[Path], typer.Argument(help="The weights folders of the members, two or more.")],
    name: Annotated[str, typer.Option(help="Name of the ensemble.")],
    out: Annotated[Path, typer.Option(help="The weights folder to write.")],
    cell: Annotated[int, typer.Option(min=1, help="Dimension of a cell's descriptor.")] = 16,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            "-d",
            help="Signatures that the projection is fitted on, repeatable; by default the validation writers of the "
            "calibration.",
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the data sets; SIGNATURE_DATA by default.")
    ] = None,
) -> None:
    """Join trained local networks into one network, whose templates are as long as those of one member."""
    card = build_ensemble(weights, name, out, cell, dataset, root)
    typer.echo(f"{out}: {card.version}, {card.parameters:,} parameters, terms: {card.terms}")


def build_ensemble(
    folders: Sequence[Path],
    name: str,
    out: Path,
    cell: int,
    datasets: Sequence[str] | None = None,
    root: Path | None = None,
) -> Card:
    """Join the networks of weights folders, fit the projection, write the weights and return their card.

    The projection is fitted on the signatures of `datasets`, by default the validation writers of the calibration.

    Raises
    ------
    WeightsMismatched
        A member is not a local network, or the members differ in their canvases.
    DataError
        A data set cannot be read.
    """
    cards = [load_card(folder) for folder in folders]
    terms: Terms = "research" if any(card.terms == "research" for card in cards) else "permissive"
    fitted_on = datasets or VALIDATION[terms]
    members = [load_network(folder, card) for folder, card in zip(folders, cards, strict=True)]
    local = [network for network in members if isinstance(network, LocalNetwork)]
    if len(local) < len(members) or len({card.canvas for card in cards}) > 1:
        raise WeightsMismatched("The members of an ensemble are local networks with the same canvas.")
    options = [card.network_options for card in cards]
    try:
        network = LocalEnsemble(options, cell).eval()
    except ValueError as error:
        raise WeightsMismatched(f"These networks cannot be joined: {error}.") from error
    network.join(local)
    canvas = cards[0].canvas.canvas()
    with torch.inference_mode():
        batches = (
            network.descriptors(batch) for dataset in fitted_on for batch in _canvases(dataset, root, canvas)
        )
        projection = principal_projection(batches, cell)
    network.projection.copy_(projection)
    known = {data.name: data for card in cards for data in card.datasets}
    rows, columns = network.matching.grid
    fields = {
        "name": name,
        "network": "ensemble",
        "network_options": {"members": options, "cell": cell},
        "canvas": cards[0].canvas.model_dump(),
        "dimension": rows * columns * cell + 1,
        "metric": "local",
        "datasets": [data.model_dump() for data in known.values()],
        "terms": terms,
        "commit": commit(),
    }
    return save(out, network, fields, _recipe(folders, cards, name, cell, fitted_on))


def _canvases(dataset: str, root: Path | None, canvas: Canvas) -> Iterator[torch.Tensor]:
    """Yield the usable signatures of a data set, ``(n, 1, h, w) float32``."""
    opened = open_dataset(dataset, root)
    prepared = []
    for signer in opened.signers():
        for specimen in (*opened.genuine(signer), *opened.forgeries(signer)):
            try:
                prepared.append(prepare(specimen.grey(), canvas).canvas)
            except UnusableSignature:
                continue
            if len(prepared) == BATCH:
                yield to_tensor(np.stack(prepared))
                prepared = []
    if prepared:
        yield to_tensor(np.stack(prepared))


def _recipe(
    folders: Sequence[Path], cards: Sequence[Card], name: str, cell: int, datasets: Sequence[str]
) -> str:
    """Describe how the ensemble was made, as TOML."""
    lines = [
        "# An ensemble of trained networks. Train the members by their recipes, then:",
        f"# python -m model combine {' '.join(map(str, folders))} --name {name} --out weights/{name}",
        f'name = "{name}"',
        f"cell = {cell}",
        f"fitted_on = {list(datasets)}".replace("'", '"'),
    ]
    for card in cards:
        lines += ["", "[[members]]", f'version = "{card.version}"', f'recipe_sha256 = "{card.recipe_sha256}"']
    return "\n".join(lines) + "\n"
