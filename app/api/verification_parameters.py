"""Query parameters that choose verifications of a listing."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Query
from pydantic import BeforeValidator, WithJsonSchema

from app.api.schemas import Outcome
from app.domain.assignment import Decision
from app.domain.times import parse_time
from app.domain.verification_filter import VerificationFilter

Time = Annotated[
    datetime, BeforeValidator(parse_time), WithJsonSchema({"type": "string", "format": "date-time"})
]
DecisionQuery = Annotated[Decision | None, Query(description="Only those with this decision of the service.")]
OutcomeQuery = Annotated[Outcome | None, Query(description="Only those for which this outcome is recorded.")]
CreatedFrom = Annotated[
    Time | None,
    Query(
        description="Only those whose `created_at` is this time or later: RFC 3339, with a time zone.",
        examples=["2026-01-15T00:00:00Z"],
    ),
]
CreatedBefore = Annotated[
    Time | None,
    Query(
        description="Only those whose `created_at` is before this time: RFC 3339, with a time zone.",
        examples=["2026-01-16T00:00:00Z"],
    ),
]


async def verification_filter(
    decision: DecisionQuery = None,
    outcome: OutcomeQuery = None,
    created_from: CreatedFrom = None,
    created_before: CreatedBefore = None,
) -> VerificationFilter:
    """Build the filter of a listing. Raises MalformedRequest if the interval ends before it begins."""
    return VerificationFilter(decision, outcome, created_from, created_before)


Wanted = Annotated[VerificationFilter, Depends(verification_filter)]
