"""The command line of benchmarks that measure one weights folder on real data sets."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.settings import RELEASED_WEIGHTS


def parse_arguments(description: str | None) -> argparse.Namespace:
    """Parse ``[WEIGHTS] [--data FOLDER]``.

    Returns
    -------
    Namespace
        ``weights``, the released weights by default; ``data``, None for ``SIGNATURE_DATA``.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", nargs="?", type=Path, default=RELEASED_WEIGHTS)
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (SIGNATURE_DATA)")
    return parser.parse_args()
