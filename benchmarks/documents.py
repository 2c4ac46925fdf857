"""Signatures on pages: detection, refusals, and verification after automatic extraction beside the clean crops.

``python -m benchmarks.documents [WEIGHTS]``. For every signer of a data set's test split, five references are clean
crops; the other genuine signatures and all skilled forgeries are placed on pages of every kind in
:mod:`benchmarks.document_pages` and :mod:`benchmarks.everyday_pages`, extracted as an upload is, and compared.
Layouts, fonts, backgrounds, digits and signers are unknown to the networks that find signatures. In the same run, the
pages are compared as a whole, as releases before it did.

``distance``: how many times as far genuine signatures are from the references after the extraction as their clean
crops are, the geometric mean: what the extraction costs, measured on each signature instead of in errors.

``rejected``: of the genuine signatures whose clean crops are accepted at the default threshold, the share that is
lost on the page: refused, one of several, or rejected after the extraction. It is not counted where two people sign,
because the service should ask then which one is meant.

``strangers``: references and questioned signatures of different people on pages of the same kind, drawn alike, at the
default threshold.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from app.settings import PAGE_NETWORK, RELEASED_WEIGHTS
from benchmarks import document_pages, everyday_pages
from benchmarks.document_elements import Filling
from benchmarks.document_pages import UNSIGNED, Kind, NoSignatures, Page, compose
from model.data.registry import open_dataset
from model.decision.verdict import Decision, Verdict, judge
from model.documents.digits import Digits
from model.documents.elements import Drawer
from model.documents.material import Typefaces
from model.errors import SeveralSignatures, UnusableSignature
from model.evaluation.metrics import eer
from model.networks.embedder import Embedder
from model.preprocessing.box import Box
from model.preprocessing.extraction import find_signatures, prepare_signature
from model.preprocessing.finder import SignatureFinder
from model.preprocessing.ink import fit, isolate, prepare

Pixels = NDArray[np.uint8]
Vector = NDArray[np.float32]
REFERENCES = 5
KINDS = {**document_pages.KINDS, **everyday_pages.KINDS}


@dataclass
class Counts:
    """What happened on the pages of one kind.

    ``llr`` holds, for genuine signatures and for forgeries, the log-likelihood ratios of the pages that were
    compared, and ``whole`` those of the same pages compared as a whole; ``distances`` holds, for genuine signatures,
    the ratio of the distance to that of the clean crop. ``signatures`` are more than the ``signed`` pages where
    several people sign; ``accepted_clean`` are the genuine signatures that are accepted as clean crops, and
    ``rejected`` those of them that are not accepted from the page.
    """

    signed: int = 0
    signatures: int = 0
    matched: int = 0
    found: int = 0
    refused: int = 0
    several: int = 0
    unsigned: int = 0
    unsigned_refused: int = 0
    strangers: int = 0
    strangers_accepted: int = 0
    accepted_clean: int = 0
    rejected: int = 0
    llr: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    whole: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    distances: list[float] = field(default_factory=list)


class Benchmark:
    """The networks and fonts of a run."""

    def __init__(self, weights: Path, page_network: Path, target_far: float, data: Path | None) -> None:
        self.embedder = Embedder.load(weights, "auto")
        self.finder = SignatureFinder(page_network)
        self.faces = Typefaces("test", data)
        self.digits = Digits.installed("test", data)
        self.target_far = target_far

    def drawer(self, *design: str, hand: str = "") -> Drawer:
        """Make a drawer whose pages depend on ``design`` and, for what is filled in by hand, on ``hand`` only."""
        return Filling(
            self.faces,
            NoSignatures(),
            _generator(*design),
            hand=_generator(*design, hand),
            digits=self.digits,
        )

    def judge(self, questioned: Vector, references: Vector) -> Verdict:
        """Judge a questioned signature as the service does."""
        return judge(
            self.embedder.compare(questioned[None], references)[0],
            self.embedder.compare_among(references),
            self.embedder.calibration,
            self.target_far,
        )

    def extracted(self, page: Page) -> Pixels:
        """Prepare the signature of a page as the service does. Raises UnusableSignature."""
        return prepare_signature(page.scan, self.embedder.canvas, self.finder).canvas

    def embed(self, canvases: Sequence[Pixels]) -> Vector:
        """Embed canvases."""
        return self.embedder.embed(np.stack(canvases))


def _generator(*key: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(part.encode()) for part in key])


@dataclass(frozen=True)
class Person:
    """A signer: embeddings of clean references (5, d), and isolated ink of questioned signatures."""

    name: str
    references: Vector
    reference_ink: list[Pixels]
    questioned: list[tuple[bool, Pixels]]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, nargs="?", default=RELEASED_WEIGHTS)
    parser.add_argument("--page-network", type=Path, default=PAGE_NETWORK)
    parser.add_argument("--set", default="sigcomp2011-dutch/test", help="data set and split")
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="this kind only, repeatable")
    parser.add_argument("--signers", type=int, default=0, help="first signers only; 0 for all")
    parser.add_argument("--each", type=int, default=6, help="genuine signatures and forgeries of each signer")
    parser.add_argument("--target-far", type=float, default=0.10, help="the service's default is 0.1")
    parser.add_argument("--out", type=Path, default=None, help="write the figures as JSON, too")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    run = Benchmark(args.weights, args.page_network, args.target_far, args.data)
    people = load_people(run, args)
    results = {}
    for name in args.kind or KINDS:
        results[name] = measure(run, name, KINDS[name], people)
        print(f"{name}: done", file=sys.stderr, flush=True)
    never = {name: refusals(run, name) for name in UNSIGNED} if not args.kind else {}
    command = " ".join(["python", "-m", "benchmarks.documents", *sys.argv[1:]])
    print(f"`{command}`\n\n{table(results, never)}")
    if args.out:
        args.out.write_text(json.dumps({k: vars(v) for k, v in results.items()}, indent=1) + "\n")


def load_people(run: Benchmark, args: argparse.Namespace) -> list[Person]:
    """Isolate the signatures of all signers with skilled forgeries and enough genuine signatures."""
    dataset = open_dataset(args.set, args.data)
    people = []
    for signer in tqdm(dataset.signers(), desc="signers", leave=False):
        genuine, forged = dataset.genuine(signer), dataset.forgeries(signer)
        if len(genuine) <= REFERENCES or not forged:
            continue
        order = np.random.default_rng(zlib.crc32(signer.encode())).permutation(len(genuine))
        references = [genuine[index].grey() for index in order[:REFERENCES]]
        questioned = [(True, genuine[index]) for index in order[REFERENCES : REFERENCES + args.each]]
        questioned += [(False, specimen) for specimen in forged[: args.each]]
        people.append(
            Person(
                signer,
                run.embed([prepare(grey, run.embedder.canvas).canvas for grey in references]),
                [isolate(grey).density for grey in references],
                [(genuine_, isolate(specimen.grey()).density) for genuine_, specimen in questioned],
            )
        )
        if args.signers and len(people) == args.signers:
            break
    return people


def measure(run: Benchmark, name: str, kind: Kind, people: Sequence[Person]) -> Counts:
    """Place all questioned signatures on pages of one kind, and judge them."""
    counts = Counts()
    on_pages: list[Vector] = []
    for person in tqdm(people, desc=name, leave=False):
        for index, (genuine, ink) in enumerate(person.questioned):
            page = compose(kind, run.drawer(name, person.name, str(index)), ink)
            counts.signed += 1
            detect(run, page, kind.signers, counts)
            canvas = attempt(run, page, counts)
            verdict = None if canvas is None else run.judge(run.embed([canvas])[0], person.references)
            if verdict is not None:
                counts.llr[0 if genuine else 1].append(verdict.log_likelihood_ratio)
            if genuine:
                clean = run.judge(run.embed([fit(ink, run.embedder.canvas)])[0], person.references)
                compare_with_clean(verdict, clean, kind, counts)
            try:
                whole = prepare(page.grey, run.embedder.canvas).canvas
            except UnusableSignature:
                continue
            verdict = run.judge(run.embed([whole])[0], person.references)
            counts.whole[0 if genuine else 1].append(verdict.log_likelihood_ratio)
        blank = compose(kind, run.drawer(name, person.name, "unsigned"), None)
        counts.unsigned += 1
        counts.unsigned_refused += refuses(run, blank)
        on_pages.append(references_on_pages(run, name, kind, person))
    for index, references in enumerate(on_pages):
        for other in range(len(on_pages)):
            if other != index and len(references) and len(on_pages[other]):
                for questioned in on_pages[other][:2]:
                    counts.strangers += 1
                    decision = run.judge(questioned, references).decision
                    counts.strangers_accepted += decision is Decision.ACCEPT
    return counts


def references_on_pages(run: Benchmark, name: str, kind: Kind, person: Person) -> Vector:
    """Place the references on pages of the same design, and embed those that are extracted."""
    canvases = []
    for number, ink in enumerate(person.reference_ink):
        page = compose(kind, run.drawer(name, "shared design", hand=f"{person.name} {number}"), ink)
        try:
            canvases.append(run.extracted(page))
        except UnusableSignature:
            continue
    return run.embed(canvases) if canvases else np.zeros((0, 1), np.float32)


def compare_with_clean(verdict: Verdict | None, clean: Verdict, kind: Kind, counts: Counts) -> None:
    """Count what the page did to a genuine signature; ``verdict`` is None if none was reached."""
    if verdict is not None:
        counts.distances.append(verdict.distance / clean.distance)
    if kind.signers == 1 and clean.decision is Decision.ACCEPT:
        counts.accepted_clean += 1
        counts.rejected += verdict is None or verdict.decision is not Decision.ACCEPT


def detect(run: Benchmark, page: Page, signers: int, counts: Counts) -> None:
    """Count the signatures that were found, and which true ones are among them (overlap of half the union)."""
    found = find_signatures(page.scan, run.finder)
    counts.found += len(found)
    for truth in true_boxes(page, signers):
        counts.signatures += 1
        counts.matched += any(truth.overlap(one.box) >= 0.5 for one in found)


def true_boxes(page: Page, signers: int) -> list[Box]:
    """Return the boxes of the signatures of a page, from left to right; people sign beside one another."""
    mask = (page.signature > 100).astype(np.uint8)
    columns = np.flatnonzero(mask.any(axis=0))
    widest = np.argsort(np.diff(columns))[::-1][: signers - 1]
    starts = [0, *sorted(int(columns[gap]) + 1 for gap in widest), mask.shape[1]]
    boxes = []
    for left, right in pairwise(starts):
        boxes.append(Box.bounding(np.ascontiguousarray(mask[:, left:right])).moved(left, 0))
    return boxes


def attempt(run: Benchmark, page: Page, counts: Counts) -> Pixels | None:
    """Extract the signature; None, counted, when the page is refused."""
    try:
        return run.extracted(page)
    except SeveralSignatures:
        counts.several += 1
    except UnusableSignature:
        counts.refused += 1
    return None


def refuses(run: Benchmark, page: Page) -> bool:
    """Whether a page without a signature is refused."""
    try:
        run.extracted(page)
    except UnusableSignature:
        return True
    return False


def refusals(run: Benchmark, name: str, pages: int = 60) -> tuple[int, int]:
    """Count the refused pages among pages of a kind that is never signed."""
    refused = 0
    for number in range(pages):
        drawer = run.drawer(name, str(number))
        page = compose(Kind(lambda d, _: UNSIGNED[name](d)), drawer, None)
        refused += refuses(run, page)
    return refused, pages


def table(results: dict[str, Counts], never: dict[str, tuple[int, int]]) -> str:
    """Format the figures as Markdown tables."""
    header = (
        "| page | signed | found | precision | refused | several found | unsigned refused | EER, extracted | ratio "
        "| distance | rejected | EER, whole page | strangers accepted |"
    )
    lines = [
        header,
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    base = _eer(results["clean"].llr) if "clean" in results else None
    for name, counts in results.items():
        own = _eer(counts.llr)
        ratio = "-" if not base or own is None else f"{own / base:.2f}"
        lines.append(
            f"| {name} | {counts.signed} | {_percent(counts.matched, counts.signatures)} "
            f"| {_percent(counts.matched, counts.found)} | {_percent(counts.refused, counts.signed)} "
            f"| {_percent(counts.several, counts.signed)} | {_percent(counts.unsigned_refused, counts.unsigned)} "
            f"| {_rate(own)} | {ratio} | {_times(counts.distances)} "
            f"| {_percent(counts.rejected, counts.accepted_clean)} | {_rate(_eer(counts.whole))} "
            f"| {_percent(counts.strangers_accepted, counts.strangers)} |"
        )
    lines += [f"\n{name}: {refused} of {pages} refused." for name, (refused, pages) in never.items()]
    return "\n".join(lines)


def _eer(llr: tuple[list[float], list[float]]) -> float | None:
    if not llr[0] or not llr[1]:
        return None
    return eer(-np.array(llr[0]), -np.array(llr[1]))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _times(ratios: list[float]) -> str:
    return f"{np.exp(np.log(ratios).mean()):.2f}" if ratios else "-"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


if __name__ == "__main__":
    main()
