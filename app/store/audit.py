"""Audit entries in the database: appended in the transaction of the audited action, read, never changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import fields
from typing import cast

from sqlalchemy import Row, Select, Table, bindparam, exists, insert, select, text, update
from sqlalchemy.orm import Session

from app.domain.audit_chain import Anchor, ChainKeys, Entry, start_of
from app.domain.records import Page
from app.store.access_tables import AuditHeadRow, AuditRow
from app.store.tables import SignerRow

_FIELDS = tuple(field.name for field in fields(Entry))
_ENTRIES = cast("Table", AuditRow.__table__)
_HEADS = cast("Table", AuditHeadRow.__table__)
_LOCKED_HEAD = (
    select(_HEADS.c.sequence, _HEADS.c.hash)
    .where(_HEADS.c.tenant_id == bindparam("tenant_id"))
    .with_for_update()
)
_INSERT_ENTRY = insert(_ENTRIES)
_INSERT_HEAD = insert(_HEADS)
_UPDATE_HEAD = (
    update(_HEADS)
    .where(_HEADS.c.tenant_id == bindparam("new_tenant_id"))
    .values(sequence=bindparam("new_sequence"), hash=bindparam("new_hash"))
)
_TRIGGERS = ("audit_no_update", "audit_no_delete", "audit_heads_no_delete", "audit_heads_forward")


def append(session: Session, entry: Entry, keys: ChainKeys) -> Entry:
    """Append an entry to its tenant's chain and return it with its sequence number and hashes.

    This is the last step of a transaction. It locks the row of the head until the transaction ends, so that appends
    of all processes are serialized. Because it is the last lock that a transaction acquires, it cannot cause a
    deadlock.
    """
    row = session.execute(_LOCKED_HEAD, {"tenant_id": entry.tenant_id}).one_or_none()
    head = start_of(entry.tenant_id) if row is None else Anchor(entry.tenant_id, row.sequence, row.hash)
    sealed = keys.sealed(entry, head)
    session.execute(_INSERT_ENTRY, vars(sealed))
    new_head = {"tenant_id": entry.tenant_id, "sequence": sealed.sequence, "hash": sealed.hash}
    if row is None:
        session.execute(_INSERT_HEAD, new_head)
    else:
        session.execute(_UPDATE_HEAD, {f"new_{name}": value for name, value in new_head.items()})
    return sealed


def subject_of(session: Session, tenant_id: str, signer_id: str) -> str | None:
    """Return the subject of audit entries about a signer: the internal key; None if no such signer is enrolled."""
    return session.scalar(
        select(SignerRow.key).where(SignerRow.tenant_id == tenant_id, SignerRow.signer_id == signer_id)
    )


def heads(session: Session) -> list[Anchor]:
    """Return the stored head of each tenant's chain, ordered by tenant."""
    rows = session.scalars(select(AuditHeadRow).order_by(AuditHeadRow.tenant_id))
    return [Anchor(row.tenant_id, row.sequence, row.hash) for row in rows]


def unsealed(session: Session, current: str) -> list[str]:
    """Return the tenants whose last entry was not sealed with the current key.

    Parameters
    ----------
    current : str
        Id of the current key.
    """
    last_entries = select(AuditRow.tenant_id).join(
        AuditHeadRow,
        (AuditHeadRow.tenant_id == AuditRow.tenant_id) & (AuditHeadRow.sequence == AuditRow.sequence),
    )
    return list(session.scalars(last_entries.where(AuditRow.sealed_with.is_distinct_from(current))))


def tenants(session: Session) -> list[str]:
    """Return the tenants that have an entry or a head, sorted."""
    entries = session.scalars(select(AuditRow.tenant_id).distinct())
    return sorted({*entries, *session.scalars(select(AuditHeadRow.tenant_id))})


def entries(session: Session, tenant_id: str, first: int = 1) -> Iterator[Entry]:
    """Iterate over a tenant's chain from sequence number `first` on; rows are fetched in batches of 1000."""
    rows = session.execute(
        _entries()
        .where(AuditRow.tenant_id == tenant_id, AuditRow.sequence >= first)
        .order_by(AuditRow.sequence),
        execution_options={"yield_per": 1000},
    )
    return (Entry(**row._mapping) for row in rows)  # noqa: SLF001 - SQLAlchemy's documented name


def page(
    session: Session,
    tenant_id: str,
    limit: int,
    before: int | None,
    action: str | None = None,
    subject: str | None = None,
    record_id: str | None = None,
) -> Page[tuple[Entry, str | None]]:
    """Return one page of entries, newest first, each with the id of its signer, or None if that signer was erased.

    Parameters
    ----------
    before : int or None
        The last sequence number of the previous page.
    action, subject, record_id : str or None
        Return only entries of this action, about this signer (internal key), or about this record.
    """
    query = (
        _entries()
        .add_columns(SignerRow.signer_id)
        .outerjoin(
            SignerRow, (SignerRow.key == AuditRow.subject) & (SignerRow.tenant_id == AuditRow.tenant_id)
        )
        .where(AuditRow.tenant_id == tenant_id)
        .order_by(AuditRow.sequence.desc())
        .limit(limit + 1)
    )
    if before is not None:
        query = query.where(AuditRow.sequence < before)
    if action is not None:
        query = query.where(AuditRow.action == action)
    if subject is not None:
        query = query.where(AuditRow.subject == subject)
    if record_id is not None:
        query = query.where(AuditRow.record_id == record_id)
    rows = session.execute(query).all()
    items = tuple((_entry(row), row.signer_id) for row in rows[:limit])
    return Page(items, str(items[-1][0].sequence) if len(rows) > limit else None)


def has(session: Session, tenant_id: str, action: str, record_id: str) -> bool:
    """Whether there is an entry of this action about this record."""
    return bool(
        session.scalar(
            select(
                exists().where(
                    AuditRow.tenant_id == tenant_id,
                    AuditRow.record_id == record_id,
                    AuditRow.action == action,
                )
            )
        )
    )


def of_record(
    session: Session, tenant_id: str, record_id: str, actions: Collection[str]
) -> tuple[Entry, ...]:
    """Return the entries of these actions about a record, oldest first."""
    query = (
        _entries()
        .where(AuditRow.tenant_id == tenant_id, AuditRow.record_id == record_id, AuditRow.action.in_(actions))
        .order_by(AuditRow.sequence)
    )
    return tuple(_entry(row) for row in session.execute(query))


def missing_triggers(session: Session) -> list[str]:
    """Return the names of triggers that protect the audit tables but are missing or disabled."""
    if session.get_bind().dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    else:
        query = "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')"
    present = set(session.scalars(text(query)))
    return [name for name in _TRIGGERS if name not in present]


def _entries() -> Select[tuple[object, ...]]:
    return select(*(getattr(AuditRow, name) for name in _FIELDS))


def _entry(row: Row[tuple[object, ...]]) -> Entry:
    return Entry(**{name: getattr(row, name) for name in _FIELDS})
