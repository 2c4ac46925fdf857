"""The application: settings in, an ASGI app out. The lifespan loads the weights and opens the store."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib.metadata import version

import cv2
import torch
from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from starlette.formparsers import MultiPartParser
from starlette.routing import BaseRoute

from app.api import (
    account_verifications,
    accounts,
    audit,
    cases,
    compare,
    differences,
    duplicate_signers,
    extract,
    forgeries,
    health,
    identify,
    model,
    problem_codes,
    proposals,
    reports,
    signer_quality,
    signers,
    statistics,
    verifications,
    verify,
)
from app.decoding.pool import DecoderPool
from app.desk import account_pages, dashboard_pages, enrol_pages, routes, signer_pages
from app.desk.error_pages import ErrorPages
from app.desk.pages import STATIC, CachedFiles
from app.domain.errors import InvalidSettings, NotReady, StartRefused
from app.domain.request_context import prefix
from app.http import problems
from app.http.admission import AdmissionMiddleware, InflightLimit
from app.http.authentication import HEADER_NAME, AuthenticationMiddleware, Authenticator
from app.http.cors import CrossOriginMiddleware, OwnOriginMiddleware
from app.http.middleware import HeadAsGet, RequestMiddleware
from app.http.openapi import document_of
from app.http.paths import PathMiddleware
from app.http.query import refuse_unknown_query
from app.http.rate_limits import Limits
from app.http.sessions import DESK, Sessions
from app.inference.batching import InferenceQueue
from app.inference.interface import Inference
from app.observability.metrics import Metrics
from app.observability.tracing import TracingMiddleware, open_traces
from app.services.api_keys import ApiKeyCache
from app.services.audit.anchors import AnchorWriter
from app.services.audit.trail import Trail
from app.services.context import AppContext
from app.services.licence_terms import refuse_terms
from app.services.live_rates import LiveRates
from app.services.maintenance import run_maintenance
from app.services.open_store import open_store
from app.services.signer_index import open_index
from app.settings import Settings
from app.store import templates
from app.store.encryption.cipher import digest
from app.store.store import Store
from model.decision.calibration import UnsupportedOperatingPoint
from model.errors import DeviceUnavailable, WeightsError
from model.networks.embedder import Embedder

_log = logging.getLogger(__name__)
VERSION = version("countersign")
ROUTERS = tuple(
    part.router
    for part in (
        verify,
        compare,
        identify,
        extract,
        signers,
        signer_quality,
        duplicate_signers,
        forgeries,
        proposals,
        accounts,
        account_verifications,
        verifications,
        differences,
        reports,
        cases,
        model,
        audit,
        statistics,
        problem_codes,
        health,
    )
)
DECODING_TIMEOUT_S = 10.0
"""Seconds that a worker process gets for one upload, even if its caller disconnects: replacing it costs more."""
DESCRIPTION = """
Verifies handwritten signatures. Enrol **references**, genuine signatures of a signer, then send a **questioned
signature**. The response has its **distance** to the references, the **threshold** for this signer, the **decision**,
and the strength of the evidence as a **log-likelihood ratio**. New signers need no training of the model. Errors are
[problem details](problems) (RFC 9457).
"""


def load_embedder(settings: Settings, *, embeds: bool = True) -> Embedder:
    """Load the model. Raises StartRefused, with the reason in one line, when it cannot be served.

    Parameters
    ----------
    embeds : bool
        Whether this process embeds signatures. If not, it only compares embeddings, and the network is neither
        quantised nor warmed up.
    """
    cv2.setNumThreads(1)  # images are decoded in parallel processes already
    torch.set_num_threads(settings.workers[1])
    try:
        embedder = Embedder.load(
            settings.weights, settings.device, settings.precision if embeds else "float32"
        )
        if settings.allowed_terms == "permissive":
            refuse_terms(settings.weights, embedder.card, embedder.calibration)
        bands = (band.target_far for band in settings.rate_bands)
        for far in (settings.target_far, settings.review_far, *bands):
            if far is not None:
                embedder.calibration.threshold(far, 1)
        highest = embedder.calibration.largest_threshold
        if settings.fixed_threshold is not None and settings.fixed_threshold > highest:
            raise InvalidSettings(
                f"COUNTERSIGN_FIXED_THRESHOLD={settings.fixed_threshold:g} would accept everything: the calibration "
                f"supports up to {highest:.4f}."
            )
    except (WeightsError, DeviceUnavailable, UnsupportedOperatingPoint) as error:
        raise InvalidSettings(str(error)) from error
    if embeds:
        embedder.warm_up()
    return embedder


@cache
def _endpoints() -> list[BaseRoute]:
    """Return the endpoints of the API and the desk, which all applications of a process share.

    FastAPI builds an endpoint when it is first looked for, in a quarter of a second for all of them.
    """
    endpoints = APIRouter()
    for router in ROUTERS:
        endpoints.include_router(router, dependencies=[Depends(refuse_unknown_query)])
    for page in (routes, enrol_pages, signer_pages, account_pages, dashboard_pages):
        endpoints.include_router(page.router)
    return endpoints.routes


def create_app(settings: Settings) -> FastAPI:
    """Build the application. Nothing is loaded before its lifespan begins."""
    metrics = Metrics()
    inflight = InflightLimit(settings.max_requests, settings.max_inflight_bytes)
    traces = (
        open_traces(settings.otlp_endpoint, settings.trace_share, VERSION) if settings.otlp_endpoint else None
    )
    keys = ApiKeyCache(settings.key, settings.key_refresh_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as opened:
            if traces is not None:
                opened.callback(traces.shutdown)
            try:
                app.state.context = await opened.enter_async_context(
                    _open_context(settings, metrics, inflight, keys)
                )
            except StartRefused as error:
                app.state.refusal = error
                raise
            try:
                yield
            finally:
                app.state.closing = True
                app.state.context = None

    app = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="Countersign",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.closing = False
    app.state.refusal = None  # of a start that failed, for the exit status
    app.router.routes.extend(_endpoints())
    app.mount(f"{DESK}/static", CachedFiles(directory=STATIC), name="desk-static")
    problems.install(app)
    app.add_api_route("/", _redirect_to_docs, include_in_schema=False)
    authenticator = Authenticator(
        keys,
        Limits(settings.rate_limit, settings.failed_key_limit),
        Sessions(settings.desk_session_s, lambda: _session_secrets(app)),
        settings.local_names,
        settings.cors_origins,
    )
    app.state.authenticator = authenticator
    _add_middleware(app, settings, metrics, inflight, authenticator)
    if traces is not None:
        app.add_middleware(TracingMiddleware, provider=traces)
    app.openapi = document_of(app, ROUTERS, settings.max_files)  # type: ignore[method-assign]  # FastAPI's documented way to amend the schema
    return app


@asynccontextmanager
async def _open_context(
    settings: Settings, metrics: Metrics, inflight: InflightLimit, keys: ApiKeyCache
) -> AsyncIterator[AppContext]:
    """Open the store, the model and the workers for serving, and close them at the end."""
    # Closed in reverse order, the store last, also when the start fails half-way.
    async with AsyncExitStack() as opened:
        trail = Trail(settings.chain_keys())
        store = open_store(settings)
        opened.callback(store.close)
        anchor_writer = AnchorWriter(store, trail)
        opened.push_async_callback(anchor_writer.close)
        opened.push_async_callback(keys.close)
        await keys.open(store)
        settings.refuse_public_without_keys(keys=keys.live > 0)
        context = await _assemble(opened, settings, metrics, store, trail)
        await anchor_writer.open()
        metrics.watch(lambda: context.inference.depth, lambda: inflight.requests, lambda: inflight.bytes)
        maintenance = asyncio.create_task(run_maintenance(context))
        opened.callback(maintenance.cancel)
        _log.info(
            "ready: %s (terms: %s, of its calibration: %s) on %s, %s",
            context.model_version,
            context.embedder.card.terms,
            context.embedder.calibration.fitted_on.terms,
            context.embedder.device,
            "no keys: this machine only" if keys.keyless else "keys are required",
        )
        yield context


@asynccontextmanager
async def open_context_for_commands(settings: Settings) -> AsyncIterator[AppContext]:
    """Open the store, the model and the workers for the command line, without a server, and close them at the end."""
    async with AsyncExitStack() as opened:
        trail = Trail(settings.chain_keys())
        store = open_store(settings)
        opened.callback(store.close)
        yield await _assemble(opened, settings, Metrics(), store, trail)


async def _assemble(
    opened: AsyncExitStack, settings: Settings, metrics: Metrics, store: Store, trail: Trail
) -> AppContext:
    """Load the model and start the workers on an open store."""
    decoders = DecoderPool(
        settings.workers[0],
        max(DECODING_TIMEOUT_S, settings.deadline_s),
        metrics.reader_deaths.inc,
        settings.reader_memory_mb,
        settings.page_network,
    )
    opened.callback(decoders.close)
    embedder = load_embedder(settings, embeds=not settings.inference_addresses)
    await _warn_of_missing_templates(store, embedder.version)
    decoders.check()
    signer_index = open_index(settings, store, embedder)
    opened.callback(signer_index.close)
    queue = await _open_inference(settings, embedder, metrics)
    opened.push_async_callback(queue.close)
    return AppContext(
        settings,
        embedder,
        queue,
        store,
        signer_index,
        decoders,
        metrics,
        LiveRates(store, metrics, embedder.version, settings.outcome_days),
        trail,
    )


async def _open_inference(settings: Settings, embedder: Embedder, metrics: Metrics) -> Inference:
    """Start the network's worker in this process, or connect to the deployment. Raises StartRefused."""
    if not settings.inference_addresses:
        queue = InferenceQueue(embedder, settings.batch(embedder.device), settings.queue_size, metrics.batch)
        queue.start()
        return queue
    if importlib.util.find_spec("httpx") is None:
        raise StartRefused(
            "COUNTERSIGN_INFERENCE=ray://… needs the extra `remote`: pip install -e '.[remote]' -c constraints.txt."
        )
    from app.inference.remote import RemoteInference  # noqa: PLC0415 - an extra

    remote = RemoteInference(
        settings.inference_addresses,
        embedder.version,
        embedder.dimension,
        settings.queue_size,
        settings.deadline_s,
        metrics.batch,
    )
    await remote.connect()
    return remote


