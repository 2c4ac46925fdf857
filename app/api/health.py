"""For orchestrators and Prometheus: alive, ready, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.parts import Running
from app.auth import Operating
from app.errors import StoreUnavailable
from app.problems import documented
from app.schemas import HealthOut

router = APIRouter(tags=["operation"])


@router.get("/livez", summary="Is the process alive?", response_model=HealthOut)
async def livez() -> HealthOut:
    """Answers as long as the event loop runs; restart the process when it does not.

    ```sh
    curl http://127.0.0.1:8000/livez
    ```
    """
    return HealthOut(status="alive")


@router.get(
    "/readyz",
    summary="Can it serve?",
    response_model=HealthOut,
    responses=documented("not-ready", "store-unavailable"),
)
async def readyz(core: Running) -> HealthOut:
    """Yes when the weights are loaded and warm, the store can be read and written, and what was read decrypted.

    Send no traffic otherwise. It recovers by itself when the fault is gone.

    ```sh
    curl http://127.0.0.1:8000/readyz
    ```
    """
    if faults := await core.store.faults():
        raise StoreUnavailable("; ".join(faults))
    return HealthOut(status="ready")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"description": "Prometheus text format.", "content": {"text/plain": {}}},
        **documented("unauthenticated", "forbidden", "too-many-requests"),
    },
)
async def metrics(request: Request, _: Operating) -> Response:
    """Requests, latencies by stage, queue depth, batch sizes, decisions, outcomes and distances.

    ```sh
    curl http://127.0.0.1:8000/metrics
    ```
    """
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
