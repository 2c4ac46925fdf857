"""What signatures of a later day do as references: SUSIG visual, whose writers signed in two sessions.

``python -m benchmarks.ageing [WEIGHTS]``. Five references of the first session; questioned are genuine signatures of
the second session and skilled forgeries. Confirmed signatures of the second session are then added, or replace the
references of the first one. `accepted` takes only those that the service accepts with the five references, as a
policy would; `confirmed` takes whichever a person confirmed first. They are not questioned again.
"""

from __future__ import annotations

import re

import numpy as np

from app.settings import Settings
from benchmarks.command_line import parse_arguments
from model.data.registry import open_dataset
from model.decision.calibration import Calibration
from model.decision.verdict import Decision, Verdict, judge
from model.evaluation.features import InkCache, WeightsFeatures, embed_dataset
from model.evaluation.trials import Gallery, Indices

SET = "susig/test"
FIRST, LATER = 5, 5
DRAWS = 20
SEED = 0
STRATEGIES = {
    "five of the first session": (FIRST, 0),
    "and one of the second": (FIRST, 1),
    "and two of the second": (FIRST, 2),
    "and five of the second": (FIRST, LATER),
    "two replaced by the second": (FIRST - 2, 2),
    "all replaced by the second": (0, LATER),
}
"""References kept of the first session, and taken of the second."""


def main() -> None:
    """Measure and print a table."""
    args = parse_arguments(__doc__)
    features = WeightsFeatures(args.weights, InkCache())
    calibration = Calibration.load(args.weights, features.embedder.card.sha256)
    gallery = embed_dataset(features, open_dataset(SET, args.data))
    print(f"`python -m benchmarks.ageing {args.weights}`\n")
    print(
        "| references | taken of the second session | genuine not accepted | genuine rejected | forgeries accepted |"
    )
    print("|---|---|---:|---:|---:|")
    for only_accepted in (False, True):
        for name, (kept, taken) in STRATEGIES.items():
            if only_accepted and not taken:
                continue
            row = " | ".join(
                f"{100 * rate:.1f} %"
                for rate in _rates(gallery, calibration, kept, taken, only_accepted=only_accepted)
            )
            of = "-" if not taken else "accepted" if only_accepted else "confirmed"
            print(f"| {name} | {of} | {row} |", flush=True)


def _rates(
    gallery: Gallery, calibration: Calibration, kept: int, taken: int, *, only_accepted: bool
) -> tuple[float, float, float]:
    """Return the shares of genuine signatures not accepted and rejected, and of forgeries accepted."""
    rng = np.random.default_rng(SEED)
    session = np.array(
        [found[1] if (found := re.search(r"_g_([12])\d\d\.", key)) else "0" for key in gallery.keys]
    )
    genuine: list[Decision] = []
    forged: list[Decision] = []
    for signer in np.unique(gallery.signers):
        of_signer = gallery.signers == signer
        first, second = (np.flatnonzero(of_signer & (session == one)) for one in "12")
        if len(first) < FIRST or len(second) < LATER + 1:
            continue
        forgeries = np.flatnonzero(of_signer & ~gallery.genuine)
        for _ in range(DRAWS):
            start = rng.permutation(first)[:FIRST]
            later = rng.permutation(second)
            candidates, questioned = later[:LATER], later[LATER:]
            if only_accepted:
                decisions = _decide(gallery, calibration, start, candidates)
                candidates = candidates[[one is Decision.ACCEPT for one in decisions]]
            added = candidates[:taken]
            # As many of the first session stay as are not replaced.
            references = np.append(start[: FIRST - len(added)] if kept < FIRST else start, added)
            genuine += _decide(gallery, calibration, references, questioned)
            forged += _decide(gallery, calibration, references, forgeries)
    return (
        float(np.mean([one is not Decision.ACCEPT for one in genuine])),
        float(np.mean([one is Decision.REJECT for one in genuine])),
        float(np.mean([one is Decision.ACCEPT for one in forged])),
    )


def _decide(
    gallery: Gallery, calibration: Calibration, references: Indices, questioned: Indices
) -> list[Decision]:
    """Decide as the service does with its default settings."""
    among = np.triu(gallery.distances(references, references), 1)
    target_far, review_far = (Settings.model_fields[name].default for name in ("target_far", "review_far"))

    def decide(to_references: np.ndarray) -> Verdict:
        return judge(to_references, among + among.T, calibration, target_far, review_far)

    return [decide(row).decision for row in gallery.distances(questioned, references)]


if __name__ == "__main__":
    main()
