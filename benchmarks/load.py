"""The service under load, beside the bare network: ``python benchmarks/load.py [--weights FOLDER] [--seconds S]``.

A service process on a socket, with its record on disk, and Locust (a process of its own) as its callers. In one run:

1. Capacity: callers that wait for their answers, as many as keep the service busy. In turns with it, for the machine
   is not the same from one minute to the next: the bare network, fed canvases in a loop, one at a time and at the
   batch sizes that the service is seen to use; and reading (decoding and isolating ink) in the service's number of
   processes with the network on its own, in a loop.
2. 70 % of capacity, and three times capacity, as a stream of arrivals that waits for nobody.

The callers run on the same cores as the service, so its throughput is told for each second of its own processor time
as well as for each second on the clock: the first is what a host of its own would do.
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

from app.decoding.pool import DecoderPool
from app.decoding.uploads import UploadLimits
from app.settings import RELEASED_WEIGHTS, ROOT, Settings
from model.networks.embedder import Embedder
from model.synthetic.writer import Writer

CALLERS = Path(__file__).with_name("load_callers.py")
SIGNERS = 5
REFERENCES = 5
STREAMS = 10  # callers that make a stream of calls
TURNS = 4  # of the service at capacity and of its parts alone
MB = 1 << 20


@dataclass(frozen=True)
class Run:
    """What the callers saw, each answer as (status, seconds), and what it cost the service."""

    answers: list[tuple[int, float]]
    seconds: float
    errors: int
    cpu_s: float
    rss_max: int

    def __add__(self, other: Run) -> Run:
        return Run(
            self.answers + other.answers,
            self.seconds + other.seconds,
            self.errors + other.errors,
            self.cpu_s + other.cpu_s,
            max(self.rss_max, other.rss_max),
        )

    def of(self, status: int) -> list[float]:
        """Latencies of the answers with a status, in seconds."""
        return [took for got, took in self.answers if got == status]


class Service:
    """``python -m app serve`` on a free port, with a store of its own."""

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
        """Bytes in memory, the reading processes' included."""
        return sum(process.memory_info().rss for process in family(self.measured))

    def samples(self) -> dict[str, float]:
        """Sums and counts of /metrics, by name and labels."""
        text = httpx.get(f"{self.url}/metrics").text
        return {
            f"{sample.name}{sorted(sample.labels.items())}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def stop(self) -> None:
        """Stop as an operator would."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self._log.close()


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that it has started."""
    return [process, *process.children(recursive=True)]


def processor_s(process: psutil.Process) -> float:
    """Processor seconds that a process and all that it has started have used so far."""
    return sum(sum(member.cpu_times()[:2]) for member in family(process))


def scan(writer: int, n: int) -> bytes:
    """A synthetic signature as PNG, the size of a crop at 300 dpi."""
    out = io.BytesIO()
    Image.fromarray(Writer(writer).genuine_image(n, height_px=250)).save(out, "PNG")
    return out.getvalue()


def enrol(service: Service) -> None:
    """Enrol a few signers."""
    for writer in range(SIGNERS):
        files = [("files", scan(writer, n)) for n in range(REFERENCES)]
        httpx.post(f"{service.url}/signers/s{writer}/references", files=files, timeout=60).raise_for_status()


@contextmanager
def watched_memory(service: Service) -> Iterator[list[int]]:
    """Note the service's resident memory twenty times a second."""
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            seen.append(service.resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def call(service: Service, scans: Path, seconds: float, rate: float | None, users: int) -> Run:
    """Let Locust's callers loose on /verify; `rate` a second in all, or as fast as answers come."""
    with tempfile.NamedTemporaryFile(suffix=".json") as told, watched_memory(service) as memory:
        cpu = processor_s(service.measured)
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
            "CALLERS_TOLD": told.name,
            "CALLERS_SCANS": str(scans),
            "CALLERS_EACH_S": str(users / rate if rate else 0),
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        used = processor_s(service.measured) - cpu
        try:
            report = json.loads(Path(told.name).read_text())
        except ValueError:
            raise SystemExit(done.stderr[-2000:]) from None
    return Run(
        [(status, took) for status, took in report["answers"]],
        report["seconds"],
        report["errors"],
        used,
        max(memory),
    )


@dataclass(frozen=True)
class Loop:
    """What a loop got done, and the seconds that it took, on the clock and of processor time."""

    done: int
    seconds: float
    cpu_s: float

    def __add__(self, other: Loop) -> Loop:
        return Loop(self.done + other.done, self.seconds + other.seconds, self.cpu_s + other.cpu_s)


NOTHING = Loop(0, 0.0, 0.0)


class Alone:
    """What there is to serve, without a service: the network alone, and reading before it.

    Attributes
    ----------
    one, batched : Loop
        The network, one at a time and at the service's batch sizes, in all turns so far.
    both : Loop
        Reading and network, at the service's batch sizes.
    """

    def __init__(self, embedder: Embedder, images: list[bytes], processes: int) -> None:
        self._embedder, self._images, self._processes = embedder, images, processes
        self._readers = DecoderPool(processes, patience_s=60)
        self._canvases = np.stack([self._read(image) for image in images])
        embedder.warm_up()
        self.one = NOTHING
        self.batched = NOTHING
        self.both = NOTHING

    def measure(self, batches: list[int], seconds: float) -> None:
        """Take a turn of so many seconds each."""
        self.one += _loop(partial(self._embed, itertools.repeat(1)), seconds)
        self.batched += _loop(partial(self._embed, itertools.cycle(batches)), seconds)
        group = max(1, round(float(np.mean(batches))))
        self.both += _loop(partial(self._read_and_embed, group), seconds)

    def close(self) -> None:
        """End the reading processes."""
        self._readers.close()

    def _read(self, image: bytes) -> NDArray[np.uint8]:
        limits = UploadLimits(max_bytes=10**8, max_pixels=10**8)
        return self._readers.read(image, None, 0, limits, self._embedder.canvas).prepared.canvas

    def _embed(self, sizes: Iterator[int]) -> int:
        size = next(sizes)
        self._embedder.embed(self._canvases[np.arange(size) % len(self._canvases)])
        return size

    def _read_and_embed(self, group: int) -> int:
        chosen = (self._images * group)[: group * self._processes]
        done = list(self._readers.threads.map(self._read, chosen))
        for at in range(0, len(done), group):
            self._embedder.embed(np.stack(done[at : at + group]))
        return len(done)


def _loop(action: Callable[[], int], seconds: float) -> Loop:
    me = psutil.Process()
    begin, cpu, done = time.perf_counter(), processor_s(me), 0
    while time.perf_counter() - begin < seconds:
        done += action()
    return Loop(done, time.perf_counter() - begin, processor_s(me) - cpu)


def batches_seen(before: dict[str, float], after: dict[str, float]) -> list[int]:
    """Batch sizes that the service used in between, each as often as in a hundred passes."""
    edges = [1, 2, 4, 8, 16, 32, 64, 128]
    name = "countersign_batch_signatures_bucket[('le', '{}')]"
    grown = [after[name.format(float(e))] - before[name.format(float(e))] for e in edges]
    counts = np.diff([0.0, *grown])
    share = np.rint(100 * counts / max(1.0, counts.sum())).astype(int)
    return [edge for edge, count in zip(edges, share, strict=True) for _ in range(count)] or [1]


def stages(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Mean milliseconds of each stage in between."""
    out = {}
    for stage in ("wait", "decode", "isolate", "queue", "network", "store"):
        label = f"[('stage', '{stage}')]"
        count, total = (
            after[f"countersign_stage_seconds_{part}{label}"]
            - before[f"countersign_stage_seconds_{part}{label}"]
            for part in ("count", "sum")
        )
        out[stage] = 1e3 * total / max(1.0, count)
    return out


def ms(seconds: list[float], share: float) -> float:
    """A percentile in milliseconds."""
    return 1e3 * float(np.percentile(seconds, 100 * share)) if seconds else float("nan")


@dataclass(frozen=True)
class Seen:
    """All that was measured in one run."""

    idle: int
    full: Run
    calm: Run
    flood: Run
    batches: list[int]
    stages: dict[str, float]
    flood_kept: float


def serve_and_call(weights: Path, images: list[bytes], seconds: float, alone: Alone) -> Seen:
    """Start a service and put it under load, in turns with its parts alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans = folder / "scans"
        scans.mkdir()
        for n, image in enumerate(images):
            (scans / f"s{n % SIGNERS}-{n}.png").write_bytes(image)
        service = Service(folder, weights)
        try:
            enrol(service)
            call(service, scans, max(3.0, seconds / 4), None, 16)  # warm
            time.sleep(1.0)
            idle = service.resident()
            before = service.samples()
            turns = []
            for _ in range(TURNS):
                turns.append(call(service, scans, seconds / TURNS, None, 16))
                after = service.samples()
                alone.measure(batches_seen(before, after), seconds / TURNS / 2)
            full = reduce(operator.add, turns)
            capacity = len(full.of(200)) / full.seconds
            calm = call(service, scans, seconds, 0.7 * capacity, STREAMS)
            flood_before = service.samples()
            flood = call(service, scans, seconds, 3.0 * capacity, STREAMS)
            flood_after = service.samples()
        finally:
            service.stop()
    kept = sum(
        flood_after[key] - flood_before.get(key, 0.0)
        for key in flood_after
        if key.startswith("countersign_decisions_total")
    )
    return Seen(idle, full, calm, flood, batches_seen(before, after), stages(before, after), kept)


def rows(seen: Seen, alone: Alone) -> Iterator[tuple[str, str]]:
    """The table."""
    full, calm, flood = seen.full, seen.calm, seen.flood
    served = len(full.of(200))
    if not (served and calm.of(200) and flood.of(200)):
        raise SystemExit("Hardly anything was answered: the machine is too busy, or --seconds too few.")
    clock, processor = served / full.seconds, served / full.cpu_s
    calm_50, calm_99 = ms(calm.of(200), 0.5), ms(calm.of(200), 0.99)
    loops = {
        "bare network, one at a time": alone.one,
        f"bare network, in batches of {np.mean(seen.batches):.1f}": alone.batched,
        "reading and network": alone.both,
    }
    for what, loop in loops.items():
        yield f"{what}, in a loop", f"{loop.done / loop.seconds:.0f}/s"
    yield "`POST /verify` at capacity, record on disk", f"{clock:.0f}/s"
    for what, loop in loops.items():
        yield (
            f"of {what}: by the clock, by processor time",
            f"{clock * loop.seconds / loop.done:.2f}, {processor * loop.cpu_s / loop.done:.2f}",
        )
    yield (
        "at capacity, ms in each stage",
        ", ".join(f"{name} {value:.1f}" for name, value in seen.stages.items()),
    )
    yield (
        "at 70 % of capacity: p50, p99",
        f"{calm_50:.0f} ms, {calm_99:.0f} ms ({calm_99 / calm_50:.1f} times)",
    )
    yield "at 70 %: answered, refused, lost", f"{len(calm.of(200))}, {len(calm.of(503))}, {calm.errors}"
    yield (
        "at three times: answered, refused, lost",
        f"{len(flood.of(200))}, {len(flood.of(503))}, {flood.errors}",
    )
    yield "at three times: on record less answered", f"{seen.flood_kept - len(flood.of(200)):.0f}"
    yield "at three times: served, of capacity", f"{len(flood.of(200)) / flood.seconds / clock:.2f}"
    yield (
        "at three times: a refusal, p50, p99",
        f"{ms(flood.of(503), 0.5):.0f} ms, {ms(flood.of(503), 0.99):.0f} ms",
    )
    most = max(full.rss_max, calm.rss_max, flood.rss_max)
    yield (
        "memory: idle and warm, at most",
        f"{seen.idle / MB:.0f} MB, {most / MB:.0f} MB ({most / seen.idle:.2f} times)",
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=RELEASED_WEIGHTS)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part")
    args = parser.parse_args()
    reading, network = Settings(_env_file=None).workers  # type: ignore[call-arg]
    torch.set_num_threads(network)
    images = [scan(n % SIGNERS, 100 + n) for n in range(40)]
    embedder = Embedder.load(args.weights, "cpu")
    alone = Alone(embedder, images, reading)
    try:
        seen = serve_and_call(args.weights, images, args.seconds, alone)
    finally:
        alone.close()
    print(
        f"`python benchmarks/load.py --seconds {args.seconds:g}`, {embedder.version}, reading processes: {reading}, "
        f"{network} for the network, {os.cpu_count()} cores, shared with the callers\n"
    )
    print("| what | figure |\n|---|---:|")
    for what, figure in rows(seen, alone):
        print(f"| {what} | {figure} |")


if __name__ == "__main__":
    main()
