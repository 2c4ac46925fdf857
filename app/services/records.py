"""Looking up and looking after what is stored: signers, their policy, references, verifications and outcomes."""

from __future__ import annotations

from app.domain import Page, Reference, ReferenceImage, Signer, Verification, now
from app.errors import MalformedRequest
from app.services.core import Core
from app.store import questioned, references, signers, verifications


async def list_signers(core: Core, tenant_id: str, limit: int, after: str | None) -> Page[Signer]:
    """Signers in the order of their ids."""
    return await core.store.read(signers.page, tenant_id, limit, after)


async def get_signer(core: Core, tenant_id: str, signer_id: str) -> Signer:
    """One signer; raises SignerNotFound."""
    return await core.store.read(signers.get, tenant_id, signer_id)


async def set_policy(core: Core, tenant_id: str, signer_id: str, policy: dict[str, float | None]) -> Signer:
    """Give a signer a `target_far` or `fixed_threshold` of their own; raises SignerNotFound, MalformedRequest."""
    low, high = core.embedder.calibration.far_range
    target = policy.get("target_far")
    if target is not None and not low <= target <= high:
        raise MalformedRequest(
            f"target_far: {target:g} cannot be asked for; the calibration supports {low:.4f} to {high}."
        )
    return await core.store.write(signers.set_policy, tenant_id, signer_id, policy)


async def erase_signer(core: Core, tenant_id: str, signer_id: str) -> bool:
    """Erase a signer with all images and templates, for good; False when there was none."""
    return await core.store.erase(signers.erase, tenant_id, signer_id) is not None


async def list_references(
    core: Core, tenant_id: str, signer_id: str, limit: int, after: str | None
) -> Page[Reference]:
    """References of a signer, oldest first; raises SignerNotFound."""
    return await core.store.read(references.page, tenant_id, signer_id, limit, after)


async def get_reference(core: Core, tenant_id: str, signer_id: str, reference_id: str) -> Reference:
    """One reference; raises SignerNotFound, ReferenceNotFound."""
    return await core.store.read(references.get, tenant_id, signer_id, reference_id)


async def reference_image(core: Core, tenant_id: str, signer_id: str, reference_id: str) -> ReferenceImage:
    """The bytes of a reference as uploaded; raises SignerNotFound, ReferenceNotFound."""
    return await core.store.read(references.image, tenant_id, signer_id, reference_id)


async def erase_reference(core: Core, tenant_id: str, signer_id: str, reference_id: str) -> bool:
    """Erase a reference with its image and templates, for good; False when there was none."""
    return await core.store.erase(references.erase, tenant_id, signer_id, reference_id) is not None


async def list_verifications(
    core: Core, tenant_id: str, signer_id: str | None, limit: int, after: str | None
) -> Page[Verification]:
    """Verifications on record, newest first."""
    return await core.store.read(verifications.page, tenant_id, signer_id, limit, after)


async def get_verification(core: Core, tenant_id: str, verification_id: str) -> Verification:
    """One verification on record; raises VerificationNotFound."""
    return await core.store.read(verifications.get, tenant_id, verification_id)


async def questioned_image(core: Core, tenant_id: str, verification_id: str) -> ReferenceImage:
    """The image of a questioned signature as uploaded; raises VerificationNotFound, ImageNotKept."""
    return await core.store.read(questioned.image, tenant_id, verification_id)


async def record_outcome(
    core: Core, tenant_id: str, verification_id: str, outcome: str, note: str | None
) -> Verification:
    """Record what the case turned out to be; raises VerificationNotFound."""
    recorded = await core.store.write(
        verifications.set_outcome, tenant_id, verification_id, outcome, note, now()
    )
    core.metrics.outcomes.labels(outcome, recorded.finding.decision).inc()
    return recorded
