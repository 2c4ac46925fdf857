"""Write the errors that ``benchmarks/accuracy.py`` measured onto the cards of the released weights.

``python -m benchmarks.cards [runs/accuracy.json]``: what the set rule of the service achieved on test writers.
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
    "signatures of one or two strokes: whoever has a pen can copy their shape",
    "forgers who could watch the signature being written (SVC2004): more of theirs pass than is stated",
    "people who sign in two ways, when the references show only one",
    "writing over guilloche or print: neither training nor test data has any",
)


def main() -> None:
    """Update every card that there are results for."""
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
    found = []
    for kind in ("skilled", "random"):
        rate = result[f"eer_{kind}"]
        found.append(
            MeasuredError(
                dataset=result["dataset"],
                references=result["references"],
                forgeries=kind,
                eer=rate["value"],
                low=rate["low"],
                high=rate["high"],
            )
        )
    return found


if __name__ == "__main__":
    main()
