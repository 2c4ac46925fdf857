"""Write the error rates measured by ``benchmarks/accuracy.py`` to the cards of the released weights.

``python -m benchmarks.cards [runs/accuracy.json]``. The rates are those of the service's set rule on test writers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from model.networks.card import MeasuredError
from model.networks.weights import load_card, write_card

WEIGHTS = Path("weights")
LIMITATIONS = (
    "signatures of one or two strokes: their shape is easy to copy",
    "forgers who have watched the signature being written (SVC2004): the FAR is higher than stated",
    "signers with two forms of signature, if the references contain only one of them",
    "signatures over stamps, squared paper or print: what lies across a signature may be compared with it",
)


def main() -> None:
    """Update every card for which there are results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="?", type=Path, default=Path("runs/accuracy.json"))
    results = json.loads(parser.parse_args().results.read_text(encoding="utf-8"))["results"]
    for folder in sorted(path.parent for path in WEIGHTS.glob("*/card.json")):
        card = load_card(folder)
        errors = tuple(
            error
            for result in results
            if result["features"] == card.name and result["rule"] == "set rule"
            for error in _errors(result)
        )
        if errors:
            write_card(folder, card.model_copy(update={"errors": errors, "limitations": LIMITATIONS}))
            print(f"{folder}: {len(errors)} errors")


def _errors(result: dict[str, Any]) -> list[MeasuredError]:
    errors = []
    for kind in ("skilled", "random"):
        rate = result[f"eer_{kind}"]
        errors.append(
            MeasuredError(
                dataset=result["dataset"],
                references=result["references"],
                forgeries=kind,
                eer=rate["value"],
                low=rate["low"],
                high=rate["high"],
            )
        )
    return errors


if __name__ == "__main__":
    main()
