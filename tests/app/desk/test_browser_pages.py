"""Enrolment, signers, accounts, dashboard and the order of the queue in a real browser, and what axe-core finds."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.app.desk.browsing import Desk, chromium, desk, desks, errors, shown, sign_in, wait_until

__all__ = ["chromium", "desk", "desks", "errors", "sign_in"]
pytestmark = pytest.mark.browser
PHONE = {"is_mobile": True, "has_touch": True, "viewport": {"width": 390, "height": 800}}
SCRIPT = "<img src=x onerror=document.title='ran'>"


def photo(draw: Callable[..., bytes], writer: int, *numbers: int) -> bytes:
    """A page with signatures of one writer, one below the other, as a camera gives it."""
    page = np.full((700 * len(numbers), 1400), 235, np.uint8)
    for row, number in enumerate(numbers):
        one = np.asarray(Image.open(io.BytesIO(draw(writer, number))).convert("L"))[:500, :1100]
        page[700 * row + 100 : 700 * row + 100 + one.shape[0], 150 : 150 + one.shape[1]] = np.minimum(
            one, 235
        )
    out = io.BytesIO()
    Image.fromarray(page).save(out, "JPEG", quality=92)
    return out.getvalue()


def look(page: Any, url: str) -> None:
    """Open a page, and check what a machine can check of accessibility, and that it is no wider than the window."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
    page.goto(url)
    page.wait_for_selector("h1")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, (url, found.generate_report())
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], url
    assert page.title() != "ran"


def make_account(desk: Desk, signer: str) -> None:
    mandate = {
        "signatories": [{"signer_id": signer, "panel": "A"}],
        "bands": [{"up_to": "1000", "rules": [{"signatures": 1}]}, {"rules": [{"panels": {"A": 1}}]}],
        "currency": "EUR",
    }
    desk.send("PUT", "/accounts/acme", json=mandate)


def test_every_page_is_accessible_at_a_desk_and_on_a_phone(desk: Desk, draw: Any, sign_in: Any) -> None:
    case, forged, genuine = desk.fill(draw, 3, signer=SCRIPT)
    make_account(desk, SCRIPT)
    desk.send(
        "POST", "/accounts/acme/verify", data={"amount": "99.5"}, files={"signatures": ("q.png", draw(1, 7))}
    )
    for one, outcome in ((forged, "forged"), (genuine, "genuine")):
        desk.send("PUT", f"/verifications/{one}/outcome", json={"outcome": outcome})
    signer = "".join(f"%{byte:02X}" for byte in SCRIPT.encode())
    for options in ({}, PHONE):
        page = sign_in(desk, "eva", **options)
        for path in (
            "",
            "?order=largest-amount",
            f"/cases/{case}",
            f"/cases/{case}/record",
            "/cases/none",
            "/enrol",
            "/signers",
            f"/signers/{signer}",
            "/accounts",
            "/accounts/acme",
            "/new-account",
            "/dashboard",
        ):
            look(page, f"{desk.url}/desk{path}")
        page.context.clear_cookies()
        look(page, f"{desk.url}/desk/sign-in")


def test_references_are_enrolled_from_a_photo_with_corrected_boxes(
    desk: Desk, draw: Any, sign_in: Any, tmp_path: Path
) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(photo(draw, 1, 0, 1))
    page = sign_in(desk, "eva")
    page.goto(f"{desk.url}/desk/enrol")
    assert page.get_attribute("#camera", "capture") == "environment"
    page.fill("#signer_id", "berta")
    page.set_input_files("#camera", file)
    page.wait_for_selector(".page image[href]", state="attached")
    while page.query_selector(".box-list .remove"):  # whatever was proposed: the boxes are given by hand
        page.click(".box-list .remove")
    assert page.is_visible(".page .none")
    page.focus(".add")
    for box in ((100, 60, 1300, 650), (100, 760, 1300, 1350)):  # by the keyboard
        page.focus(".add")
        page.keyboard.press("Enter")
        for value in box:
            page.keyboard.press("ControlOrMeta+a")
            page.keyboard.type(str(value))
            page.keyboard.press("Tab")
    drawn = page.eval_on_selector_all(
        ".boxes rect", "all => all.map(one => ['x', 'y', 'width', 'height'].map(n => +one.getAttribute(n)))"
    )
    assert drawn == [[100, 60, 1200, 590], [100, 760, 1200, 590]]
    page.click("#enrol button.main")
    page.wait_for_url("**/desk/signers/berta?enrolled=2")
    assert "2 enrolled" in page.inner_text("main")
    assert "Enrol more, of different days" in page.inner_text("main")
    wait_until(page, "() => [...document.querySelectorAll('.cards img')].every(one => one.naturalWidth > 0)")
    assert desk.get("/signers/berta")["references"] == 2


