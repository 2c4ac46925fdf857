"""What the default settings decide by the calibration, of 100 genuine signatures and of 100 skilled forgeries.

``python -m benchmarks.expectations [WEIGHTS] [-k REFERENCES ...]``. The thresholds are those of ``target_far`` and
``review_far``; no data is needed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from app.settings import RELEASED_WEIGHTS, Settings
from model.decision.calibration import Calibration
from model.networks.weights import load_card


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", nargs="?", type=Path, default=RELEASED_WEIGHTS)
    parser.add_argument("-k", "--references", type=int, action="append", help="1, 3, 5 and 10 by default")
    args = parser.parse_args()
    calibration = Calibration.load(args.weights, load_card(args.weights).sha256)
    rates = [Settings.model_fields[name].default for name in ("target_far", "review_far")]
    print("| references | signatures | accepted | review | rejected |\n|---:|---|---:|---:|---:|")
    for references in args.references or (1, 3, 5, 10):
        accept, review = (
            calibration.operating_point(calibration.threshold(rate, references), references) for rate in rates
        )
        for name, accepted, kept in (
            ("genuine", 1.0 - accept.frr, 1.0 - review.frr),
            ("skilled forgeries", accept.far_skilled, review.far_skilled),
        ):
            shares = " | ".join(f"{100.0 * share:.1f}" for share in (accepted, kept - accepted, 1.0 - kept))
            print(f"| {references} | {name} | {shares} |")


if __name__ == "__main__":
    main()
