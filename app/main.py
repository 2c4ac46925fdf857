"""The application: settings in, an ASGI app out. Weights are loaded once, in the lifespan, before it is ready."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import cv2
import torch
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from starlette.formparsers import MultiPartParser

from app import problems
from app.admission import Admission, Gate
from app.api import audit, compare, health, identify, model, signers, verifications, verify
from app.door import Door
from app.errors import StartRefused
from app.inference import InferenceQueue
from app.limiting import Limits
from app.middleware import HeadAsGet, RequestFrame
from app.problems import Problem
from app.reader.pool import Readers
from app.services.anchoring import Anchoring
from app.services.core import Core
from app.services.gallery import Gallery
from app.services.keyring import LiveKeys
from app.services.live_rates import LiveRates
from app.services.upkeep import keep_up
from app.settings import Settings
from app.store import templates
from app.store.opening import open_store
from app.store.store import Store
from app.telemetry import Metrics
from app.terms import refuse_terms
from app.tracing import TraceFrame, open_traces
from app.trail import Trail
from model.calibration import UnsupportedOperatingPoint
from model.embedder import Embedder
from model.errors import DeviceUnavailable, WeightsError

_log = logging.getLogger(__name__)
VERSION = "0.1.0"
READING_PATIENCE_S = 10.0
"""A reading process gets as long for one upload, however soon its caller goes away: replacing it costs more."""
DESCRIPTION = """
Verifies handwritten signatures of people the model has never seen: enrol a signer's **references**, send a
**questioned signature**, get its **distance**, the **threshold** that applies, a **decision** and the strength of
the evidence as a **log-likelihood ratio**. Errors are [problem+json](/problems) (RFC 9457).
"""


def load_embedder(settings: Settings) -> Embedder:
    """Load and warm up the model; raise StartRefused with one clear line when it cannot be served as configured."""
    cv2.setNumThreads(1)  # signatures are read side by side; more threads would only fight over the cores
    torch.set_num_threads(settings.workers[1])
    try:
        embedder = Embedder.load(settings.weights, settings.device)
        if settings.allowed_terms == "permissive":
            refuse_terms(settings.weights, embedder.card, embedder.calibration)
        for far in (settings.target_far, settings.review_far):
            if far is not None:
                embedder.calibration.threshold(far, 1)
    except (WeightsError, DeviceUnavailable, UnsupportedOperatingPoint) as error:
        raise StartRefused(str(error)) from error
    embedder.warm_up()
    return embedder


def create_app(settings: Settings) -> FastAPI:
    """Build the application; nothing is loaded before its lifespan begins."""
    metrics = Metrics(settings.drift_window)
    gate = Gate(settings.max_requests, settings.max_bytes_in_hand)
    traces = (
        open_traces(settings.otlp_endpoint, settings.trace_share, VERSION) if settings.otlp_endpoint else None
    )
    keys = LiveKeys((key.key for key in settings.api_keys), settings.key_refresh_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        trail = Trail(settings.chain_keys())
        store = open_store(settings)
        patience_s = max(READING_PATIENCE_S, settings.deadline_s)
        readers = Readers(
            settings.workers[0], patience_s, metrics.reader_deaths.inc, settings.reader_memory_mb
        )
        try:
            await keys.open(store)
            settings.refuse_open_door(keys=keys.live > 0)
            embedder = load_embedder(settings)
            await _tell_of_unmoved(store, embedder.version)
            readers.check()
        except BaseException:
            await _close(readers, keys, store)
            raise
        anchoring = Anchoring(store, trail, settings.audit_anchor_s)
        await anchoring.open()
        queue = InferenceQueue(embedder, settings.batch(embedder.device), settings.queue_size, metrics.batch)
        metrics.watch(lambda: queue.depth, lambda: gate.requests, lambda: gate.bytes)
        queue.start()
        gallery = Gallery(store, embedder.version, embedder.search_vectors)
        core = Core(
            settings,
            embedder,
            queue,
            store,
            gallery,
            readers,
            metrics,
            embedder.calibration.identifier,
            LiveRates(store, metrics, embedder.version, settings.outcome_days),
            trail,
        )
        app.state.core = core
        upkeep = asyncio.create_task(keep_up(core))
        _log.info(
            "ready: %s (terms: %s, of its calibration: %s) on %s, %s",
            embedder.version,
            embedder.card.terms,
            embedder.calibration.fitted_on.terms,
            embedder.device,
            "no keys: this machine only" if keys.keyless else "keys are asked for",
        )
        try:
            yield
        finally:
            app.state.closing = True
            app.state.core = None
            upkeep.cancel()
            await queue.close()
            await _close(readers, gallery, keys, anchoring, store)
            if traces is not None:
                traces.shutdown()

    app = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="Countersign",
        version=VERSION,
        description=DESCRIPTION,
        root_path=settings.root_path,
        lifespan=lifespan,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.settings = settings
    app.state.metrics = metrics
    app.state.closing = False
    for part in (verify, compare, identify, signers, verifications, model, audit, health):
        app.include_router(part.router)
    problems.install(app)
    _wrap(app, settings, metrics, gate, keys)
    if traces is not None:
        app.add_middleware(TraceFrame, provider=traces)
    app.openapi = _openapi(app, settings.max_files)  # type: ignore[method-assign]  # FastAPI's documented way to amend the schema
    return app


async def _close(*parts: LiveKeys | Anchoring | Gallery | Readers | Store) -> None:
    """Close what was opened, the store last of all."""
    for part in parts:
        closing = part.close()
        if closing is not None:
            await closing


def _wrap(app: FastAPI, settings: Settings, metrics: Metrics, gate: Gate, keys: LiveKeys) -> None:
    """Put the layers around the application, the innermost first."""
    app.add_middleware(HeadAsGet)
    # What was uploaded stays in memory, which the gate bounds: no scan is written to a temporary file.
    MultiPartParser.spool_max_size = 0
    app.add_middleware(
        Admission,
        gate=gate,
        deadline_s=settings.deadline_s,
        upload_timeout_s=settings.upload_timeout_s,
        refused=lambda code: metrics.refused.labels(code).inc(),
    )
    # Outside of the gate: whoever has no key takes nobody's place in it.
    app.add_middleware(
        Door,
        keys=keys,
        limits=Limits(settings.rate_limit, settings.failed_key_limit),
        local_names=settings.local_names,
    )
    app.add_middleware(RequestFrame, metrics=metrics, max_bytes=settings.max_request_bytes)


async def _tell_of_unmoved(store: Store, model_version: str) -> None:
    """Log it when signers cannot be verified until they are moved to the model in use."""
    if await store.read(templates.any_lacking, model_version):
        _log.warning(
            "some references have no template of %s, and verifying against their signers says 409 until "
            "`python -m app reembed` has moved them, while the service runs",
            model_version,
        )


def _openapi(app: FastAPI, most_files: int) -> Callable[[], dict[str, Any]]:
    """The schema, with problems in place of the framework's own 422, which this service never sends."""

    def schema() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                license_info=app.license_info,
            )
            components = made.setdefault("components", {}).setdefault("schemas", {})
            for component in components.values():
                _describe_files(component, most_files)
            components["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            for name in ("HTTPValidationError", "ValidationError"):
                components.pop(name, None)
            for methods in made["paths"].values():
                for call in methods.values():
                    content = call["responses"].get("422", {}).get("content", {})
                    if "application/json" in content:
                        del call["responses"]["422"]
            app.openapi_schema = made
        return app.openapi_schema

    return schema


def _describe_files(schema: dict[str, Any], most: int) -> None:
    """Say of uploaded files what the framework does not: that they are binary, and how many may come at once."""
    files = {
        name: field
        for name, field in schema.get("properties", {}).items()
        if field.get("items", field).get("contentMediaType") == "application/octet-stream"
    }
    for field in files.values():
        field.get("items", field)["format"] = "binary"  # what client generators know
        if "items" in field:
            field["maxItems"] = most - (len(files) - 1)
