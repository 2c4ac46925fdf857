"""Idempotent requests: a replay gets the answer of the first request, also from another process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.domain.records import Upload, now
from app.store import idempotency
from app.store.signer_locks import LockedSigner


@dataclass(frozen=True)
class IdempotentRequest:
    """An Idempotency-Key with the fingerprint of its request.

    Attributes
    ----------
    signer_id : str or None
        The signer whom the answer is about; None when it is about several, or none.
    """

    tenant_id: str
    key: str
    signer_id: str | None
    fingerprint: str

    def find_answer(self, session: Session) -> dict[str, Any] | None:
        """Find the answer of an earlier request; raise IdempotencyConflict when that request was different."""
        return idempotency.find(session, self.tenant_id, self.key, self.fingerprint)

    def claim(self, session: Session) -> dict[str, Any] | None:
        """Claim the key, or return the answer of an earlier request; the first step of the transaction.

        When another process claims the key at the same time, this waits for its transaction to end.

        Raises
        ------
        IdempotencyConflict
        """
        answer = self.find_answer(session)
        if answer is None:
            idempotency.claim(session, self.tenant_id, self.key, self.fingerprint, self.signer_id, now())
        return answer

    def store_answer(self, session: Session, locked: LockedSigner, answer: dict[str, Any]) -> None:
        """Store the answer, in the transaction that writes what the answer describes."""
        idempotency.keep(session, locked, self.key, answer)

    def store_answer_of_many(
        self, session: Session, locked: Collection[LockedSigner], answer: dict[str, Any]
    ) -> None:
        """Store an answer that is about several signers, or none."""
        idempotency.keep_of_many(session, self.tenant_id, locked, self.key, answer)


async def make_idempotent_request(
    tenant_id: str,
    key: str | None,
    operation: str,
    signer_id: str,
    uploads: Iterable[Upload],
    content: Iterable[str] = (),
) -> IdempotentRequest | None:
    """Fingerprint a request by its operation, signer, content and the bytes of its files; None without a key."""
    if key is None:
        return None
    fingerprint = await asyncio.to_thread(_fingerprint, (operation, signer_id, *content), uploads)
    return IdempotentRequest(tenant_id, key, signer_id, fingerprint)


async def make_account_request(
    tenant_id: str,
    key: str | None,
    operation: str,
    account_id: str,
    content: Iterable[str] = (),
    uploads: Iterable[Upload] = (),
) -> IdempotentRequest | None:
    """Fingerprint a request about an account by its operation, its content and the bytes of its files."""
    if key is None:
        return None
    words = (operation, account_id, *content)
    return IdempotentRequest(tenant_id, key, None, await asyncio.to_thread(_fingerprint, words, uploads))


def _fingerprint(words: Iterable[str], uploads: Iterable[Upload]) -> str:
    digest = hashlib.sha256()
    for word in words:
        digest.update(len(word.encode()).to_bytes(8, "big") + word.encode())
    for upload in uploads:
        digest.update(bytes.fromhex(upload.sha256) + upload.page.to_bytes(8, "big", signed=True))
        if upload.region != "auto":  # fingerprints of earlier releases have no region
            digest.update(str(upload.region).encode())
    return digest.hexdigest()
