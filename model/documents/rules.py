"""Fits the rules of a segmentation network: ``python -m model.documents.rules weights/page-4``.

Pages are composed as for training, with other seeds, and searched by the network; crops are scans of the data sets
that its recipe names. The rules (:mod:`model.preprocessing.rules`) are logistic regressions, fitted by maximum
likelihood with a penalty; thresholds and error rates come from cross-validation. ``rules.json`` is written beside the
network.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from tqdm import tqdm

from model.data.registry import open_dataset
from model.documents.digits import Digits, training_digits
from model.documents.elements import Drawer
from model.documents.labelling import label_candidates
from model.documents.layouts import compose_page
from model.documents.material import SignatureSource, Typefaces, training_signatures
from model.errors import UnusableSignature
from model.preprocessing.candidates import PageNetworks, measure_crop
from model.preprocessing.first_look import MIN_WEAKEST, WEAKEST
from model.preprocessing.ink import Located, locate_ink
from model.preprocessing.rules import Look, Rule, Rules, terms
from model.preprocessing.segmenter import Segmenter
from model.preprocessing.views import ink_box
from model.synthetic.writer import Writer

Matrix = NDArray[np.float64]

LOOKS = (192, 288)
"""Long sides of the ink at which an image is looked at first, in pixels."""

PENALTY = 0.02
"""Weight of the squared coefficients in the loss."""

CONSTANT = 1e-3
"""Standard deviation below which a measure tells nothing."""

FOLDS = 5
MISSED, WRONG_CROPS, RIVALS = 0.04, 0.01, 0.10
"""What thresholds are chosen for: shares of signatures missed on pages, of other images taken for crops, and of
signatures that are too doubtful to be a rival of the most probable one."""

WRITERS = 600


@dataclass
class Sample:
    """Measures with labels, and the page of each: pages are not split between folds."""

    measures: list[Matrix] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    def add(self, measures: Matrix, *, label: bool, page: int, kind: str) -> None:
        """Add one part of a page."""
        self.measures.append(measures)
        self.labels.append(label)
        self.pages.append(page)
        self.kinds.append(kind)

    def arrays(self) -> tuple[Matrix, NDArray[np.bool_], NDArray[np.int64]]:
        """Return measures (n, m), labels (n,) and pages (n,)."""
        return np.stack(self.measures), np.array(self.labels), np.array(self.pages)


def main() -> None:
    """Fit the rules of one network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, help="folder with model.onnx and recipe.toml")
    parser.add_argument("--pages", type=int, default=2500)
    parser.add_argument("--crops", type=int, default=80, help="of each data set")
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    recipe = tomllib.loads((args.weights / "recipe.toml").read_text(encoding="utf-8"))
    networks = PageNetworks(args.weights / "model.onnx")
    crops = [Sample() for _ in LOOKS]
    parts = Sample()
    number = 0
    for name in ("synthetic", *recipe["datasets"]):
        for grey in _scans(name, args.crops, args.data):
            look_at(networks.segmenter, grey, crops, number, kind="scan", label=True)
            number -= 1
    faces = Typefaces("train", args.data)
    digits = training_digits(recipe["datasets"], args.data)
    source = training_signatures(faces, recipe["datasets"], args.data, WRITERS)
    for page in tqdm(range(args.pages), desc="pages", leave=False):
        collect(networks, faces, source, digits, page, crops, parts)
    rules, rates = fit_rules(crops, parts)
    rules.save(args.weights / "rules.json", rates)
    print(json.dumps(rates, indent=1))


def _scans(name: str, count: int, data: Path | None) -> list[NDArray[np.uint8]]:
    """Return scans of single signatures: of synthetic writers, or of the training writers of a data set."""
    if name == "names":
        return []
    rng = np.random.default_rng(1)
    if name == "synthetic":
        return [Writer(7_000 + n).genuine_image(n % 6, int(rng.integers(60, 300))) for n in range(2 * count)]
    dataset = open_dataset(f"{name}/train", data)
    signers = list(dataset.signers())
    chosen = [signers[int(index)] for index in rng.integers(len(signers), size=count)]
    found = []
    for signer in chosen:
        genuine = dataset.genuine(signer)
        found.append(genuine[int(rng.integers(len(genuine)))].grey())
    return found


def look_at(
    segmenter: Segmenter, grey: NDArray[np.uint8], crops: list[Sample], page: int, *, kind: str, label: bool
) -> Located | None:
    """Add the measures of an image as a crop at each size; return where its ink is, None if that is not known."""
    try:
        located = locate_ink(grey)
    except UnusableSignature:
        return None
    for sample, side in zip(crops, LOOKS, strict=True):
        sample.add(measure_crop(segmenter, located, side), label=label, page=page, kind=kind)
    return located


