"""The time that looking for the signature takes: ``python -m benchmarks.extraction_time``.

In one process, alternating with one another: ``POST /verify`` of a tight crop with ``region=auto`` and with
``region=whole``, through the ASGI stack; and the preparation of a tight crop and of a cheque at 200 dpi with and
without extraction, called directly on one thread, with the use of threads and memory of the processes that decode
uploads. Machines differ and are shared: compare the ratios. No data needed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from app.decoding.formats import UploadLimits
from app.decoding.pool import WORKER_ENVIRONMENT
from app.decoding.uploads import read_upload
from app.settings import PAGE_NETWORK, RELEASED_WEIGHTS
from benchmarks.document_pages import KINDS, NoSignatures, compose
from benchmarks.serving import png, running_service
from model.documents.elements import Drawer
from model.documents.material import Typefaces
from model.errors import UnusableSignature
from model.networks.embedder import Embedder
from model.preprocessing.extraction import prepare_signature
from model.preprocessing.finder import SignatureFinder
from model.preprocessing.ink import Canvas, isolate, prepare
from model.preprocessing.scan import Scan
from model.synthetic.writer import Writer

CHEQUES = 8


def cheques() -> list[NDArray[np.uint8]]:
    """Compose signed cheques at 200 dpi."""
    faces = Typefaces("test")
    pages = []
    for number in range(CHEQUES):
        ink = isolate(Writer(number).genuine_image(0, height_px=250)).density
        drawer = Drawer(faces, NoSignatures(), np.random.default_rng(number))
        pages.append(compose(KINDS["cheque"], drawer, ink).grey)
    return pages


def alternate(actions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run actions in turn; return the median time of each in milliseconds of this process."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            start = time.process_time()
            with suppress(UnusableSignature):
                action()
            times[name].append(1e3 * (time.process_time() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def measure_preparation(images: list[NDArray[np.uint8]], canvas: Canvas, rounds: int) -> tuple[float, float]:
    """Return the milliseconds that preparation takes without and with extraction."""
    finder = SignatureFinder(PAGE_NETWORK)
    medians = []
    for image in images:
        actions: dict[str, Callable[[], object]] = {
            "whole": partial(prepare, image, canvas),
            "auto": partial(prepare_signature, Scan(image), canvas, finder),
        }
        found = alternate(actions, rounds)
        medians.append((found["whole"], found["auto"]))
    whole, auto = zip(*medians, strict=True)
    return statistics.median(whole), statistics.median(auto)


async def measure_requests(weights: Path, rounds: int) -> tuple[float, float, float]:
    """Return the median milliseconds of the computation, and of /verify of a crop without and with extraction."""
    images = [png(1, n) for n in range(20)]
    limits = UploadLimits(10**8, 10**8)
    async with running_service(weights) as (context, client):
        embedder = context.embedder

        async def compute(image: bytes) -> None:
            embedder.embed(embedder.prepare(read_upload(image, None, limits).grey).canvas[None])

        def verify(region: str) -> Callable[[bytes], Awaitable[None]]:
            async def send(image: bytes) -> None:
                data = {"signer_id": "a", "region": region}
                response = await client.post("/verify", data=data, files={"signature": image})
                response.raise_for_status()

            return send

        files = [("files", png(1, 1000 + n)) for n in range(5)]
        (await client.post("/signers/a/references", files=files)).raise_for_status()
        actions = (compute, verify("whole"), verify("auto"))
        times: list[list[float]] = [[], [], []]
        for number in range(rounds + 5):
            for values, action in zip(times, actions, strict=True):
                start = time.perf_counter()
                await action(images[number % len(images)])
                values.append(1e3 * (time.perf_counter() - start))
    computation, whole, auto = (statistics.median(values[5:]) for values in times)
    return computation, whole, auto


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=RELEASED_WEIGHTS)
    parser.add_argument("--rounds", type=int, default=100)
    args = parser.parse_args()
    if not WORKER_ENVIRONMENT.items() <= os.environ.items():  # glibc reads it when a process starts
        command = [sys.executable, "-m", "benchmarks.extraction_time", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **WORKER_ENVIRONMENT})
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    canvas = Embedder.load(args.weights, "cpu").canvas
    crops = [Writer(1).genuine_image(n, height_px=250) for n in range(CHEQUES)]
    crop_whole, crop_auto = measure_preparation(crops, canvas, max(5, args.rounds // 5))
    cheque_whole, cheque_auto = measure_preparation(cheques(), canvas, max(5, args.rounds // 5))
    computation, whole, auto = asyncio.run(measure_requests(args.weights, args.rounds))
    print(
        f"`python -m benchmarks.extraction_time`, {platform.processor() or platform.machine()}, one thread\n"
    )
    print("| measurement | without extraction | with extraction | ratio | added |\n|---|---:|---:|---:|---:|")
    for name, before, after in (
        ("preparation of a tight crop", crop_whole, crop_auto),
        ("preparation of a cheque at 200 dpi", cheque_whole, cheque_auto),
        ("`POST /verify` of a tight crop", whole, auto),
    ):
        print(
            f"| {name} | {before:.1f} ms | {after:.1f} ms | {after / before:.2f} | {after - before:.1f} ms |"
        )
    print(
        f"\nThe computation (decoding, isolation, forward pass, called directly) takes {computation:.1f} ms."
    )


if __name__ == "__main__":
    main()
