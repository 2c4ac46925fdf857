"""What the pages show of a case: numbers in words, and the drawing of the scale of distances."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from app.decoding.pool import Picture
from app.domain.records import Finding
from app.services.case_pictures import CasePictures

SCALE_WIDTH = 600
"""Width of the scale of distances in the units of its drawing."""


@dataclass(frozen=True)
class Shown:
    """A picture as it is written into a page."""

    source: str
    width: int
    height: int
    x: float
    y: float
    spread: float

    @classmethod
    def of(cls, picture: Picture | None) -> Shown | None:
        """Convert a picture; None when there is none."""
        return None if picture is None else cls.require(picture)

    @classmethod
    def require(cls, picture: Picture) -> Shown:
        """Convert a picture."""
        source = f"data:image/png;base64,{base64.b64encode(picture.image).decode()}"
        x, y = (round(value, 1) for value in picture.centre)
        return cls(source, picture.width, picture.height, x, y, round(picture.spread, 1))


@dataclass(frozen=True)
class ShownReference:
    """A reference beside the questioned signature; its number counts from 1, the closest first."""

    number: int
    reference_id: str
    distance: float
    picture: Shown | None


def shown_references(pictures: CasePictures) -> list[ShownReference]:
    """Return the references of a case, the closest first."""
    return [
        ShownReference(number, item.reference.reference_id, item.reference.distance, Shown.of(item.picture))
        for number, item in enumerate(pictures.references, 1)
    ]


@dataclass(frozen=True)
class Scale:
    """Positions on the scale of distances, in [0, SCALE_WIDTH]."""

    threshold: float
    review: float
    distance: float
    references: list[float]

    @classmethod
    def of(cls, finding: Finding) -> Scale:
        """Spread the distances of a verification over the scale, which begins at 0."""
        review = finding.threshold if finding.review_threshold is None else finding.review_threshold
        distances = [reference.distance for reference in finding.references]
        unit = SCALE_WIDTH / (1.1 * max(finding.distance, review, *distances))
        threshold, review, distance = (
            round(value * unit, 1) for value in (finding.threshold, review, finding.distance)
        )
        return cls(threshold, review, distance, [round(value * unit, 1) for value in distances])
