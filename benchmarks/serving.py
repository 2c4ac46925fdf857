"""What a request costs beside the bare network: ``python benchmarks/serving.py [--weights FOLDER]``.

In one run and one process, alternating: decoding + ink isolation + forward pass called directly, and ``POST /verify``
through the ASGI stack with the record written to disk; then ``POST /identify`` among many signers against the same
direct call. Times are ratios, but for what identification adds, which README promises in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import numpy as np
import torch
from PIL import Image

from app.decoding.uploads import UploadLimits, read_upload
from app.domain.records import NewReference, new_id, now
from app.main import create_app
from app.settings import RELEASED_WEIGHTS, Settings
from app.store import references, signer_locks
from model.networks.embedder import Embedder
from model.synthetic.writer import Writer

BATCH = 200


def png(writer: int, n: int) -> bytes:
    """A synthetic signature, scanned at 300 dpi's size."""
    out = io.BytesIO()
    Image.fromarray(Writer(writer).genuine_image(n, height_px=250)).save(out, "PNG")
    return out.getvalue()


async def median_ms(action: Callable[[bytes], Awaitable[object]], images: list[bytes]) -> float:
    """Median time of an action over the images, in milliseconds."""
    times = []
    for image in images:
        start = time.perf_counter()
        await action(image)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


async def fill(core: object, signers: int, dimension: int) -> None:
    """Enrol made-up templates: what they look like does not matter to the time."""
    rng = np.random.default_rng(0)
    for first in range(0, signers, BATCH):

        def add(session: object, first: int = first) -> None:
            for n in range(first, min(first + BATCH, signers)):
                vectors = rng.normal(size=(3, dimension)).astype(np.float32)
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                new = [
                    NewReference(
                        new_id(), b"x", f"{n:032d}{k:032d}", "image/png", 0, {}, (), core.model_version, v
                    )  # type: ignore[attr-defined]
                    for k, v in enumerate(vectors)
                ]
                held = signer_locks.lock_or_create(session, "default", f"s{n}", None, now())  # type: ignore[arg-type]
                references.add(session, held, new, now(), 50)  # type: ignore[arg-type]

        await core.store.write(add)  # type: ignore[attr-defined]


async def measure(weights: Path, rounds: int, signers: int) -> None:
    """Run both comparisons and print the table."""
    images = [png(1, n) for n in range(rounds)]
    limits = UploadLimits(10**8, 10**8)
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
            core = app.state.core
            embedder: Embedder = core.embedder

            async def bare(image: bytes) -> None:
                embedder.embed(embedder.prepare(read_upload(image, None, limits)).canvas[None])

            async def verify(image: bytes) -> None:
                answer = await client.post("/verify", data={"signer_id": "a"}, files={"signature": image})
                answer.raise_for_status()

            async def identify(image: bytes) -> None:
                answer = await client.post("/identify", files={"signature": image})
                answer.raise_for_status()

            enrolled = await client.post(
                "/signers/a/references", files=[("files", png(1, 1000 + n)) for n in range(5)]
            )
            enrolled.raise_for_status()
            for action in (bare, verify):  # warm
                await median_ms(action, images[:5])
            direct, served = [], []
            for start in range(0, rounds, 10):  # alternate, so that a busy moment hits both
                direct.append(await median_ms(bare, images[start : start + 10]))
                served.append(await median_ms(verify, images[start : start + 10]))
            one, full = statistics.median(direct), statistics.median(served)
            await fill(core, signers, embedder.dimension)
            await identify(images[0])  # builds the gallery
            found = await median_ms(identify, images[:50])
            again = await median_ms(bare, images[:50])
    print(f"`python benchmarks/serving.py`, {embedder.version} on {embedder.device}, {rounds} rounds")
    print("\n| what | beside the bare pass |\n|---|---:|")
    print("| decoding, ink isolation and forward pass, called directly | 1.00 |")
    print(f"| `POST /verify`, 5 references, record on disk | {full / one:.2f} |")
    print(
        f"| `POST /identify`, {signers:,} signers x 3 references | {found / again:.2f} (+{found - again:.0f} ms) |"
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
