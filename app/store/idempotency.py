"""Answers kept for requests that may be repeated, under the key that their caller gave them.

The key is claimed at the beginning of the transaction that does the work and the answer is put under it at the end.
Whoever comes with the same key at the same moment, from whichever process, waits for the claim's transaction at the
database and then finds its answer: the work is done once.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from typing import Any, cast

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.orm import Session

from app.domain.errors import IdempotencyConflict
from app.store.account_tables import RetrySignerRow
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


def claim(
    session: Session, tenant_id: str, key: str, fingerprint: str, signer_id: str | None, at: datetime
) -> None:
    """Take the key for this transaction; raises IntegrityError when another one was quicker, once that is through.

    `signer_id` is None when the answer will tell of several signers, or of none: :func:`keep_of_many`.
    """
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
    _keep(session, locked.tenant_id, locked.signer_id, key, answer)


def keep_of_many(
    session: Session, tenant_id: str, locked: Collection[LockedSigner], key: str, answer: dict[str, Any]
) -> None:
    """Like :func:`keep`, for an answer that tells of several signers, or of none."""
    _keep(session, tenant_id, None, key, answer)
    if locked:
        session.execute(
            insert(RetrySignerRow),
            [
                {"tenant_id": tenant_id, "idempotency_key": key, "signer_id": signer.signer_id}
                for signer in locked
            ],
        )


def forget_signer(session: Session, tenant_id: str, signer_id: str) -> None:
    """Delete the answers about a signer, but not their keys: a late repetition must not enrol them again."""
    among_others = select(RetrySignerRow.idempotency_key).where(
        RetrySignerRow.tenant_id == tenant_id, RetrySignerRow.signer_id == signer_id
    )
    session.execute(
        update(RetryRow)
        .where(
            RetryRow.tenant_id == tenant_id,
            or_(RetryRow.signer_id == signer_id, RetryRow.idempotency_key.in_(among_others)),
        )
        .values(sealed=None, key_id=None, answer=None, signer_id=None)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        delete(RetrySignerRow).where(
            RetrySignerRow.tenant_id == tenant_id, RetrySignerRow.signer_id == signer_id
        )
    )


def _keep(session: Session, tenant_id: str, signer_id: str | None, key: str, answer: dict[str, Any]) -> None:
    sealed = cipher_of(session).seal(answer_place(tenant_id, signer_id, key), json.dumps(answer).encode())
    session.execute(
        update(RetryRow)
        .where(RetryRow.tenant_id == tenant_id, RetryRow.idempotency_key == key)
        .values(sealed=sealed.data, key_id=sealed.key_id)
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
