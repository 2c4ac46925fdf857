"""The desk in a real browser: a clerk at work on the queue."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app.desk.browsing import (
    Desk,
    chromium,
    decide,
    desk,
    desks,
    enter,
    errors,
    shown,
    sign_in,
    wait_until,
)

__all__ = ["chromium", "desk", "desks", "errors", "sign_in"]
pytestmark = pytest.mark.browser


def test_a_queue_by_keyboard_alone(desk: Desk, draw: Any, sign_in: Any) -> None:
    cases = desk.fill(draw, 30)
    page = sign_in(desk, "eva")
    page.keyboard.press("n")
    assert shown(page) == cases[0]
    for key in "ojbk++-0s":  # overlay, next reference, blink, zoom: nothing may fail
        page.keyboard.press(key)
    page.keyboard.press("p")
    wait_until(page, "() => document.querySelector('#page img').naturalWidth > 0")
    page.keyboard.press("Escape")
    for number, case in enumerate(cases[:-1]):
        assert shown(page) == case
        decide(page, "a1" if number % 2 else "r2")
        page.wait_for_selector("form.undo")
    assert shown(page) == cases[-1]
    decide(page, "r1")
    page.wait_for_url("**/desk?undo=*")
    rows = desk.get("/cases?state=decided")["cases"]
    assert [row["decision"] for row in rows] == ["reject", "accept"] * 14 + ["reject", "reject"]
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


def test_the_case_of_another_tenant_cannot_be_opened(desks: list[Desk], draw: Any, sign_in: Any) -> None:
    theirs, own = desks.pop(), desks.pop()
    (case,) = theirs.fill(draw, 1)
    page = sign_in(own, "eva")
    page.goto(f"{own.url}/desk/cases/{case}")
    assert "There is no such case" in page.inner_text("main")
    assert page.query_selector("canvas, img") is None
    page.goto(f"{own.url}/desk/signers/anna")
    assert "There is no such signer" in page.inner_text("main")


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
