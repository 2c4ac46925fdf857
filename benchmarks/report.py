"""``python -m benchmarks.report docs/pictures``: the example of docs/report.md, and how long a report takes.

A synthetic signer is enrolled with five signatures, and a skilled forgery of another synthetic writer is verified, in
a store of its own that is deleted afterwards.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path

import pypdfium2
from fastapi.testclient import TestClient
from PIL import Image

from app.main import create_app
from app.settings import RELEASED_WEIGHTS, Settings
from model.synthetic.writer import Writer

SIGNER, FORGER, REFERENCES = 4715, 2, 5
SCALE = 1.4
"""Pixels to a point in the pictures of pages."""


def main() -> None:
    """Write the example, and print durations in a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", type=Path, help="where report.pdf and the pictures of its pages are written"
    )
    parser.add_argument("--weights", type=Path, default=RELEASED_WEIGHTS)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]
            weights=options.weights,
            database_url=f"sqlite:///{folder}/store.sqlite3",
            keep_questioned_days=1,
            local_names=("testserver",),
            log_level="error",
            rate_limit="",
        )
        with TestClient(create_app(settings), client=("127.0.0.1", 50_000)) as client:
            path = f"/verifications/{_verify(client)}/report"
            seconds = {form: _measure(client, path, form, options.runs) for form in ("html", "pdf")}
            _write(client.get(path, params={"format": "pdf"}).content, options.folder)
    print("| form | median, ms | slowest, ms |\n|---|---:|---:|")
    for form, measured in seconds.items():
        print(f"| {form} | {1000 * statistics.median(measured):.0f} | {1000 * max(measured):.0f} |")


def _verify(client: TestClient) -> str:
    writer = Writer(SIGNER)
    files = [("files", _png(writer.genuine_image(n))) for n in range(REFERENCES)]
    client.post("/signers/writer-004/references", files=files).raise_for_status()
    questioned = _png(writer.forgery_image(FORGER, 0))
    answer = client.post("/verify", data={"signer_id": "writer-004"}, files={"signature": questioned})
    return str(answer.raise_for_status().json()["verification_id"])


def _measure(client: TestClient, path: str, form: str, runs: int) -> list[float]:
    client.get(path, params={"format": form}).raise_for_status()
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        client.get(path, params={"format": form})
        seconds.append(time.perf_counter() - begin)
    return seconds


def _write(pdf: bytes, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.pdf").write_bytes(pdf)
    for number, page in enumerate(pypdfium2.PdfDocument(pdf), 1):
        image = page.render(scale=SCALE).to_pil().convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
        image.save(folder / f"report-{number}.png", optimize=True)


def _png(image: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", dpi=(300, 300))  # type: ignore[arg-type]  # an array
    return out.getvalue()


if __name__ == "__main__":
    main()
