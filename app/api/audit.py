"""``GET /audit``: the audit of a tenant, for its administrators."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.cursors import Listing
from app.api.dependencies import COMMON_PROBLEMS, Cursor, Limit, RunningContext
from app.api.schemas import RecordId, SignerId
from app.domain.audit_chain import Entry
from app.domain.validation import PRINTABLE_PATTERN
from app.http.authorization import Administering
from app.http.problems import documented
from app.services import records
from app.services.audit.trail import Action

router = APIRouter(tags=["record"])
MAX_SEQUENCE = 10**18


class EntryOut(BaseModel):
    """One audit entry."""

    model_config = ConfigDict(extra="forbid")

    sequence: int = Field(
        description="Sequence number, counted per tenant from 1 and without gaps.", examples=[42]
    )
    at: datetime = Field(description="Time of the action, in UTC.")
    action: str = Field(examples=["verify"])
    actor: str = Field(
        description="Name of the API key; `loopback` while no key exists; `command-line` for commands on the server; "
        "`service` for the service itself.",
        examples=["teller"],
    )
    key_id: str | None = Field(description="Id of the API key; null without a key.")
    request_id: str = Field(description="Id of the request, as in its X-Request-ID response header.")
    signer_id: str | None = Field(
        description="Id of the signer that the entry is about, while the signer is enrolled; otherwise null."
    )
    subject: str | None = Field(
        description="Internal key of the signer that the entry is about. It stays the same when the signer is erased."
    )
    record_id: str | None = Field(
        description="Id of the verification, reference or API key that the entry is about."
    )
    details: dict[str, Any] = Field(
        description="Depends on the action. Never contains images or templates.",
        examples=[{"decision": "accept", "distance": 0.64, "threshold": 0.77}],
    )
    sealed_with: str | None = Field(
        description="Id of the secret of the HMAC in `hash`; null: `hash` is a plain SHA-256."
    )
    previous: str = Field(description="`hash` of the previous entry; 64 zeros in the first entry.")
    hash: str = Field(description="Hash of this entry and of `previous`, hexadecimal.")

    @classmethod
    def of(cls, entry: Entry, signer_id: str | None) -> EntryOut:
        """Convert an entry of the audit chain."""
        return cls(
            sequence=entry.sequence,
            at=datetime.fromisoformat(entry.at),
            action=entry.action,
            actor=entry.actor,
            key_id=entry.key_id,
            request_id=entry.request_id,
            signer_id=signer_id,
            subject=entry.subject,
            record_id=entry.record_id,
            details=json.loads(entry.details),
            sealed_with=entry.sealed_with,
            previous=entry.previous,
            hash=entry.hash,
        )


class AuditPage(BaseModel):
    """One page of the audit. Send `next_cursor` as `cursor` to get the next page; null means this is the last."""

    model_config = ConfigDict(extra="forbid")

    entries: list[EntryOut]
    next_cursor: str | None


@router.get(
    "/audit",
    summary="Read the audit",
    response_model=AuditPage,
    responses=documented(*COMMON_PROBLEMS, "invalid-cursor"),
)
async def get_audit(
    context: RunningContext,
    caller: Administering,
    action: Annotated[
        Action | None, Query(description=f"Only entries of this action: {', '.join(get_args(Action))}.")
    ] = None,
    signer_id: Annotated[
        SignerId | None, Query(description="Only entries about this enrolled signer.")
    ] = None,
    record_id: Annotated[
        RecordId | None,
        Query(
            max_length=64,
            pattern=PRINTABLE_PATTERN,
            description="Only entries about this verification, case, reference or key.",
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditPage:
    """List the audit entries of your tenant, newest first. Requires the scope `admin`.

    Each entry names the API key, the request and the signer; `details` has the model version, the threshold and the
    result where they apply. `python -m app audit verify`, run on the server, verifies the hash chain of the entries.

    ```sh
    curl 'http://127.0.0.1:8000/audit?action=erase-signer'
    ```
    """
    listing = Listing("audit", action, signer_id, record_id)
    before = listing.decode_number(cursor, MAX_SEQUENCE)
    page = await records.list_audit_entries(
        context.store, caller.tenant_id, limit, before, action, signer_id, record_id
    )
    return AuditPage(
        entries=[EntryOut.of(entry, signer) for entry, signer in page.items],
        next_cursor=listing.encode(page.next_after),
    )