@pytest.mark.parametrize("kind", ["PDF", "TIFF"])
def test_references_are_enrolled_from_later_pages_of_a_document(
    desk: Desk, draw: Any, sign_in: Any, tmp_path: Path, kind: str
) -> None:
    sheets = [Image.open(io.BytesIO(photo(draw, 1, *numbers))) for numbers in ((0, 1), (2,), (3,))]
    blank = Image.new("L", sheets[0].size, 255)
    file = tmp_path / f"mandate.{kind.lower()}"
    blank.save(file, kind, save_all=True, append_images=sheets, resolution=200, dpi=(200, 200))
    page = sign_in(desk, "eva")
    page.goto(f"{desk.url}/desk/enrol?signer=berta")
    page.set_input_files("#files", file)
    page.wait_for_selector(".page image[href]", state="attached")
    assert "of 4" in page.inner_text(".page")
    assert page.is_visible(".page .none"), "the first page is blank"

    def turn_to(number: int) -> None:
        before = page.get_attribute(".page image", "href")
        page.fill(".page-number", str(number))
        page.keyboard.press("Enter")
        wait_until(
            page, "(old) => document.querySelector('.page image').getAttribute('href') !== old", arg=before
        )

    turn_to(2)
    proposed = page.locator(".boxes rect").count()
    page.click(".page .add")
    assert page.locator(".boxes rect").count() == proposed + 1
    turn_to(3)
    turn_to(2)
    assert page.locator(".boxes rect").count() == proposed + 1, "its boxes were kept"
    page.click(f".box-list li:nth-child({proposed + 1}) .remove")
    page.click(".page .another")
    wait_until(page, "() => document.querySelectorAll('.page image[href]').length === 2")
    second = page.locator(".page").nth(1)
    assert second.locator(".page-number").input_value() == "3"
    second.locator(".page-number").fill("2")
    page.keyboard.press("Enter")
    assert second.locator(".page-number").input_value() == "3", "a page is taken once"
    page.click("#enrol button.main")
    page.wait_for_url("**/desk/signers/berta?enrolled=*")
    told = desk.get("/signers/berta/references")["references"]
    assert sorted(one["page"] for one in told) == [1] * proposed + [2]


