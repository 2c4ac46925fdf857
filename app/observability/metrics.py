"""Prometheus metrics. No image, no template, no id of a person.

`docs/operations.md` says what each metric means and when it should wake somebody.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.inference.batching import Batch
from app.observability.drift import RankWindow
from app.observability.tracing import span, spans_before_now

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DISTANCES = tuple(step / 10 for step in range(1, 31))


class Metrics:
    """The metrics of one service, in a registry of their own.

    Parameters
    ----------
    drift_window : int
        Verifications that the drift measures look back on.
    """

    def __init__(self, drift_window: int = 1000) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter(
            "requests", "Requests answered, by route, method and status.", "route", "method", "status"
        )
        self.latency = self._histogram(
            "request_seconds", "From the request's head to the answer's last byte.", _SECONDS, "route"
        )
        self.refused = self._counter(
            "refused",
            "Requests not let in, or dropped at their deadline, by the code of the problem.",
            "code",
        )
        self.stages = self._histogram(
            "stage_seconds",
            "Time of a stage: wait (for a reading process), decode, isolate, queue (for the network), network, "
            "store, index.",
            _SECONDS,
            "stage",
        )
        self.batches = self._histogram(
            "batch_signatures", "Signatures in one pass of the network.", (1, 2, 4, 8, 16, 32, 64, 128)
        )
        self.reader_deaths = self._counter(
            "reader_deaths", "Reading processes that died or were killed over an upload."
        )
        self.queue = self._gauge("queue_depth", "Signatures waiting for the network.")
        self.in_hand = self._gauge(
            "requests_in_hand", "Requests with images that were let in and not answered."
        )
        self.bytes_in_hand = self._gauge("bytes_in_hand", "Bytes of the bodies of these requests.")
        self.decisions = self._counter("decisions", "Verifications by decision.", "decision")
        self.outcomes = self._counter(
            "outcomes", "Outcomes recorded, by the decision that had been taken.", "outcome", "decision"
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
                "Population stability index of the latest ranks against uniform.",
            ),
            ("drift_ks", self._window.ks, "Kolmogorov-Smirnov distance of the latest ranks from uniform."),
            (
                "drift_window",
                lambda: float(len(self._window)),
                "Verifications that the drift is measured on.",
            ),
        ):
            self._gauge(name, text).set_function(measure)
        self.live_far = self._gauge("live_far", "Share accepted of the cases that turned out forged.")
        self.live_frr = self._gauge("live_frr", "Share not accepted of the cases that turned out genuine.")
        self.live_cases = self._gauge("live_cases", "Closed cases behind the live rates.", "outcome")
        self.ready = self._gauge("ready", "1 when /readyz last said yes, else 0.")

    def watch(
        self, depth: Callable[[], float], requests: Callable[[], float], size: Callable[[], float]
    ) -> None:
        """Read these gauges whenever the metrics are."""
        self.queue.set_function(depth)
        self.in_hand.set_function(requests)
        self.bytes_in_hand.set_function(size)

    def batch(self, batch: Batch) -> None:
        """Take in one pass of the network."""
        self.batches.observe(len(batch.waited_s))
        self.stages.labels("network").observe(batch.network_s)
        waits = self.stages.labels("queue")
        for waited in batch.waited_s:
            waits.observe(waited)

    def verification(self, decision: str, distance: float, rank: float) -> None:
        """Take in one verification that is on record."""
        self.decisions.labels(decision).inc()
        self.distances.observe(distance)
        self.ranks.observe(rank)
        self._window.add(rank)

    def live_rates(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Set the live rates from closed cases by (outcome, decision)."""
        for outcome in ("genuine", "forged", "undetermined"):
            self.live_cases.labels(outcome).set(sum(n for (o, _), n in counts.items() if o == outcome))
        forged = {decision: n for (outcome, decision), n in counts.items() if outcome == "forged"}
        genuine = {decision: n for (outcome, decision), n in counts.items() if outcome == "genuine"}
        self.live_far.set(_share(forged.get("accept", 0), forged))
        self.live_frr.set(_share(sum(genuine.values()) - genuine.get("accept", 0), genuine))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, and trace it."""
        begin = time.perf_counter()
        try:
            with span(name):
                yield
        finally:
            self.stages.labels(name).observe(time.perf_counter() - begin)

    def stages_elsewhere(self, seconds: Mapping[str, float]) -> None:
        """Take in stages that another process went through just now, one after the other, and trace them."""
        spans_before_now(seconds)
        for name, length in seconds.items():
            self.stages.labels(name).observe(length)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"countersign_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"countersign_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"countersign_{name}", text, labels, buckets=buckets, registry=self.registry)


def _share(part: int, whole: Mapping[str, int]) -> float:
    total = sum(whole.values())
    return part / total if total else math.nan
