"""Pictures of single signatures and pages for a person: references, questioned signatures, uploads to enrol."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from app.decoding.pool import PagePicture, PageReading, Picture
from app.domain.errors import ReferenceNotFound
from app.domain.records import Upload
from app.services.context import AppContext
from app.services.extract import extract
from app.services.preparation import start_reading
from app.store import questioned_images, references, signer_locks


@dataclass(frozen=True)
class ProposedCrops:
    """A page, and the signatures that were found on it."""

    page: PagePicture
    reading: PageReading


async def get_reference_picture(
    context: AppContext, tenant_id: str, signer_id: str, reference_id: str
) -> Picture:
    """Draw a reference alone on white paper; an audit entry records the access.

    Raises
    ------
    SignerNotFound, ReferenceNotFound, FileRefused
    """
    entry = context.trail.entry("view-image", record_id=reference_id)

    def view(session: Session) -> Upload:
        locked = signer_locks.lock_by_id(session, tenant_id, signer_id)
        found = references.uploads(session, tenant_id, signer_id, [reference_id])
        if reference_id not in found:
            raise ReferenceNotFound(f"Signer {signer_id!r} has no reference {reference_id!r}.")
        context.trail.append(session, entry, locked.key)
        return found[reference_id]

    return await draw(context, await context.store.write(view))


async def get_questioned_picture(context: AppContext, tenant_id: str, verification_id: str) -> Picture:
    """Draw a questioned signature alone on white paper; an audit entry records the access.

    Raises
    ------
    VerificationNotFound, ImageNotKept, FileRefused
    """
    entry = context.trail.entry("view-image", record_id=verification_id)

    def view(session: Session) -> Upload:
        image = questioned_images.get(session, tenant_id, verification_id)
        context.trail.append(session, entry)
        return image.upload

    return await draw(context, await context.store.write(view))


async def propose_crops(context: AppContext, upload: Upload) -> ProposedCrops:
    """Draw a page and find the signatures on it; only the audit entry of the extraction is stored.

    Raises
    ------
    FileRefused
    """
    reading = await extract(context, upload)
    return ProposedCrops(await draw_page(context, replace(upload, region="whole")), reading)


async def draw_page(context: AppContext, upload: Upload) -> PagePicture:
    """Draw the page of an upload, with a frame around its region. Raises FileRefused, Busy."""
    return await start_reading(
        context,
        upload,
        lambda: context.decoders.draw_page(upload.data, upload.page, context.upload_limits, upload.region),
    )


async def draw(context: AppContext, upload: Upload) -> Picture:
    """Draw the signature of an upload alone on white paper. Raises FileRefused, Busy."""
    return await start_reading(
        context,
        upload,
        lambda: context.decoders.draw(upload.data, upload.page, context.upload_limits, upload.region),
    )
