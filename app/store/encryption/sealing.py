"""Conversion between images and templates and their encrypted rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.domain.records import Vector
from app.store.encryption.cipher import Cipher, Place, Sealed, cipher_of
from app.store.tables import ImageRow, TemplateRow

_FLOAT16 = np.dtype("<f2")
_FLOAT16_PREFIX = b"\x02"
"""Format of a stored template: this byte, then the components as float16."""


@dataclass(frozen=True)
class StoredTemplate:
    """The encrypted template of one row."""

    reference_id: str
    key_id: str
    vector: bytes


def image_place(tenant_id: str, signer_key: str, reference_id: str) -> Place:
    """Return the place of the image of a reference."""
    return Place("image", tenant_id, signer_key, reference_id)


def template_place(tenant_id: str, signer_key: str, reference_id: str, model_version: str) -> Place:
    """Return the place of a template."""
    return Place("template", tenant_id, signer_key, reference_id, model_version)


def questioned_place(tenant_id: str, signer_id: str, verification_id: str) -> Place:
    """Return the place of the image of a questioned signature."""
    return Place("questioned", tenant_id, signer_id, verification_id)


def questioned_template_place(
    tenant_id: str, signer_key: str, verification_id: str, model_version: str
) -> Place:
    """Return the place of the template of a questioned signature."""
    return Place("questioned-template", tenant_id, signer_key, verification_id, model_version)


def answer_place(tenant_id: str, signer_id: str | None, idempotency_key: str) -> Place:
    """Return the place of an answer that is kept to replay retried requests."""
    return Place("answer", tenant_id, signer_id or "", idempotency_key)


def image_row(session: Session, tenant_id: str, signer_key: str, reference_id: str, data: bytes) -> ImageRow:
    """Encrypt the image of a reference and return its row."""
    sealed = cipher_of(session).seal(image_place(tenant_id, signer_key, reference_id), data)
    return ImageRow(reference_id=reference_id, data=sealed.data, key_id=sealed.key_id)


def open_image(
    session: Session, tenant_id: str, signer_key: str, reference_id: str, key_id: str, data: bytes
) -> bytes:
    """Decrypt the image of a reference, as uploaded; raises StoredDataDamaged, DataKeyMissing."""
    return cipher_of(session).open(image_place(tenant_id, signer_key, reference_id), key_id, data)


def seal_template(session: Session, place: Place, template: Vector) -> Sealed:
    """Encrypt a template (dimension,) as float16, the precision of the embedder's output."""
    return cipher_of(session).seal(
        place, _FLOAT16_PREFIX + np.ascontiguousarray(template, _FLOAT16).tobytes()
    )


def template_row(
    session: Session,
    tenant_id: str,
    signer_key: str,
    reference_id: str,
    model_version: str,
    template: Vector,
) -> TemplateRow:
    """Encrypt a template (dimension,) and return its row."""
    place = template_place(tenant_id, signer_key, reference_id, model_version)
    sealed = seal_template(session, place, template)
    return TemplateRow(
        reference_id=reference_id, model_version=model_version, vector=sealed.data, key_id=sealed.key_id
    )


def open_template(
    session: Session, tenant_id: str, signer_key: str, model_version: str, stored: StoredTemplate
) -> Vector:
    """Decrypt a template (dimension,) as float32.

    Raises
    ------
    StoredDataDamaged, DataKeyMissing
        If the template does not decrypt.
    ValueError
        If its format is unknown or its length is not a whole number of floats.
    """
    place = template_place(tenant_id, signer_key, stored.reference_id, model_version)
    return open_template_at(session, place, stored.key_id, stored.vector)


def open_template_at(session: Session, place: Place, key_id: str, vector: bytes) -> Vector:
    """Decrypt the template of a place; raises as :func:`open_template`."""
    return open_template_as_stored(cipher_of(session), place, key_id, vector).astype(np.float32)


def open_template_as_stored(cipher: Cipher, place: Place, key_id: str, vector: bytes) -> NDArray[np.float16]:
    """Decrypt the template of a place as float16, without conversion; raises as :func:`open_template`."""
    data = cipher.open(place, key_id, vector)
    if not data.startswith(_FLOAT16_PREFIX):
        raise ValueError(f"the template {place.row_id} has an unknown format")
    return np.frombuffer(data, _FLOAT16, offset=1)


def open_templates(
    session: Session,
    tenant_id: str,
    signer_key: str,
    model_version: str,
    stored: Sequence[StoredTemplate],
) -> NDArray[np.float32]:
    """Decrypt templates of one signer, (k, dimension) float32; raises StoredDataDamaged, DataKeyMissing."""
    vectors = [open_template(session, tenant_id, signer_key, model_version, item) for item in stored]
    return np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)
