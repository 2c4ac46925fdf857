"""The review desk in a browser: the pictures of docs/desk.md, and how long a clerk waits.

::

    python -m benchmarks.desk docs/pictures

It starts the demonstration (`python -m app demo`) in a temporary folder and needs Chromium. Durations are from the
key press to the drawn signatures, in the browser.
"""

from __future__ import annotations

import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

from app.commands.demo import SEED
from model.synthetic.writer import Writer

PORT = 8131
URL = f"http://127.0.0.1:{PORT}/desk"
CASES = 30
"""Cases that the demonstration makes while it serves."""
DECISIONS = 12
OPENED = 8
WIDE: ViewportSize = {"width": 1280, "height": 860}
NARROW: ViewportSize = {"width": 390, "height": 780}
DRAWN = "() => [...document.querySelectorAll('figure:not([hidden]) canvas')].every((canvas) => canvas.width > 300)"


def main() -> None:
    """Take the pictures, and print the table of durations."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/pictures")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium is installed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "app", "demo", "--folder", folder, "--port", str(PORT)]
        service = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait()
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                page = browser.new_page(viewport=WIDE)
                _use(page, out)
                _show(page, out, Path(folder))
                browser.close()
        finally:
            service.terminate()
            service.wait()


def _wait() -> None:
    while True:
        try:
            cases = httpx.get(f"http://127.0.0.1:{PORT}/cases", params={"limit": CASES}).json()["cases"]
            if len(cases) == CASES:
                time.sleep(5.0)  # until the last signer of the demonstration is complete
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)


def _use(page: Page, out: Path) -> None:
    page.goto(URL)
    page.fill("#clerk", "Eva Example")
    page.keyboard.press("Enter")
    page.wait_for_selector("table")
    _save(page, out / "desk-queue.png")
    opened = []
    for _ in range(OPENED):
        page.goto(URL)
        page.wait_for_timeout(
            1000
        )  # the case that was fetched before the last one was left takes no time any more
        begin = time.perf_counter()
        page.keyboard.press("n")
        page.wait_for_selector("main[data-case]")
        page.wait_for_function(DRAWN)
        opened.append(1e3 * (time.perf_counter() - begin))
    _save(page, out / "desk-case.png")
    page.keyboard.press("o")
    page.wait_for_timeout(200)
    _save(page, out / "desk-overlay.png")
    page.keyboard.press("s")
    following = [_decide(page) for _ in range(DECISIONS)]
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(300)
    _save(page, out / "desk-phone.png")
    print("| what | median, ms | slowest, ms |\n|---|---:|---:|")
    for name, values in (("a case opens", opened), ("the next case, fetched before", following)):
        print(f"| {name} | {statistics.median(values):.0f} | {max(values):.0f} |")


def _show(page: Page, out: Path, folder: Path) -> None:
    """Take the pictures of the other pages, with an account, outcomes, and a photo of signatures."""
    page.set_viewport_size(WIDE)
    signer = "writer-001"
    mandate = {
        "signatories": [
            {"signer_id": signer, "panel": "A", "role": "director"},
            {"signer_id": "writer-002", "panel": "B"},
        ],
        "bands": [
            {"up_to": "10000", "rules": [{"signatures": 1}]},
            {"up_to": None, "rules": [{"panels": {"A": 1, "B": 1}}], "target_far": 0.05},
        ],
        "currency": "EUR",
        "instruction": "Call the company before orders to a new payee.",
    }
    with httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=60) as client:
        client.put("/accounts/acme", json=mandate).raise_for_status()
        for number, amount in enumerate(("480", "25000", "1999.90")):
            files = {"signatures": ("q.png", _signature(1, 20 + number))}
            client.post("/accounts/acme/verify", data={"amount": amount}, files=files).raise_for_status()
        recent = client.get("/verifications", params={"limit": 60}).json()["verifications"]
        for number, one in enumerate(recent):
            outcome = "genuine" if one["decision"] == "accept" or number % 3 else "forged"
            if one["decision"] != "review":
                path = f"/verifications/{one['verification_id']}/outcome"
                client.put(path, json={"outcome": outcome}).raise_for_status()
        case = client.get("/cases?state=decided").json()["cases"][0]["case_id"]
    for name, path in (
        ("amounts", "?order=largest-amount"),
        ("signers", "/signers"),
        ("signer", f"/signers/{signer}"),
        ("account", "/accounts/acme"),
        ("record", f"/cases/{case}/record"),
        ("dashboard", "/dashboard"),
    ):
        page.goto(f"{URL}{path}")
        page.wait_for_load_state("networkidle")
        _save(page, out / f"desk-{name}.png")
    photo = folder / "photo.jpg"
    _photo(photo)
    page.goto(f"{URL}/enrol?signer=writer-900")
    page.set_input_files("#files", photo)
    page.wait_for_selector(".page image[href]", state="attached")
    _save(page, out / "desk-enrol.png")


def _signature(writer: int, number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(Writer(SEED + writer).genuine_image(number)).save(buffer, "PNG", dpi=(300, 300))
    return buffer.getvalue()


def _photo(file: Path) -> None:
    """Draw a page with three signatures."""
    images = [Image.open(io.BytesIO(_signature(900, number))).convert("L") for number in range(3)]
    page = Image.new(
        "L", (max(one.width for one in images) + 400, sum(one.height + 200 for one in images)), 255
    )
    top = 100
    for image in images:
        page.paste(image, (200, top))
        top += image.height + 200
    page.save(file, "JPEG", quality=92)


def _decide(page: Page) -> float:
    """Decide a case after a while, and return the milliseconds until the next one is drawn."""
    page.wait_for_timeout(2500)  # a clerk looks at the signatures; meanwhile the next case is fetched
    page.keyboard.press("a")
    duration: Any = page.evaluate(
        """() => new Promise((done) => {
            const before = document.querySelector("main").dataset.case;
            const begin = performance.now();
            const look = () => {
                const main = document.querySelector("main");
                const drawn = [...main.querySelectorAll("figure:not([hidden]) canvas")];
                if (main.dataset.case !== before && drawn.length && drawn.every((canvas) => canvas.width > 300))
                    requestAnimationFrame(() => done(performance.now() - begin));
                else requestAnimationFrame(look);
            };
            document.dispatchEvent(new KeyboardEvent("keydown", { key: "1", bubbles: true }));
            look();
        })"""
    )
    return float(duration)


def _save(page: Page, file: Path) -> None:
    """Save a screenshot with few colours, so that it is small."""
    page.screenshot(path=file)
    Image.open(file).convert("RGB").quantize(128).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size // 1024} KB", file=sys.stderr)


if __name__ == "__main__":
    main()
