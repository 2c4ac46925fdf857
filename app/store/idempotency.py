"""Answers kept for requests that may be repeated, under the key that their caller gave them.

The key is claimed at the beginning of the transaction that does the work and the answer is put under it at the end.
Whoever comes with the same key at the same moment, from whichever process, waits for the claim's transaction at the
database and then finds its answer: the work is done once.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, cast

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.domain.errors import IdempotencyConflict
from app.store.encryption.cipher import cipher_of
from app.store.encryption.sealing import answer_place
from app.store.signer_locks import LockedSigner
from app.store.tables import RetryRow

BATCH = 500


def find(session: Session, tenant_id: str, key: str, fingerprint: str) -> dict[str, Any] | None:
    """The answer given under `key`, or None.

    Raises
    ------
    IdempotencyConflict
        When the request was another one, or what it told of has been erased since.
    StoredDataDamaged, DataKeyMissing
    """
    row = session.get(RetryRow, (tenant_id, key))
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise IdempotencyConflict(
            f"The Idempotency-Key {key!r} came with another request before; use a new key for a new request."
        )
    if row.sealed is not None:
        place = answer_place(tenant_id, row.signer_id, key)
        return cast("dict[str, Any]", json.loads(cipher_of(session).open(place, row.key_id, row.sealed)))
    if row.answer is None:
        raise IdempotencyConflict(
            f"What the request with the Idempotency-Key {key!r} told of has been erased since; use a new key."
        )
    return row.answer


def claim(session: Session, tenant_id: str, key: str, fingerprint: str, signer_id: str, at: datetime) -> None:
    """Take the key for this transaction; raises IntegrityError when another one was quicker, once that is through."""
    session.add(
        RetryRow(
            tenant_id=tenant_id,
            idempotency_key=key,
            fingerprint=fingerprint,
            created_at=at,
            signer_id=signer_id,
        )
    )
    session.flush()


def keep(session: Session, locked: LockedSigner, key: str, answer: dict[str, Any]) -> None:
    """Keep the answer, which tells of a signer, under a key that this transaction has claimed."""
    place = answer_place(locked.tenant_id, locked.signer_id, key)
    sealed = cipher_of(session).seal(place, json.dumps(answer).encode())
    session.execute(
        update(RetryRow)
        .where(RetryRow.tenant_id == locked.tenant_id, RetryRow.idempotency_key == key)
        .values(sealed=sealed.data, key_id=sealed.key_id)
    )


def forget_signer(session: Session, tenant_id: str, signer_id: str) -> None:
    """Delete the answers about a signer, but not their keys: a late repetition must not enrol them again."""
    session.execute(
        update(RetryRow)
        .where(RetryRow.tenant_id == tenant_id, RetryRow.signer_id == signer_id)
        .values(sealed=None, key_id=None, answer=None, signer_id=None)
    )


def purge(session: Session, before: datetime) -> int:
    """Delete some keys and answers from before a moment; how many, 0 when none is left."""
    due = session.execute(
        select(RetryRow.tenant_id, RetryRow.idempotency_key).where(RetryRow.created_at < before).limit(BATCH)
    ).all()
    for row in due:
        session.execute(
            delete(RetryRow).where(
                RetryRow.tenant_id == row.tenant_id, RetryRow.idempotency_key == row.idempotency_key
            )
        )
    return len(due)
