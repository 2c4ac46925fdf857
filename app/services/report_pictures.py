"""The pictures in a report: the questioned signature, and how it differs from the references."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.decoding.pool import Picture
from app.domain.errors import FileRefused
from app.domain.records import Upload
from app.services.context import AppContext
from app.services.difference_pictures import draw_differences, draw_overlay
from app.services.differences import DifferenceMaps
from app.services.outcomes import read_canvas


@dataclass(frozen=True)
class ReportPictures:
    """Pictures of the comparison, in PNG; those on the canvas of the network have its frame.

    Attributes
    ----------
    questioned : Picture or None
    overlay : bytes or None
        The questioned signature over the closest reference.
    nearest, whole, own : bytes or None
        Maps of the questioned signature to the closest reference and to all, and of the closest reference to the
        others.
    """

    questioned: Picture | None
    overlay: bytes | None
    nearest: bytes | None
    whole: bytes | None
    own: bytes | None


async def draw_pictures(
    context: AppContext,
    closest: Sequence[str],
    uploads: Mapping[str, Upload],
    maps: DifferenceMaps | None,
    questioned: Picture | None,
) -> ReportPictures:
    """Draw the comparison with the closest reference.

    Parameters
    ----------
    closest : sequence of str
        Ids of the references that were compared, the closest first.
    uploads : mapping of str to Upload
        Their images, as far as they are kept.
    maps : DifferenceMaps or None
        Without maps, only the questioned signature is shown.
    """
    if maps is None:
        return ReportPictures(questioned, None, None, None, None)
    nearest = next(reference_id for reference_id in closest if reference_id in maps.reference_ids)
    upload = uploads.get(nearest)
    try:
        reference = None if upload is None else await read_canvas(context, upload)
    except FileRefused:
        reference = None

    def draw() -> ReportPictures:
        own = None
        if maps.own is not None and reference is not None:
            own = draw_differences(maps.own[maps.reference_ids.index(nearest)], reference)
        return ReportPictures(
            questioned,
            None if reference is None else draw_overlay(maps.canvas, reference),
            draw_differences(maps.of(nearest), maps.canvas, reference),
            draw_differences(maps.mean, maps.canvas),
            own,
        )

    return await asyncio.to_thread(draw)
