"""The review desk in a browser: the pictures of docs/desk.md, and how long a clerk waits.

::

    python -m benchmarks.desk docs/pictures

It starts the demonstration (`python -m app demo`) in a temporary folder and needs Chromium. Durations are from the
key press to the drawn signatures, in the browser.
"""

from __future__ import annotations

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
from playwright.sync_api import Page, sync_playwright

PORT = 8131
URL = f"http://127.0.0.1:{PORT}/desk"
DECISIONS = 12
OPENED = 8
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
                page = browser.new_page(viewport={"width": 1280, "height": 860})
                _use(page, out)
                browser.close()
        finally:
            service.terminate()
            service.wait()


def _wait() -> None:
    while True:
        try:
            if httpx.get(f"http://127.0.0.1:{PORT}/readyz").status_code == 200:
                return
        except httpx.TransportError:
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
    page.set_viewport_size({"width": 390, "height": 780})
    page.wait_for_timeout(300)
    _save(page, out / "desk-phone.png")
    print("| what | median, ms | slowest, ms |\n|---|---:|---:|")
    for name, values in (("a case opens", opened), ("the next case, fetched before", following)):
        print(f"| {name} | {statistics.median(values):.0f} | {max(values):.0f} |")


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
