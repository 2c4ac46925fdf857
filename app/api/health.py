"""Liveness check, readiness check and Prometheus metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.dependencies import RunningContext
from app.api.schemas import HealthOut
from app.domain.errors import CountersignError
from app.http.authorization import Operating
from app.http.problems import documented
from app.services.health import check_live, check_ready

router = APIRouter(tags=["operation"])


@router.get(
    "/livez",
    summary="Liveness check",
    response_model=HealthOut,
    responses=documented("malformed-request", "not-ready", "deadline-passed"),
)
async def livez(request: Request) -> HealthOut:
    """Return 200 while the event loop runs and the network is not stalled; restart the process when it fails.

    An unavailable store does not make the check fail, because a restart would not repair it. No API key is needed.

    ```sh
    curl http://127.0.0.1:8000/livez
    ```
    """
    context = getattr(request.app.state, "context", None)
    if context is not None:  # None while the service starts and shuts down
        check_live(context.inference)
    return HealthOut(status="alive")


@router.get(
    "/readyz",
    summary="Readiness check",
    response_model=HealthOut,
    responses=documented("malformed-request", "not-ready", "store-unavailable", "deadline-passed"),
)
async def readyz(request: Request, context: RunningContext) -> HealthOut:
    """Return 200 when the weights are loaded, the network responds, and the store can be read, written and decrypted.

    Send requests to this process only while the check succeeds. It fails from SIGTERM on, and succeeds again after
    any other fault is repaired. High load does not make it fail: a service at capacity answers 503 `busy` without
    delay. No API key is needed.

    ```sh
    curl http://127.0.0.1:8000/readyz
    ```
    """
    metrics = request.app.state.metrics
    try:
        await check_ready(context.inference, context.store, closing=request.app.state.closing)
    except CountersignError:
        metrics.ready.set(0)
        raise
    metrics.ready.set(1)
    return HealthOut(status="ready")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"description": "Prometheus text format.", "content": {"text/plain": {}}},
        **documented(
            "malformed-request",
            "unauthenticated",
            "forbidden",
            "too-many-requests",
            "not-ready",
            "store-unavailable",
            "deadline-passed",
        ),
    },
)
async def metrics(request: Request, context: RunningContext, _: Operating) -> Response:
    """Return requests, latencies by stage, queue depth, batch sizes, decisions, drift and live error rates.

    Requires the scope `read` and a key of the operator's tenant.

    ```sh
    curl http://127.0.0.1:8000/metrics
    ```
    """
    await context.rates.refresh()
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