def collect(
    networks: PageNetworks,
    faces: Typefaces,
    source: SignatureSource,
    digits: Digits | None,
    number: int,
    crops: list[Sample],
    parts: Sample,
) -> None:
    """Compose a page, and add what is found on it."""
    drawer = Drawer(faces, source, np.random.default_rng([20_261, number]), digits=digits)
    kind, page = compose_page(drawer)
    if kind == "crop":  # some are crops, some show more than that
        try:
            located = locate_ink(page.grey)
        except UnusableSignature:
            return
    else:
        found = look_at(networks.segmenter, page.grey, crops, number, kind=kind, label=False)
        if found is None:
            return
        located = found
    seen = networks.candidates(page.grey, ink_box(located, page.grey.shape))
    for one, label in label_candidates(networks, seen, page):
        parts.add(one.measures, label=label, page=number, kind=kind)


def fit_rules(crops: list[Sample], parts: Sample) -> tuple[Rules, dict[str, float]]:
    """Fit all rules; return them with error rates by cross-validation."""
    rates: dict[str, float] = {}
    looks = []
    for side, sample in zip(LOOKS, crops, strict=True):
        measures, labels, pages = sample.arrays()
        log_odds = cross_validated(measures, labels, pages)
        even = measures[:, WEAKEST] >= MIN_WEAKEST
        accept = float(
            np.quantile(np.where(even, log_odds, -np.inf)[~labels], 1 - WRONG_CROPS, method="lower")
        )
        log_odds = np.where(even, log_odds, np.minimum(log_odds, accept - 1e-6))
        reject = float(np.quantile(log_odds[labels], 0.005))
        rates[f"crops accepted at {side}"] = float((log_odds[labels] >= accept).mean())
        rates[f"crops doubtful at {side}"] = float(
            ((log_odds[labels] < accept) & (log_odds[labels] >= reject)).mean()
        )
        rates[f"others accepted at {side}"] = float((log_odds[~labels] >= accept).mean())
        rates[f"others doubtful at {side}"] = float(
            ((log_odds[~labels] < accept) & (log_odds[~labels] >= reject)).mean()
        )
        looks.append(Look(side, fit(measures, labels), accept, min(reject, accept)))
    measures, labels, pages = parts.arrays()
    log_odds = cross_validated(measures, labels, pages)
    least = float(np.quantile(log_odds[labels], MISSED))
    best, signed = _best_of_pages(log_odds, labels, pages)
    rates["signed pages with a candidate, refused"] = float((best[signed] < least).mean())
    rates["unsigned pages with a candidate, refused"] = float((best[~signed] < least).mean())
    rival = float(np.quantile(log_odds[labels], RIVALS))
    rates = {name: round(rate, 4) for name, rate in rates.items()}
    return Rules(tuple(looks), fit(measures, labels), least, rival), rates


def _best_of_pages(
    log_odds: Matrix, labels: NDArray[np.bool_], pages: NDArray[np.int64]
) -> tuple[Matrix, NDArray[np.bool_]]:
    """Return the highest log-odds of each page, and whether one of its candidates is a signature."""
    _, place = np.unique(pages, return_inverse=True)
    best = np.full(int(place.max()) + 1, -np.inf)
    np.maximum.at(best, place, log_odds)
    signed = np.zeros(len(best), bool)
    np.logical_or.at(signed, place, labels)
    return best, signed


def cross_validated(measures: Matrix, labels: NDArray[np.bool_], pages: NDArray[np.int64]) -> Matrix:
    """Return the log-odds of each part by a rule that was fitted without its page: (n,)."""
    _, place = np.unique(pages, return_inverse=True)
    folds = np.random.default_rng(0).integers(FOLDS, size=int(place.max()) + 1)[place]
    log_odds = np.zeros(len(labels))
    for number in range(FOLDS):
        out = folds == number
        log_odds[out] = fit(measures[~out], labels[~out]).log_odds(measures[out])
    return log_odds


def fit(measures: Matrix, labels: NDArray[np.bool_]) -> Rule:
    """Fit a rule to measures (n, m) with labels (n,)."""
    mean, deviation = measures.mean(axis=0), measures.std(axis=0)
    deviation = np.where(deviation > CONSTANT, deviation, 1.0)
    plain = Rule(mean, deviation, np.zeros(0), 0.0)
    inputs = terms(plain.standard(measures))
    sign = np.where(labels, 1.0, -1.0)
    # Products spread more than the measures: the penalty is on the effect of one standard deviation of each term.
    spread = np.maximum(inputs.std(axis=0), CONSTANT)
    loss = _penalised(inputs / spread, sign)
    found = minimize(
        loss, np.zeros(inputs.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500}
    )
    return Rule(mean, deviation, found.x[:-1] / spread, float(found.x[-1]))


def _penalised(inputs: Matrix, sign: Matrix) -> Callable[[Matrix], tuple[float, Matrix]]:
    """Return the mean logistic loss with its gradient; the last parameter is the bias."""
    count = len(sign)

    def loss(parameters: Matrix) -> tuple[float, Matrix]:
        weights = parameters[:-1]
        margin = sign * (inputs @ weights + parameters[-1])
        value = float(np.logaddexp(0.0, -margin).mean() + 0.5 * PENALTY * (weights @ weights))
        pull = -sign / (1.0 + np.exp(np.clip(margin, -500, 500)))
        gradient = np.append(inputs.T @ pull / count + PENALTY * weights, pull.mean())
        return value, gradient

    return loss


if __name__ == "__main__":
    main()
