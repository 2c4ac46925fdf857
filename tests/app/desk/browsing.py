"""What the browser tests of the desk share: Chromium of the system, driven by Playwright, and a service."""

from __future__ import annotations

import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from app.settings import Settings
from tests.app.keyed import Commands
from tests.service import Service

playwright = pytest.importorskip("playwright.sync_api")
REVIEW = {"fixed_threshold": "1e-6", "review_far": "0.5", "keep_questioned_days": "1"}
NAMES = ("chromium", "chromium-browser", "google-chrome")
TENANTS = 9
TIMEOUT_MS = 120_000
"""Longer than Playwright's 30 s: other tests may take the processor at the same time."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A running browser. Where none is installed, the tests are skipped with a warning."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        message = (
            "NO BROWSER: the desk is not tested in a browser; install one, such as `apt-get install chromium`"
        )
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


class Desk:
    """A tenant of a running service."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        # One client for all calls, because each new one loads the certificates again.
        self._client = httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=60)

    def get(self, path: str) -> Any:
        return self._client.get(path).json()

    def send(self, method: str, path: str, **more: Any) -> Any:
        response = self._client.request(method, path, **more)
        response.raise_for_status()
        return response.json() if response.content else None

    def fill(self, draw: Callable[..., bytes], count: int, signer: str = "anna") -> list[str]:
        """Leave verifications to a person; return the ids of the cases, oldest first."""
        self.send(
            "POST",
            f"/signers/{quote(signer, safe='')}/references",
            files=[("files", draw(1, n)) for n in range(3)],
        )
        for n in range(count):
            image = {"signature": draw(1, 3 + n % 6)}  # the small model rejects some others
            told = self.send("POST", "/verify", data={"signer_id": signer}, files=image)
            assert told["decision"] == "review"
        return [case["case_id"] for case in self.get("/cases")["cases"]]


@pytest.fixture(scope="module")
def desks(
    chromium: Any, tmp_path_factory: pytest.TempPathFactory, model_folder: Path
) -> Iterator[list[Desk]]:
    """Tenants of one service, a fresh one for each test."""
    url = f"sqlite:///{tmp_path_factory.mktemp('desk') / 'store.db'}"
    commands = Commands(Settings(_env_file=None, weights=model_folder, database_url=url))
    keys = [commands.key("clerk", tenant=f"tenant-{number}")["X-API-Key"] for number in range(TENANTS)]
    service = Service(
        {
            "COUNTERSIGN_WEIGHTS": str(model_folder),
            "COUNTERSIGN_DATABASE_URL": url,
            "COUNTERSIGN_DEVICE": "cpu",
            **{f"COUNTERSIGN_{name.upper()}": value for name, value in REVIEW.items()},
        }
    )
    url = service.ready().url
    yield [Desk(url, text) for text in keys]
    service.finish(signal.SIGKILL)


@pytest.fixture
def desk(desks: list[Desk]) -> Desk:
    """A tenant without signers and cases."""
    return desks.pop()


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """What the pages report: nothing may fail or be blocked by their policy."""
    seen: list[str] = []
    yield seen
    # Playwright evaluates what it waits for with eval(), and reports it where a page is just being replaced.
    assert [text for text in seen if "'unsafe-eval' is not an allowed source" not in text] == []


@pytest.fixture
def sign_in(chromium: Any, errors: list[str]) -> Iterator[Callable[..., Any]]:
    """``sign_in(desk, clerk)``: sign in with the keyboard, in a browser profile of one's own."""
    contexts: list[Any] = []

    def open_page(desk: Desk, clerk: str, **options: Any) -> Any:
        contexts.append(chromium.new_context(**({"viewport": {"width": 1280, "height": 800}} | options)))
        contexts[-1].set_default_timeout(TIMEOUT_MS)
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Policy" in line.text else None)
        page.goto(f"{desk.url}/desk")
        enter(page, desk, clerk)
        page.wait_for_selector("header nav")
        return page

    yield open_page
    for context in contexts:
        context.close()


def enter(page: Any, desk: Desk, clerk: str) -> None:
    """Fill in the form to sign in."""
    page.fill("#key", desk.key)
    page.fill("#clerk", clerk)
    page.keyboard.press("Enter")


def wait_until(page: Any, expression: str, arg: Any = None) -> None:
    """Wait until a JavaScript expression or function is true.

    Playwright's own `wait_for_function` evaluates strings in the page, which the desk's policy for scripts forbids
    from the second time on.
    """
    end = time.monotonic() + TIMEOUT_MS / 1000
    while True:
        with suppress(playwright.Error):  # the page is being left for another one
            if page.evaluate(expression, arg):
                return
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(20)


def shown(page: Any) -> str:
    """Wait for a case with its pictures drawn; return its id."""
    wait_until(
        page, "document.querySelector('main').dataset.case && document.querySelector('canvas')?.width > 300"
    )
    case: str = page.get_attribute("main", "data-case")
    return case


def decide(page: Any, keys: str) -> None:
    """Decide by keys, and wait for what comes next."""
    before = page.get_attribute("main", "data-case")
    for key in keys:
        page.keyboard.press(key)
    wait_until(page, "(before) => document.querySelector('main')?.dataset.case !== before", arg=before)
