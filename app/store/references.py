"""Reference signatures and their templates in the database: insert, list, read and erase."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Row, Select, String, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from app.domain.errors import (
    DataKeyMissing,
    DuplicateReference,
    ModelVersionMismatch,
    ReferenceNotFound,
    StoredDataDamaged,
    TooManyReferences,
)
from app.domain.records import (
    NOT_OF_QUALITY,
    NewReference,
    Page,
    Reference,
    ReferenceImage,
    ResultWarning,
    Specimens,
    Upload,
    Vector,
    format_region,
    parse_region,
)
from app.store import change_counters, forgeries, signers, streaming
from app.store.encryption import sealing
from app.store.encryption.cipher import Cipher, Place, cipher_of
from app.store.encryption.sealing import StoredTemplate
from app.store.erasure import tombstones
from app.store.erasure.tombstones import Erasure
from app.store.signer_locks import LockedSigner
from app.store.tables import ImageRow, ReferenceRow, SignerRow, TemplateRow

_SPECIMENS = (
    select(
        ReferenceRow.reference_id,
        ReferenceRow.sha256,
        ReferenceRow.warnings,
        ReferenceRow.model_version,
        TemplateRow.key_id,
        TemplateRow.vector,
    )
    .outerjoin(
        TemplateRow,
        (TemplateRow.reference_id == ReferenceRow.reference_id)
        & (TemplateRow.model_version == bindparam("version")),
    )
    .where(ReferenceRow.signer_key == bindparam("key"))
    .order_by(ReferenceRow.reference_id)
)


def _select_indexed(is_wanted: ColumnElement[bool]) -> Any:
    return (
        select(
            SignerRow.key,
            SignerRow.signer_id,
            SignerRow.target_far,
            SignerRow.fixed_threshold,
            ReferenceRow.reference_id,
            TemplateRow.key_id,
            TemplateRow.vector,
        )
        .join(ReferenceRow, ReferenceRow.signer_key == SignerRow.key)
        .outerjoin(
            TemplateRow,
            (TemplateRow.reference_id == ReferenceRow.reference_id)
            & (TemplateRow.model_version == bindparam("version", type_=String)),
        )
        .where(SignerRow.tenant_id == bindparam("tenant", type_=String), is_wanted)
        .order_by(SignerRow.key, ReferenceRow.reference_id)
    )


class _IndexedQuery:
    """The signers whose key or id is one of some names, with their references and templates."""

    def __init__(self, column: Any) -> None:
        self._query = _select_indexed(column.in_(bindparam("names", expanding=True)))
        names = bindparam("names", type_=postgresql.ARRAY(String))
        self._streamed = streaming.compiled(_select_indexed(column == func.any(names)))

    @contextmanager
    def rows(self, session: Session, parameters: Mapping[str, object]) -> Iterator[Iterable[Any]]:
        if streaming.is_streaming(session):
            with streaming.streamed(session, self._streamed, parameters) as rows:
                yield rows
        else:
            yield session.execute(self._query, parameters)


_BY_KEY, _BY_ID = _IndexedQuery(SignerRow.key), _IndexedQuery(SignerRow.signer_id)


@dataclass(frozen=True)
class Indexed:
    """A signer with references, for an index of signers.

    Attributes
    ----------
    key : str
        The signer's internal key.
    signer_id : str
    target_far : float or None
        The signer's own target FAR.
    fixed_threshold : float or None
        The signer's own threshold.
    templates : (k, dimension) float16 or None
        Of all references; None if the model has no template of one of them, or it does not decrypt.
    """

    key: str
    signer_id: str
    target_far: float | None
    fixed_threshold: float | None
    templates: NDArray[np.float16] | None


def add(
    session: Session, locked: LockedSigner, new: Sequence[NewReference], at: datetime, maximum: int
) -> tuple[Reference, ...]:
    """Insert references of an exclusively locked signer, all or none; return them in the order given.

    Raises
    ------
    DuplicateReference
        If the signer has a reference with the same image already.
    TooManyReferences
        If the signer would have more than `maximum` references.
    """
    tenant_id, signer_id, key = locked.tenant_id, locked.signer_id, locked.key
    present = session.execute(
        select(ReferenceRow.reference_id, ReferenceRow.sha256, ReferenceRow.page, ReferenceRow.region).where(
            ReferenceRow.signer_key == key
        )
    ).all()
    known = {(row.sha256, row.page, row.region): row.reference_id for row in present}
    for position, reference in enumerate(new, 1):
        specimen = reference.sha256, reference.page, format_region(reference.region)
        if (duplicate_of := known.get(specimen)) is not None:
            raise DuplicateReference(
                f"File {position} of `files` is identical to reference {duplicate_of} of signer {signer_id!r}; "
                "nothing was stored. Send the request without it."
            )
    if len(present) + len(new) > maximum:
        raise TooManyReferences(
            f"Signer {signer_id!r} has {len(present)} references; {len(new)} more would exceed the limit of "
            f"{maximum}. Nothing was stored. Delete older references first."
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
                region=format_region(reference.region),
                quality=reference.quality,
                warnings=[{"code": note.code, "detail": note.detail} for note in reference.warnings],
                model_version=reference.model_version,
            )
        )
    session.flush()
    for reference in new:
        session.add(sealing.image_row(session, tenant_id, key, reference.reference_id, reference.data))
        session.add(
            sealing.template_row(
                session,
                tenant_id,
                key,
                reference.reference_id,
                reference.model_version,
                reference.template,
            )
        )
    session.flush()
    change_counters.touch(session, tenant_id, key)
    ids = [reference.reference_id for reference in new]
    rows = session.execute(_references(tenant_id, signer_id).where(ReferenceRow.reference_id.in_(ids)))
    found = {row.reference_id: _reference(row, signer_id) for row in rows}
    return tuple(found[reference_id] for reference_id in ids)


def page(session: Session, tenant_id: str, signer_id: str, limit: int, after: str | None) -> Page[Reference]:
    """Return one page of a signer's references, oldest first. Raises SignerNotFound.

    Parameters
    ----------
    after : str or None
        The last reference id of the previous page.
    """
    signers.get(session, tenant_id, signer_id)
    query = _references(tenant_id, signer_id).order_by(ReferenceRow.reference_id).limit(limit + 1)
    if after is not None:
        query = query.where(ReferenceRow.reference_id > after)
    rows = session.execute(query).all()
    items = tuple(_reference(row, signer_id) for row in rows[:limit])
    return Page(items, items[-1].reference_id if len(rows) > limit else None)


def get(session: Session, tenant_id: str, signer_id: str, reference_id: str) -> Reference:
    """Return one reference. Raises SignerNotFound, ReferenceNotFound."""
    signers.get(session, tenant_id, signer_id)
    row = session.execute(
        _references(tenant_id, signer_id).where(ReferenceRow.reference_id == reference_id)
    ).one_or_none()
    if row is None:
        raise ReferenceNotFound(f"Signer {signer_id!r} has no reference {reference_id!r}.")
    return _reference(row, signer_id)


def get_many(
    session: Session, tenant_id: str, signer_id: str, reference_ids: Sequence[str]
) -> dict[str, Reference]:
    """Return some references of a signer by id, as far as they exist."""
    query = _references(tenant_id, signer_id).where(ReferenceRow.reference_id.in_(reference_ids))
    return {row.reference_id: _reference(row, signer_id) for row in session.execute(query)}


def image(session: Session, tenant_id: str, signer_id: str, reference_id: str) -> ReferenceImage:
    """Return the image file of a reference as uploaded.

    Raises
    ------
    SignerNotFound, ReferenceNotFound, StoredDataDamaged, DataKeyMissing
    """
    signer = signers.get(session, tenant_id, signer_id)
    reference = get(session, tenant_id, signer_id, reference_id)
    row = session.execute(
        select(ImageRow.key_id, ImageRow.data).where(ImageRow.reference_id == reference_id)
    ).one()
    data = sealing.open_image(session, tenant_id, signer.key, reference_id, row.key_id, row.data)
    return ReferenceImage(data, reference.media_type, reference.sha256)


def uploads(
    session: Session, tenant_id: str, signer_id: str, reference_ids: Sequence[str]
) -> dict[str, Upload]:
    """Return the uploaded images of some references of a signer by reference id, as far as they exist.

    Raises
    ------
    StoredDataDamaged, DataKeyMissing
    """
    query = (
        select(
            SignerRow.key,
            ReferenceRow.reference_id,
            ReferenceRow.page,
            ReferenceRow.region,
            ImageRow.key_id,
            ImageRow.data,
        )
        .join(ReferenceRow, ReferenceRow.signer_key == SignerRow.key)
        .join(ImageRow, ImageRow.reference_id == ReferenceRow.reference_id)
        .where(
            SignerRow.tenant_id == tenant_id,
            SignerRow.signer_id == signer_id,
            ReferenceRow.reference_id.in_(reference_ids),
        )
    )
    found: dict[str, Upload] = {}
    for row in session.execute(query):
        data = sealing.open_image(session, tenant_id, row.key, row.reference_id, row.key_id, row.data)
        found[row.reference_id] = Upload(
            data, None, "references", page=row.page, region=parse_region(row.region), takes_region=False
        )
    return found


def erase(session: Session, tenant_id: str, signer_id: str, reference_id: str) -> Erasure | None:
    """Delete a reference with its image and templates, and insert a tombstone; None if there is no such reference."""
    found = session.execute(
        select(ReferenceRow.signer_key)
        .join(SignerRow, SignerRow.key == ReferenceRow.signer_key)
        .where(
            SignerRow.tenant_id == tenant_id,
            SignerRow.signer_id == signer_id,
            ReferenceRow.reference_id == reference_id,
        )
        .with_for_update(
            of=SignerRow, key_share=True
        )  # locks are acquired in the order of app.store.templates
    ).one_or_none()
    if found is None:
        return None
    deletion = delete(ReferenceRow).where(ReferenceRow.reference_id == reference_id)
    if (
        session.scalar(deletion.returning(ReferenceRow.reference_id)) is None
    ):  # deleted by a concurrent request
        return None
    change_counters.touch(session, tenant_id, found.signer_key)
    return tombstones.add_tombstone(session, "reference", reference_id)


def specimens(session: Session, tenant_id: str, signer_id: str, model_version: str) -> Specimens:
    """Return a signer with all references and their templates of one model.

    Raises
    ------
    SignerNotFound
    ModelVersionMismatch
        If a reference has no template of this model; templates of different models are never compared.
    StoredDataDamaged, DataKeyMissing
        If a template does not decrypt.
    """
    signer = signers.get(session, tenant_id, signer_id)
    rows = session.execute(_SPECIMENS, {"key": signer.key, "version": model_version}).all()
    if foreign := sorted({row.model_version for row in rows if row.vector is None}):
        raise ModelVersionMismatch(
            f"References of signer {signer_id!r} have templates of {', '.join(foreign)} only; the service uses "
            f"{model_version}, and templates of different models cannot be compared. The operator must embed the "
            "stored images again with `python -m app reembed`; the service can keep running."
        )
    return Specimens(
        signer=signer,
        reference_ids=tuple(row.reference_id for row in rows),
        sha256=tuple(row.sha256 for row in rows),
        warned=tuple(any(note["code"] not in NOT_OF_QUALITY for note in row.warnings) for row in rows),
        templates=sealing.open_templates(
            session,
            tenant_id,
            signer.key,
            model_version,
            [StoredTemplate(row.reference_id, row.key_id, row.vector) for row in rows],
        ),
        forgeries=forgeries.of_signer(session, tenant_id, signer.key, model_version),
    )


def templates_so_far(session: Session, tenant_id: str, signer_id: str, model_version: str) -> Vector:
    """Return a signer's existing templates of one model, (k, dimension) float32.

    Unlike in `specimens`, references without a template of this model are skipped.

    Raises
    ------
    SignerNotFound, StoredDataDamaged, DataKeyMissing
    """
    signer = signers.get(session, tenant_id, signer_id)
    rows = session.execute(
        select(TemplateRow.reference_id, TemplateRow.key_id, TemplateRow.vector)
        .join(ReferenceRow, ReferenceRow.reference_id == TemplateRow.reference_id)
        .where(ReferenceRow.signer_key == signer.key, TemplateRow.model_version == model_version)
        .order_by(TemplateRow.reference_id)
    )
    stored = [StoredTemplate(row.reference_id, row.key_id, row.vector) for row in rows]
    return sealing.open_templates(session, tenant_id, signer.key, model_version, stored)


def for_index(
    session: Session, tenant_id: str, model_version: str, signer_keys: Sequence[str]
) -> list[Indexed]:
    """Return some signers who have references, with the templates of one model, ordered by key.

    Parameters
    ----------
    signer_keys : sequence of str
        A few hundred at most: each is a parameter of the statement.
    """
    return _for_index(session, _BY_KEY, tenant_id, model_version, signer_keys)


def for_index_by_id(
    session: Session, tenant_id: str, model_version: str, signer_ids: Sequence[str]
) -> list[Indexed]:
    """Like :func:`for_index`, for signers given by their ids, a few hundred at most."""
    return _for_index(session, _BY_ID, tenant_id, model_version, signer_ids)


def _for_index(
    session: Session, query: _IndexedQuery, tenant_id: str, model_version: str, names: Sequence[str]
) -> list[Indexed]:
    cipher = cipher_of(session)
    found = []
    with query.rows(session, {"tenant": tenant_id, "version": model_version, "names": list(names)}) as rows:
        for (key, signer_id, target_far, fixed_threshold), references in groupby(
            rows, itemgetter(0, 1, 2, 3)
        ):
            templates = [
                _readable(
                    cipher, sealing.template_place(tenant_id, key, reference_id, model_version), *stored
                )
                for _, _, _, _, reference_id, *stored in references
            ]
            present = [template for template in templates if template is not None]
            whole = np.stack(present) if len(present) == len(templates) else None
            found.append(Indexed(key, signer_id, target_far, fixed_threshold, whole))
    return found


def _readable(
    cipher: Cipher, place: Place, key_id: str | None, vector: bytes | None
) -> NDArray[np.float16] | None:
    """Decrypt a template; None if there is none, or it does not decrypt."""
    if key_id is None or vector is None:
        return None
    # The cipher records the failure, which makes the service unready; the signer is only skipped here.
    with suppress(StoredDataDamaged, DataKeyMissing):
        return sealing.open_template_as_stored(cipher, place, key_id, vector)
    return None


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
        warnings=tuple(ResultWarning(**note) for note in row.warnings),
        model_version=row.model_version,
    )
