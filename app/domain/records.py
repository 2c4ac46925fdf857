"""Records that the use cases and the store exchange, independent of HTTP and SQL.

Request and response schemas are in `app.api.schemas`, database tables in `app.store.tables`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

UploadRegion = Literal["auto", "whole"] | tuple[int, int, int, int]
"""Where the signature is: to be found, the whole image, or left, top, right and bottom in pixels of the page."""

Vector = NDArray[np.float32]
"""A template: (dimension,) float32, the network's embedding of one signature."""


MOVED = frozenset({"sheet-rectified", "page-straightened", "page-turned"})
"""Codes of warnings of an image whose page was moved before: with a box in the image, it is not exactly the same."""

INFORMATION = MOVED | {"other-marks-removed", "other-signatures", "red-print-removed"}
"""Codes of warnings of an image that do not make its comparison less reliable."""

NOT_OF_QUALITY = INFORMATION | {"copy-of-reference"}
"""Codes of warnings of a reference that do not make it one of low quality; a copy does not count, but may be good."""


@dataclass(frozen=True)
class ResultWarning:
    """A warning about a result or a reference: a stable code and an explanation."""

    code: str
    detail: str


def format_region(region: UploadRegion) -> str:
    """Format a region as `parse_region` reads it: ``auto``, ``whole`` or ``left,top,right,bottom``."""
    return region if isinstance(region, str) else ",".join(map(str, region))


def parse_region(text: str) -> UploadRegion:
    """Parse a region. Raises ValueError when it is none, or its sides are out of order."""
    if text == "auto":
        return "auto"
    if text == "whole":
        return "whole"
    left, top, right, bottom = (int(side) for side in text.split(","))
    if not (0 <= left < right and 0 <= top < bottom):
        raise ValueError("the sides of the region are out of order")
    return left, top, right, bottom