def test_boxes_are_drawn_moved_and_a_duplicate_is_refused(
    desk: Desk, draw: Any, sign_in: Any, tmp_path: Path
) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(photo(draw, 1, 0))
    page = sign_in(desk, "eva")
    page.goto(f"{desk.url}/desk/enrol?signer=berta")
    transfer = page.evaluate_handle(
        """async (bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "photo.jpg", { type: "image/jpeg" }));
            return transfer;
        }""",
        list(file.read_bytes()),
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
    page.wait_for_selector(".page image[href]", state="attached")
    while page.query_selector(".box-list .remove"):
        page.click(".box-list .remove")

    def drag(begin: tuple[int, int], end: tuple[int, int]) -> list[int]:
        page.locator(".boxes").scroll_into_view_if_needed()
        place = page.locator(".boxes").bounding_box()
        scale = place["width"] / 1400
        page.mouse.move(place["x"] + begin[0] * scale, place["y"] + begin[1] * scale)
        page.mouse.down()
        page.mouse.move(place["x"] + end[0] * scale, place["y"] + end[1] * scale, steps=4)
        page.mouse.up()
        values: list[int] = page.eval_on_selector_all(".box-list input", "all => all.map(one => +one.value)")
        return values

    def near(found: list[int], wanted: list[int]) -> bool:
        return max(abs(one - other) for one, other in zip(found, wanted, strict=True)) <= 4

    assert near(drag((100, 80), (900, 500)), [100, 80, 900, 500])
    assert near(drag((500, 300), (520, 310)), [120, 90, 920, 510]), "moved"
    assert near(drag((920, 510), (1320, 650)), [120, 90, 1320, 650]), "resized"
    page.click("#enrol button.main")
    page.wait_for_url("**/desk/signers/berta?enrolled=1")
    page.goto(f"{desk.url}/desk/enrol?signer=berta")
    page.set_input_files("#files", file)
    page.wait_for_selector(".page image[href]", state="attached")
    page.click(".drop-file")
    for _ in range(2):
        page.set_input_files("#files", file)
    page.locator(".page").nth(1).wait_for()
    while page.query_selector(".box-list .remove"):
        page.click(".box-list .remove")
    page.click("#enrol button.main")
    page.locator("#problem", has_text="byte for byte").wait_for()
    assert desk.get("/signers/berta")["references"] == 1
    assert len(page.query_selector_all(".page")) == 2, "nothing is lost"


def test_a_signer_is_searched_and_erased_by_keyboard(desk: Desk, draw: Any, sign_in: Any) -> None:
    desk.fill(draw, 1, signer=SCRIPT)
    desk.fill(draw, 1, signer="berta")
    page = sign_in(desk, "eva")
    page.goto(f"{desk.url}/desk/signers")
    page.focus("#search")
    page.keyboard.type("IMG")
    page.keyboard.press("Enter")
    page.wait_for_url("**search=IMG")
    assert page.locator("tbody tr").count() == 1
    page.focus("tbody a")
    page.keyboard.press("Enter")
    page.wait_for_selector("#typed")
    assert page.title() != "ran"
    page.fill("#typed", "berta")
    page.keyboard.press("Enter")
    page.wait_for_selector(".error")
    page.go_back()
    page.fill("#typed", SCRIPT)
    page.keyboard.press("Enter")
    page.wait_for_url("**/desk/signers")
    assert [signer["signer_id"] for signer in desk.get("/signers")["signers"]] == ["berta"]


def test_an_account_is_edited(desk: Desk, draw: Any, sign_in: Any) -> None:
    desk.fill(draw, 1)
    make_account(desk, "anna")
    page = sign_in(desk, "eva")
    page.goto(f"{desk.url}/desk/accounts/acme")
    page.fill("[name=limit] >> nth=0", "12,50")
    page.click("form[action$=acme] button.main")
    page.wait_for_selector("[role=alert]")
    assert "signatories.1.limit" in page.inner_text("[role=alert]")
    assert page.input_value("[name=limit] >> nth=0") == "12,50"
    page.fill("[name=limit] >> nth=0", "12.50")
    page.select_option("[name=always_refer] >> nth=0", "yes")
    page.click("form[action$=acme] button.main")
    page.wait_for_selector("text=Version 2")
    mandate = desk.get("/accounts/acme")["mandate"]
    assert (mandate["signatories"][0]["limit"], mandate["signatories"][0]["always_refer"]) == ("12.5", True)


def test_the_largest_amount_comes_first_and_the_dashboard_counts_the_seconds(
    desk: Desk, draw: Any, sign_in: Any
) -> None:
    desk.fill(draw, 1)
    make_account(desk, "anna")
    for number, amount in ((4, "10"), (5, "2000")):
        files = {"signatures": ("q.png", draw(1, number))}
        desk.send("POST", "/accounts/acme/verify", data={"amount": amount}, files=files)
    page = sign_in(desk, "eva")
    page.click("text=largest amount first")
    page.wait_for_url("**order=largest-amount")
    page.keyboard.press("n")
    shown(page)
    assert "2,000.00 EUR" in page.inner_text("main")
    page.wait_for_timeout(1200)
    page.keyboard.press("a")
    page.keyboard.press("1")
    page.wait_for_selector("form.undo")
    shown(page)
    assert "10.00 EUR" in page.inner_text("main"), "the case that was fetched before has the same order"
    told = desk.get("/statistics")["clerks"]
    assert told["decided"] == 1
    assert 1 <= told["median_seconds"] < 60
    page.goto(f"{desk.url}/desk/dashboard")
    page.wait_for_selector("svg.chart rect")
    assert "median" in page.inner_text("main")


def test_the_api_is_not_open_to_the_session(desk: Desk, sign_in: Any) -> None:
    page = sign_in(desk, "eva")
    assert page.evaluate("fetch('/statistics').then((answer) => answer.status)") == 401
    assert httpx.get(f"{desk.url}/statistics", timeout=60).status_code == 401
