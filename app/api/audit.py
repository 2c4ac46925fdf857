"""``GET /audit``: who did what, for the administrators of a tenant."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.dependencies import ALWAYS, Limit, Running
from app.api.schemas import SignerId
from app.domain.audit_chain import Entry
from app.http.authorization import Administering
from app.http.problems import documented
from app.services import records
from app.services.audit.trail import Action

router = APIRouter(tags=["record"])


class EntryOut(BaseModel):
    """An entry of the audit."""

    model_config = ConfigDict(extra="forbid")

    sequence: int = Field(description="Counted in your tenant, without gaps.", examples=[42])
    at: datetime
    action: str = Field(examples=["verify"])
    actor: str = Field(description="The key's name.", examples=["teller"])
    key_id: str | None
    request_id: str
    signer_id: str | None = Field(description="While the signer is enrolled; null once they are erased.")
    subject: str | None = Field(description="What stands for the signer, also when they are erased.")
    record_id: str | None = Field(description="The verification, reference or key that it is about.")
    details: dict[str, Any] = Field(examples=[{"decision": "accept", "distance": 0.64, "threshold": 0.77}])
    sealed_with: str | None = Field(description="Id of the secret that the hash was made with.")
    previous: str = Field(description="Hash of the entry before.")
    hash: str

    @classmethod
    def of(cls, entry: Entry, signer_id: str | None) -> EntryOut:
        """Render an entry."""
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
    """One page of the audit; pass `next_cursor` as `cursor` for the next one, null is the last."""

    model_config = ConfigDict(extra="forbid")

    entries: list[EntryOut]
    next_cursor: str | None


@router.get(
    "/audit",
    summary="Read the audit",
    response_model=AuditPage,
    responses=documented(*ALWAYS),
)
async def get_audit(
    core: Running,
    caller: Administering,
    action: Annotated[
        Action | None, Query(description=f"Only of this kind: {', '.join(get_args(Action))}.")
    ] = None,
    signer_id: Annotated[SignerId | None, Query(description="Only of this signer.")] = None,
    limit: Limit = 50,
    cursor: Annotated[
        str | None,
        Query(
            pattern=r"^[0-9]{1,18}$", description="`next_cursor` of the page before; none for the first page."
        ),
    ] = None,
) -> AuditPage:
    """Who did what in your tenant, newest first: key, request, signer, model version, threshold and result.

    `python -m app audit verify` shows whether anybody changed it.

    ```sh
    curl 'http://127.0.0.1:8000/audit?action=erase-signer'
    ```
    """
    before = None if cursor is None else int(cursor)
    page = await records.list_audit_entries(core, caller.tenant_id, limit, before, action, signer_id)
    return AuditPage(
        entries=[EntryOut.of(entry, known) for entry, known in page.items],
        next_cursor=page.next_after,
    )
