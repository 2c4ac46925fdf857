"""The desk in a real browser: Chromium of the system, driven by Playwright, on a service of its own."""

from __future__ import annotations

import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from app.settings import Settings
from tests.app.keyed import Commands
from tests.service import Service

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api")
REVIEW = {"fixed_threshold": "1e-6", "review_far": "0.5", "keep_questioned_days": "1"}
NAMES = ("chromium", "chromium-browser", "google-chrome")
TENANTS = 6


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
        self._headers = {"X-API-Key": key}

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", headers=self._headers).json()

    def fill(self, draw: Callable[..., bytes], count: int, signer: str = "anna") -> list[str]:
        """Leave verifications to a person; return the ids of the cases, oldest first."""
        with httpx.Client(base_url=self.url, headers=self._headers, timeout=60) as client:
            files = [("files", draw(1, n)) for n in range(3)]
            client.post(f"/signers/{quote(signer, safe='')}/references", files=files).raise_for_status()
            for n in range(count):
                image = {"signature": draw(1, 3 + n % 6)}  # the small model rejects some others
                told = client.post("/verify", data={"signer_id": signer}, files=image).json()
                assert told["decision"] == "review"
        return [case["case_id"] for case in self.get("/cases")["cases"]]


@pytest.fixture(scope="module")
def desks(
    chromium: Any, tmp_path_factory: pytest.TempPathFactory, model_folder: Path
) -> Iterator[list[Desk]]:
    """Tenants of one service, a fresh one for each test."""
    url = f"sqlite:///{tmp_path_factory.mktemp('desk') / 'store.db'}"
    commands = Commands(Settings(_env_file=None, weights=model_folder, database_url=url))
    keys = [
        commands.key("clerk", "enrol", "verify", "read", tenant=f"tenant-{number}")["X-API-Key"]
        for number in range(TENANTS)
    ]
    service = Service(
        {
            "COUNTERSIGN_WEIGHTS": str(model_folder),
            "COUNTERSIGN_DATABASE_URL": url,
            "COUNTERSIGN_DEVICE": "cpu",
            **{f"COUNTERSIGN_{name.upper()}": value for name, value in REVIEW.items()},
        }
    )
    yield [Desk(service.ready().url, text) for text in keys]
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


def shown(page: Any) -> str:
    """Wait for a case with its pictures drawn; return its id."""
    page.wait_for_function(
        "document.querySelector('main').dataset.case && document.querySelector('canvas')?.width > 300"
    )
    case: str = page.get_attribute("main", "data-case")
    return case


def decide(page: Any, keys: str) -> None:
    """Decide by keys, and wait for what comes next."""
    before = page.get_attribute("main", "data-case")
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function("(before) => document.querySelector('main')?.dataset.case !== before", arg=before)


def test_a_queue_by_keyboard_alone(desk: Desk, draw: Any, sign_in: Any) -> None:
    cases = desk.fill(draw, 8)
    page = sign_in(desk, "eva")
    page.keyboard.press("n")
    assert shown(page) == cases[0]
    for key in "ojbk++-0s":  # overlay, next reference, blink, zoom: nothing may fail
        page.keyboard.press(key)
    page.keyboard.press("p")
    page.wait_for_function("() => document.querySelector('#page img').naturalWidth > 0")
    page.keyboard.press("Escape")
    for number, case in enumerate(cases[:-1]):
        assert shown(page) == case
        decide(page, "a1" if number % 2 else "r2")
        page.wait_for_selector("form.undo")
    assert shown(page) == cases[-1]
    decide(page, "r1")
    page.wait_for_url("**/desk?undo=*")
    rows = desk.get("/cases?state=decided")["cases"]
    assert [row["decision"] for row in rows] == ["reject", "accept"] * 3 + ["reject", "reject"]
    assert {row["decided_by"] for row in rows} == {"eva"}


def test_undo_brings_the_case_back_and_a_reload_loses_nothing(desk: Desk, draw: Any, sign_in: Any) -> None:
    first, second = desk.fill(draw, 2)
    page = sign_in(desk, "eva")
    page.keyboard.press("n")
    assert shown(page) == first
    page.fill("#note", "looks hurried")
    page.reload()
    assert shown(page) == first
    assert page.input_value("#note") == "looks hurried"
    page.keyboard.press("Escape")
    decide(page, "r5")
    assert shown(page) == second
    page.keyboard.press("u")
    page.wait_for_url(f"**/desk/cases/{first}")
    assert shown(page) == first
    assert desk.get(f"/cases/{first}")["state"] == "open"
    decide(page, "a2")
    case = desk.get(f"/cases/{first}")
    assert (case["decision"], case["reason"]) == ("accept", "natural-variation")


def test_two_clerks_at_once_share_the_queue(desk: Desk, draw: Any, sign_in: Any) -> None:
    cases = desk.fill(draw, 6)
    pages = [sign_in(desk, clerk) for clerk in ("eva", "bob")]
    seen: list[str] = []
    for page in pages:
        page.keyboard.press("n")
        seen.append(shown(page))
    for _ in range(2):
        for page in pages:
            decide(page, "a1")
            seen.append(shown(page))
    for page in pages:
        decide(page, "a1")
    assert sorted(seen) == sorted(cases), "no case was shown to both"
    rows = desk.get("/cases?state=decided")["cases"]
    assert sorted(row["decided_by"] for row in rows) == ["bob"] * 3 + ["eva"] * 3


def test_an_expired_session_leads_back_to_the_case(desk: Desk, draw: Any, sign_in: Any) -> None:
    first, second = desk.fill(draw, 2)
    page = sign_in(desk, "eva")
    # The answer with the next case, which is fetched in advance, would bring the cookie back.
    with page.expect_event("requestfinished", lambda request: second in request.url):
        page.keyboard.press("n")
    assert shown(page) == first
    page.fill("#note", "kept")
    page.keyboard.press("Escape")
    page.context.clear_cookies()
    page.keyboard.press("a")
    page.keyboard.press("1")
    page.wait_for_selector("#clerk")
    assert desk.get(f"/cases/{first}")["state"] == "open", "nothing was decided"
    enter(page, desk, "eva")
    page.wait_for_url(f"**/desk/cases/{first}")
    assert shown(page) == first
    assert page.input_value("#note") == "kept"


def test_script_in_a_name_does_not_run_and_a_phone_is_wide_enough(
    desk: Desk, draw: Any, sign_in: Any
) -> None:
    (case,) = desk.fill(draw, 1, signer="<img src=x onerror=document.title='ran'>")
    page = sign_in(desk, "<b>eva</b>", is_mobile=True, viewport={"width": 390, "height": 800})
    for path in ("/desk", f"/desk/cases/{case}"):
        page.goto(f"{desk.url}{path}")
        page.wait_for_selector("h1")
        assert "onerror" in page.inner_text("main")
        assert page.title() != "ran"
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, path
    controls = "button, input:not([type=hidden]), select, textarea, a[href]"
    unnamed = page.eval_on_selector_all(
        controls,
        "all => all.filter(e => !(e.textContent.trim() || e.labels?.length || e.ariaLabel)).map(e => e.outerHTML)",
    )
    assert unnamed == []


def test_shortcuts_can_be_switched_off(desk: Desk, draw: Any, sign_in: Any) -> None:
    desk.fill(draw, 1)
    page = sign_in(desk, "eva")
    page.uncheck("#shortcuts")
    page.keyboard.press("n")
    page.wait_for_timeout(200)
    assert page.url.endswith("/desk")
    page.reload()
    assert not page.is_checked("#shortcuts")
