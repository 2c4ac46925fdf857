"""Identifying: one-shot classification of a questioned signature among the signers, nearest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain import Note, Upload
from app.errors import NobodyEnrolled, SignerNotFound
from app.services.core import Core
from app.services.judging import judged, policy
from app.services.notes import note
from app.services.reading import read_signature
from app.store import signers

SPARE = 20  # candidates beyond top_k that are measured exactly


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
    warnings: tuple[Note, ...]
    model_version: str


async def identify(
    core: Core, tenant_id: str, upload: Upload, top_k: int, signer_ids: Sequence[str] | None = None
) -> Identification:
    """Rank signers by their distance to a questioned signature; nothing is kept.

    Raises
    ------
    FileRefused, SignerNotFound
    NobodyEnrolled
        When there is nobody to compare with.
    """
    if signer_ids:
        unknown = await core.store.read(signers.unknown, tenant_id, list(signer_ids))
        if unknown:
            raise SignerNotFound(f"No signer {unknown[0]!r} is enrolled; leave it out of `signer_ids`.")
    signature = await read_signature(core, upload)
    with core.metrics.stage("index"):
        near = await core.gallery.nearest(
            tenant_id, signature.template, top_k + SPARE, frozenset(signer_ids) if signer_ids else None
        )
    if not near.entries:
        raise NobodyEnrolled("No signer with references of the model in use is enrolled; enrol some first.")
    found = []
    for entry in near.entries:
        if entry.templates is None:
            continue
        rule = policy(core, entry.target_far, entry.fixed_threshold)
        verdict = judged(core, signature.template, entry.templates, rule).verdict
        found.append(
            Candidate(
                entry.signer_id,
                verdict.decision.value,
                verdict.distance,
                verdict.threshold,
                verdict.log_likelihood_ratio,
                len(entry.templates),
            )
        )
    found.sort(key=lambda candidate: (candidate.distance, candidate.signer_id))
    notes = (note("skipped-signers"),) if near.skipped else ()
    best = tuple(found[:top_k])
    return Identification(
        best, best[0].decision == "accept", near.compared, signature.notes + notes, core.model_version
    )