def _add_middleware(
    app: FastAPI,
    settings: Settings,
    metrics: Metrics,
    inflight: InflightLimit,
    authenticator: Authenticator,
) -> None:
    """Add the middleware, innermost first."""
    app.add_middleware(HeadAsGet)
    # Uploads stay in memory, which the limit on requests in flight bounds: no scan is written to a temporary file.
    MultiPartParser.spool_max_size = 0
    app.add_middleware(
        AdmissionMiddleware,
        inflight=inflight,
        deadline_s=settings.deadline_s,
        upload_timeout_s=settings.upload_timeout_s,
        refused=lambda code: metrics.refused.labels(code).inc(),
    )
    # Outside of admission control: requests without a valid key do not count as in flight.
    app.add_middleware(AuthenticationMiddleware, authenticator=authenticator)
    # Outside of authentication: preflight requests of browsers have no key.
    if settings.cors_origins:
        app.add_middleware(
            CrossOriginMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-Match",
                "If-None-Match",
                HEADER_NAME,
                "X-Request-ID",
            ],
            expose_headers=["Content-Disposition", "ETag", "Retry-After", "WWW-Authenticate", "X-Request-ID"],
        )
    else:
        app.add_middleware(OwnOriginMiddleware)
    app.add_middleware(RequestMiddleware, metrics=metrics, max_bytes=settings.max_request_bytes)
    # Outside of all layers that answer with problems.
    app.add_middleware(ErrorPages)
    app.add_middleware(PathMiddleware, prefix=settings.root_path)


def _session_secrets(app: FastAPI) -> list[str]:
    """Derive the secrets of sessions from the encryption keys. Raises NotReady while the service starts or stops."""
    context: AppContext | None = getattr(app.state, "context", None)
    if context is None:
        raise NotReady("The service is starting or shutting down; try again in a moment.")
    return [digest(key, "desk session") for key in context.store.cipher.keys.all]


async def _redirect_to_docs() -> RedirectResponse:
    return RedirectResponse(f"{prefix()}/docs")


async def _warn_of_missing_templates(store: Store, model_version: str) -> None:
    """Log a warning when some signers cannot be verified until they have been moved to the model in use."""
    if await store.read(templates.any_lacking, model_version):
        _log.warning(
            "some references have no template of %s: verification of their signers is answered 409 until "
            "`python -m app reembed` has computed them; it can run while the service does",
            model_version,
        )
