"""The service under load: ``python benchmarks/load.py [--weights FOLDER] [--seconds S]``.

A service process listens on a socket, with its store on disk. Locust, in another process, calls it. One run measures:

1. Capacity: callers in a closed loop, enough to keep the service busy. For comparison, two loops run without the
   service: the network alone, one canvas at a time and with the batch sizes of the service; and decoding and ink
   isolation in the service's number of processes, followed by the network. The loops alternate with the service,
   because the speed of the machine may vary.
2. 70 % of capacity and three times capacity, as streams of arrivals that do not wait for answers.

The callers run on the same cores as the service. Its throughput is therefore reported per second of wall time and per
second of the service's CPU time; the latter estimates the throughput on a separate host.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import operator
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path

import httpx
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from app.decoding.formats import UploadLimits
from app.decoding.pool import DecoderPool
from app.settings import RELEASED_WEIGHTS, ROOT, Settings
from model.networks.embedder import Embedder
from model.synthetic.writer import Writer

CALLERS = Path(__file__).with_name("load_callers.py")
SIGNERS = 5
REFERENCES = 5
STREAM_CALLERS = 10  # callers of an arrival stream
TURNS = 4  # alternations between the service at capacity and the loops without it
MB = 1 << 20


@dataclass(frozen=True)
class Run:
    """One run of the callers.

    Attributes
    ----------
    responses : list of (status, latency in seconds)
    seconds : float
        From the first call to the last response.
    errors : int
        Calls without response or with another status than 200 and 503.
    cpu_s : float
        CPU time of the service.
    rss_max : int
        Maximum resident memory of the service, in bytes.
    """

    responses: list[tuple[int, float]]
    seconds: float
    errors: int
    cpu_s: float
    rss_max: int

    def __add__(self, other: Run) -> Run:
        return Run(
            self.responses + other.responses,
            self.seconds + other.seconds,
            self.errors + other.errors,
            self.cpu_s + other.cpu_s,
            max(self.rss_max, other.rss_max),
        )

    def latencies(self, status: int) -> list[float]:
        """Return the latencies of the responses with a status, in seconds."""
        return [latency_s for code, latency_s in self.responses if code == status]


class Service:
    """``python -m app serve`` on a free port, with a new store."""

    def __init__(self, folder: Path, weights: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            **os.environ,
            "COUNTERSIGN_WEIGHTS": str(weights),
            "COUNTERSIGN_DATABASE_URL": f"sqlite:///{folder}/bench.sqlite3",
            "COUNTERSIGN_DEVICE": "cpu",
            "COUNTERSIGN_LOG_LEVEL": os.environ.get("COUNTERSIGN_LOG_LEVEL", "info"),
        }
        self._log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", "--port", str(self.port)],
            env=environment,
            stderr=self._log,
            cwd=ROOT,
        )
        self.measured = psutil.Process(self.process.pid)
        deadline = time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{self.url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((folder / "log").read_text())
            time.sleep(0.1)

    def resident(self) -> int:
        """Return the resident memory in bytes, including the decoding processes."""
        return sum(process.memory_info().rss for process in process_tree(self.measured))

    def samples(self) -> dict[str, float]:
        """Read /metrics: values by name and labels."""
        text = httpx.get(f"{self.url}/metrics").text
        return {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def stop(self) -> None:
        """Stop the service with SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._log.close()


