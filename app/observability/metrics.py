"""Prometheus metrics, without images, templates and signer ids.

`docs/operations.md` explains each metric, and when to alert on it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.inference.interface import Batch
from app.observability.drift import DRIFT_WINDOW, RankWindow
from app.observability.tracing import span, spans_before_now

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DISTANCES = tuple(step / 10 for step in range(1, 31))


class Metrics:
    """The metrics of one application, in a separate registry.

    Parameters
    ----------
    drift_window : int
        Number of latest verifications that the drift metrics are computed from.
    """

    def __init__(self, drift_window: int = DRIFT_WINDOW) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "requests", "Answered requests by route, method and status.", "route", "method", "status"
        )
        self.latency = self._histogram(
            "request_seconds",
            "Seconds from the head of a request to the last byte of its answer.",
            _SECONDS,
            "route",
        )
        self.refused = self._counter(
            "refused",
            "Requests refused by admission control, or cancelled at a deadline or at shutdown, by problem code.",
            "code",
        )
        self.stages = self._histogram(
            "stage_seconds",
            "Seconds of a stage: wait (for a worker process), decode, isolate, queue (for the network), network, "
            "store, index.",
            _SECONDS,
            "stage",
        )
        self.batches = self._histogram(
            "batch_signatures",
            "Number of signatures in a batch of the network.",
            (1, 2, 4, 8, 16, 32, 64, 128),
        )
        self.reader_deaths = self._counter(
            "reader_deaths", "Worker processes that died or were killed while decoding an upload."
        )
        self.queue = self._gauge("queue_depth", "Signatures waiting for the network.")
        self.inflight_requests = self._gauge("requests_in_hand", "Requests with images in flight.")
        self.inflight_bytes = self._gauge("bytes_in_hand", "Bytes of the bodies of the requests in flight.")
        self.decisions = self._counter("decisions", "Verifications by decision.", "decision")
        self.outcomes = self._counter(
            "outcomes", "Recorded outcomes by outcome and decision.", "outcome", "decision"
        )
        self.distances = self._histogram("distance", "Distances of verified signatures.", _DISTANCES)
        self.ranks = self._histogram(
            "genuine_rank",
            "Share of the calibration's genuine signatures closer than a verified one; uniform without drift.",
            tuple(step / 10 for step in range(1, 11)),
        )
        self._window = RankWindow(drift_window)
        for name, measure, text in (
            (
                "drift_psi",
                self._window.psi,
                "Population stability index of the latest ranks relative to the uniform distribution.",
            ),
            (
                "drift_ks",
                self._window.ks,
                "Kolmogorov-Smirnov statistic of the latest ranks and the uniform distribution.",
            ),
            (
                "drift_window",
                lambda: float(len(self._window)),
                "Number of verifications that the drift metrics are computed from.",
            ),
        ):
            self._gauge(name, text).set_function(measure)
        self.live_far = self._gauge(
            "live_far", "Share of accepted signatures among closed cases with the outcome forged."
        )
        self.live_frr = self._gauge(
            "live_frr",
            "Share of signatures that were not accepted among closed cases with the outcome genuine.",
        )
        self.live_cases = self._gauge(
            "live_cases", "Closed cases that the live rates are computed from.", "outcome"
        )
        self.ready = self._gauge("ready", "1 if the last readiness check succeeded, else 0.")

    def watch(
        self, depth: Callable[[], float], requests: Callable[[], float], size: Callable[[], float]
    ) -> None:
        """Set the functions that return queue depth, requests in flight and their bytes when the metrics are read."""
        self.queue.set_function(depth)
        self.inflight_requests.set_function(requests)
        self.inflight_bytes.set_function(size)

    def batch(self, batch: Batch) -> None:
        """Record a batch of the network."""
        self.batches.observe(len(batch.waited_s))
        self.stages.labels("network").observe(batch.network_s)
        waits = self.stages.labels("queue")
        for waited in batch.waited_s:
            waits.observe(waited)

    def verification(self, decision: str, distance: float, rank: float) -> None:
        """Record a stored verification."""
        self.decisions.labels(decision).inc()
        self.distances.observe(distance)
        self.ranks.observe(rank)
        self._window.add(rank)

    def live_rates(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Set the live rates from the numbers of closed cases by (outcome, decision)."""
        for outcome in ("genuine", "forged", "undetermined"):
            self.live_cases.labels(outcome).set(sum(n for (o, _), n in counts.items() if o == outcome))
        forged = {decision: n for (outcome, decision), n in counts.items() if outcome == "forged"}
        genuine = {decision: n for (outcome, decision), n in counts.items() if outcome == "genuine"}
        self.live_far.set(_share(forged.get("accept", 0), forged))
        self.live_frr.set(_share(sum(genuine.values()) - genuine.get("accept", 0), genuine))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the duration of a stage, and a span."""
        begin = time.perf_counter()
        try:
            with span(name):
                yield
        finally:
            self.stages.labels(name).observe(time.perf_counter() - begin)

    def stages_elsewhere(self, seconds: Mapping[str, float]) -> None:
        """Record consecutive stages that another process has just finished, and their spans."""
        spans_before_now(seconds)
        for name, duration in seconds.items():
            self.stages.labels(name).observe(duration)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"countersign_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"countersign_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"countersign_{name}", text, labels, buckets=buckets, registry=self.registry)


def _share(part: int, whole: Mapping[str, int]) -> float:
    total = sum(whole.values())
    return part / total if total else math.nan
