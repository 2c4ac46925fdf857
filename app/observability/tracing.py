"""OpenTelemetry traces, if a collector is configured: a span per request, with a child span per stage.

Attributes of spans are set in this module only: method, route pattern, status, request id and stage. Paths, queries,
addresses and error messages are excluded because they may contain signer ids. Traces need the extra `tracing`;
without a collector, OpenTelemetry is not imported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.errors import StartRefused
from app.domain.request_context import request_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

_tracer: ContextVar[Tracer | None] = ContextVar("tracer", default=None)


def open_traces(endpoint: str, share: float, version: str) -> TracerProvider:
    """Create a provider that sends the share `share` of traces to the collector at `endpoint`.

    Raises StartRefused when OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415
    except ImportError as error:
        raise StartRefused(
            f"COUNTERSIGN_OTLP_ENDPOINT is set, but {error.name} is not installed; install the extra `tracing` "
            "(pip install -e '.[tracing]' -c constraints.txt) or unset it."
        ) from error
    provider = TracerProvider(
        resource=Resource.create({"service.name": "countersign", "service.version": version}),
        sampler=ParentBasedTraceIdRatio(share),
    )
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


@contextmanager
def span(name: str) -> Iterator[None]:
    """Record a child span of the current request; does nothing when traces are off."""
    tracer = _tracer.get()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False):
        yield


def spans_before_now(seconds: Mapping[str, float]) -> None:
    """Record spans of consecutive stages in another process that end now, from their names and durations."""
    tracer = _tracer.get()
    if tracer is None:
        return
    begin = time.time_ns() - round(1e9 * sum(seconds.values()))
    for name, duration in seconds.items():
        end = begin + round(1e9 * duration)
        tracer.start_span(name, start_time=begin).end(end)
        begin = end


class TracingMiddleware:
    """Middleware that records a span per request, as a child of the span in the ``traceparent`` header, if any.

    Parameters
    ----------
    app : ASGIApp
        The next application.
    provider : TracerProvider
    """

    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        self._app = app
        self._tracer = provider.get_tracer("countersign")
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415

        headers = Headers(scope=scope)
        carrier = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        with self._tracer.start_as_current_span(
            scope["method"],
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"]},
            record_exception=False,
            set_status_on_exception=False,
        ) as request_span:

            async def send_and_record(message: Message) -> None:
                if message["type"] == "http.response.start":
                    request_span.set_attribute("http.response.status_code", message["status"])
                    request_span.set_attribute("countersign.request_id", request_id())
                    if message["status"] >= 500:
                        request_span.set_status(Status(StatusCode.ERROR))
                await send(message)

            token = _tracer.set(self._tracer)
            try:
                await self._app(scope, receive, send_and_record)
            finally:
                _tracer.reset(token)
                route = getattr(scope.get("route"), "path", "unmatched")
                request_span.set_attribute("http.route", route)
                request_span.update_name(f"{scope['method']} {route}")
