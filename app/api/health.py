"""For orchestrators and Prometheus: alive, ready, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.dependencies import Running
from app.api.schemas import HealthOut
from app.domain.errors import CountersignError
from app.http.authorization import Operating
from app.http.problems import documented
from app.services.health import check_live, check_ready

router = APIRouter(tags=["operation"])


@router.get(
    "/livez",
    summary="Is the process alive?",
    response_model=HealthOut,
    responses=documented("not-ready", "deadline-passed"),
)
async def livez(request: Request) -> HealthOut:
    """Yes while the event loop runs and the network is not stuck; restart the process when the answer is no.

    A store that is gone does not make it no: a restart would not bring it back.

    ```sh
    curl http://127.0.0.1:8000/livez
    ```
    """
    core = getattr(request.app.state, "core", None)
    if core is not None:  # while it starts and stops there is none
        check_live(core)
    return HealthOut(status="alive")


@router.get(
    "/readyz",
    summary="Can it serve?",
    response_model=HealthOut,
    responses=documented("not-ready", "store-unavailable", "deadline-passed"),
)
async def readyz(request: Request, core: Running) -> HealthOut:
    """Yes when the weights are loaded, the queue is worked on, and the store can be read, written and decrypted.

    Send no traffic otherwise. It recovers by itself when the fault is gone; from SIGTERM on the answer is no. Being
    busy is no reason to say no: a full service refuses by itself, and at once.

    ```sh
    curl http://127.0.0.1:8000/readyz
    ```
    """
    metrics = request.app.state.metrics
    try:
        await check_ready(core, closing=request.app.state.closing)
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
            "unauthenticated",
            "forbidden",
            "too-many-requests",
            "not-ready",
            "store-unavailable",
            "deadline-passed",
        ),
    },
)
async def metrics(request: Request, core: Running, _: Operating) -> Response:
    """Requests, latencies by stage, queue depth, batch sizes, decisions, drift, and live error rates.

    ```sh
    curl http://127.0.0.1:8000/metrics
    ```
    """
    await core.rates.refresh()
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
