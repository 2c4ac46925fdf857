"""Verifying: a questioned signature against an enrolled signer (on record) or against references sent along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from app.domain.errors import TooFewReferences
from app.domain.records import Finding, ResultWarning, Upload, Verification, new_id
from app.observability.drift import genuine_rank
from app.services.core import Core
from app.services.decision import Judgement, finding, judged, policy
from app.services.idempotency import IdempotentRequest
from app.services.preparation import media_type, read_signature, read_signatures
from app.services.warnings import note
from app.store import questioned_images, references, signer_locks, verifications

Answer = dict[str, Any]


async def verify(
    core: Core,
    tenant_id: str,
    signer_id: str,
    upload: Upload,
    answer: Callable[[Verification], Answer],
    once: IdempotentRequest | None = None,
) -> Answer:
    """Judge a questioned signature and put the finding on record before it is told.

    Raises
    ------
    FileRefused, SignerNotFound, TooFewReferences, ModelVersionMismatch, IdempotencyConflict, SignerErased
    """
    if once is not None and (earlier := await core.store.read(once.earlier)) is not None:
        return earlier
    with core.metrics.stage("store"):
        known = await core.store.read(references.specimens, tenant_id, signer_id, core.model_version)
    have, need = len(known.reference_ids), core.settings.min_references
    if have < max(1, need):
        raise TooFewReferences(
            f"Signer {signer_id!r} has {have} references and a verification needs {max(1, need)}; enrol more."
        )
    signature = await read_signature(core, upload)
    rule = policy(core, known.signer.target_far, known.signer.fixed_threshold)
    judgement = await judged(core, signature.template, known.templates, rule)
    notes: list[ResultWarning] = []
    if signature.sha256 in known.sha256:
        notes.append(note("identical-image"))
    if any(known.warned):
        notes.append(note("low-quality-reference"))
    result, basis = finding(core, signature, judgement, rule, known.reference_ids, notes)
    verification = Verification(new_id(), signer_id, result, signature.sha256, basis)
    entry = core.trail.entry("verify", record_id=verification.verification_id, **audit_details(core, result))

    def keep(session: Session) -> Answer:
        if once is not None and (earlier := once.claim(session)) is not None:
            return earlier
        held = signer_locks.lock(session, tenant_id, signer_id, known.signer.key)
        verifications.add(session, held, verification)
        if core.settings.keep_questioned_days:
            questioned_images.add(
                session,
                held,
                verification.verification_id,
                upload.data,
                media_type(upload.data),
                result.created_at,
            )
        told = answer(verification)
        if once is not None:
            once.keep(session, held, told)
        core.trail.append(session, entry, held.key)
        return told

    with core.metrics.stage("store"):
        told = await core.store.write(keep)
    rank = genuine_rank(core.embedder.calibration, judgement.verdict, len(judgement.distinct))
    core.metrics.verification(result.decision, result.distance, rank)
    return told


async def compare(core: Core, uploads: Sequence[Upload], upload: Upload) -> Finding:
    """Judge a questioned signature against references that were sent along; only the audit keeps that it was done.

    Raises
    ------
    FileRefused, TooManyFiles
    """
    *shown, signature = await read_signatures(core, [*uploads, upload])
    rule = policy(core)
    judgement: Judgement = await judged(core, signature.template, np.stack([s.template for s in shown]), rule)
    notes = [note("identical-image")] if signature.sha256 in {s.sha256 for s in shown} else []
    names = [str(position) for position in range(1, len(shown) + 1)]
    result = finding(core, signature, judgement, rule, names, notes)[0]
    await core.store.write(core.trail.append, core.trail.entry("compare", **audit_details(core, result)))
    return result


def audit_details(core: Core, result: Finding) -> dict[str, Any]:
    """What the audit keeps of a finding."""
    return {
        "decision": result.decision,
        "distance": result.distance,
        "threshold": result.threshold,
        "log_likelihood_ratio": result.log_likelihood_ratio,
        "references": len(result.references),
        "model_version": result.model_version,
        "calibration": core.calibration_id,
    }
