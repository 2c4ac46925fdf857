"""Requests that may be repeated: the second one gets the first one's answer, also from another process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.domain.records import Upload, now
from app.store import idempotency
from app.store.signer_locks import LockedSigner


@dataclass(frozen=True)
class IdempotentRequest:
    """An Idempotency-Key with the fingerprint of the request that it came with."""

    tenant_id: str
    key: str
    signer_id: str
    fingerprint: str

    def earlier(self, session: Session) -> dict[str, Any] | None:
        """The answer that was given before; raises IdempotencyConflict when the request was another one."""
        return idempotency.find(session, self.tenant_id, self.key, self.fingerprint)

    def claim(self, session: Session) -> dict[str, Any] | None:
        """Take the key for this transaction, before anything else is done in it; the earlier answer if there is one.

        Raises IdempotencyConflict. When another process claims it at the same moment, this waits for that one.
        """
        earlier = self.earlier(session)
        if earlier is None:
            idempotency.claim(session, self.tenant_id, self.key, self.fingerprint, self.signer_id, now())
        return earlier

    def keep(self, session: Session, locked: LockedSigner, answer: dict[str, Any]) -> None:
        """Keep the answer, in the transaction that did what it tells of its signer."""
        idempotency.keep(session, locked, self.key, answer)


async def once(
    tenant_id: str, key: str | None, call: str, signer_id: str, uploads: Iterable[Upload]
) -> IdempotentRequest | None:
    """What identifies a request: the call, its signer and its files, byte for byte; None without a key."""
    if key is None:
        return None
    return IdempotentRequest(
        tenant_id, key, signer_id, await asyncio.to_thread(_fingerprint, (call, signer_id), uploads)
    )


def _fingerprint(words: Iterable[str], uploads: Iterable[Upload]) -> str:
    digest = hashlib.sha256()
    for word in words:
        digest.update(len(word.encode()).to_bytes(8, "big") + word.encode())
    for upload in uploads:
        digest.update(bytes.fromhex(upload.sha256) + upload.page.to_bytes(8, "big", signed=True))
    return digest.hexdigest()
