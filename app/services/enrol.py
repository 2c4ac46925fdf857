"""Enrolling: specimens become references of a signer, all of a request in one transaction or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from app.domain.errors import DuplicateReference, SignerNotFound
from app.domain.records import NewReference, Reference, ResultWarning, Upload, new_id, now
from app.services.core import Core
from app.services.decision import Specimen, compare_specimens
from app.services.idempotency import IdempotentRequest
from app.services.preparation import Signature, media_type, read_signatures
from app.services.warnings import note
from app.store import references, signer_locks, signers

Answer = dict[str, Any]


async def enrol(
    core: Core,
    tenant_id: str,
    signer_id: str,
    uploads: Sequence[Upload],
    answer: Callable[[tuple[Reference, ...]], Answer],
    once: IdempotentRequest | None = None,
) -> Answer:
    """Keep specimens as references of a signer, who is made when new; on disk when this returns.

    Parameters
    ----------
    answer : callable
        Renders the references; what it returns is given again to a repetition of the request.

    Raises
    ------
    FileRefused, DuplicateReference, TooManyReferences, IdempotencyConflict, SignerErased
        And nothing was stored.
    """
    if once is not None and (earlier := await core.store.read(once.earlier)) is not None:
        return earlier
    known = await core.store.read(signers.key_of, tenant_id, signer_id)
    signatures = await read_signatures(core, uploads)
    _refuse_twins(signatures)
    compared = await _compare_with_others(core, tenant_id, signer_id, signatures)
    new = [
        _new_reference(core, signature, _warnings(specimen))
        for signature, specimen in zip(signatures, compared, strict=True)
    ]
    entry = core.trail.entry(
        "enrol", references=[one.reference_id for one in new], model_version=core.model_version
    )

    def keep(session: Session) -> Answer:
        if once is not None and (earlier := once.claim(session)) is not None:
            return earlier
        at = now()
        held = signer_locks.lock_or_create(session, tenant_id, signer_id, known, at)
        kept = answer(references.add(session, held, new, at, core.settings.max_references))
        if once is not None:
            once.keep(session, held, kept)
        core.trail.append(session, entry, held.key)
        return kept

    with core.metrics.stage("store"):
        return await core.store.write(keep)


async def _compare_with_others(
    core: Core, tenant_id: str, signer_id: str, signatures: Sequence[Signature]
) -> list[Specimen]:
    """Compare the new specimens with all other references of the signer, old and new.

    Old ones that have no template of the model that runs are left out: templates of two models are never compared.
    Such a signer is enrolled all the same, so that nothing is lost while references are moved to a new model; what
    waits until they are is verifying (`app.services.reembed`).
    """
    templates = np.stack([signature.template for signature in signatures])
    try:
        present = await core.store.read(references.templates_so_far, tenant_id, signer_id, core.model_version)
        old = present.reshape(-1, templates.shape[1])
    except SignerNotFound:
        old = np.zeros((0, templates.shape[1]), np.float32)
    return await compare_specimens(core, np.concatenate([old, templates]), len(templates))


def _warnings(specimen: Specimen) -> tuple[ResultWarning, ...]:
    if specimen.copy:
        return (note("copy-of-reference"),)
    return (note("unlike-other-references"),) if specimen.outlier else ()


def _refuse_twins(signatures: Sequence[Signature]) -> None:
    seen: dict[tuple[str, int], int] = {}
    for position, signature in enumerate(signatures, 1):
        first = seen.setdefault((signature.sha256, signature.upload.page), position)
        if first != position:
            raise DuplicateReference(
                f"Files {first} and {position} of `files` are the same, byte for byte; nothing was stored. "
                "Send each specimen once."
            )


def _new_reference(core: Core, signature: Signature, more: tuple[ResultWarning, ...]) -> NewReference:
    return NewReference(
        reference_id=new_id(),
        data=signature.upload.data,
        sha256=signature.sha256,
        media_type=media_type(signature.upload.data),
        page=signature.upload.page,
        quality=signature.quality,
        warnings=signature.notes + more,
        model_version=core.model_version,
        template=signature.template,
    )
