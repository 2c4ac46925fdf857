"""Looking up and looking after what is stored: signers, their policy, references, verifications and outcomes."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.domain.audit_chain import Entry
from app.domain.errors import UnsupportedRate
from app.domain.records import Page, Reference, ReferenceImage, Signer, Verification, now
from app.services.core import Core
from app.store import audit, questioned_images, references, signer_locks, signers, verifications
from app.store.erasure.tombstones import Erasure


async def list_signers(core: Core, tenant_id: str, limit: int, after: str | None) -> Page[Signer]:
    """Signers in the order of their ids."""
    return await core.store.read(signers.page, tenant_id, limit, after)


async def get_signer(core: Core, tenant_id: str, signer_id: str) -> Signer:
    """One signer; raises SignerNotFound."""
    return await core.store.read(signers.get, tenant_id, signer_id)


async def set_policy(core: Core, tenant_id: str, signer_id: str, policy: dict[str, float | None]) -> Signer:
    """Give a signer a `target_far` or `fixed_threshold` of their own; raises SignerNotFound, UnsupportedRate."""
    low, high = core.embedder.calibration.far_range
    target = policy.get("target_far")
    if target is not None and not low <= target <= high:
        raise UnsupportedRate(
            f"target_far {target:g} cannot be asked for; the calibration supports {low:.4f} to {high}."
        )
    entry = core.trail.entry("policy", policy=policy)

    def change(session: Session) -> Signer:
        locked = signer_locks.lock_by_id(session, tenant_id, signer_id)
        changed = signers.set_policy(session, locked, policy)
        core.trail.append(session, entry, locked.key)
        return changed

    return await core.store.write(change)


async def erase_signer(core: Core, tenant_id: str, signer_id: str) -> bool:
    """Erase a signer with all images and templates, for good; False when there was none."""
    entry = core.trail.entry("erase-signer")

    def erase(session: Session) -> Erasure | None:
        locked = signer_locks.lock_by_id_exclusively(session, tenant_id, signer_id)
        if locked is None:
            return None
        erased = signers.erase(session, locked)
        core.trail.append(session, entry, locked.key)
        return erased

    return await core.store.erase(erase) is not None


async def list_references(
    core: Core, tenant_id: str, signer_id: str, limit: int, after: str | None
) -> Page[Reference]:
    """References of a signer, oldest first; raises SignerNotFound."""
    return await core.store.read(references.page, tenant_id, signer_id, limit, after)


async def get_reference(core: Core, tenant_id: str, signer_id: str, reference_id: str) -> Reference:
    """One reference; raises SignerNotFound, ReferenceNotFound."""
    return await core.store.read(references.get, tenant_id, signer_id, reference_id)


async def reference_image(core: Core, tenant_id: str, signer_id: str, reference_id: str) -> ReferenceImage:
    """The bytes of a reference as uploaded; the audit keeps who saw it. SignerNotFound, ReferenceNotFound."""
    entry = core.trail.entry("view-image", record_id=reference_id)

    def view(session: Session) -> ReferenceImage:
        locked = signer_locks.lock_by_id(session, tenant_id, signer_id)
        image = references.image(session, tenant_id, signer_id, reference_id)
        core.trail.append(session, entry, locked.key)
        return image

    return await core.store.write(view)


async def erase_reference(core: Core, tenant_id: str, signer_id: str, reference_id: str) -> bool:
    """Erase a reference with its image and templates, for good; False when there was none."""
    entry = core.trail.entry("erase-reference", record_id=reference_id)

    def erase(session: Session) -> Erasure | None:
        erased = references.erase(session, tenant_id, signer_id, reference_id)
        if erased is not None:
            core.trail.append(session, entry, audit.subject_of(session, tenant_id, signer_id))
        return erased

    return await core.store.erase(erase) is not None


async def list_verifications(
    core: Core, tenant_id: str, signer_id: str | None, limit: int, after: str | None
) -> Page[Verification]:
    """Verifications on record, newest first."""
    return await core.store.read(verifications.page, tenant_id, signer_id, limit, after)


async def get_verification(core: Core, tenant_id: str, verification_id: str) -> Verification:
    """One verification on record; raises VerificationNotFound."""
    return await core.store.read(verifications.get, tenant_id, verification_id)


async def questioned_image(core: Core, tenant_id: str, verification_id: str) -> ReferenceImage:
    """The image of a questioned signature; the audit keeps who saw it. VerificationNotFound, ImageNotKept."""
    entry = core.trail.entry("view-image", record_id=verification_id)

    def view(session: Session) -> ReferenceImage:
        image = questioned_images.image(session, tenant_id, verification_id)
        core.trail.append(session, entry)
        return image

    return await core.store.write(view)


async def record_outcome(
    core: Core, tenant_id: str, verification_id: str, outcome: str, note: str | None
) -> Verification:
    """Record what the case turned out to be; raises VerificationNotFound."""
    entry = core.trail.entry("outcome", record_id=verification_id, outcome=outcome)

    def record(session: Session) -> Verification:
        changed = verifications.set_outcome(session, tenant_id, verification_id, outcome, note, now())
        core.trail.append(session, entry)
        return changed

    recorded = await core.store.write(record)
    core.metrics.outcomes.labels(outcome, recorded.finding.decision).inc()
    core.rates.stale()
    return recorded


async def audit_entries(
    core: Core, tenant_id: str, limit: int, before: int | None, action: str | None, signer_id: str | None
) -> Page[tuple[Entry, str | None]]:
    """Entries of a tenant's audit log, newest first, each with the id of its signer while they are enrolled.

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
        return audit.page(session, tenant_id, limit, before, action, subject)

    return await core.store.read(read)
