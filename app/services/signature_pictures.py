"""Pictures of single signatures and pages for a person: references, questioned signatures, uploads to enrol."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.decoding.pool import PagePicture, PageReading, Picture
from app.domain.errors import ImageNotKept, ReferenceNotFound
from app.domain.records import Upload
from app.services.core import Core
from app.services.extract import extract
from app.services.preparation import start_reading
from app.store import questioned_images, references, signer_locks


@dataclass(frozen=True)
class ProposedCrops:
    """A page, and the signatures that were found on it."""

    page: PagePicture
    reading: PageReading


async def get_reference_picture(core: Core, tenant_id: str, signer_id: str, reference_id: str) -> Picture:
    """Draw a reference alone on white paper; an audit entry records the access.

    Raises
    ------
    SignerNotFound, ReferenceNotFound, FileRefused
    """
    entry = core.trail.entry("view-image", record_id=reference_id)

    def view(session: Session) -> Upload:
        locked = signer_locks.lock_by_id(session, tenant_id, signer_id)
        found = references.uploads(session, tenant_id, signer_id, [reference_id])
        if reference_id not in found:
            raise ReferenceNotFound(f"Signer {signer_id!r} has no reference {reference_id!r}.")
        core.trail.append(session, entry, locked.key)
        return found[reference_id]

    return await _draw(core, await core.store.write(view))


async def get_questioned_picture(core: Core, tenant_id: str, verification_id: str) -> Picture:
    """Draw a questioned signature alone on white paper; an audit entry records the access.

    Raises
    ------
    VerificationNotFound, ImageNotKept, FileRefused
    """
    entry = core.trail.entry("view-image", record_id=verification_id)

    def view(session: Session) -> Upload:
        image = questioned_images.read(session, tenant_id, verification_id)
        if image is None:
            raise ImageNotKept(
                f"The image of verification {verification_id!r} was not kept or has been deleted."
            )
        core.trail.append(session, entry)
        return Upload(image.data, None, page=image.page, region=image.region)

    return await _draw(core, await core.store.write(view))


async def propose_crops(core: Core, upload: Upload) -> ProposedCrops:
    """Draw a page and find the signatures on it; only the audit entry of the extraction is stored.

    Raises
    ------
    FileRefused
    """
    reading = await extract(core, upload)
    page = await start_reading(
        core, upload, lambda: core.readers.draw_page(upload.data, upload.page, core.upload_limits, "whole")
    )
    return ProposedCrops(page, reading)


async def _draw(core: Core, upload: Upload) -> Picture:
    return await start_reading(
        core,
        upload,
        lambda: core.readers.draw(upload.data, upload.page, core.upload_limits, upload.region),
    )
