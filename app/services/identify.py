"""Identifying: one-shot classification of a questioned signature among the signers, nearest first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from app.domain.errors import NobodyEnrolled, SignerErased, SignerNotFound
from app.domain.records import ResultWarning, Upload, Vector
from app.services.core import Core
from app.services.decision import judge_now, policy
from app.services.gallery import Entry
from app.services.preparation import Signature, read_signature
from app.services.warnings import note
from app.store import signer_locks, signers

SPARE = 20  # candidates beyond top_k that are measured exactly
RANKINGS = 3


@dataclass(frozen=True)
class Candidate:
    """A signer, and what a verification against them would say."""

    signer_id: str
    decision: str
    distance: float
    threshold: float
    log_likelihood_ratio: float
    references: int


@dataclass(frozen=True)
class Identification:
    """The nearest signers, best first; `accepted` says whether the first passes their own threshold."""

    candidates: tuple[Candidate, ...]
    accepted: bool
    compared: int
    warnings: tuple[ResultWarning, ...]
    model_version: str


async def identify(
    core: Core, tenant_id: str, upload: Upload, top_k: int, signer_ids: Sequence[str] | None = None
) -> Identification:
    """Rank signers by their distance to a questioned signature; only the audit keeps that it was done.

    When the nearest is erased meanwhile, the others are ranked again.

    Raises
    ------
    FileRefused, SignerNotFound
    NobodyEnrolled
        When there is nobody to compare with.
    SignerErased
        When the nearest was erased at each of several rankings.
    """
    if signer_ids:
        unknown = await core.store.read(signers.unknown, tenant_id, list(signer_ids))
        if unknown:
            raise SignerNotFound(f"No signer {unknown[0]!r} is enrolled; leave it out of `signer_ids`.")
    signature = await read_signature(core, upload)
    among = frozenset(signer_ids) if signer_ids else None
    for _ in range(RANKINGS - 1):
        with suppress(SignerErased):
            return await _ranked(core, tenant_id, signature, top_k, among)
    return await _ranked(core, tenant_id, signature, top_k, among)


async def _ranked(
    core: Core, tenant_id: str, signature: Signature, top_k: int, among: frozenset[str] | None
) -> Identification:
    """Rank the signers that are enrolled now and put it on the audit; raises SignerErased, and it is not."""
    with core.metrics.stage("index"):
        near = await core.gallery.nearest(tenant_id, signature.template, top_k + SPARE, among)
    if not near.entries:
        raise NobodyEnrolled(
            f"None of {near.skipped} enrolled signers can be compared with: their references were enrolled with "
            "another model, or cannot be read. `python -m app reembed` moves them from the kept images."
            if near.skipped
            else "No signer with references of the model in use is enrolled; enrol some first."
        )
    ranked = await asyncio.to_thread(_nearest, core, signature.template, near.entries, top_k)
    best = tuple(candidate for _, candidate in ranked)
    notes = (note("skipped-signers"),) if near.skipped else ()
    key, first = ranked[0]
    told = core.trail.entry(
        "identify",
        decision=first.decision,
        distance=first.distance,
        threshold=first.threshold,
        log_likelihood_ratio=first.log_likelihood_ratio,
        candidates=len(best),
        compared=near.compared,
        model_version=core.model_version,
        calibration=core.calibration_id,
    )

    def keep(session: Session) -> None:
        held = signer_locks.lock(session, tenant_id, first.signer_id, key)
        core.trail.append(session, told, held.key)

    await core.store.write(keep)
    return Identification(
        best, first.decision == "accept", near.compared, signature.notes + notes, core.model_version
    )


def _nearest(
    core: Core, question: Vector, entries: Sequence[Entry], top_k: int
) -> list[tuple[str, Candidate]]:
    """The keys of the `top_k` signers with the smallest exact distance, best first; only these are judged."""
    measured: list[tuple[float, str, Entry, Vector]] = []
    for entry in entries:
        if entry.templates is not None:
            own = entry.templates.astype(np.float32)
            to_references = core.embedder.compare(question[None], own)[0]
            fitted = core.embedder.calibration.at(len(to_references))
            measured.append((float(fitted.rule.distance(to_references)), entry.signer_id, entry, own))
    measured.sort(key=lambda one: one[:2])
    ranked = []
    for _, _, entry, templates in measured[:top_k]:
        rule = policy(core, entry.target_far, entry.fixed_threshold)
        verdict = judge_now(core, question, templates, rule).verdict
        candidate = Candidate(
            entry.signer_id,
            verdict.decision.value,
            verdict.distance,
            verdict.threshold,
            verdict.log_likelihood_ratio,
            len(templates),
        )
        ranked.append((entry.key, candidate))
    return ranked
