"""Re-encryption of stored values under the active key, when another key will be retired.

Rows are encrypted in small transactions, each of which locks its rows, while the service runs. The remaining rows are
found by their key id, so a job that was killed can be resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, Select, func, literal, select, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.domain.errors import DataKeyMissing, StoredDataDamaged
from app.store.encryption.cipher import Place, cipher_of
from app.store.forgery_tables import QuestionedTemplateRow
from app.store.store import Store
from app.store.tables import (
    ImageRow,
    QuestionedRow,
    ReferenceRow,
    RetryRow,
    SignerRow,
    TemplateRow,
    VerificationRow,
)

BATCH = 20
Column = InstrumentedAttribute[Any]
Identity = tuple[str, ...]


@dataclass(frozen=True)
class SealedColumn:
    """One column of encrypted values.

    Attributes
    ----------
    kind : str
        The kind of its places.
    table : type
        The table of the column.
    identity : tuple of Column
        The primary key of the table.
    data : Column
        The encrypted values.
    rows : Select
        Selects the parts of each place, the key id and the encrypted value.
    """

    kind: str
    table: type[ImageRow | TemplateRow | QuestionedRow | QuestionedTemplateRow | RetryRow]
    identity: tuple[Column, ...]
    data: Column
    rows: Select[Any]

    def place(self, row: Row[Any]) -> Place:
        """Return the place that the value of a row is bound to."""
        return Place(self.kind, row.tenant_id, row.owner or "", row.row_id, row.model_version)

    def identity_of(self, place: Place) -> Identity:
        """Return the primary key of the row of a place."""
        parts = {"tenant_id": place.tenant_id, "model_version": place.model_version}
        return tuple(parts.get(column.key, place.row_id) for column in self.identity)


@dataclass
class Outcome:
    """The result of a job: the number of rows that succeeded, and the places that did not decrypt, with reasons."""

    done: int = 0
    failed: dict[Place, str] = field(default_factory=dict)


def _of_reference(table: Any, model_version: Any, data: Column) -> Select[Any]:
    return (
        select(
            SignerRow.tenant_id,
            SignerRow.key.label("owner"),
            table.reference_id.label("row_id"),
            model_version.label("model_version"),
            table.key_id,
            data.label("data"),
        )
        .join(ReferenceRow, ReferenceRow.reference_id == table.reference_id)
        .join(SignerRow, SignerRow.key == ReferenceRow.signer_key)
    )


_OF_VERIFICATION: Any = select(
    VerificationRow.tenant_id,
    VerificationRow.signer_id.label("owner"),
    QuestionedRow.verification_id.label("row_id"),
    literal("").label("model_version"),
    QuestionedRow.key_id,
    QuestionedRow.data.label("data"),
).join(VerificationRow, VerificationRow.verification_id == QuestionedRow.verification_id)

_OF_QUESTIONED_TEMPLATE: Any = select(
    SignerRow.tenant_id,
    SignerRow.key.label("owner"),
    QuestionedTemplateRow.verification_id.label("row_id"),
    QuestionedTemplateRow.model_version,
    QuestionedTemplateRow.key_id,
    QuestionedTemplateRow.vector.label("data"),
).join(SignerRow, SignerRow.key == QuestionedTemplateRow.signer_key)

_OF_ANSWER: Any = select(
    RetryRow.tenant_id,
    RetryRow.signer_id.label("owner"),
    RetryRow.idempotency_key.label("row_id"),
    literal("").label("model_version"),
    RetryRow.key_id,
    RetryRow.sealed.label("data"),
).where(RetryRow.sealed.is_not(None))

SEALED_COLUMNS = (
    SealedColumn(
        "image",
        ImageRow,
        (ImageRow.reference_id,),
        ImageRow.data,
        _of_reference(ImageRow, literal(""), ImageRow.data),
    ),
    SealedColumn(
        "template",
        TemplateRow,
        (TemplateRow.reference_id, TemplateRow.model_version),
        TemplateRow.vector,
        _of_reference(TemplateRow, TemplateRow.model_version, TemplateRow.vector),
    ),
    SealedColumn(
        "questioned",
        QuestionedRow,
        (QuestionedRow.verification_id,),
        QuestionedRow.data,
        _OF_VERIFICATION,
    ),
    SealedColumn(
        "questioned-template",
        QuestionedTemplateRow,
        (QuestionedTemplateRow.verification_id, QuestionedTemplateRow.model_version),
        QuestionedTemplateRow.vector,
        _OF_QUESTIONED_TEMPLATE,
    ),
    SealedColumn(
        "answer",
        RetryRow,
        (RetryRow.tenant_id, RetryRow.idempotency_key),
        RetryRow.sealed,
        _OF_ANSWER,
    ),
)
TABLES = tuple(column.table.__tablename__ for column in SEALED_COLUMNS)


def find_outdated(session: Session, column: SealedColumn) -> list[Identity]:
    """Return the primary keys of the rows whose value is not encrypted with the active key."""
    active = cipher_of(session).keys.active.key_id
    query = select(*column.identity).where(column.table.key_id != active)
    return [tuple(row) for row in session.execute(query)]


def find_all(session: Session, column: SealedColumn) -> list[Identity]:
    """Return the primary keys of all rows."""
    return [tuple(row) for row in session.execute(select(*column.identity))]


def reencrypt(store: Store, column: SealedColumn, identities: Sequence[Identity]) -> Iterator[Outcome]:
    """Encrypt rows with the active key; yields the outcome of each transaction."""
    for start in range(0, len(identities), BATCH):
        yield store.write_now(_reencrypt, column, identities[start : start + BATCH])


def check(store: Store, column: SealedColumn, identities: Sequence[Identity]) -> Iterator[Outcome]:
    """Check that rows decrypt; yields the outcome of each batch."""
    for start in range(0, len(identities), BATCH):
        yield store.read_now(_check, column, identities[start : start + BATCH])


def count_by_key(session: Session) -> dict[str, int]:
    """Count the stored values by the id of their key."""
    counts: dict[str, int] = {}
    for column in SEALED_COLUMNS:
        query = select(column.table.key_id, func.count()).group_by(column.table.key_id)
        for key_id, count in session.execute(query):
            if key_id is not None:
                counts[key_id] = counts.get(key_id, 0) + count
    return counts


def is_readable(session: Session, place: Place) -> bool:
    """Whether the value of a place decrypts or no longer exists."""
    column = next(column for column in SEALED_COLUMNS if column.kind == place.kind)
    return not _check(session, column, [column.identity_of(place)]).failed


def _rows(
    session: Session, column: SealedColumn, identities: Sequence[Identity], query: Select[Any]
) -> list[Row[Any]]:
    return list(session.execute(query.where(tuple_(*column.identity).in_(identities))))


def _check(session: Session, column: SealedColumn, identities: Sequence[Identity]) -> Outcome:
    outcome = Outcome()
    for row in _rows(session, column, identities, column.rows):
        _open(session, column, row, outcome)
    return outcome


def _reencrypt(session: Session, column: SealedColumn, identities: Sequence[Identity]) -> Outcome:
    cipher = cipher_of(session)
    outcome = Outcome()
    for row in _rows(session, column, identities, column.rows.with_for_update(of=column.table)):
        if row.key_id == cipher.keys.active.key_id:
            continue  # another process has encrypted it already
        plaintext = _open(session, column, row, outcome)
        if plaintext is None:
            continue
        place = column.place(row)
        sealed = cipher.seal(place, plaintext)
        primary_key = zip(column.identity, column.identity_of(place), strict=True)
        session.execute(
            update(column.table)
            .where(*(key_column == value for key_column, value in primary_key))
            .values({column.data: sealed.data, column.table.key_id: sealed.key_id})
            .execution_options(synchronize_session=False)
        )
    return outcome


def _open(session: Session, column: SealedColumn, row: Row[Any], outcome: Outcome) -> bytes | None:
    place = column.place(row)
    try:
        plaintext = cipher_of(session).open(place, row.key_id, row.data)
    except (StoredDataDamaged, DataKeyMissing) as error:
        outcome.failed[place] = str(error)
        return None
    outcome.done += 1
    return plaintext
