"""Turned scans: a questioned signature that is rejected is compared at other angles as well. Only the
comparison with the references shows by how much a signature is turned. A quarter turn that brings it within
the threshold is corrected, and so is a small turn that brings it there and shortens the distance by a tenth.
A turn that gains less is only reported: genuine signatures vary in slant, and trying several angles would
accept more forgeries (``benchmarks/README.md``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.domain.records import KnownForgeries, ResultWarning, Upload, Vector
from app.services.context import AppContext
from app.services.decision import Comparison, compute_comparisons
from app.services.preparation import start_reading
from model.decision.verdict import Decision
from model.networks.embedder import Embedder

SMALL_TURNS = (-16, -12, -8, -4, 4, 8, 12, 16)
"""Degrees, counter-clockwise."""
QUARTER_TURNS = (90, 180, 270)
TURNS = SMALL_TURNS + QUARTER_TURNS
GAIN = 0.9
"""Largest distance after a small turn that is corrected, as a share of the distance before it."""


@dataclass(frozen=True)
class Compared:
    """A questioned signature compared with a signer's references, at the angle that was chosen.

    Attributes
    ----------
    comparison : Comparison
    template : (dimension,) float32
        Of the signature as it was compared.
    turned : int
        Degrees, counter-clockwise, by which it was turned before.
    warnings : tuple of ResultWarning
        About the turn.
    """

    comparison: Comparison
    template: Vector
    turned: int = 0
    warnings: tuple[ResultWarning, ...] = ()


async def embed_turned(context: AppContext, upload: Upload) -> Vector:
    """Embed the signature of an upload at all turns: (turns, dimension) float32. Raises FileRefused, Busy."""

    def read() -> list[NDArray[np.uint8]]:
        return context.decoders.read_turned(
            upload.data,
            upload.name,
            upload.page,
            context.upload_limits,
            context.embedder.canvas,
            upload.region,
            TURNS,
        )

    return await context.inference.embed(await start_reading(context, upload, read))


def find_turn(
    embedder: Embedder, turned: Vector, templates: Vector, upright: Compared, forgeries: KnownForgeries
) -> Compared:
    """Find the turn that brings a rejected signature within the threshold; takes milliseconds.

    Parameters
    ----------
    turned : (turns, dimension) float32
        From :func:`embed_turned`.
    templates : (k, dimension) float32
        Those of the references.
    upright : Compared
        The comparison of the signature as it was sent; it is returned when no turn helps.
    """
    policy = upright.comparison.policy
    comparisons = compute_comparisons(embedder, turned, templates, policy, forgeries)
    nearest = min(range(len(TURNS)), key=lambda index: comparisons[index].verdict.distance)
    comparison, degrees = comparisons[nearest], TURNS[nearest]
    if comparison.verdict.decision is not Decision.ACCEPT:
        return upright
    gains_enough = comparison.verdict.distance <= GAIN * upright.comparison.verdict.distance
    if gains_enough or degrees in QUARTER_TURNS:
        warning = _warn(degrees, "it was turned back before it was compared")
        return Compared(comparison, turned[nearest], degrees, (warning,))
    return replace(upright, warnings=(_warn(degrees, "scan it straight and send it again"),))


def _warn(degrees: int, remedy: str) -> ResultWarning:
    clockwise = -degrees if degrees < 180 else 360 - degrees
    return ResultWarning(
        "turned", f"The questioned signature appears to be turned by {abs(clockwise)} degrees; {remedy}."
    )
