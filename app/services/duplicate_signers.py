"""Other signers who may be the same person: references that are the same scans, or that accept each other."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.domain.errors import SignerNotFound
from app.domain.records import Specimens
from app.services.context import AppContext
from app.services.decision import compute_comparisons, distinct_references
from app.services.identify import SPARE, nearest_exactly
from app.services.policy import resolve_policy
from app.settings import Settings
from app.store import references, signer_locks
from model.decision.verdict import DISTANCE_DIGITS, Decision
from model.networks.embedder import Embedder


@dataclass(frozen=True)
class SameScan:
    """A reference of a signer, and the reference of the other signer that is the same scan."""

    reference_id: str
    other_reference_id: str


@dataclass(frozen=True)
class DuplicateSigner:
    """Another signer with references like those of a signer.

    Attributes
    ----------
    signer_id : str
    same_scans : tuple of SameScan
    accepted : int
        Number of the signer's references that the references of the other signer accept as questioned signatures.
    distance : float
        Smallest distance between references of both.
    """

    signer_id: str
    same_scans: tuple[SameScan, ...]
    accepted: int
    distance: float


@dataclass(frozen=True)
class DuplicateSigners:
    """The result of a search.

    Attributes
    ----------
    signer_id : str
    references : int
        Number of the signer's distinct references, each of which was searched for.
    duplicates : tuple of DuplicateSigner
        Those with the same scans first, then by distance.
    is_truncated : bool
        Whether there are more than were asked for.
    compared : int
        Number of other signers that were compared.
    model_version : str
    """

    signer_id: str
    references: int
    duplicates: tuple[DuplicateSigner, ...]
    is_truncated: bool
    compared: int
    model_version: str


async def find_duplicate_signers(
    context: AppContext, tenant_id: str, signer_id: str, limit: int
) -> DuplicateSigners:
    """Find at most `limit` other signers of the tenant who may be the same person as a signer.

    A signer is listed who has the same scan as a reference, or whose references accept more than half of this
    signer's. An audit entry records the search.

    Raises
    ------
    SignerNotFound, ModelVersionMismatch, StoredDataDamaged, DataKeyMissing
    """
    embedder, settings = context.embedder, context.settings
    specimens = await context.store.read(references.specimens, tenant_id, signer_id, context.model_version)
    distinct = await asyncio.to_thread(_distinct, embedder, specimens)
    others: set[str] = set()
    compared = 0
    for template in specimens.templates[distinct]:
        # One more, because the signer is the nearest one to each of their own references.
        found = await context.signer_index.nearest(tenant_id, template, limit + 2 + SPARE)
        compared = max(compared, found.compared - 1)
        entries = [entry for entry in found.entries if entry.signer_id != signer_id]
        nearest = await asyncio.to_thread(nearest_exactly, embedder, template, entries, limit + 1)
        others |= {entry.signer_id for entry in nearest}
    duplicates = []
    for other_id in others:
        with suppress(SignerNotFound):  # erased meanwhile
            other = await context.store.read(references.specimens, tenant_id, other_id, context.model_version)
            duplicate = await asyncio.to_thread(_compare, embedder, settings, specimens, distinct, other)
            duplicates += [] if duplicate is None else [duplicate]
    duplicates.sort(key=lambda one: (-len(one.same_scans), one.distance, one.signer_id))
    is_truncated = len(duplicates) > limit
    del duplicates[limit:]
    record = context.trail.entry(
        "find-duplicates",
        compared=compared,
        duplicates=len(duplicates),
        model_version=context.model_version,
    )

    def write(session: Session) -> None:
        locked = signer_locks.lock_by_id(session, tenant_id, signer_id)
        context.trail.append(session, record, locked.key)

    await context.store.write(write)
    return DuplicateSigners(
        signer_id, len(distinct), tuple(duplicates), is_truncated, compared, context.model_version
    )


def _distinct(embedder: Embedder, specimens: Specimens) -> NDArray[np.intp]:
    """Return the indices of the references that do not repeat an earlier one."""
    return distinct_references(embedder.calibration, embedder.compare_among(specimens.templates))


def _compare(
    embedder: Embedder,
    settings: Settings,
    specimens: Specimens,
    distinct: NDArray[np.intp],
    other: Specimens,
) -> DuplicateSigner | None:
    """Compare the references of a signer with those of another one; None if they are not alike."""
    if not other.reference_ids:
        return None
    policy = resolve_policy(settings, other.signer.target_far, other.signer.fixed_threshold)
    comparisons = compute_comparisons(embedder, specimens.templates[distinct], other.templates, policy)
    distances = np.stack([comparison.to_references for comparison in comparisons])
    same = tuple(
        SameScan(specimens.reference_ids[distinct[own]], other.reference_ids[theirs])
        for own, theirs in enumerate(distances.argmin(axis=1))
        if distances[own, theirs] < embedder.calibration.copy_distance
    )
    accepted = sum(comparison.decision is Decision.ACCEPT for comparison in comparisons)
    if not same and 2 * accepted <= len(distinct):
        return None
    distance = round(float(distances.min()), DISTANCE_DIGITS)
    return DuplicateSigner(other.signer.signer_id, same, accepted, distance)
