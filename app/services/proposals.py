"""Questioned signatures that become references: proposed, and accepted by a person or by a policy.

References age: genuine signatures of a later day are rejected much more often than those of the day of the
references. Two references of the later day correct this (``python -m benchmarks.ageing``). A questioned signature is
proposed when its case was recorded as genuine and its image is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from app.domain.errors import CountersignError, ImageNotKept, NotConfirmed
from app.domain.records import INFORMATION, Page, Reference, Upload, Verification, now
from app.services.context import AppContext
from app.services.enrol import enrol
from app.store import proposals, questioned_images, signer_locks, verifications
from app.store.store import Store

Answer = dict[str, Any]
_log = logging.getLogger(__name__)


async def list_proposals(
    store: Store, tenant_id: str, signer_id: str, limit: int, after: str | None
) -> Page[Verification]:
    """List the verifications whose signatures may become references, newest first; raise SignerNotFound."""
    return await store.read(proposals.page, tenant_id, signer_id, limit, after)


async def accept_proposal(
    context: AppContext,
    tenant_id: str,
    verification_id: str,
    render: Callable[[tuple[Reference, ...]], Answer],
) -> Answer:
    """Enrol the questioned signature of a verification as a reference of its signer; on disk when this returns.

    Raises
    ------
    VerificationNotFound
    NotConfirmed
        The case was not recorded as genuine, or the signature was turned before it was compared.
    ImageNotKept
        A reference needs its image.
    FileRefused, DuplicateReference, TooManyReferences, SignerErased
        Nothing was stored.
    """
    signer_id, upload = await context.store.read(_read, tenant_id, verification_id)
    return await enrol(context, tenant_id, signer_id, [upload], render, verification_id=verification_id)


async def decline_proposal(context: AppContext, tenant_id: str, signer_id: str, verification_id: str) -> bool:
    """Stop proposing a questioned signature; return False if it is not of the signer or was declined already.

    It can still be accepted by its id.
    """
    entry = context.trail.entry("proposal-decline", record_id=verification_id)

    def write(session: Session) -> bool:
        locked = signer_locks.lock_by_id_exclusively(session, tenant_id, signer_id)
        if locked is None or not proposals.decline(session, locked, verification_id, now()):
            return False
        context.trail.append(session, entry, locked.key)
        return True

    return await context.store.write(write)


async def accept_by_policy(context: AppContext, tenant_id: str, verification: Verification) -> None:
    """Enrol a signature that the service accepted and a person confirmed, if the settings allow it.

    The outcome has been stored already, so an error of the enrolment is only logged.
    """
    reliable = all(warning.code in INFORMATION for warning in verification.finding.warnings)
    if (
        not context.settings.add_confirmed_references
        or verification.finding.decision != "accept"
        or not reliable
        or await context.store.read(proposals.is_declined, verification.verification_id)
    ):
        return
    try:
        await accept_proposal(context, tenant_id, verification.verification_id, lambda _: {})
    except CountersignError as error:
        _log.info("a confirmed signature did not become a reference: %s", error.code)


def _read(session: Session, tenant_id: str, verification_id: str) -> tuple[str, Upload]:
    """Return the signer and the image of a verification whose signature may become a reference."""
    verification = verifications.get(session, tenant_id, verification_id)
    if verification.outcome != "genuine" or verification.is_known_forgery:
        raise NotConfirmed(
            f"Verification {verification_id!r} is not recorded as genuine; record its outcome before its signature "
            "becomes a reference."
        )
    image = questioned_images.read(session, tenant_id, verification_id)
    if image is None:
        raise ImageNotKept(
            f"The image of verification {verification_id!r} was not kept or has been deleted; enrol the signature "
            "from a file."
        )
    if image.turned:
        raise NotConfirmed(
            f"The signature of verification {verification_id!r} was turned before it was compared; enrol it from a "
            "straight scan."
        )
    upload = replace(image.upload, field="verification_id")
    return verification.signer_id, upload
