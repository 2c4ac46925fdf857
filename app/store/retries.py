"""Answers kept for requests that may be repeated, under the key that their caller gave them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.errors import IdempotencyConflict
from app.store.tables import RetryRow


def find(session: Session, tenant_id: str, key: str, fingerprint: str) -> dict[str, Any] | None:
    """The answer given under `key`, or None; raises IdempotencyConflict when the request was another one."""
    row = session.get(RetryRow, (tenant_id, key))
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise IdempotencyConflict(
            f"The Idempotency-Key {key!r} came with another request before; use a new key for a new request."
        )
    return row.answer


def keep(
    session: Session, tenant_id: str, key: str, fingerprint: str, answer: dict[str, Any], at: datetime
) -> None:
    """Keep an answer, in the transaction that did what it tells of."""
    session.add(
        RetryRow(
            tenant_id=tenant_id, idempotency_key=key, fingerprint=fingerprint, created_at=at, answer=answer
        )
    )
    session.flush()
