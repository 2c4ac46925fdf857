"""The time of a request relative to its computation: ``python benchmarks/serving.py [--weights FOLDER]``.

The computation is decoding, ink isolation and forward pass, called directly. In the same process and alternating with
it, the benchmark measures ``POST /verify`` through the ASGI stack with the record written to disk; then
``POST /identify`` among many signers. Results are ratios, and for identification also the additional milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import numpy as np
import torch
from PIL import Image

from app.decoding.formats import UploadLimits
from app.decoding.uploads import read_upload
from app.domain.ids import new_id
from app.domain.records import NewReference, now
from app.main import create_app
from app.services.context import AppContext
from app.settings import RELEASED_WEIGHTS, Settings
from app.store import references, signer_locks
from model.networks.embedder import Embedder
from model.synthetic.writer import Writer

BATCH = 200


def png(writer: int, n: int) -> bytes:
    """Generate a synthetic signature as PNG, with the size of a crop at 300 dpi."""
    out = io.BytesIO()
    Image.fromarray(Writer(writer).genuine_image(n, height_px=250)).save(out, "PNG")
    return out.getvalue()


@asynccontextmanager
async def running_service(weights: Path) -> AsyncIterator[tuple[AppContext, httpx.AsyncClient]]:
    """Run the service in this process, on a new store; yield its core and a client on the loopback interface."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            _env_file=None,
            weights=weights,
            database_url=f"sqlite:///{folder}/bench.db",
            log_level="error",
        )  # type: ignore[call-arg]
        app = create_app(settings)
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            yield app.state.context, client


async def median_ms(action: Callable[[bytes], Awaitable[object]], images: list[bytes]) -> float:
    """Measure the median time of an action over the images, in milliseconds."""
    times = []
    for image in images:
        start = time.perf_counter()
        await action(image)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


async def fill(context: object, signers: int, dimension: int) -> None:
    """Enrol signers with random templates; the values have no effect on the timings."""
    rng = np.random.default_rng(0)
    for first in range(0, signers, BATCH):

        def add(session: object, first: int = first) -> None:
            for n in range(first, min(first + BATCH, signers)):
                vectors = rng.normal(size=(3, dimension)).astype(np.float32)
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                new = [
                    NewReference(
                        new_id(),
                        b"x",
                        f"{n:032d}{k:032d}",
                        "image/png",
                        0,
                        "whole",
                        {},
                        (),
                        context.model_version,  # type: ignore[attr-defined]
                        v,
                    )
                    for k, v in enumerate(vectors)
                ]
                signer = signer_locks.lock_or_create(session, "default", f"s{n}", None, now())  # type: ignore[arg-type]
                references.add(session, signer, new, now(), 50)  # type: ignore[arg-type]

        await context.store.write(add)  # type: ignore[attr-defined]


async def measure(weights: Path, rounds: int, signers: int) -> None:
    """Run both comparisons and print the table."""
    images = [png(1, n) for n in range(rounds)]
    limits = UploadLimits(10**8, 10**8)
    async with running_service(weights) as (context, client):
        embedder = context.embedder
        exact = Embedder.load(weights, embedder.device, "float32")

        async def compute_exactly(image: bytes) -> None:
            exact.embed(exact.prepare(read_upload(image, None, limits).grey).canvas[None])

        async def compute(image: bytes) -> None:
            embedder.embed(embedder.prepare(read_upload(image, None, limits).grey).canvas[None])

        async def verify(image: bytes) -> None:
            response = await client.post("/verify", data={"signer_id": "a"}, files={"signature": image})
            response.raise_for_status()

        async def identify(image: bytes) -> None:
            response = await client.post("/identify", files={"signature": image})
            response.raise_for_status()

        enrolled = await client.post(
            "/signers/a/references", files=[("files", png(1, 1000 + n)) for n in range(5)]
        )
        enrolled.raise_for_status()
        for action in (compute, compute_exactly, verify):  # warm-up
            await median_ms(action, images[:5])
        compute_ms, exact_ms, verify_ms = [], [], []
        for start in range(0, rounds, 10):  # alternate, so that load on the machine affects both
            compute_ms.append(await median_ms(compute, images[start : start + 10]))
            exact_ms.append(await median_ms(compute_exactly, images[start : start + 10]))
            verify_ms.append(await median_ms(verify, images[start : start + 10]))
        verify_ratio = statistics.median(verify_ms) / statistics.median(compute_ms)
        exact_ratio = statistics.median(exact_ms) / statistics.median(compute_ms)
        await fill(context, signers, embedder.dimension)
        await identify(images[0])  # builds the gallery
        identify_ms = await median_ms(identify, images[:50])
        compute_again_ms = await median_ms(compute, images[:50])
    identify_ratio = identify_ms / compute_again_ms
    added_ms = identify_ms - compute_again_ms
    engine = f"{embedder.version} on {embedder.device} in {embedder.precision}"
    print(f"`python benchmarks/serving.py`, {engine}, {rounds} rounds")
    print("\n| measurement | time relative to the computation |\n|---|---:|")
    print("| decoding, ink isolation and forward pass, called directly | 1.00 |")
    print(f"| the same in float32 | {exact_ratio:.2f} |")
    print(f"| `POST /verify`, 5 references, record on disk | {verify_ratio:.2f} |")
    print(
        f"| `POST /identify`, {signers:,} signers x 3 references | {identify_ratio:.2f} (+{added_ms:.0f} ms) |"
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, default=RELEASED_WEIGHTS)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--signers", type=int, default=10_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    asyncio.run(measure(args.weights, args.rounds, args.signers))


if __name__ == "__main__":
    main()
