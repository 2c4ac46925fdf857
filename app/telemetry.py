"""What the service tells its operators: Prometheus metrics and structured logs. No image, no template, no id."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.context import request_id

_KEY = re.compile(r"\bcs_[A-Za-z0-9_-]{20,}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DISTANCES = tuple(step / 10 for step in range(1, 31))


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "countersign_requests",
            "Requests answered, by route, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "countersign_request_seconds",
            "From the request's first byte to the answer's last.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.stages = Histogram(
            "countersign_stage_seconds",
            "Time spent in a stage: read (decode and isolate ink), embed (queue and network), store, index.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "countersign_batch_signatures",
            "Signatures in one pass of the network.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self.registry,
        )
        self.queue = Gauge(
            "countersign_queue_depth", "Signatures waiting for the network.", registry=self.registry
        )
        self.decisions = Counter(
            "countersign_decisions", "Verifications by decision.", ["decision"], registry=self.registry
        )
        self.outcomes = Counter(
            "countersign_outcomes",
            "Outcomes recorded, by the decision that had been taken.",
            ["outcome", "decision"],
            registry=self.registry,
        )
        self.distances = Histogram(
            "countersign_distance",
            "Distances of verified signatures, for watching drift.",
            buckets=_DISTANCES,
            registry=self.registry,
        )

    def watch_queue(self, depth: Callable[[], float]) -> None:
        """Read the depth of the queue whenever the metrics are."""
        self.queue.set_function(depth)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.stages.labels(name).observe(time.perf_counter() - begin)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request id, and what `extra={"fields": ...}` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id() != "-":
            line["request_id"] = request_id()
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _masked(json.dumps(line, default=str))


class TextLines(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        text = super().format(record)
        fields = getattr(record, "fields", {})
        text += "".join(f" {key}={value}" for key, value in fields.items())
        # Whatever a message carries, only a record begins at the margin.
        return _masked(_CONTROL.sub(lambda match: repr(match[0])[1:-1], text).replace("\n", "\n    "))


def _masked(text: str) -> str:
    """The text without API keys: none is logged on purpose, and none shall be by accident."""
    return _KEY.sub("cs_***", text)


def configure_logging(level: str, form: str) -> None:
    """Send everything to stderr in one form, uvicorn's own lines included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if form == "json" else TextLines("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # Some libraries log what they read, word by word, when asked for everything: images and fields of forms.
    for name in ("alembic", "PIL", "python_multipart", "multipart"):
        logging.getLogger(name).setLevel("WARNING")
