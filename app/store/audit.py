"""The audit in the store: appended to in the transaction of what it tells of, read, never changed."""

from __future__ import annotations

from collections.abc import Iterator
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
_ADD = insert(_ENTRIES)
_BEGIN = insert(_HEADS)
_MOVE = (
    update(_HEADS)
    .where(_HEADS.c.tenant_id == bindparam("new_tenant_id"))
    .values(sequence=bindparam("new_sequence"), hash=bindparam("new_hash"))
)
_TRIGGERS = ("audit_no_update", "audit_no_delete", "audit_heads_no_delete", "audit_heads_forward")


def append(session: Session, entry: Entry, keys: ChainKeys) -> Entry:
    """Add an entry to its tenant's chain, the last step of a transaction; return it as it stands there.

    The head's row is locked until the transaction ends, so that entries of all processes follow each other. It is
    the last lock that a transaction takes: two of them never wait for each other.
    """
    row = session.execute(_LOCKED_HEAD, {"tenant_id": entry.tenant_id}).one_or_none()
    head = start_of(entry.tenant_id) if row is None else Anchor(entry.tenant_id, row.sequence, row.hash)
    sealed = keys.sealed(entry, head)
    session.execute(_ADD, vars(sealed))
    end = {"tenant_id": entry.tenant_id, "sequence": sealed.sequence, "hash": sealed.hash}
    if row is None:
        session.execute(_BEGIN, end)
    else:
        session.execute(_MOVE, {f"new_{name}": value for name, value in end.items()})
    return sealed


def subject_of(session: Session, tenant_id: str, signer_id: str) -> str | None:
    """What stands for a signer in the audit: their key in the store; None when nobody is enrolled."""
    return session.scalar(
        select(SignerRow.key).where(SignerRow.tenant_id == tenant_id, SignerRow.signer_id == signer_id)
    )


def heads(session: Session) -> list[Anchor]:
    """The head of each tenant's chain, as the store keeps it."""
    rows = session.scalars(select(AuditHeadRow).order_by(AuditHeadRow.tenant_id))
    return [Anchor(row.tenant_id, row.sequence, row.hash) for row in rows]


def unsealed(session: Session, current: str) -> list[str]:
    """Tenants whose last entry was not sealed with the key that is in use."""
    ends = select(AuditRow.tenant_id).join(
        AuditHeadRow,
        (AuditHeadRow.tenant_id == AuditRow.tenant_id) & (AuditHeadRow.sequence == AuditRow.sequence),
    )
    return list(session.scalars(ends.where(AuditRow.sealed_with.is_distinct_from(current))))


def tenants(session: Session) -> list[str]:
    """Tenants that have an entry or a head."""
    entries = session.scalars(select(AuditRow.tenant_id).distinct())
    return sorted({*entries, *session.scalars(select(AuditHeadRow.tenant_id))})


def entries(session: Session, tenant_id: str, first: int = 1) -> Iterator[Entry]:
    """A tenant's chain from entry `first` on, in order, a thousand at a time."""
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
) -> Page[tuple[Entry, str | None]]:
    """Entries with the signer's id while the signer is there, newest first, all or of one kind or signer."""
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
    rows = session.execute(query).all()
    items = tuple((_entry(row), row.signer_id) for row in rows[:limit])
    return Page(items, str(items[-1][0].sequence) if len(rows) > limit else None)


def has(session: Session, tenant_id: str, action: str, record_id: str) -> bool:
    """Whether there is an entry of this kind about this record."""
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


def missing_triggers(session: Session) -> list[str]:
    """Triggers that refuse to change the audit and are not there any more, or are switched off."""
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
