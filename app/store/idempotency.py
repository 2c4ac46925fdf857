"""Idempotency keys with the answers of their requests, which are replayed when a request is repeated.

A request inserts its key at the beginning of its transaction and the answer at the end. A concurrent request with the
same key, in any process, waits at the unique constraint until that transaction ends, and then finds the answer. The
work is therefore done once.
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
"""Maximum number of keys that one transaction purges."""


def find(session: Session, tenant_id: str, key: str, fingerprint: str) -> dict[str, Any] | None:
    """Return the answer of the earlier request with this key; None if there was none.

    Parameters
    ----------
    fingerprint : str
        Digest of the request, to detect that the key is used for a different one.

    Raises
    ------
    IdempotencyConflict
        If the earlier request was different, or its answer was deleted with its signer.
    StoredDataDamaged, DataKeyMissing
    """
    row = session.get(RetryRow, (tenant_id, key))
    if row is None:
        return None
    if row.fingerprint != fingerprint:
        raise IdempotencyConflict(
            f"The Idempotency-Key {key!r} was used for a different request; use a new key for each new request."
        )
    if row.sealed is None or row.key_id is None:
        raise IdempotencyConflict(
            f"The signer of the earlier request with the Idempotency-Key {key!r} has been erased; use a new key."
        )
    place = answer_place(tenant_id, row.signer_id, key)
    return cast("dict[str, Any]", json.loads(cipher_of(session).open(place, row.key_id, row.sealed)))


def claim(
    session: Session, tenant_id: str, key: str, fingerprint: str, signer_id: str | None, at: datetime
) -> None:
    """Insert the key of the current request.

    `signer_id` is None when the answer will be about several signers or none: :func:`keep_of_many`.

    Raises
    ------
    sqlalchemy.exc.IntegrityError
        If a concurrent transaction inserted it first and has been committed.
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
    """Store the answer of a request about a signer under the key that this transaction has claimed."""
    _keep(session, locked.tenant_id, locked.signer_id, key, answer)


def keep_of_many(
    session: Session, tenant_id: str, locked: Collection[LockedSigner], key: str, answer: dict[str, Any]
) -> None:
    """Like :func:`keep`, for an answer about several signers or none."""
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
    """Delete the answers about a signer but keep their keys, so that a late retry does not enrol the signer again."""
    among_others = select(RetrySignerRow.idempotency_key).where(
        RetrySignerRow.tenant_id == tenant_id, RetrySignerRow.signer_id == signer_id
    )
    session.execute(
        update(RetryRow)
        .where(
            RetryRow.tenant_id == tenant_id,
            or_(RetryRow.signer_id == signer_id, RetryRow.idempotency_key.in_(among_others)),
        )
        .values(sealed=None, key_id=None, signer_id=None)
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
    """Delete at most `BATCH` keys older than `before`, with their answers; return their number, 0 if none is left."""
    expired = session.execute(
        select(RetryRow.tenant_id, RetryRow.idempotency_key).where(RetryRow.created_at < before).limit(BATCH)
    ).all()
    for row in expired:
        session.execute(
            delete(RetryRow).where(
                RetryRow.tenant_id == row.tenant_id, RetryRow.idempotency_key == row.idempotency_key
            )
        )
    return len(expired)
