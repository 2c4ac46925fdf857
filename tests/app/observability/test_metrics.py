"""What the service says of itself: stages, drift, live error rates, traces; and what it must never say there."""

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
    """Every sample of /metrics by its name and labels."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_every_stage_of_a_verification_is_timed(client: TestClient, draw: Draw) -> None:
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
    assert "secret-signer" not in client.get("/metrics").text, "nobody's id is a label"


def test_what_was_not_let_in_is_counted(serve: Callable[..., TestClient], draw: Draw) -> None:
    client = serve(deadline_s=1e-6)
    assert verify(client, "a", draw(1, 0)).json()["code"] == "deadline-passed"
    registry = client.app.state.metrics.registry  # type: ignore[attr-defined]
    assert registry.get_sample_value("countersign_refused_total", {"code": "deadline-passed"}) == 1


def test_drift_is_nil_for_what_the_calibration_saw_and_large_for_what_it_did_not() -> None:
    rng = np.random.default_rng(0)
    usual, strange = RankWindow(1000), RankWindow(1000)
    assert math.isnan(usual.psi()), "too few to tell"
    for rank in rng.uniform(size=3000):
        usual.add(float(rank))
        strange.add(float(rank) ** 0.25)
    assert len(usual) == 1000
    assert usual.psi() < 0.05
    assert usual.ks() < 0.06
    assert strange.psi() > 0.5
    assert strange.ks() > 0.4


def test_a_rank_is_the_share_of_genuine_signatures_that_are_closer(client: TestClient) -> None:
    calibration = client.app.state.core.embedder.calibration  # type: ignore[attr-defined]
    fitted = calibration.at(3)
    among = np.zeros((3, 3))
    for share in (0.1, 0.5, 0.9):
        spread = fitted.rule.spread(among)
        distance = fitted.genuine.score(share) + fitted.rule.spread_weight * spread
        verdict = judge(np.full(3, distance), among, calibration, 0.1)
        assert genuine_rank(calibration, verdict, 3) == pytest.approx(share, abs=0.01)


def test_drift_shows_in_the_metrics(serve: Callable[..., TestClient], draw: Draw) -> None:
    client = serve()
    enrol(client, "a", draw(1, 0), draw(1, 1))
    assert math.isnan(samples(client)["countersign_drift_psi"])
    for _ in range(101):  # the same copy of a reference, over and over: closer than anybody writes
        verify(client, "a", draw(1, 0))
    seen = samples(client)
    assert seen["countersign_drift_window"] == 101
    assert seen["countersign_drift_psi"] > 0.25
    assert seen["countersign_genuine_rank_count"] == 101


def test_live_rates_follow_the_outcomes_also_when_one_is_corrected(
    serve: Callable[..., TestClient], draw: Draw
) -> None:
    client, replica = serve(), serve()
    for name in ("a", "b"):
        enrol(client, name, draw(1, 0 if name == "a" else 5), draw(1, 1 if name == "a" else 6))
    assert math.isnan(samples(client)["countersign_live_far"])
    copy = verify(client, "a", draw(1, 0)).json()  # certainly accepted
    stranger = verify(client, "a", draw(3, 8)).json()  # certainly not
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
    for replicas in (client, replica):  # from the record, so any replica can tell
        seen = samples(replicas)
        assert (seen["countersign_live_far"], seen["countersign_live_frr"]) == (0.0, 0.0)
        assert seen["countersign_live_cases{outcome=genuine}"] == 1


def test_old_outcomes_and_a_store_that_is_gone_do_not_disturb(
    serve: Callable[..., TestClient], draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve(outcome_days=30)
    enrol(client, "a", draw(1, 0), draw(1, 1))
    told = verify(client, "a", draw(1, 0)).json()
    client.put(f"/verifications/{told['verification_id']}/outcome", json={"outcome": "forged"})
    with monkeypatch.context() as patch:
        patch.setattr(live_rates, "now", lambda: now() + timedelta(days=31))
        assert math.isnan(samples(client)["countersign_live_far"])

    async def gone(*_: object, **__: object) -> None:
        raise StoreUnavailable("The store cannot be used at the moment; nothing was stored. Try again.")

    client.app.state.core.rates.invalidate()  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(Store, "read", gone)
        assert client.get("/metrics").status_code == 200
    assert samples(client)["countersign_live_far"] == 1.0


def test_readiness_is_a_metric_too(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    client.get("/readyz")
    assert samples(client)["countersign_ready"] == 1
    client.app.state.closing = True  # type: ignore[attr-defined]
    assert client.get("/readyz").json()["code"] == "not-ready"
    assert samples(client)["countersign_ready"] == 0


class Collector:
    """A stub of an OpenTelemetry collector: keeps every span that is sent to it."""

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
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_traces_tell_the_stages_and_nobody_s_name(settings: Any, collector: Collector, draw: Draw) -> None:
    from app.main import create_app  # noqa: PLC0415

    app = create_app(settings.model_copy(update={"otlp_endpoint": collector.url}))
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with TestClient(app, client=("127.0.0.1", 1)) as client:
        enrol(client, "secret-signer", draw(1, 0))
        answer = verify(client, "secret-signer", draw(1, 1), headers={"traceparent": parent})
        client.get("/signers/secret-signer/references?limit=7")
        client.get("/signers/nobody-secret")
    # The lifespan's end sends what is left.
    deadline = time.monotonic() + 10
    while len(collector.spans) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    roots = {span.name: span for span in collector.spans if span.kind == 2}
    assert {"POST /verify", "POST /signers/{signer_id}/references", "GET /signers/{signer_id}"} <= set(roots)
    verified = roots["POST /verify"]
    assert verified.trace_id.hex() == parent[3:35], "a part of the caller's trace"
    attributes = {item.key: item.value for item in verified.attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["countersign.request_id"].string_value == answer.headers["X-Request-ID"]
    stages = {span.name for span in collector.spans if span.parent_span_id == verified.span_id}
    assert {"decode", "isolate", "network", "store"} <= stages
    for name in (b"secret-signer", b"nobody-secret", b"limit=7", draw(1, 1)[:16]):
        assert name not in collector.raw


def test_without_a_collector_nothing_is_traced(client: TestClient, draw: Draw) -> None:
    from app.observability.tracing import _tracer  # noqa: PLC0415

    enrol(client, "a", draw(1, 0))
    assert _tracer.get() is None
    assert not any("Trace" in str(layer.cls) for layer in client.app.user_middleware)  # type: ignore[attr-defined]
