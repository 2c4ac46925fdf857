"""Fits the rule that tells the strokes of a signature from other ink.

``python -m model.documents.strokes weights/page-4 --out runs/strokes``. Pages are composed and searched with the
networks of the folder. The regions of ink around the signatures that are found (:mod:`model.preprocessing.regions`)
are kept in ``--out``, with the share of each that belongs to the signature; a run that was stopped goes on with the
pages that are missing. The rule (:mod:`model.preprocessing.stroke_mask`) is written beside the networks, as
``strokes.json``.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from model.documents.collection import Collection, arguments, joined
from model.preprocessing.box import Box
from model.preprocessing.finder import CROP_LOOKS
from model.preprocessing.regions import MEASURES, Regions, find_regions
from model.preprocessing.search import RIM, PageSearcher
from model.preprocessing.stroke_mask import REACH, StrokeRule
from model.preprocessing.views import INK, look, resized

Matrix = NDArray[np.float64]

SEED = 20_281

RIMS, SIZES = (RIM, RIM, 0.25, 0.4), (0.6, 1.4)
"""Rims around the box of a signature as a share of its longer side, and sizes of the crop relative to that of the
first look at it."""

MIN_SHARE, MIN_INK = 0.15, 50
"""Least share of the ink of all signatures of a page that lies in the box of one that was found, and least ink."""

SIGNED = 70
"""Coverage, of 255, from which a pixel belongs to a signature."""

HIDDEN = 32
"""Units of a hidden layer."""

BATCH, EPOCHS, PEAK_RATE, WEIGHT_DECAY = 1024, 10, 3e-3, 0.01

LEAST_WEIGHT = 0.002
"""Weight of a region without ink; others weigh more by the ratio of their ink to that of the signature."""

HELD_OUT = 0.1
"""Share of the files on which the rule is tested, before it is fitted to all of them."""

LEAST = 0.25
"""Probability from which a region is taken. With 0.2 or 0.3, the sum of what is lost and what is taken is about the
same on composed pages."""

SPOILED = 0.15
"""Share of the strokes lost, or of other ink taken, from which a signature is spoiled."""


def main() -> None:
    """Collect regions, and fit the rule to them."""
    args = arguments(__doc__, pages=5_000).parse_args()
    collection = Collection.beside(args.weights, args.data, args.out, "strokes", SEED)
    shards = collection.complete(args.pages, collect, args.processes)
    measures, share, ink, crop = (joined(shards, name) for name in ("measures", "share", "ink", "crop"))
    test = crop >= float(np.quantile(np.unique(crop.numpy()), 1.0 - HELD_OUT))
    tested = fit(measures[~test], share[~test], ink[~test])
    rates = errors(tested, *(one[test].numpy() for one in (measures, share, ink, crop)))
    fit(measures, share, ink).save(args.weights / "strokes.json", rates)
    print(json.dumps(rates, indent=1))


def collect(collection: Collection, number: int) -> None:
    """Compose the pages of a file, search them, and write the regions around the signatures found.

    ``measures`` is float32 (n, len(MEASURES)). ``share``, of the ink that belongs to a signature, ``ink``, relative
    to that of the signature, and ``crop``, the number of the crop, are (n,).
    """
    searcher = _searcher(collection.weights)
    columns: list[tuple[Matrix, Matrix, Matrix]] = []
    for page, rng in collection.pages(number):
        signed = page.signature > SIGNED
        for cut in searcher.cuts(page.grey, rim := float(rng.choice(RIMS))):
            inside = int(cut.signature.box.clipped(signed.shape).of(signed).sum())
            if inside < max(MIN_INK, MIN_SHARE * int(signed.sum())):
                continue
            crop, coverage = cut.box.of(page.grey), cut.box.of(page.signature)
            side = CROP_LOOKS[0][0] * rng.uniform(*SIZES) * (1 + rim) / (1 + RIM)
            view = look(crop, Box.around(crop), side).without(cut.frames)
            probability = view.without_margin(searcher.networks.segmenter.probability(view.darkness))
            darkness = view.without_margin(view.darkness)
            regions = find_regions(darkness, probability, resized(cut.strokes, darkness.shape))
            truth = cv2.resize(coverage, darkness.shape[::-1], interpolation=cv2.INTER_AREA) > SIGNED
            columns.append((regions.measures, *label(regions, darkness, truth)))
    crops = [np.full(len(part[0]), 1000 * number + index) for index, part in enumerate(columns)]
    measures, share, ink = (np.concatenate(column) for column in zip(*columns, strict=True))
    collection.write(
        number,
        measures=measures.astype(np.float32),
        share=share.astype(np.float32),
        ink=ink.astype(np.float32),
        crop=np.concatenate(crops).astype(np.int32),
    )


def label(regions: Regions, darkness: NDArray[np.uint8], signed: NDArray[np.bool_]) -> tuple[Matrix, Matrix]:
    """Return, of each region, the share of its ink that is signed, and its ink relative to all that is signed."""
    inked = darkness > INK
    count = len(regions.measures) + 1
    ink = np.bincount(regions.labels[inked], minlength=count)[1:]
    on_signature = np.bincount(regions.labels[inked & signed], minlength=count)[1:]
    return on_signature / np.maximum(ink, 1), ink / max(1, int(signed.sum()))


@cache
def _searcher(weights: Path) -> PageSearcher:
    """Open the networks, once in a process."""
    return PageSearcher(weights / "model.onnx")


def fit(measures: torch.Tensor, share: torch.Tensor, ink: torch.Tensor, epochs: int = EPOCHS) -> StrokeRule:
    """Fit a rule.

    Parameters
    ----------
    measures : float32 (n, len(MEASURES))
    share, ink : float32 (n,)
        As :func:`label` returns them.
    """
    torch.manual_seed(SEED)
    mean, deviation = measures.mean(dim=0), measures.std(dim=0).clamp(min=1e-3)
    inputs = ((measures - mean) / deviation).clamp(-REACH, REACH)
    weights = ink.clamp(max=1.0) + LEAST_WEIGHT
    weights = weights / weights.mean()
    network = nn.Sequential(
        nn.Linear(len(MEASURES), HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 1),
    )
    optimiser = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY)
    steps = max(1, len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, epochs * steps + 1)
    for _ in range(epochs):
        order = torch.randperm(len(inputs))
        for step in range(steps):
            some = order[step * BATCH : (step + 1) * BATCH]
            loss = functional.binary_cross_entropy_with_logits(
                network(inputs[some])[:, 0], share[some], weights[some]
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    layers = tuple(
        (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy())
        for layer in network
        if isinstance(layer, nn.Linear)
    )
    least = round(math.log(LEAST / (1.0 - LEAST)), 4)
    return StrokeRule(mean.double().numpy(), deviation.double().numpy(), layers, least)


def errors(
    rule: StrokeRule, measures: Matrix, share: Matrix, ink: Matrix, crop: NDArray[np.int32]
) -> dict[str, float]:
    """Measure a rule on crops that it was not fitted to: mean shares of ink, and the share of signatures spoiled."""
    kept, belongs = rule.log_odds(measures) >= rule.least, share > 0.5
    _, place = np.unique(crop, return_inverse=True)
    signed, kept_ink = (np.bincount(place, ink * which) for which in (belongs, kept))
    lost = np.bincount(place, ink * (belongs & ~kept)) / np.maximum(signed, 1e-6)
    other = np.bincount(place, ink * (kept & ~belongs)) / np.maximum(kept_ink, 1e-6)
    spoiled = (lost > SPOILED) | (other > SPOILED)
    rates = {"strokes lost": lost, "other ink": other, "signatures spoiled": spoiled}
    return {name: round(float(of_crops.mean()), 4) for name, of_crops in rates.items()}


if __name__ == "__main__":
    main()
