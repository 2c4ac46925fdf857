"""References in the store: added as a whole, listed, read back, erased; and their templates for comparing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, Select, delete, select
from sqlalchemy.orm import Session

from app.domain import NewReference, Note, Page, Reference, ReferenceImage, Specimens
from app.errors import DuplicateReference, ModelVersionMismatch, ReferenceNotFound, TooManyReferences
from app.store import changes, signers
from app.store.tables import ImageRow, ReferenceRow, SignerRow, TemplateRow

_STORED = np.dtype("<f4")


def add(
    session: Session, tenant_id: str, signer_id: str, new: Sequence[NewReference], at: datetime, most: int
) -> tuple[Reference, ...]:
    """Keep references of one signer, all or none; the signer is made when new.

    Raises
    ------
    DuplicateReference
        When an image is a reference of the signer already.
    TooManyReferences
        When the signer would have more than `most`.
    """
    key = signers.ensure(session, tenant_id, signer_id, at)
    present = session.execute(
        select(ReferenceRow.reference_id, ReferenceRow.sha256, ReferenceRow.page).where(
            ReferenceRow.signer_key == key
        )
    ).all()
    known = {(row.sha256, row.page): row.reference_id for row in present}
    for position, reference in enumerate(new, 1):
        if (twin := known.get((reference.sha256, reference.page))) is not None:
            raise DuplicateReference(
                f"File {position} of `files` is reference {twin} of signer {signer_id!r} already, byte for byte; "
                "nothing was stored. Leave it out."
            )
    if len(present) + len(new) > most:
        raise TooManyReferences(
            f"Signer {signer_id!r} has {len(present)} references and {len(new)} more would pass the limit of {most}; "
            "nothing was stored. Delete older ones first."
        )
    for reference in new:
        session.add(
            ReferenceRow(
                reference_id=reference.reference_id,
                signer_key=key,
                created_at=at,
                sha256=reference.sha256,
                media_type=reference.media_type,
                size=len(reference.data),
                page=reference.page,
                quality=reference.quality,
                warnings=[{"code": note.code, "detail": note.detail} for note in reference.warnings],
                model_version=reference.model_version,
            )
        )
    session.flush()
    for reference in new:
        session.add(ImageRow(reference_id=reference.reference_id, data=reference.data))
        session.add(
            TemplateRow(
                reference_id=reference.reference_id,
                model_version=reference.model_version,
                vector=np.ascontiguousarray(reference.template, _STORED).tobytes(),
            )
        )
    session.flush()
    changes.touch(session, tenant_id, key)
    ids = [reference.reference_id for reference in new]
    rows = session.execute(_references(tenant_id, signer_id).where(ReferenceRow.reference_id.in_(ids)))
    found = {row.reference_id: _reference(row, signer_id) for row in rows}
    return tuple(found[reference_id] for reference_id in ids)


def page(session: Session, tenant_id: str, signer_id: str, limit: int, after: str | None) -> Page[Reference]:
    """References of a signer, oldest first; raises SignerNotFound."""
    signers.get(session, tenant_id, signer_id)
    query = _references(tenant_id, signer_id).order_by(ReferenceRow.reference_id).limit(limit + 1)
    if after is not None:
        query = query.where(ReferenceRow.reference_id > after)
    rows = session.execute(query).all()
    items = tuple(_reference(row, signer_id) for row in rows[:limit])
    return Page(items, items[-1].reference_id if len(rows) > limit else None)


def get(session: Session, tenant_id: str, signer_id: str, reference_id: str) -> Reference:
    """One reference; raises SignerNotFound or ReferenceNotFound."""
    signers.get(session, tenant_id, signer_id)
    row = session.execute(
        _references(tenant_id, signer_id).where(ReferenceRow.reference_id == reference_id)
    ).one_or_none()
    if row is None:
        raise ReferenceNotFound(f"Signer {signer_id!r} has no reference {reference_id!r}.")
    return _reference(row, signer_id)


def image(session: Session, tenant_id: str, signer_id: str, reference_id: str) -> ReferenceImage:
    """The bytes of a reference as uploaded; raises SignerNotFound or ReferenceNotFound."""
    reference = get(session, tenant_id, signer_id, reference_id)
    data = session.scalars(select(ImageRow.data).where(ImageRow.reference_id == reference_id)).one()
    return ReferenceImage(bytes(data), reference.media_type, reference.sha256)


def erase(session: Session, tenant_id: str, signer_id: str, reference_id: str) -> bool:
    """Delete a reference with its image and templates; False when there was none."""
    found = session.execute(
        select(ReferenceRow.signer_key)
        .join(SignerRow, SignerRow.key == ReferenceRow.signer_key)
        .where(
            SignerRow.tenant_id == tenant_id,
            SignerRow.signer_id == signer_id,
            ReferenceRow.reference_id == reference_id,
        )
    ).one_or_none()
    if found is None:
        return False
    session.execute(delete(ReferenceRow).where(ReferenceRow.reference_id == reference_id))
    changes.touch(session, tenant_id, found.signer_key)
    return True


def specimens(session: Session, tenant_id: str, signer_id: str, model_version: str) -> Specimens:
    """A signer with the templates that `model_version` made.

    Raises
    ------
    SignerNotFound
    ModelVersionMismatch
        When a reference has no template of this model: templates of two models are never compared.
    """
    signer = signers.get(session, tenant_id, signer_id)
    rows = session.execute(
        select(
            ReferenceRow.reference_id,
            ReferenceRow.sha256,
            ReferenceRow.warnings,
            ReferenceRow.model_version,
            TemplateRow.vector,
        )
        .outerjoin(
            TemplateRow,
            (TemplateRow.reference_id == ReferenceRow.reference_id)
            & (TemplateRow.model_version == model_version),
        )
        .where(ReferenceRow.signer_key == signer.key)
        .order_by(ReferenceRow.reference_id)
    ).all()
    if foreign := sorted({row.model_version for row in rows if row.vector is None}):
        raise ModelVersionMismatch(
            f"References of signer {signer_id!r} were enrolled with {', '.join(foreign)}; the service runs "
            f"{model_version}, and distances between two models mean nothing. Enrol the signer anew, or serve the "
            "model that made the references."
        )
    return Specimens(
        signer=signer,
        reference_ids=tuple(row.reference_id for row in rows),
        sha256=tuple(row.sha256 for row in rows),
        warned=tuple(bool(row.warnings) for row in rows),
        templates=_templates(row.vector for row in rows),
    )


def for_index(
    session: Session, tenant_id: str, model_version: str, signer_keys: Sequence[str] | None
) -> list[Row[Any]]:
    """Rows (key, signer_id, target_far, fixed_threshold, reference_id, vector or None), by signer.

    `signer_keys` limits them to these signers; None gives all of the tenant.
    """
    query = (
        select(
            SignerRow.key,
            SignerRow.signer_id,
            SignerRow.target_far,
            SignerRow.fixed_threshold,
            ReferenceRow.reference_id,
            TemplateRow.vector,
        )
        .join(ReferenceRow, ReferenceRow.signer_key == SignerRow.key)
        .outerjoin(
            TemplateRow,
            (TemplateRow.reference_id == ReferenceRow.reference_id)
            & (TemplateRow.model_version == model_version),
        )
        .where(SignerRow.tenant_id == tenant_id)
        .order_by(SignerRow.key, ReferenceRow.reference_id)
    )
    if signer_keys is None:
        return list(session.execute(query))
    rows: list[Row[Any]] = []
    for start in range(0, len(signer_keys), 500):  # databases limit the parameters of one statement
        rows.extend(session.execute(query.where(SignerRow.key.in_(signer_keys[start : start + 500]))))
    return rows


def vector(stored: bytes) -> NDArray[np.float32]:
    """A template as stored, (dimension,) float32."""
    return np.frombuffer(stored, _STORED).astype(np.float32, copy=False)


def _templates(stored: Iterable[bytes]) -> NDArray[np.float32]:
    vectors = [vector(item) for item in stored]
    return np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)


def _references(tenant_id: str, signer_id: str) -> Select[Any]:
    return (
        select(
            ReferenceRow.reference_id,
            ReferenceRow.created_at,
            ReferenceRow.sha256,
            ReferenceRow.media_type,
            ReferenceRow.size,
            ReferenceRow.page,
            ReferenceRow.quality,
            ReferenceRow.warnings,
            ReferenceRow.model_version,
        )
        .join(SignerRow, SignerRow.key == ReferenceRow.signer_key)
        .where(SignerRow.tenant_id == tenant_id, SignerRow.signer_id == signer_id)
    )


def _reference(row: Row[Any], signer_id: str) -> Reference:
    return Reference(
        reference_id=row.reference_id,
        signer_id=signer_id,
        created_at=row.created_at,
        sha256=row.sha256,
        media_type=row.media_type,
        size=row.size,
        page=row.page,
        quality=row.quality,
        warnings=tuple(Note(**note) for note in row.warnings),
        model_version=row.model_version,
    )