def process_tree(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and its descendants."""
    return [process, *process.children(recursive=True)]


def cpu_time_s(process: psutil.Process) -> float:
    """Return the CPU time of a process and its descendants, in seconds."""
    return sum(sum(member.cpu_times()[:2]) for member in process_tree(process))


def scan(writer: int, n: int) -> bytes:
    """Generate a synthetic signature as PNG, with the size of a crop at 300 dpi."""
    out = io.BytesIO()
    Image.fromarray(Writer(writer).genuine_image(n, height_px=250)).save(out, "PNG")
    return out.getvalue()


def enrol(service: Service) -> None:
    """Enrol :data:`SIGNERS` signers with :data:`REFERENCES` references each."""
    for writer in range(SIGNERS):
        files = [("files", scan(writer, n)) for n in range(REFERENCES)]
        httpx.post(f"{service.url}/signers/s{writer}/references", files=files, timeout=60).raise_for_status()


@contextmanager
def sampled_memory(service: Service) -> Iterator[list[int]]:
    """Sample the resident memory of the service twenty times a second."""
    samples: list[int] = []
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(0.05):
            samples.append(service.resident())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def call(service: Service, scans: Path, seconds: float, rate: float | None, users: int) -> Run:
    """Call /verify with Locust: `rate` calls per second in total, or in closed loops if it is None."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report_file, sampled_memory(service) as memory:
        cpu_before = cpu_time_s(service.measured)
        command = [
            *(sys.executable, "-m", "locust", "--locustfile", str(CALLERS), "--headless", "--only-summary"),
            *("--host", service.url, "--users", str(users), "--spawn-rate", str(users)),
            *(
                "--run-time",
                f"{max(1, round(seconds))}s",
                "--stop-timeout",
                "30",
                "--exit-code-on-error",
                "0",
            ),
        ]
        environment = {
            **os.environ,
            "CALLERS_REPORT": report_file.name,
            "CALLERS_SCANS": str(scans),
            "CALLERS_INTERVAL_S": str(users / rate if rate else 0),
        }
        completed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        cpu_s = cpu_time_s(service.measured) - cpu_before
        try:
            report = json.loads(Path(report_file.name).read_text())
        except ValueError:
            raise SystemExit(completed.stderr[-2000:]) from None
    return Run(
        [(status, latency_s) for status, latency_s in report["responses"]],
        report["seconds"],
        report["errors"],
        cpu_s,
        max(memory),
    )


@dataclass(frozen=True)
class Loop:
    """The number of signatures that a loop processed, with its wall time and its CPU time in seconds."""

    count: int
    seconds: float
    cpu_s: float

    def __add__(self, other: Loop) -> Loop:
        return Loop(self.count + other.count, self.seconds + other.seconds, self.cpu_s + other.cpu_s)


NO_LOOP = Loop(0, 0.0, 0.0)


class LoopsWithoutService:
    """The work of the service in plain loops: the network alone, and decoding followed by the network.

    Attributes
    ----------
    single, batched : Loop
        The network, one canvas at a time and with the batch sizes of the service, summed over all turns.
    decoded : Loop
        Decoding, ink isolation and the network, with the batch sizes of the service.
    """

    def __init__(self, embedder: Embedder, images: list[bytes], processes: int) -> None:
        self._embedder, self._images, self._processes = embedder, images, processes
        self._decoders = DecoderPool(processes, patience_s=60)
        self._canvases = np.stack([self._decode(image) for image in images])
        embedder.warm_up()
        self.single = NO_LOOP
        self.batched = NO_LOOP
        self.decoded = NO_LOOP

    def measure(self, batches: list[int], seconds: float) -> None:
        """Run each loop for a number of seconds."""
        self.single += _loop(partial(self._embed, itertools.repeat(1)), seconds)
        self.batched += _loop(partial(self._embed, itertools.cycle(batches)), seconds)
        batch_size = max(1, round(float(np.mean(batches))))
        self.decoded += _loop(partial(self._decode_and_embed, batch_size), seconds)

    def close(self) -> None:
        """Stop the decoding processes."""
        self._decoders.close()

    def _decode(self, image: bytes) -> NDArray[np.uint8]:
        limits = UploadLimits(max_bytes=10**8, max_pixels=10**8)
        return self._decoders.read(image, None, 0, limits, self._embedder.canvas).prepared.canvas

    def _embed(self, sizes: Iterator[int]) -> int:
        size = next(sizes)
        self._embedder.embed(self._canvases[np.arange(size) % len(self._canvases)])
        return size

    def _decode_and_embed(self, batch_size: int) -> int:
        images = (self._images * batch_size)[: batch_size * self._processes]
        canvases = list(self._decoders.threads.map(self._decode, images))
        for start in range(0, len(canvases), batch_size):
            self._embedder.embed(np.stack(canvases[start : start + batch_size]))
        return len(canvases)


def _loop(action: Callable[[], int], seconds: float) -> Loop:
    """Repeat an action, which returns the number of signatures, for a number of seconds."""
    process = psutil.Process()
    start, cpu_before, count = time.perf_counter(), cpu_time_s(process), 0
    while time.perf_counter() - start < seconds:
        count += action()
    return Loop(count, time.perf_counter() - start, cpu_time_s(process) - cpu_before)


def batch_sizes(before: dict[str, float], after: dict[str, float]) -> list[int]:
    """Return the batch sizes that the service used between two samples, each with its frequency in per cent."""
    edges = [1, 2, 4, 8, 16, 32, 64, 128]
    name = "countersign_batch_signatures_bucket[('le', '{}')]"
    cumulative = [after[name.format(float(e))] - before[name.format(float(e))] for e in edges]
    counts = np.diff([0.0, *cumulative])
    percentages = np.rint(100 * counts / max(1.0, counts.sum())).astype(int)
    return [edge for edge, count in zip(edges, percentages, strict=True) for _ in range(count)] or [1]


def stage_means_ms(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Return the mean milliseconds of each stage of a request between two samples."""
    means = {}
    for stage in ("wait", "decode", "isolate", "queue", "network", "store"):
        label = f"[('stage', '{stage}')]"
        count, total = (
            after[f"countersign_stage_seconds_{part}{label}"]
            - before[f"countersign_stage_seconds_{part}{label}"]
            for part in ("count", "sum")
        )
        means[stage] = 1e3 * total / max(1.0, count)
    return means


def percentile_ms(seconds: list[float], share: float) -> float:
    """Return a percentile in milliseconds; NaN for no values."""
    return 1e3 * float(np.percentile(seconds, 100 * share)) if seconds else float("nan")


@dataclass(frozen=True)
class Measurement:
    """The results of one run.

    Attributes
    ----------
    idle_rss : int
        Resident memory of the warm, idle service, in bytes.
    capacity, moderate, overload : Run
        Closed loops, 70 % of capacity, three times capacity.
    batches : list of int
        As returned by :func:`batch_sizes`, at capacity.
    stages : dict
        As returned by :func:`stage_means_ms`, at capacity.
    overload_recorded : float
        Number of decisions recorded in the overload run.
    """

    idle_rss: int
    capacity: Run
    moderate: Run
    overload: Run
    batches: list[int]
    stages: dict[str, float]
    overload_recorded: float


def serve_and_call(
    weights: Path, images: list[bytes], seconds: float, loops: LoopsWithoutService
) -> Measurement:
    """Start a service and measure it under load, alternating with the loops without it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans = folder / "scans"
        scans.mkdir()
        for n, image in enumerate(images):
            (scans / f"s{n % SIGNERS}-{n}.png").write_bytes(image)
        service = Service(folder, weights)
        try:
            enrol(service)
            call(service, scans, max(3.0, seconds / 4), None, 16)  # warm-up
            time.sleep(1.0)
            idle_rss = service.resident()
            before = service.samples()
            turns = []
            for _ in range(TURNS):
                turns.append(call(service, scans, seconds / TURNS, None, 16))
                after = service.samples()
                loops.measure(batch_sizes(before, after), seconds / TURNS / 2)
            capacity = reduce(operator.add, turns)
            rate = len(capacity.latencies(200)) / capacity.seconds
            moderate = call(service, scans, seconds, 0.7 * rate, STREAM_CALLERS)
            overload_before = service.samples()
            overload = call(service, scans, seconds, 3.0 * rate, STREAM_CALLERS)
            overload_after = service.samples()
        finally:
            service.stop()
    return Measurement(
        idle_rss=idle_rss,
        capacity=capacity,
        moderate=moderate,
        overload=overload,
        batches=batch_sizes(before, after),
        stages=stage_means_ms(before, after),
        overload_recorded=sum(
            overload_after[key] - overload_before.get(key, 0.0)
            for key in overload_after
            if key.startswith("countersign_decisions_total")
        ),
    )


def rows(measurement: Measurement, loops: LoopsWithoutService) -> Iterator[tuple[str, str]]:
    """Yield the rows of the table: description and figure."""
    capacity, moderate, overload = measurement.capacity, measurement.moderate, measurement.overload
    verified = len(capacity.latencies(200))
    if not (verified and moderate.latencies(200) and overload.latencies(200)):
        raise SystemExit(
            "Too few requests were answered: the machine is too busy, or --seconds is too small."
        )
    per_wall_s, per_cpu_s = verified / capacity.seconds, verified / capacity.cpu_s
    by_description = {
        "network alone, one at a time": loops.single,
        f"network alone, in batches of {np.mean(measurement.batches):.1f}": loops.batched,
        "decoding and network": loops.decoded,
    }
    for description, loop in by_description.items():
        yield f"{description}, in a loop", f"{loop.count / loop.seconds:.0f}/s"
    yield "`POST /verify` at capacity, store on disk", f"{per_wall_s:.0f}/s"
    for description, loop in by_description.items():
        yield (
            f"ratio to {description}: by wall time, by CPU time",
            f"{per_wall_s * loop.seconds / loop.count:.2f}, {per_cpu_s * loop.cpu_s / loop.count:.2f}",
        )
    yield (
        "at capacity, ms in each stage",
        ", ".join(f"{name} {value:.1f}" for name, value in measurement.stages.items()),
    )
    p50, p99 = (percentile_ms(moderate.latencies(200), share) for share in (0.5, 0.99))
    yield "at 70 % of capacity: p50, p99", f"{p50:.0f} ms, {p99:.0f} ms ({p99 / p50:.1f} times)"
    for load, run in (("70 %", moderate), ("three times capacity", overload)):
        yield (
            f"at {load}: status 200, status 503, errors",
            f"{len(run.latencies(200))}, {len(run.latencies(503))}, {run.errors}",
        )
    answered = len(overload.latencies(200))
    yield (
        "at three times capacity: recorded minus answered",
        f"{measurement.overload_recorded - answered:.0f}",
    )
    yield (
        "at three times capacity: throughput as a share of capacity",
        f"{answered / overload.seconds / per_wall_s:.2f}",
    )
    p50, p99 = (percentile_ms(overload.latencies(503), share) for share in (0.5, 0.99))
    yield "at three times capacity: latency of a 503, p50, p99", f"{p50:.0f} ms, {p99:.0f} ms"
    maximum = max(capacity.rss_max, moderate.rss_max, overload.rss_max)
    yield (
        "memory: idle and warm, maximum",
        f"{measurement.idle_rss / MB:.0f} MB, {maximum / MB:.0f} MB ({maximum / measurement.idle_rss:.2f} times)",
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=RELEASED_WEIGHTS)
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of each part")
    args = parser.parse_args()
    decoding_processes, network_threads = Settings(_env_file=None).workers  # type: ignore[call-arg]
    torch.set_num_threads(network_threads)
    images = [scan(n % SIGNERS, 100 + n) for n in range(40)]
    embedder = Embedder.load(args.weights, "cpu")
    loops = LoopsWithoutService(embedder, images, decoding_processes)
    try:
        measurement = serve_and_call(args.weights, images, args.seconds, loops)
    finally:
        loops.close()
    print(
        f"`python benchmarks/load.py --seconds {args.seconds:g}`, {embedder.version}, "
        f"decoding processes: {decoding_processes}, network threads: {network_threads}, "
        f"cores: {os.cpu_count()}, shared with the callers\n"
    )
    print("| measurement | result |\n|---|---:|")
    for description, figure in rows(measurement, loops):
        print(f"| {description} | {figure} |")


if __name__ == "__main__":
    main()
