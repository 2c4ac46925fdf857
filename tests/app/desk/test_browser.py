"""The desk in a real browser: Chromium of the system, driven by Playwright, on a service of its own."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.service import Service

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api")
REVIEW = {"fixed_threshold": "1e-6", "review_far": "0.5", "keep_questioned_days": "1"}
NAMES = ("chromium", "chromium-browser", "google-chrome")


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


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """What the pages report: nothing may fail or be blocked by their policy."""
    seen: list[str] = []
    yield seen
    assert seen == []


@pytest.fixture
def open_desk(chromium: Any, errors: list[str]) -> Iterator[Callable[..., Any]]:
    """``open_desk(url, clerk)``: sign in with the keyboard, in a browser profile of one's own."""
    contexts: list[Any] = []

    def sign_in(url: str, clerk: str, **options: Any) -> Any:
        contexts.append(chromium.new_context(viewport={"width": 1280, "height": 800}, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Policy" in line.text else None)
        page.goto(f"{url}/desk")
        page.fill("#clerk", clerk)
        page.keyboard.press("Enter")
        page.wait_for_selector("h1")
        return page

    yield sign_in
    for context in contexts:
        context.close()


def fill(service: Service, draw: Callable[..., bytes], count: int, signer: str = "anna") -> list[str]:
    """Leave verifications to a person; return the ids of the cases, oldest first."""
    path = f"{service.url}/signers/{signer}/references"
    files = [("files", draw(1, n)) for n in range(3)]
    assert httpx.post(path, files=files).status_code == 201
    told = []
    for n in range(count):
        form = {"signer_id": signer}
        told.append(
            httpx.post(f"{service.url}/verify", data=form, files={"signature": draw(1, 3 + n)}).json()
        )
    return [one["verification_id"] for one in told if one["decision"] == "review"]


def shown(page: Any) -> str:
    """Wait for a case with its pictures drawn; return its id."""
    page.wait_for_function(
        "document.querySelector('main').dataset.case && document.querySelector('canvas')?.width > 300"
    )
    case: str = page.get_attribute("main", "data-case")
    return case


def decide(page: Any, keys: str) -> float:
    """Decide by keys, wait for what comes next, and return the milliseconds until it was on the screen."""
    before = page.get_attribute("main", "data-case")
    begin = page.evaluate("performance.now()")
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function("(before) => document.querySelector('main')?.dataset.case !== before", arg=before)
    end: float = page.evaluate("performance.now()")
    return end - begin


def test_a_queue_by_keyboard_alone(start: Any, draw: Any, open_desk: Any) -> None:
    service = start(**REVIEW).ready()
    cases = fill(service, draw, 8)
    page = open_desk(service.url, "eva")
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
    rows = httpx.get(f"{service.url}/cases?state=decided").json()["cases"]
    assert [row["decision"] for row in rows] == ["reject", "accept"] * 3 + ["reject", "reject"]
    assert {row["decided_by"] for row in rows} == {"eva"}


def test_undo_brings_the_case_back_and_a_reload_loses_nothing(start: Any, draw: Any, open_desk: Any) -> None:
    service = start(**REVIEW).ready()
    first, second = fill(service, draw, 2)
    page = open_desk(service.url, "eva")
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
    assert httpx.get(f"{service.url}/cases/{first}").json()["state"] == "open"
    decide(page, "a2")
    case = httpx.get(f"{service.url}/cases/{first}").json()
    assert (case["decision"], case["reason"]) == ("accept", "natural-variation")


def test_two_clerks_at_once_share_the_queue(start: Any, draw: Any, open_desk: Any) -> None:
    service = start(**REVIEW).ready()
    cases = fill(service, draw, 6)
    pages = [open_desk(service.url, clerk) for clerk in ("eva", "bob")]
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
    rows = httpx.get(f"{service.url}/cases?state=decided").json()["cases"]
    assert sorted(row["decided_by"] for row in rows) == ["bob"] * 3 + ["eva"] * 3


def test_an_expired_session_leads_back_to_the_case(start: Any, draw: Any, open_desk: Any) -> None:
    service = start(**REVIEW).ready()
    first, _ = fill(service, draw, 2)
    page = open_desk(service.url, "eva")
    page.keyboard.press("n")
    assert shown(page) == first
    page.fill("#note", "kept")
    page.keyboard.press("Escape")
    page.context.clear_cookies()
    page.keyboard.press("a")
    page.keyboard.press("1")
    page.wait_for_selector("#clerk")
    assert httpx.get(f"{service.url}/cases/{first}").json()["state"] == "open", "nothing was decided"
    page.fill("#clerk", "eva")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/desk/cases/{first}")
    assert shown(page) == first
    assert page.input_value("#note") == "kept"


def test_script_in_a_name_does_not_run_and_a_phone_is_wide_enough(
    start: Any, draw: Any, open_desk: Any
) -> None:
    service = start(**REVIEW).ready()
    (case,) = fill(service, draw, 1, signer="<img src=x onerror=document.title='ran'>")
    page = open_desk(service.url, "<b>eva</b>", is_mobile=True, device_scale_factor=2)
    page.set_viewport_size({"width": 390, "height": 800})
    for path in ("/desk", f"/desk/cases/{case}"):
        page.goto(f"{service.url}{path}")
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


def test_shortcuts_can_be_switched_off(start: Any, draw: Any, open_desk: Any) -> None:
    service = start(**REVIEW).ready()
    fill(service, draw, 1)
    page = open_desk(service.url, "eva")
    page.uncheck("#shortcuts")
    page.keyboard.press("n")
    page.wait_for_timeout(200)
    assert page.url.endswith("/desk")
    page.reload()
    assert not page.is_checked("#shortcuts")
