"""Throughput of a bulk verification: ``python -m benchmarks.bulk [--weights FOLDER] [--rows N] [--ray]``.

An SQLite store is filled with synthetic signers, then the command `bulk verify` runs on a manifest, in a process of
its own as in use. Beside it stands the computation alone: decoding, isolating the ink and the forward pass of the
same images one after the other, on one thread. No data sets are needed.

With ``--ray``, the same manifest is also carried out by one and by two workers in a Ray cluster that the benchmark
starts on this machine, with one CPU for each worker (extra `ray`).
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from PIL import Image
from pyarrow import parquet

from app.cpu import usable_cores
from app.decoding.formats import UploadLimits
from app.decoding.uploads import read_upload
from app.settings import RELEASED_WEIGHTS
from model.networks.embedder import Embedder
from model.synthetic.writer import Writer

WRITERS = 20
REFERENCES = 3
QUESTIONED = 5
WORKERS = (1, 2)
"""Numbers of workers in the Ray cluster."""


def write_images(folder: Path) -> None:
    """Draw the signatures, with the size of a crop at 300 dpi."""
    for writer in range(WRITERS):
        for n in range(REFERENCES + QUESTIONED):
            out = io.BytesIO()
            Image.fromarray(Writer(writer).genuine_image(n, height_px=250)).save(out, "PNG")
            (folder / f"{writer}-{n}.png").write_bytes(out.getvalue())


def write_manifest(path: Path, images: list[tuple[int, int]]) -> Path:
    """Write a manifest of (writer, number) pairs."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["signer_id", "image"])
        rows.writerows([f"w{writer}", f"{writer}-{n}.png"] for writer, n in images)
    return path


def run_bulk(name: str, manifest: Path, folder: Path, weights: Path, *more: str) -> float:
    """Run a bulk command with further options; return its seconds, the start of its processes included."""
    environment = os.environ | {
        "COUNTERSIGN_DATABASE_URL": f"sqlite:///{folder / 'bench.db'}",
        "COUNTERSIGN_WEIGHTS": str(weights.resolve()),
        "COUNTERSIGN_DEVICE": "cpu",
    }
    output = folder / f"{name}.parquet"
    start = time.perf_counter()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "app",
            "bulk",
            name,
            str(manifest),
            "-o",
            str(output),
            "--images",
            str(folder),
            *more,
        ],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seconds = time.perf_counter() - start
    statuses = parquet.read_table(output, columns=["status"]).column("status").to_pylist()
    if set(statuses) != {"done"}:
        raise SystemExit(f"{statuses.count('error')} rows of {name} failed")
    output.unlink()
    return seconds


@contextmanager
def ray_cluster(cpus: int) -> Iterator[str]:
    """Start a Ray cluster of one node; yield its address."""
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path or str(Path.cwd()) for path in sys.path))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as that of a local job
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - an extra

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False})
    try:
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def run_bare(images: list[tuple[int, int]], folder: Path, weights: Path) -> float:
    """Return the seconds for one image of the computation alone."""
    embedder = Embedder.load(weights, "cpu")
    limits = UploadLimits(max_bytes=10 << 20, max_pixels=40_000_000)
    contents = [(folder / f"{writer}-{n}.png").read_bytes() for writer, n in images]
    start = time.perf_counter()
    for content in contents:
        grey = read_upload(content, None, limits).grey
        embedder.embed(embedder.prepare(grey).canvas[None])
    return (time.perf_counter() - start) / len(contents)


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=RELEASED_WEIGHTS)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ray", action="store_true", help="also in a Ray cluster")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_images(folder)
        enrolled = [(writer, n) for writer in range(WRITERS) for n in range(REFERENCES)]
        asked = [(writer, REFERENCES + n) for n in range(QUESTIONED) for writer in range(WRITERS)]
        repeated = [asked[n % len(asked)] for n in range(args.rows)]
        run_bulk("enrol", write_manifest(folder / "enrol.csv", enrolled), folder, args.weights)
        bare_s = run_bare(asked, folder, args.weights)
        few = write_manifest(folder / "few.csv", asked[:1])
        whole = write_manifest(folder / "all.csv", repeated)

        def measure(*more: str) -> tuple[float, float]:
            """Return the seconds of the start, and of one row."""
            few_s, all_s = (run_bulk("verify", rows, folder, args.weights, *more) for rows in (few, whole))
            return few_s, (all_s - few_s) / (args.rows - 1)

        with ExitStack() as opened:
            ways: dict[str, tuple[str, ...]] = {"local": ()}
            if args.ray:
                address = opened.enter_context(ray_cluster(max(WORKERS)))
                for workers in WORKERS:
                    name = f"Ray, {workers} worker{'s' if workers > 1 else ''}"
                    ways[name] = ("--ray", address, "--ray-workers", str(workers))
            # One after the other in each round, so that other work on the machine affects all of them.
            rounds = [{name: measure(*more) for name, more in ways.items()} for _ in range(args.rounds)]
    measured = {
        name: tuple(statistics.median(one[name][part] for one in rounds) for part in (0, 1)) for name in ways
    }
    print(
        f"`python -m benchmarks.bulk --rows {args.rows} --rounds {args.rounds}{' --ray' if args.ray else ''}`, "
        f"{usable_cores()} cores, SQLite, {args.weights.name}; medians\n"
    )
    print(
        "| | start, s | for each row, ms | rows per minute | ratio to the bare computation | ratio to local |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for name, (start_s, row_s) in measured.items():
        print(
            f"| {name} | {start_s:.1f} | {1e3 * row_s:.1f} | {60 / row_s:.0f} | {row_s / bare_s:.2f} "
            f"| {row_s / measured['local'][1]:.2f} |"
        )
    print(f"\nThe bare computation takes {1e3 * bare_s:.1f} ms for each row, on one thread.")
    local_start_s, local_row_s = measured["local"]
    for name, (start_s, row_s) in measured.items():
        if name != "local":
            print(
                f"{name}: {start_s - local_start_s:+.1f} s at the start, "
                f"{1e3 * (row_s - local_row_s):+.1f} ms for each row compared with local."
            )


if __name__ == "__main__":
    main()
