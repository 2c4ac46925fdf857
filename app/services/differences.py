"""Where a questioned signature differs from its references: the maps of a stored verification."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.decoding.pool import Picture
from app.domain.errors import ModelVersionMismatch, NoDifferenceMap, ReferenceNotFound
from app.domain.records import QuestionedImage, Specimens, Upload, Vector, Verification
from app.services.context import AppContext
from app.services.difference_pictures import draw_differences, draw_layer
from app.services.outcomes import read_canvas
from app.store import questioned_images, references, verifications
from model.decision.differences import (
    LEVELS,
    count_beyond,
    leave_one_out,
    mean_differences,
    relative_differences,
)
from model.decision.distances import Floats
from model.networks.embedder import Embedder

Grey = NDArray[np.uint8]
COUNTED = LEVELS[1]
"""Multiple of the usual contribution beyond which cells are counted."""


@dataclass(frozen=True)
class DifferenceMaps:
    """The maps of a questioned signature, in multiples of the usual contribution of a cell.

    Attributes
    ----------
    canvas : uint8 (height, width)
        The questioned signature as the network saw it, ink = 255.
    reference_ids : tuple of str
        References that were compared, still exist, and repeat no other one.
    maps : (k, rows, columns) float64
        Maps to each of these references.
    own : (k, rows, columns) float64 or None
        Maps of each reference to the others; None when there is only one.
    """

    canvas: Grey
    reference_ids: tuple[str, ...]
    maps: Floats
    own: Floats | None

    @property
    def mean(self) -> Floats:
        """The map to the whole set: (rows, columns) float64."""
        return mean_differences(self.maps)

    @property
    def beyond(self) -> int:
        """Number of cells of the map to the whole set beyond :data:`COUNTED` times the usual."""
        return int(count_beyond(self.mean, COUNTED))

    @property
    def own_beyond(self) -> tuple[int, int] | None:
        """Smallest and largest of these numbers for each reference against the others; None with one reference."""
        if self.own is None:
            return None
        counts = count_beyond(self.own, COUNTED)
        return int(counts.min()), int(counts.max())

    def of(self, reference_id: str | None) -> Floats:
        """Return the map to one reference, or to the whole set: (rows, columns) float64.

        Raises
        ------
        ReferenceNotFound
        """
        if reference_id is None:
            return self.mean
        if reference_id not in self.reference_ids:
            raise ReferenceNotFound(
                f"Reference {reference_id!r} was not compared in this verification, was deleted since, or "
                "repeats another one; `references` of the verification lists those that were compared."
            )
        return np.asarray(self.maps[self.reference_ids.index(reference_id)], dtype=np.float64)


async def get_difference_picture(
    context: AppContext, tenant_id: str, verification_id: str, reference_id: str | None
) -> bytes:
    """Draw where a questioned signature differs from one reference, or from all: PNG.

    An audit entry records which images were shown.

    Raises
    ------
    VerificationNotFound, NoDifferenceMap, ModelVersionMismatch, ImageNotKept, ReferenceNotFound, FileRefused, Busy
    """
    maps, reference = await _view(context, tenant_id, verification_id, reference_id)
    return await asyncio.to_thread(draw_differences, maps.of(reference_id), maps.canvas, reference)


async def get_difference_layer(
    context: AppContext, tenant_id: str, verification_id: str, reference_id: str | None
) -> tuple[Picture, DifferenceMaps]:
    """Draw the map without ink, as an overlay for a picture of the questioned signature.

    Raises the errors of :func:`get_difference_picture`.
    """
    maps, reference = await _view(context, tenant_id, verification_id, reference_id)
    return await asyncio.to_thread(draw_layer, maps.of(reference_id), maps.canvas, reference), maps


async def _view(
    context: AppContext, tenant_id: str, verification_id: str, reference_id: str | None
) -> tuple[DifferenceMaps, Grey | None]:
    """Return the maps, and the reference on the canvas; an audit entry records that they were shown."""

    def read(session: Session) -> tuple[Verification, QuestionedImage, Specimens, dict[str, Upload]]:
        verification = verifications.get(session, tenant_id, verification_id)
        refuse_unmapped(context.embedder, verification)
        image = questioned_images.get(session, tenant_id, verification_id)
        specimens = references.specimens(session, tenant_id, verification.signer_id, context.model_version)
        ids = [] if reference_id is None else [reference_id]
        return (
            verification,
            image,
            specimens,
            references.uploads(session, tenant_id, verification.signer_id, ids),
        )

    verification, image, specimens, uploads = await context.store.read(read)
    maps = await compute_maps(context, verification, image, specimens)
    maps.of(reference_id)
    entry = context.trail.entry(
        "view-image", record_id=verification_id, questioned=True, references=list(uploads)
    )
    await context.store.write(context.trail.append, entry)
    upload = None if reference_id is None else uploads.get(reference_id)
    return maps, None if upload is None else await read_canvas(context, upload)


def refuse_unmapped(embedder: Embedder, verification: Verification) -> None:
    """Raise NoDifferenceMap or ModelVersionMismatch when the loaded model cannot say where signatures differ."""
    if not embedder.locates_differences:
        raise NoDifferenceMap(
            f"The model {embedder.version} compares signatures as a whole and cannot say where they differ; "
            "a model with local matching, such as countersign-6, can."
        )
    if verification.finding.model_version != embedder.version:
        raise ModelVersionMismatch(
            f"The verification was made with {verification.finding.model_version}; the service uses "
            f"{embedder.version}, whose map would not explain that distance. Verify the signature again."
        )


async def compute_maps(
    context: AppContext, verification: Verification, image: QuestionedImage, specimens: Specimens
) -> DifferenceMaps:
    """Compare the kept image of a verification with the references that it was compared with, cell by cell.

    Raises
    ------
    ReferenceNotFound
        None of them is left.
    FileRefused, Busy
    """
    compared = verification.distinct_references
    kept = [index for index, one in enumerate(specimens.reference_ids) if one in compared]
    if not kept:
        raise ReferenceNotFound(
            f"None of the references that verification {verification.verification_id!r} was compared with is left."
        )
    canvas = await read_canvas(context, image.upload, image.turned)
    template = np.asarray((await context.inference.embed([canvas]))[0], dtype=np.float32)
    ids = tuple(specimens.reference_ids[index] for index in kept)
    return await asyncio.to_thread(
        _compare,
        context.embedder,
        canvas,
        template,
        ids,
        specimens.templates[kept],
        float(verification.basis["spread"]),
    )


def _compare(
    embedder: Embedder,
    canvas: Grey,
    template: Vector,
    ids: tuple[str, ...],
    templates: Vector,
    spread: float,
) -> DifferenceMaps:
    contributions = embedder.contributions
    maps = relative_differences(contributions(template, templates), spread)
    own = None
    if len(ids) > 1:
        among = np.stack([contributions(one, templates) for one in templates])
        own = leave_one_out(relative_differences(among, spread))
    return DifferenceMaps(canvas, ids, maps, own)
