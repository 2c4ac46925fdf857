"""The audit trail: who did what and when, in which request, with which model and result.

A use case builds its entry on the event loop, where the request's context is available, and appends it in the last
step of the transaction that does the work, so that both are committed or neither. An entry holds no image, no
template and no signer id. It refers to a signer by their key in the store, which identifies nobody once the signer is
erased (GDPR art. 17).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from app.domain.audit_chain import ChainKeys, Entry, canonical
from app.domain.callers import Caller
from app.domain.records import now
from app.domain.request_context import caller, request_id
from app.store import audit
from app.store.erasure.tombstones import RestoredRecord

Action = Literal[
    "enrol",
    "verify",
    "identify",
    "find-duplicates",
    "compare",
    "extract",
    "outcome",
    "forgery-add",
    "forgery-withdraw",
    "proposal-decline",
    "policy",
    "account-change",
    "account-delete",
    "account-verify",
    "case-claim",
    "case-release",
    "case-decision",
    "case-undo",
    "account-outcome",
    "view-image",
    "view-report",
    "erase-signer",
    "erase-reference",
    "key-create",
    "key-revoke",
    "audit-seal",
    "encryption-rotate",
    "encryption-retire",
    "reembed",
]


class Trail:
    """Builds and appends audit entries.

    Parameters
    ----------
    keys : ChainKeys
        The secrets that chains are hashed with.
    """

    def __init__(self, keys: ChainKeys) -> None:
        self.keys = keys

    def entry(
        self, action: Action, *, record_id: str | None = None, by: Caller | None = None, **details: Any
    ) -> Entry:
        """Build an entry of the current request, or of the command line; call it on the event loop.

        Parameters
        ----------
        record_id : str, optional
            The verification, reference or key that the entry is about.
        by : Caller, optional
            The actor; by default the caller of the current request.
        details
            JSON values; never an image, a template or a signer's id.
        """
        actor = by or caller()
        return Entry(
            tenant_id=actor.tenant_id,
            sequence=0,
            at=_isoformat(now()),
            action=action,
            actor=actor.name,
            key_id=actor.key_id,
            request_id=request_id(),
            subject=None,
            record_id=record_id,
            details=canonical(details),
        )

    def append(self, session: Session, entry: Entry, subject: str | None = None) -> None:
        """Append an entry, as the last step of a transaction; `subject` is the key of its signer."""
        audit.append(session, replace(entry, subject=subject), self.keys)

    def erased_again(self, session: Session, returned: RestoredRecord) -> None:
        """Append an entry for a signer or reference that a backup restored and that was erased again."""
        actor = Caller("service", returned.tenant_id, frozenset())
        action: Action = "erase-signer" if returned.kind == "signer" else "erase-reference"
        entry = self.entry(
            action, record_id=returned.reference_id, by=actor, reason="a backup brought it back"
        )
        self.append(session, entry, returned.signer_key)

    def seal(self, session: Session) -> list[str]:
        """Append an entry to every chain whose last one is not sealed with the current key; return the tenants."""
        if self.keys.current is None:
            return []
        tenant_ids = audit.unsealed(session, self.keys.current)
        for tenant_id in tenant_ids:
            actor = Caller("service", tenant_id, frozenset())
            self.append(session, self.entry("audit-seal", by=actor, key=self.keys.current))
        return tenant_ids


def _isoformat(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
