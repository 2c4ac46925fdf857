"""Metrics and traces: stages, drift, live error rates, spans; and that they contain no confidential data."""

from __future__ import annotations

import gzip
import http.server
import math
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from app.domain.errors import StoreUnavailable
from app.domain.records import now
from app.observability.drift import RankWindow, genuine_rank
from app.services import live_rates
from app.store.store import Store
from model.decision.verdict import judge
from tests.app.test_api import enrol, verify

Draw = Callable[..., bytes]


def samples(client: TestClient) -> dict[str, float]:
    """Return the samples of /metrics by name and labels."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_each_stage_of_a_verification_is_timed(client: TestClient, draw: Draw) -> None:
    enrol(client, "secret-signer", draw(1, 0), draw(1, 1))
    for n in (2, 3, 4):
        verify(client, "secret-signer", draw(1, n))
    seen = samples(client)
    for stage, count in {"wait": 5, "decode": 5, "isolate": 5, "queue": 5}.items():
        assert seen[f"countersign_stage_seconds_count{{stage={stage}}}"] == count, stage
    assert (
        seen["countersign_stage_seconds_count{stage=network}"]
        == seen["countersign_batch_signatures_count"]
        == 4
    )
    assert seen["countersign_batch_signatures_sum"] == 5
    assert seen["countersign_stage_seconds_count{stage=store}"] >= 4
    assert seen["countersign_requests_total{method=POST,route=/verify,status=200}"] == 3
    assert seen["countersign_queue_depth"] == seen["countersign_requests_in_hand"] == 0
    assert sum(v for k, v in seen.items() if k.startswith("countersign_decisions_total")) == 3
    assert "secret-signer" not in client.get("/metrics").text, "no signer id is a label"


def test_cancelled_request_is_counted(serve: Callable[..., TestClient], draw: Draw) -> None:
    client = serve(deadline_s=1e-6)
    assert verify(client, "a", draw(1, 0)).json()["code"] == "deadline-passed"
    registry = client.app.state.metrics.registry  # type: ignore[attr-defined]
    assert registry.get_sample_value("countersign_refused_total", {"code": "deadline-passed"}) == 1


def test_drift_is_small_for_uniform_ranks_and_large_for_others() -> None:
    rng = np.random.default_rng(0)
    uniform, skewed = RankWindow(1000), RankWindow(1000)
    assert math.isnan(uniform.psi()), "too few ranks"
    for rank in rng.uniform(size=3000):
        uniform.add(float(rank))
        skewed.add(float(rank) ** 0.25)
    assert len(uniform) == 1000
    assert uniform.psi() < 0.05
    assert uniform.ks() < 0.06
    assert skewed.psi() > 0.5
    assert skewed.ks() > 0.4


def test_rank_is_the_share_of_genuine_signatures_that_are_closer(client: TestClient) -> None:
    calibration = client.app.state.context.embedder.calibration  # type: ignore[attr-defined]
    fitted = calibration.at(3)
    reference_distances = np.zeros((3, 3))
    for share in (0.1, 0.5, 0.9):
        spread = fitted.rule.spread(reference_distances)
        distance = fitted.genuine.score(share) + fitted.rule.spread_weight * spread
        verdict = judge(np.full(3, distance), reference_distances, calibration, 0.1)
        assert genuine_rank(calibration, verdict, 3) == pytest.approx(share, abs=0.01)


def test_drift_metrics_react_to_copies_of_a_reference(serve: Callable[..., TestClient], draw: Draw) -> None:
    client = serve()
    enrol(client, "a", draw(1, 0), draw(1, 1))
    assert math.isnan(samples(client)["countersign_drift_psi"])
    for _ in range(101):  # copies of a reference are closer than any genuine signature
        verify(client, "a", draw(1, 0))
    seen = samples(client)
    assert seen["countersign_drift_window"] == 101
    assert seen["countersign_drift_psi"] > 0.25
    assert seen["countersign_genuine_rank_count"] == 101


def test_live_rates_follow_recorded_and_corrected_outcomes(
    serve: Callable[..., TestClient], draw: Draw
) -> None:
    client, replica = serve(), serve()
    for name in ("a", "b"):
        enrol(client, name, draw(1, 0 if name == "a" else 5), draw(1, 1 if name == "a" else 6))
    assert math.isnan(samples(client)["countersign_live_far"])
    copy = verify(client, "a", draw(1, 0)).json()  # accepted
    stranger = verify(client, "a", draw(3, 8)).json()  # rejected
    assert (copy["decision"], stranger["decision"]) == ("accept", "reject")

    def outcome(verification: Any, what: str) -> None:
        path = f"/verifications/{verification['verification_id']}/outcome"
        assert client.put(path, json={"outcome": what}).status_code == 200

    outcome(copy, "forged")
    outcome(stranger, "genuine")
    seen = samples(client)
    assert (seen["countersign_live_far"], seen["countersign_live_frr"]) == (1.0, 1.0)
    outcome(copy, "genuine")
    outcome(stranger, "forged")
    for replicas in (client, replica):  # read from the store, so equal on all replicas
        seen = samples(replicas)
        assert (seen["countersign_live_far"], seen["countersign_live_frr"]) == (0.0, 0.0)
        assert seen["countersign_live_cases{outcome=genuine}"] == 1


def test_live_rates_ignore_old_outcomes_and_survive_an_unavailable_store(
    serve: Callable[..., TestClient], draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(outcome_days=30)
    enrol(client, "a", draw(1, 0), draw(1, 1))
    answer = verify(client, "a", draw(1, 0)).json()
    client.put(f"/verifications/{answer['verification_id']}/outcome", json={"outcome": "forged"})
    with monkeypatch.context() as patch:
        patch.setattr(live_rates, "now", lambda: now() + timedelta(days=31))
        assert math.isnan(samples(client)["countersign_live_far"])

    async def unavailable(*_: object, **__: object) -> None:
        raise StoreUnavailable("The store cannot be used at the moment; nothing was stored. Try again.")

    client.app.state.context.rates.invalidate()  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(Store, "read", unavailable)
        assert client.get("/metrics").status_code == 200
    assert samples(client)["countersign_live_far"] == 1.0


def test_readiness_is_a_metric(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    client.get("/readyz")
    assert samples(client)["countersign_ready"] == 1
    client.app.state.closing = True  # type: ignore[attr-defined]
    assert client.get("/readyz").json()["code"] == "not-ready"
    assert samples(client)["countersign_ready"] == 0


class Collector:
    """A fake OpenTelemetry collector that stores all received spans."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.raw = b""
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                data = gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data
                collector.raw += data
                assert self.path == "/v1/traces"
                for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    running = Collector()
    yield running
    running.server.shutdown()
    running.server.server_close()


