"""The audit trail: who did what, when, on which request, with which model and result.

A use case draws up its entry while the request is in hand and appends it as the last step of the transaction that
does the thing: either both are there or neither. An entry holds no image, no template and no signer's id; what
stands for a signer is their key in the store, which names nobody once they are erased (GDPR art. 17).
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
from app.store.erasure.tombstones import Returned

Action = Literal[
    "enrol",
    "verify",
    "identify",
    "compare",
    "outcome",
    "policy",
    "view-image",
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
    """Writes the audit.

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
        """Draw up an entry of the request in hand, or of the command line; call it on the event loop.

        Parameters
        ----------
        record_id : str, optional
            The verification, reference or key that it is about.
        by : Caller, optional
            Whoever does it, if not the caller of the request in hand.
        details
            What canonical JSON can hold; never an image, a template or a signer's id.
        """
        who = by or caller()
        return Entry(
            tenant_id=who.tenant_id,
            sequence=0,
            at=_text(now()),
            action=action,
            actor=who.name,
            key_id=who.key_id,
            request_id=request_id(),
            subject=None,
            record_id=record_id,
            details=canonical(details),
        )

    def append(self, session: Session, entry: Entry, subject: str | None = None) -> None:
        """Put an entry on the trail, as the last step of a transaction; `subject` is the key of its signer."""
        audit.append(session, replace(entry, subject=subject), self.keys)

    def erased_again(self, session: Session, one: Returned) -> None:
        """Put on record that what a restored backup brought back was erased again."""
        by = Caller("service", one.tenant_id, frozenset())
        action: Action = "erase-signer" if one.kind == "signer" else "erase-reference"
        entry = self.entry(action, record_id=one.reference_id, by=by, reason="a backup brought it back")
        self.append(session, entry, one.signer_key)

    def seal(self, session: Session) -> list[str]:
        """Vouch with the key in use for every chain that ends without it; return the tenants."""
        if self.keys.current is None:
            return []
        found = audit.unsealed(session, self.keys.current)
        for tenant_id in found:
            by = Caller("service", tenant_id, frozenset())
            self.append(session, self.entry("audit-seal", by=by, key=self.keys.current))
        return found


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