@dataclass(frozen=True)
class Upload:
    """An uploaded file.

    Attributes
    ----------
    data : bytes
    name : str or None
        File name sent by the caller.
    field : str
        Form field of the file.
    position : int
        Number of the file among those of the field, counted from 1.
    page : int
        Page to read from a multi-page file, counted from 0.
    region : UploadRegion
    takes_region : bool
        Whether the caller can choose `page` and `region` of the file; False for stored images.
    """

    data: bytes
    name: str | None
    field: str = "signature"
    position: int = 1
    page: int = 0
    region: UploadRegion = "auto"
    takes_region: bool = True

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes, hexadecimal, computed once.

        Large files take milliseconds, so the first access must be on a worker thread, not on the event loop.
        """
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Signer:
    """An enrolled signer."""

    key: str  # primary key in the store, never shown to callers
    signer_id: str  # chosen by the caller
    created_at: datetime
    references: int
    target_far: float | None = None
    fixed_threshold: float | None = None


@dataclass(frozen=True)
class Reference:
    """A genuine signature of a signer, without its image."""

    reference_id: str
    signer_id: str
    created_at: datetime
    sha256: str
    media_type: str
    size: int
    page: int
    quality: dict[str, Any]
    warnings: tuple[ResultWarning, ...]
    model_version: str


@dataclass(frozen=True)
class NewReference:
    """A reference to be stored: its image as uploaded, and its template."""

    reference_id: str
    data: bytes
    sha256: str
    media_type: str
    page: int
    region: UploadRegion
    quality: dict[str, Any]
    warnings: tuple[ResultWarning, ...]
    model_version: str
    template: Vector


@dataclass(frozen=True)
class ReferenceImage:
    """An image as it was uploaded."""

    data: bytes
    media_type: str
    sha256: str


@dataclass(frozen=True)
class QuestionedImage:
    """The image of a questioned signature as uploaded, and how it was read.

    Attributes
    ----------
    page : int
        Counted from 0.
    region : UploadRegion
    turned : int
        Degrees, counter-clockwise, by which the signature was turned before it was compared.
    """

    data: bytes
    media_type: str
    page: int
    region: UploadRegion
    turned: int = 0

    @property
    def upload(self) -> Upload:
        """The file as an upload, to be read again."""
        return Upload(self.data, None, page=self.page, region=self.region, takes_region=False)


@dataclass(frozen=True)
class KnownForgery:
    """A questioned signature that was found to be forged.

    Attributes
    ----------
    verification_id : str
    created_at : datetime
        When it was recorded to be forged.
    verified_at : datetime
    decision, outcome : str
        Of the verification. An outcome that is not ``forged`` was recorded later; an administrator has to withdraw
        the forgery.
    is_compared : bool
        Whether later signatures are compared with it: there is a template of the model in use.
    has_image : bool
        Whether its image is kept, from which a new model gets its template.
    """

    verification_id: str
    created_at: datetime
    verified_at: datetime
    decision: str
    outcome: str | None
    is_compared: bool
    has_image: bool


@dataclass(frozen=True)
class KnownForgeries:
    """The known forgeries of one signer, with which a questioned signature is compared.

    Attributes
    ----------
    verification_ids : tuple of str
    templates : ndarray
        (f, dimension) float32, in the same order.
    skipped : int
        Number of further ones that have no template of the model in use.
    """

    verification_ids: tuple[str, ...] = ()
    templates: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    skipped: int = 0


@dataclass(frozen=True)
class Specimens:
    """The references of one signer, with which a questioned signature is compared.

    Attributes
    ----------
    signer : Signer
    reference_ids : tuple of str
        By reference id, in the order of enrolment.
    sha256 : tuple of str
        SHA-256 of the uploaded images, in the same order.
    warned : tuple of bool
        Whether each reference has warnings that make it one of low quality, in the same order.
    templates : ndarray
        (k, dimension) float32, in the same order.
    forgeries : KnownForgeries
    """

    signer: Signer
    reference_ids: tuple[str, ...]
    sha256: tuple[str, ...]
    warned: tuple[bool, ...]
    templates: NDArray[np.float32]
    forgeries: KnownForgeries = field(default_factory=KnownForgeries)


@dataclass(frozen=True)
class ReferenceDistance:
    """Distance of the questioned signature to one reference."""

    reference_id: str
    distance: float


@dataclass(frozen=True)
class OperatingPoint:
    """Error rates in [0, 1] at the applied threshold, measured on signers the model was not trained on."""

    far_skilled: float | None
    far_random: float | None
    frr: float | None


@dataclass(frozen=True)
class Finding:
    """The result of comparing a questioned signature with a set of references.

    `region` is the part of the page that was compared, in pixels; None when the image was compared as a whole.
    """

    decision: str
    distance: float
    threshold: float
    review_threshold: float | None
    log_likelihood_ratio: float
    operating_point: OperatingPoint
    references: tuple[ReferenceDistance, ...]
    warnings: tuple[ResultWarning, ...]
    model_version: str
    created_at: datetime
    region: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Verification:
    """A stored finding, with the data that explain it later.

    Attributes
    ----------
    basis : dict
        Inputs of the decision: target_far, review_far, fixed_threshold, the id of the calibration, the spread, the
        distances among the references, and the quality of the questioned image.
    is_known_forgery : bool
        Whether later questioned signatures of the signer are compared with it.
    """

    verification_id: str
    signer_id: str
    finding: Finding
    questioned_sha256: str
    basis: dict[str, Any] = field(default_factory=dict)
    outcome: str | None = None
    outcome_note: str | None = None
    outcome_at: datetime | None = None
    is_known_forgery: bool = False

    @property
    def document(self) -> dict[str, str | None]:
        """`amount` and `currency` of the document that was signed; empty when none was sent."""
        return dict(self.basis.get("document", {}))

    @property
    def distinct_references(self) -> tuple[str, ...]:
        """Ids of the references that counted: those that repeat no other one."""
        compared = tuple(item.reference_id for item in self.finding.references)
        counted = set(self.basis.get("distinct_references") or compared)
        return tuple(one for one in compared if one in counted)


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a listing, and the position after which the next page starts (None: this is the last page)."""

    items: tuple[T, ...]
    next_after: str | None


def now() -> datetime:
    """Return the current time in UTC, to the microsecond."""
    return datetime.now(UTC)
