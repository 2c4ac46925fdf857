"""Enrolment: add specimens as references of a signer, all files of a request in one transaction or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from app.decoding.formats import detect_media_type
from app.domain.errors import DuplicateReference, SignerNotFound
from app.domain.ids import new_id
from app.domain.records import NewReference, Reference, ResultWarning, Upload, now
from app.services.context import AppContext
from app.services.decision import SpecimenCheck, check_specimens
from app.services.idempotency import IdempotentRequest
from app.services.policy import resolve_policy
from app.services.preparation import Signature, find_repetition, read_signatures
from app.services.warnings import make_warning
from app.store import references, signer_locks, signers

Answer = dict[str, Any]


async def enrol(
    context: AppContext,
    tenant_id: str,
    signer_id: str,
    uploads: Sequence[Upload],
    render: Callable[[tuple[Reference, ...]], Answer],
    request: IdempotentRequest | None = None,
    verification_id: str | None = None,
) -> Answer:
    """Add specimens as references of a signer, creating the signer if needed; on disk when this returns.

    Parameters
    ----------
    render : callable
        Renders the references as the answer, which is stored for replays of the request.
    verification_id : str, optional
        The verification whose questioned signature it is, for the audit.

    Raises
    ------
    FileRefused, DuplicateReference, TooManyReferences, IdempotencyConflict, SignerErased
        Nothing was stored.
    """
    if request is not None and (earlier := await context.store.read(request.find_answer)) is not None:
        return earlier
    signer_key = await context.store.read(signers.key_of, tenant_id, signer_id)
    signatures = await read_signatures(context, uploads)
    _refuse_identical_files(signatures)
    checks = await _check_against_references(context, tenant_id, signer_id, signatures)
    new_references = [
        _new_reference(context.model_version, signature, _specimen_warnings(check))
        for signature, check in zip(signatures, checks, strict=True)
    ]
    origin: dict[str, Any] = {} if verification_id is None else {"verification_id": verification_id}
    entry = context.trail.entry(
        "enrol",
        references=[reference.reference_id for reference in new_references],
        model_version=context.model_version,
        **origin,
    )

    def write(session: Session) -> Answer:
        if request is not None and (earlier := request.claim(session)) is not None:
            return earlier
        created_at = now()
        locked = signer_locks.lock_or_create(session, tenant_id, signer_id, signer_key, created_at)
        answer = render(
            references.add(session, locked, new_references, created_at, context.settings.max_references)
        )
        if request is not None:
            request.store_answer(session, locked, answer)
        context.trail.append(session, entry, locked.key)
        return answer

    with context.metrics.stage("store"):
        return await context.store.write(write)


async def _check_against_references(
    context: AppContext, tenant_id: str, signer_id: str, signatures: Sequence[Signature]
) -> list[SpecimenCheck]:
    """Compare each new specimen with the signer's references and with the other new specimens.

    References without a template of the running model are left out, because templates of two models are never
    compared. Such a signer can be enrolled to, but not verified, until `app.services.reembed` has moved their
    references.
    """
    templates = np.stack([signature.template for signature in signatures])
    try:
        present = await context.store.read(
            references.templates_so_far, tenant_id, signer_id, context.model_version
        )
        old = present.reshape(-1, templates.shape[1])
    except SignerNotFound:
        old = np.zeros((0, templates.shape[1]), np.float32)
    return await check_specimens(
        context.embedder, np.concatenate([old, templates]), len(templates), resolve_policy(context.settings)
    )


def _specimen_warnings(check: SpecimenCheck) -> tuple[ResultWarning, ...]:
    if check.is_copy:
        return (make_warning("copy-of-reference"),)
    return (make_warning("unlike-other-references"),) if check.is_outlier else ()


def _refuse_identical_files(signatures: Sequence[Signature]) -> None:
    repetition = find_repetition((s.sha256, s.upload.page, s.upload.region) for s in signatures)
    if repetition is not None:
        raise DuplicateReference(
            f"Files {repetition[0]} and {repetition[1]} of `files` are byte for byte the same; nothing was stored. "
            "Send each specimen once."
        )


def _new_reference(
    model_version: str, signature: Signature, warnings: tuple[ResultWarning, ...]
) -> NewReference:
    return NewReference(
        reference_id=new_id(),
        data=signature.upload.data,
        sha256=signature.sha256,
        media_type=detect_media_type(signature.upload.data),
        page=signature.upload.page,
        region=signature.region,
        quality=signature.quality,
        warnings=signature.warnings + warnings,
        model_version=model_version,
        template=signature.template,
    )
