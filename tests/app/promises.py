"""Requests that change data, and what they left in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.settings import Settings
from app.store.forgery_tables import QuestionedTemplateRow
from app.store.tables import (
    ImageRow,
    QuestionedRow,
    ReferenceRow,
    RetryRow,
    TemplateRow,
)
from tests.app.http.test_load import enrol_async, running
from tests.app.keyed import Draw

BIOMETRIC = (ReferenceRow, ImageRow, TemplateRow, QuestionedRow, QuestionedTemplateRow)
REQUESTS: dict[str, Callable[[httpx.AsyncClient, Draw], Any]] = {
    "verify": lambda client, draw: client.post(
        "/verify", data={"signer_id": "a"}, files={"signature": draw(1, 1)}, headers={"Idempotency-Key": "k"}
    ),
    "enrol": lambda client, draw: client.post(
        "/signers/a/references", files={"files": draw(1, 2)}, headers={"Idempotency-Key": "k"}
    ),
}


def rows(app: Any, table: type) -> int:
    def count(session: Session) -> int:
        return session.scalar(select(func.count()).select_from(table)) or 0

    found: int = app.state.context.store.read_now(count)
    return found


def kept_answers(app: Any) -> int:
    def count(session: Session) -> int:
        query = select(func.count()).select_from(RetryRow).where(RetryRow.sealed.is_not(None))
        return session.scalar(query) or 0

    found: int = app.state.context.store.read_now(count)
    return found


@asynccontextmanager
async def enrolled(
    settings: Settings, draw: Draw, **changes: object
) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
    """A service that keeps questioned images, with signer ``a``."""
    async with running(settings, keep_questioned_days=30, **changes) as (app, client):
        await enrol_async(client, draw(1, 0))
        yield app, client
