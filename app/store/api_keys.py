"""API keys in the store: insert, list, revoke, and record their use. The text of a key is never stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app.domain.api_keys import Key
from app.domain.callers import parse_scopes
from app.domain.errors import Conflict, KeyNotFound
from app.domain.ids import record_id
from app.store.access_tables import KeyRow


def add(session: Session, key: Key) -> None:
    """Insert a new key. Raises Conflict when the tenant has a live key of that name."""
    same_name = select(KeyRow.key_id).where(
        KeyRow.tenant_id == key.tenant_id, KeyRow.name == key.name, KeyRow.revoked_at.is_(None)
    )
    if session.scalar(same_name) is not None:
        raise Conflict(
            f"Tenant {key.tenant_id!r} has a key {key.name!r} that is not revoked; revoke it, or choose another "
            "name."
        )
    session.add(
        KeyRow(
            key_id=key.key_id,
            tenant_id=key.tenant_id,
            name=key.name,
            sha256=key.sha256,
            scopes=sorted(key.scopes),
            rate_limit=key.rate_limit,
            created_at=key.created_at or datetime.now(UTC),
            expires_at=key.expires_at,
        )
    )
    session.flush()


def all_keys(session: Session, tenant_id: str | None = None) -> list[Key]:
    """Return all keys of one tenant or of all tenants, oldest first, including revoked ones."""
    query = select(KeyRow).order_by(KeyRow.key_id)
    if tenant_id is not None:
        query = query.where(KeyRow.tenant_id == tenant_id)
    return [_key(row) for row in session.scalars(query)]


def revoke(session: Session, tenant_id: str, name_or_id: str, at: datetime) -> Key:
    """Revoke the key with this id, or the live key with this name. Raises KeyNotFound."""
    row = session.scalar(
        select(KeyRow)
        .where(
            or_(
                KeyRow.key_id == record_id(name_or_id),
                (KeyRow.tenant_id == tenant_id) & (KeyRow.name == name_or_id),
            ),
            KeyRow.revoked_at.is_(None),
        )
        .with_for_update()
    )
    if row is None:
        raise KeyNotFound(f"Tenant {tenant_id!r} has no key {name_or_id!r} that could be revoked.")
    row.revoked_at = at
    session.flush()
    return _key(row)


def record_use(session: Session, used: Mapping[str, datetime]) -> None:
    """Record when keys were last used; an earlier time never replaces a later one."""
    for key_id, at in sorted(used.items()):
        session.execute(
            update(KeyRow)
            .where(KeyRow.key_id == key_id, or_(KeyRow.last_used_at.is_(None), KeyRow.last_used_at < at))
            .values(last_used_at=at)
        )


def _key(row: KeyRow) -> Key:
    return Key(
        key_id=row.key_id,
        name=row.name,
        tenant_id=row.tenant_id,
        sha256=row.sha256,
        scopes=parse_scopes([str(scope) for scope in row.scopes]),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        rate_limit=row.rate_limit,
    )
