"""Settings of logs, metrics and traces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.domain.validation import HTTP_ADDRESS_PATTERN
from app.settings.base import EMPTY_IS_NONE, Options


class ObservabilityOptions(Options):
    """What the service reports about itself."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged."
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="One JSON object per line, or plain text."
    )
    outcome_days: int = Field(
        default=90,
        ge=1,
        le=3650,
        description="Days of recorded outcomes from which the live FAR and FRR are computed.",
    )
    otlp_endpoint: Annotated[str | None, EMPTY_IS_NONE] = Field(
        default=None,
        pattern=HTTP_ADDRESS_PATTERN,
        description="Base address of an OpenTelemetry collector (OTLP over HTTP), such as http://collector:4318; "
        "empty: no traces. Needs the extra `tracing`.",
    )
    trace_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Share of requests that are traced when the caller has not decided.",
    )
