"""Read, change and erase stored records: signers, policies, references, verifications, audit entries."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from app.domain.audit_chain import Entry
from app.domain.records import Page, Reference, ReferenceImage, Signer, Verification
from app.domain.verification_filter import EVERYTHING, VerificationFilter
from app.services.context import AppContext
from app.services.policy import refuse_unsupported_rate, refuse_unsupported_threshold
from app.store import audit, questioned_images, references, signer_locks, signers, verifications
from app.store.erasure.tombstones import Erasure
from app.store.store import Store


async def list_signers(
    store: Store, tenant_id: str, limit: int, after: str | None, search: str | None = None
) -> Page[Signer]:
    """List signers by id; with `search`, those whose id contains it."""
    return await store.read(signers.page, tenant_id, limit, after, search)


async def get_signer(store: Store, tenant_id: str, signer_id: str) -> Signer:
    """Get one signer; raise SignerNotFound."""
    return await store.read(signers.get, tenant_id, signer_id)


async def set_policy(
    context: AppContext, tenant_id: str, signer_id: str, policy: dict[str, float | None]
) -> Signer:
    """Set a signer's `target_far` or `fixed_threshold`; raise SignerNotFound or UnsupportedRate."""
    target, threshold = policy.get("target_far"), policy.get("fixed_threshold")
    if target is not None:
        refuse_unsupported_rate(context.embedder.calibration, target)
    if threshold is not None:
        refuse_unsupported_threshold(context.embedder.calibration, threshold)
    entry = context.trail.entry("policy", policy=policy)

    def write(session: Session) -> Signer:
        locked = signer_locks.lock_by_id(session, tenant_id, signer_id)
        signer = signers.set_policy(session, locked, policy)
        context.trail.append(session, entry, locked.key)
        return signer

    return await context.store.write(write)


async def erase_signer(context: AppContext, tenant_id: str, signer_id: str) -> bool:
    """Permanently erase a signer with all images and templates; return False when there was none."""
    entry = context.trail.entry("erase-signer")
    erased_keys: list[str] = []

    def erase(session: Session) -> Erasure | None:
        locked = signer_locks.lock_by_id_exclusively(session, tenant_id, signer_id)
        if locked is None:
            return None
        erasure = signers.erase(session, locked)
        context.trail.append(session, entry, locked.key)
        erased_keys.append(locked.key)
        return erasure

    return await _erase(context, tenant_id, erase, erased_keys)


async def list_references(
    store: Store, tenant_id: str, signer_id: str, limit: int, after: str | None
) -> Page[Reference]:
    """List the references of a signer, oldest first; raise SignerNotFound."""
    return await store.read(references.page, tenant_id, signer_id, limit, after)


async def get_reference(store: Store, tenant_id: str, signer_id: str, reference_id: str) -> Reference:
    """Get one reference; raise SignerNotFound or ReferenceNotFound."""
    return await store.read(references.get, tenant_id, signer_id, reference_id)


async def get_reference_image(
    context: AppContext, tenant_id: str, signer_id: str, reference_id: str
) -> ReferenceImage:
    """Get the image of a reference as uploaded; an audit entry records the access.

    Raises
    ------
    SignerNotFound, ReferenceNotFound
    """
    entry = context.trail.entry("view-image", record_id=reference_id)

    def view(session: Session) -> ReferenceImage:
        locked = signer_locks.lock_by_id(session, tenant_id, signer_id)
        image = references.image(session, tenant_id, signer_id, reference_id)
        context.trail.append(session, entry, locked.key)
        return image

    return await context.store.write(view)


async def erase_reference(context: AppContext, tenant_id: str, signer_id: str, reference_id: str) -> bool:
    """Permanently erase a reference with its image and templates; return False when there was none."""
    entry = context.trail.entry("erase-reference", record_id=reference_id)
    changed_keys: list[str] = []

    def erase(session: Session) -> Erasure | None:
        erasure = references.erase(session, tenant_id, signer_id, reference_id)
        if erasure is not None:
            signer_key = audit.subject_of(session, tenant_id, signer_id)
            context.trail.append(session, entry, signer_key)
            if signer_key is not None:
                changed_keys.append(signer_key)
        return erasure

    return await _erase(context, tenant_id, erase, changed_keys)


async def _erase(
    context: AppContext, tenant_id: str, erase: Callable[[Session], Erasure | None], signer_keys: list[str]
) -> bool:
    """Run an erasure, and remove the signers whose keys it adds to `signer_keys` from the index in memory."""
    try:
        return await context.store.erase(erase) is not None
    finally:  # also when the erasure was committed but not logged
        for signer_key in set(signer_keys):
            await context.signer_index.erase(tenant_id, signer_key)


async def list_verifications(
    store: Store,
    tenant_id: str,
    signer_id: str | None,
    limit: int,
    after: str | None,
    wanted: VerificationFilter = EVERYTHING,
) -> Page[Verification]:
    """List verifications, newest first."""
    return await store.read(verifications.page, tenant_id, signer_id, limit, after, wanted)


async def get_verification(store: Store, tenant_id: str, verification_id: str) -> Verification:
    """Get one verification; raise VerificationNotFound."""
    return await store.read(verifications.get, tenant_id, verification_id)


async def get_questioned_image(context: AppContext, tenant_id: str, verification_id: str) -> ReferenceImage:
    """Get the image of a questioned signature; an audit entry records the access.

    Raises
    ------
    VerificationNotFound, ImageNotKept
    """
    entry = context.trail.entry("view-image", record_id=verification_id)

    def view(session: Session) -> ReferenceImage:
        image = questioned_images.image(session, tenant_id, verification_id)
        context.trail.append(session, entry)
        return image

    return await context.store.write(view)


async def list_audit_entries(
    store: Store,
    tenant_id: str,
    limit: int,
    before: int | None,
    action: str | None = None,
    signer_id: str | None = None,
    record_id: str | None = None,
) -> Page[tuple[Entry, str | None]]:
    """List entries of a tenant's audit trail, newest first, each with the id of its signer while enrolled.

    Parameters
    ----------
    before : int, optional
        Only entries with a smaller sequence number.
    """

    def read(session: Session) -> Page[tuple[Entry, str | None]]:
        subject = None
        if signer_id is not None:
            subject = audit.subject_of(session, tenant_id, signer_id)
            if subject is None:
                return Page((), None)
        return audit.page(session, tenant_id, limit, before, action, subject, record_id)

    return await store.read(read)
