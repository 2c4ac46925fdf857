"""The nouns of the service, as the use cases and the store exchange them: no HTTP, no SQL.

Whoever looks for what goes over the wire finds it in `app.api.schemas`; for what is on disk, in `app.store.tables`.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

Vector = NDArray[np.float32]
"""A template: (dimension,) float32, the network's embedding of one signature."""


@dataclass(frozen=True)
class Note:
    """Something the caller should know about a result: a stable code, and a sentence."""

    code: str
    detail: str


@dataclass(frozen=True)
class Upload:
    """A file as it came in.

    Attributes
    ----------
    data : bytes
    name : str or None
        The caller's name for it.
    field : str
        The form field it came in.
    position : int
        Counted from 1 among the files of that field.
    page : int
        Which page of a multi-page file, counted from 0.
    """

    data: bytes
    name: str | None
    field: str = "signature"
    position: int = 1
    page: int = 0

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes, hex; computed once. Megabytes take milliseconds: ask on a worker thread first."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Signer:
    """A person who is enrolled."""

    key: str  # ours; the store's other tables refer to it
    signer_id: str  # the caller's
    created_at: datetime
    references: int
    target_far: float | None = None
    fixed_threshold: float | None = None


@dataclass(frozen=True)
class Reference:
    """A genuine specimen of a signer, without its image."""

    reference_id: str
    signer_id: str
    created_at: datetime
    sha256: str
    media_type: str
    size: int
    page: int
    quality: dict[str, Any]
    warnings: tuple[Note, ...]
    model_version: str


@dataclass(frozen=True)
class NewReference:
    """A specimen ready to be kept: its image as uploaded, and its template."""

    reference_id: str
    data: bytes
    sha256: str
    media_type: str
    page: int
    quality: dict[str, Any]
    warnings: tuple[Note, ...]
    model_version: str
    template: Vector


@dataclass(frozen=True)
class ReferenceImage:
    """The bytes of a reference as they were uploaded."""

    data: bytes
    media_type: str
    sha256: str


@dataclass(frozen=True)
class Specimens:
    """What a questioned signature is compared with: the references of one signer.

    Attributes
    ----------
    signer : Signer
    reference_ids : tuple of str
        In the order of enrolment.
    sha256 : tuple of str
        Of the uploaded images, in the same order.
    warned : tuple of bool
        Whether the reference had quality warnings, in the same order.
    templates : ndarray
        (k, dimension) float32, in the same order.
    """

    signer: Signer
    reference_ids: tuple[str, ...]
    sha256: tuple[str, ...]
    warned: tuple[bool, ...]
    templates: NDArray[np.float32]


@dataclass(frozen=True)
class ReferenceDistance:
    """How far the questioned signature is from one reference."""

    reference_id: str
    distance: float


@dataclass(frozen=True)
class OperatingPoint:
    """Error rates at the threshold that was applied, measured on people the model never saw."""

    far_skilled: float | None
    far_random: float | None
    frr: float | None


@dataclass(frozen=True)
class Finding:
    """The outcome of comparing a questioned signature with a set of references."""

    decision: str
    distance: float
    threshold: float
    review_threshold: float | None
    log_likelihood_ratio: float
    operating_point: OperatingPoint
    references: tuple[ReferenceDistance, ...]
    warnings: tuple[Note, ...]
    model_version: str
    created_at: datetime


@dataclass(frozen=True)
class Verification:
    """A finding on record, with what it takes to explain it a year later.

    Attributes
    ----------
    basis : dict
        What the finding rests on: target_far, review_far, fixed_threshold, the calibration's id, the distances
        among the references, the quality of the questioned image.
    """

    verification_id: str
    signer_id: str
    finding: Finding
    questioned_sha256: str
    basis: dict[str, Any] = field(default_factory=dict)
    outcome: str | None = None
    outcome_note: str | None = None
    outcome_at: datetime | None = None


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a listing, and where the next one starts (None: this was the last)."""

    items: tuple[T, ...]
    next_after: str | None


def now() -> datetime:
    """The present, in UTC, to the microsecond."""
    return datetime.now(UTC)


def new_id() -> str:
    """A new UUID of version 7 (RFC 9562): in the order of time to the millisecond, and not to be guessed."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (7 << 76)
    value = (value & ~(0x3 << 62)) | (2 << 62)
    return str(uuid.UUID(int=value))
