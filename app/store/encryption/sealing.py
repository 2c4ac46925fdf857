"""Images and templates on their way into rows and out again: which place they are bound to, and in what form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.domain.records import Vector
from app.store.encryption.cipher import Place, cipher_of
from app.store.tables import ImageRow, TemplateRow

_FULL, _HALF = np.dtype("<f4"), np.dtype("<f2")
_IN_HALF = b"\x02"
"""In front of a template in half precision. Without it, the length a multiple of four, the numbers are float32."""


@dataclass(frozen=True)
class StoredTemplate:
    """A template as it lies in its row."""

    reference_id: str
    key_id: str | None
    vector: bytes


def image_place(tenant_id: str, signer_key: str, reference_id: str) -> Place:
    """What the image of a reference is bound to."""
    return Place("image", tenant_id, signer_key, reference_id)


def template_place(tenant_id: str, signer_key: str, reference_id: str, model_version: str) -> Place:
    """What a template is bound to."""
    return Place("template", tenant_id, signer_key, reference_id, model_version)


def questioned_place(tenant_id: str, signer_id: str, verification_id: str) -> Place:
    """What the image of a questioned signature is bound to."""
    return Place("questioned", tenant_id, signer_id, verification_id)


def answer_place(tenant_id: str, signer_id: str | None, idempotency_key: str) -> Place:
    """What an answer kept for repetitions is bound to."""
    return Place("answer", tenant_id, signer_id or "", idempotency_key)


def image_row(session: Session, tenant_id: str, signer_key: str, reference_id: str, data: bytes) -> ImageRow:
    """The row for the image of a reference."""
    sealed = cipher_of(session).seal(image_place(tenant_id, signer_key, reference_id), data)
    return ImageRow(reference_id=reference_id, data=sealed.data, key_id=sealed.key_id)


def open_image(
    session: Session, tenant_id: str, signer_key: str, reference_id: str, key_id: str | None, data: bytes
) -> bytes:
    """The image of a reference as uploaded; raises StoredDataDamaged, DataKeyMissing."""
    return cipher_of(session).open(image_place(tenant_id, signer_key, reference_id), key_id, data)


def template_row(
    session: Session,
    tenant_id: str,
    signer_key: str,
    reference_id: str,
    model_version: str,
    template: Vector,
) -> TemplateRow:
    """The row for a template (dimension,), which is kept in half precision: the embedder's numbers are no finer."""
    place = template_place(tenant_id, signer_key, reference_id, model_version)
    sealed = cipher_of(session).seal(place, _IN_HALF + np.ascontiguousarray(template, _HALF).tobytes())
    return TemplateRow(
        reference_id=reference_id, model_version=model_version, vector=sealed.data, key_id=sealed.key_id
    )


def open_template(
    session: Session, tenant_id: str, signer_key: str, model_version: str, stored: StoredTemplate
) -> Vector:
    """A template (dimension,) float32; raises StoredDataDamaged, DataKeyMissing, and ValueError for half a number."""
    place = template_place(tenant_id, signer_key, stored.reference_id, model_version)
    opened = cipher_of(session).open(place, stored.key_id, stored.vector)
    if len(opened) % 2 and opened.startswith(_IN_HALF):
        return np.frombuffer(opened, _HALF, offset=1).astype(np.float32)
    return np.frombuffer(opened, _FULL).astype(np.float32, copy=False)


def open_templates(
    session: Session,
    tenant_id: str,
    signer_key: str,
    model_version: str,
    stored: Sequence[StoredTemplate],
) -> NDArray[np.float32]:
    """Templates of one signer, (k, dimension) float32; raises StoredDataDamaged, DataKeyMissing."""
    vectors = [open_template(session, tenant_id, signer_key, model_version, item) for item in stored]
    return np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)
