"""Identification: rank the enrolled signers by their distance to a questioned signature."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from app.domain.errors import NobodyEnrolled, SignerErased, SignerNotFound
from app.domain.records import KnownForgeries, ResultWarning, Upload, Vector
from app.services.core import Core
from app.services.decision import NO_FORGERIES, compute_comparison, resolve_policy
from app.services.exhaustive_index import Entry
from app.services.preparation import Signature, read_signature
from app.services.warnings import make_warning
from app.store import forgeries, signer_locks, signers

SPARE = 20
"""Candidates beyond `top_k` whose exact distance is computed."""
RANKINGS = 3
"""Attempts at a ranking whose nearest signer is not erased meanwhile."""


@dataclass(frozen=True)
class Candidate:
    """A signer, with the result of a verification against their references."""

    signer_id: str
    decision: str
    distance: float
    threshold: float
    log_likelihood_ratio: float
    references: int


@dataclass(frozen=True)
class Identification:
    """The nearest signers, best first.

    Attributes
    ----------
    candidates : tuple of Candidate
    accepted : bool
        Whether the decision for the first candidate is ``accept``.
    compared : int
        Number of signers that were compared.
    warnings : tuple of Note
    model_version : str
    """

    candidates: tuple[Candidate, ...]
    accepted: bool
    compared: int
    warnings: tuple[ResultWarning, ...]
    model_version: str


async def identify(
    core: Core, tenant_id: str, upload: Upload, top_k: int, signer_ids: Sequence[str] | None = None
) -> Identification:
    """Rank signers by their distance to a questioned signature; only an audit entry is stored.

    The ranking is repeated when the nearest signer is erased before the audit entry is written.

    Raises
    ------
    FileRefused, SignerNotFound
    NobodyEnrolled
        No signer can be compared with.
    SignerErased
        The nearest signer was erased during each of :data:`RANKINGS` rankings.
    """
    if signer_ids:
        unknown = await core.store.read(signers.unknown, tenant_id, list(signer_ids))
        if unknown:
            raise SignerNotFound(f"No signer {unknown[0]!r} is enrolled; remove it from `signer_ids`.")
    signature = await read_signature(core, upload)
    among = frozenset(signer_ids) if signer_ids else None
    for _ in range(RANKINGS - 1):
        with suppress(SignerErased):
            return await _identify_once(core, tenant_id, signature, top_k, among)
    return await _identify_once(core, tenant_id, signature, top_k, among)


async def _identify_once(
    core: Core, tenant_id: str, signature: Signature, top_k: int, among: frozenset[str] | None
) -> Identification:
    """Rank the enrolled signers and write the audit entry; raise SignerErased without writing it."""
    with core.metrics.stage("index"):
        neighbours = await core.gallery.nearest(tenant_id, signature.template, top_k + SPARE, among)
    if not neighbours.entries:
        raise NobodyEnrolled(
            f"None of {neighbours.skipped} enrolled signers can be compared: their references were enrolled with "
            "another model, or cannot be read. `python -m app reembed` embeds them again from the stored images."
            if neighbours.skipped
            else "No signer is enrolled with references of the model in use; enrol signers first."
        )
    keys = [entry.key for entry in neighbours.entries]
    known = await core.store.read(forgeries.of_signers, tenant_id, keys, core.model_version)
    ranked = await asyncio.to_thread(
        _rank_exactly, core, signature.template, neighbours.entries, top_k, known
    )
    candidates = tuple(candidate for _, candidate in ranked)
    warnings = (make_warning("skipped-signers"),) if neighbours.skipped else ()
    nearest_key, nearest = ranked[0]
    entry = core.trail.entry(
        "identify",
        decision=nearest.decision,
        distance=nearest.distance,
        threshold=nearest.threshold,
        log_likelihood_ratio=nearest.log_likelihood_ratio,
        candidates=len(candidates),
        compared=neighbours.compared,
        model_version=core.model_version,
        calibration=core.calibration_id,
    )

    def write(session: Session) -> None:
        locked = signer_locks.lock(session, tenant_id, nearest.signer_id, nearest_key)
        core.trail.append(session, entry, locked.key)

    await core.store.write(write)
    return Identification(
        candidates,
        nearest.decision == "accept",
        neighbours.compared,
        signature.warnings + warnings,
        core.model_version,
    )


def nearest_exactly(core: Core, questioned: Vector, entries: Sequence[Entry], count: int) -> list[Entry]:
    """Return the `count` signers nearest to a template (dimension,) by their exact distances, best first."""
    present = [entry for entry in entries if entry.templates is not None]
    if not present:
        return []
    templates = [entry.templates for entry in present if entry.templates is not None]
    distances = core.embedder.compare_one(questioned, np.concatenate(templates))
    ends = np.cumsum([len(rows) for rows in templates])
    measured: list[tuple[float, str, int]] = []
    for number, to_references in enumerate(np.split(distances, ends[:-1])):
        fitted = core.embedder.calibration.at(len(to_references))
        measured.append((float(fitted.rule.distance(to_references)), present[number].signer_id, number))
    measured.sort()
    return [present[number] for _, _, number in measured[:count]]


def _rank_exactly(
    core: Core,
    questioned: Vector,
    entries: Sequence[Entry],
    top_k: int,
    known: Mapping[str, KnownForgeries],
) -> list[tuple[str, Candidate]]:
    """Judge the `top_k` nearest signers; return their keys too, best first."""
    ranked = []
    for entry in nearest_exactly(core, questioned, entries, top_k):
        references = np.asarray(entry.templates, np.float32)
        policy = resolve_policy(core, entry.target_far, entry.fixed_threshold)
        forged = known.get(entry.key, NO_FORGERIES)
        comparison = compute_comparison(core, questioned, references, policy, forged)
        verdict = comparison.verdict
        candidate = Candidate(
            entry.signer_id,
            comparison.decision.value,
            verdict.distance,
            verdict.threshold,
            verdict.log_likelihood_ratio,
            len(references),
        )
        ranked.append((entry.key, candidate))
    return ranked
