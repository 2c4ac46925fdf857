"""The dashboard, and the record of a case."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from app.api.dependencies import RunningContext
from app.api.schemas import RecordId
from app.desk.charts import Bars, StackedDays
from app.desk.pages import render
from app.http.authorization import Administering, Reading
from app.services import cases, records
from app.services.statistics import compute_statistics

router = APIRouter(prefix="/desk", include_in_schema=False)
DAYS = 14
ENTRIES = 200
"""Number of audit entries of a case that are shown."""


@router.get("/dashboard")
async def get_dashboard(request: Request, context: RunningContext, caller: Reading) -> Response:
    """Show the statistics of the last two weeks."""
    found = await compute_statistics(context, caller.tenant_id, DAYS)
    return render(
        request,
        "dashboard.html",
        found=found,
        days=StackedDays.of(found.days),
        ranks=Bars.of(found.drift.shares),
    )


@router.get("/cases/{case_id}/record")
async def get_record(
    request: Request, context: RunningContext, caller: Administering, case_id: RecordId
) -> Response:
    """Show the audit trail of a case, newest first."""
    case = await cases.get_case(context.store, caller.tenant_id, case_id)
    page = await records.list_audit_entries(context.store, caller.tenant_id, ENTRIES, None, record_id=case_id)
    entries = [(entry, _shown(json.loads(entry.details))) for entry, _ in page.items]
    return render(request, "record.html", case=case, entries=entries, is_cut=page.next_after is not None)


def _shown(details: dict[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for name, value in details.items()
    }
