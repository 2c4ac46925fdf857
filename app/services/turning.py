"""Scans that do not lie straight: a questioned signature that is rejected is compared turned as well.

Only the comparison with the references can tell how a signature lies. A quarter turn that brings it within the
threshold is put right, and so is a small turn that brings it there and shortens the distance by a fifth. A turn that
gains less is reported only: genuine signatures vary in slant, and trying several would accept more forgeries
(``benchmarks/README.md``).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain.records import ResultWarning, Upload, Vector
from app.services.core import Core
from app.services.decision import Comparison, Policy, compute_comparisons
from app.services.preparation import start_reading
from model.decision.verdict import Decision

SMALL_TURNS = (-16, -12, -8, 8, 12, 16)
"""Degrees, counter-clockwise."""
QUARTER_TURNS = (90, 180, 270)
GAIN = 0.8
"""Share of the upright distance that is left after a small turn that is put right."""


@dataclass(frozen=True)
class Turned:
    """The comparison of a turned signature.

    Attributes
    ----------
    degrees : int
        Counter-clockwise turn that brings the signature within the threshold.
    comparison : Comparison
    is_applied : bool
        Whether the turn is put right, or reported only.
    """

    degrees: int
    comparison: Comparison
    is_applied: bool

    @property
    def warning(self) -> ResultWarning:
        """The warning of the response, which names the angle."""
        clockwise = -self.degrees if self.degrees < 180 else 360 - self.degrees
        lies = f"The questioned signature appears to be turned by {abs(clockwise)} degrees"
        if self.is_applied:
            return ResultWarning("turned", f"{lies}; it was turned back before it was compared.")
        return ResultWarning("turned", f"{lies}; scan it straight and send it again.")


async def find_turn(
    core: Core, upload: Upload, templates: Vector, upright: Comparison, policy: Policy
) -> Turned | None:
    """Find the turn that brings a rejected signature within the threshold; None when there is none.

    Parameters
    ----------
    templates : (k, dimension) float32
        Those of the references.
    upright : Comparison
        The comparison of the signature as it was sent.
    """
    if upright.verdict.decision is not Decision.REJECT:
        return None
    angles = SMALL_TURNS + QUARTER_TURNS

    def read() -> list[NDArray[np.uint8]]:
        return core.readers.read_turned(
            upload.data,
            upload.name,
            upload.page,
            core.upload_limits,
            core.embedder.canvas,
            upload.region,
            angles,
        )

    embeddings = await core.queue.embed(await start_reading(core, upload, read))
    comparisons = await asyncio.to_thread(compute_comparisons, core, embeddings, templates, policy)
    nearest = min(range(len(angles)), key=lambda index: comparisons[index].verdict.distance)
    comparison, degrees = comparisons[nearest], angles[nearest]
    if comparison.verdict.decision is not Decision.ACCEPT:
        return None
    gains_enough = comparison.verdict.distance <= GAIN * upright.verdict.distance
    return Turned(degrees, comparison, gains_enough or degrees in QUARTER_TURNS)