def test_traces_have_the_stages_and_no_signer_id(settings: Any, collector: Collector, draw: Draw) -> None:
    from app.main import create_app  # noqa: PLC0415

    app = create_app(settings.model_copy(update={"otlp_endpoint": collector.url}))
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with TestClient(app, client=("127.0.0.1", 1)) as client:
        enrol(client, "secret-signer", draw(1, 0))
        answer = verify(client, "secret-signer", draw(1, 1), headers={"traceparent": parent})
        client.get("/signers/secret-signer/references?limit=7")
        client.get("/signers/nobody-secret")
    # The end of the lifespan sends the remaining spans.
    deadline = time.monotonic() + 10
    while len(collector.spans) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    roots = {span.name: span for span in collector.spans if span.kind == 2}
    assert {"POST /verify", "POST /signers/{signer_id}/references", "GET /signers/{signer_id}"} <= set(roots)
    verified = roots["POST /verify"]
    assert verified.trace_id.hex() == parent[3:35], "part of the caller's trace"
    attributes = {item.key: item.value for item in verified.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["countersign.request_id"].string_value == answer.headers["X-Request-ID"]
    stages = {span.name for span in collector.spans if span.parent_span_id == verified.span_id}
    assert {"decode", "isolate", "network", "store"} <= stages
    for name in (b"secret-signer", b"nobody-secret", b"limit=7", draw(1, 1)[:16]):
        assert name not in collector.raw


def test_nothing_is_traced_without_a_collector(client: TestClient, draw: Draw) -> None:
    from app.observability.tracing import _tracer  # noqa: PLC0415

    enrol(client, "a", draw(1, 0))
    assert _tracer.get() is None
    assert not any("Trace" in str(layer.cls) for layer in client.app.user_middleware)  # type: ignore[attr-defined]
