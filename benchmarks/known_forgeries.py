"""How often a questioned signature resembles a known forgery: by the same hand, by another one, and a genuine one.

``python -m benchmarks.known_forgeries [WEIGHTS]``. Test writers with the forger of each skilled forgery; some of the
forgeries are known, and all others of the same and of other forgers, all genuine signatures that are not references,
and genuine signatures of other writers are questioned. The share of each kind that gets the warning
`resembles-known-forgery` is printed (:mod:`model.decision.known_forgery`). What the rule costs are genuine signatures
that would be accepted without it.
"""

from __future__ import annotations

import re

import numpy as np

from app.settings import Settings
from benchmarks.command_line import parse_arguments
from model.data.registry import open_dataset
from model.decision.calibration import Calibration
from model.decision.distances import Floats
from model.decision.known_forgery import find_forgery_limit
from model.decision.verdict import Decision, judge
from model.evaluation.features import InkCache, WeightsFeatures, embed_dataset
from model.evaluation.trials import Gallery

FORGERS = {
    "sigcomp2011-dutch/test": r"_(\d{4})\d{3}\.",
    "sigcomp2009/test": r"N(?:FI|ISDCC)-(\d{3})",
    # Five forgeries in a row are by one forger in SUSIG, and taken to be in SVC2004, whose forgers have no number.
    "susig/test": r"_f_(\d+)\.",
    "svc2004/test": r"S(\d+)\.",
}
"""Where the key of a forgery names its forger, or its number among those of its writer."""
IN_A_ROW = {"susig/test": 5, "svc2004/test": 5}
REFERENCES, KNOWN = (1, 3, 5, 10), (1, 5)
DRAWS = 10
STRANGERS = 20
SEED = 0
KINDS = ("same hand", "another hand", "genuine", "another writer")


def main() -> None:
    """Measure and print a table."""
    args = parse_arguments(__doc__)
    features = WeightsFeatures(args.weights, InkCache())
    calibration = Calibration.load(args.weights, features.embedder.card.sha256)
    print(f"`python -m benchmarks.known_forgeries {args.weights}`\n")
    print(f"| data set | references | known | {' | '.join(KINDS)} | genuine ones no longer accepted |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in FORGERS:
        gallery = embed_dataset(features, open_dataset(name, args.data))
        for count in REFERENCES:
            for known in KNOWN:
                row = " | ".join(_percent(share) for share in _measure(gallery, calibration, count, known))
                print(f"| {name} | {count} | {known} | {row} |", flush=True)


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"


def _measure(gallery: Gallery, calibration: Calibration, count: int, known: int) -> list[float]:
    """Return the share of each of :data:`KINDS` that resembles, and of genuine ones that are not accepted for it."""
    rng = np.random.default_rng(SEED)
    found: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    lost: list[bool] = []
    for signer in np.unique(gallery.signers):
        own = np.flatnonzero((gallery.signers == signer) & gallery.genuine)
        forged = np.flatnonzero((gallery.signers == signer) & ~gallery.genuine)
        strangers = np.flatnonzero((gallery.signers != signer) & gallery.genuine)
        if len(own) <= count or len(forged) <= known:
            continue
        forgers = np.array([_forger(gallery.name, gallery.keys[index]) for index in forged])
        for _ in range(DRAWS):
            references, genuine = np.split(rng.permutation(own), [count])
            chosen = rng.permutation(len(forged))
            first, rest = chosen[:known], chosen[known:]
            is_same = np.isin(forgers[rest], forgers[first])
            questioned = {
                "same hand": forged[rest[is_same]],
                "another hand": forged[rest[~is_same]],
                "genuine": genuine,
                "another writer": rng.choice(strangers, STRANGERS, replace=False),
            }
            among = np.triu(gallery.distances(references, references), 1)
            for kind, indices in questioned.items():
                if not len(indices):
                    continue
                to_known = gallery.distances(indices, forged[first]).min(axis=1)
                to_references = gallery.distances(indices, references)
                for distance, row in zip(to_known, to_references, strict=True):
                    resembles, accepted = _decide(calibration, float(distance), row, among + among.T)
                    found[kind].append(resembles)
                    if kind == "genuine":
                        lost.append(resembles and accepted)
    return [float(np.mean(shares)) if shares else np.nan for shares in (*found.values(), lost)]


def _decide(
    calibration: Calibration, to_known: float, to_references: Floats, among: Floats
) -> tuple[bool, bool]:
    """Return whether a signature resembles the nearest known forgery, and whether it would be accepted without it."""
    target_far: float = Settings.model_fields["target_far"].default
    verdict = judge(to_references, among, calibration, target_far)
    resembles = to_known <= find_forgery_limit(verdict.distance, calibration)
    return resembles, verdict.decision is Decision.ACCEPT


def _forger(dataset: str, key: str) -> str:
    found = re.search(FORGERS[dataset], key)
    named = found[1] if found else ""
    row = IN_A_ROW.get(dataset)
    return named if row is None else str((int(named) - 1) // row)


if __name__ == "__main__":
    main()
