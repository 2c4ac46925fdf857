"""Errors at the desk: pages for browsers, problem details for programs."""

from __future__ import annotations

import re

import pytest

from app.desk import pages
from app.http.problems import MEDIA_TYPE
from tests.app.desk.test_pages import SCRIPT, Browser
from tests.app.keyed import Commands, Serve

BACK = '<a href="/desk">Back to the queue</a>'


@pytest.fixture
def browser(serve: Serve) -> Browser:
    return Browser(serve())


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/desk/nowhere", 404, "There is no such page."),
        ("GET", "/desk/cases/1/2/3", 404, "There is no such page."),
        ("GET", f"/desk/{SCRIPT}", 404, "There is no such page."),
        ("GET", "/desk/static/nothing.js", 404, "There is no such page."),
        ("GET", "/desk/cases/wrong-id", 404, "There is no such case."),
        ("GET", "/desk/signers/nobody", 404, "There is no such signer."),
        ("GET", "/desk/accounts/none", 404, "There is no such account."),
        ("GET", "/desk?cursor=x", 400, "The cursor"),
        ("DELETE", "/desk/signers", 405, "This page does not take that"),
        ("GET", "/desk/next", 405, "This page does not take that"),
        ("POST", "/desk/next", 400, "Something is missing"),
        ("GET", "/desk/signers/%FF", 400, "not UTF-8"),
    ],
)
def test_a_browser_gets_a_page(browser: Browser, method: str, path: str, status: int, text: str) -> None:
    page = browser.send(method, path)
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "<h1>That did not work</h1>" in page.text
    assert text in page.text
    assert BACK in page.text
    assert page.headers["x-request-id"] in page.text
    assert SCRIPT not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert page.headers.get_list("content-length") == [str(len(page.content))]
    assert ("allow" in page.headers) == (status == 405)


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/html;q=0.5", ""])
def test_a_program_gets_problem_details(browser: Browser, accept: str) -> None:
    for path, code in (("nowhere", "not-found"), ("cases/wrong-id", "case-not-found")):
        told = browser.client.get(f"/desk/{path}", headers=browser.headers | {"Accept": accept})
        assert (told.status_code, told.headers["content-type"]) == (404, MEDIA_TYPE)
        assert told.json()["code"] == code


def test_what_is_not_at_the_desk_is_problem_details_for_browsers_too(browser: Browser) -> None:
    for path in ("/nowhere", "/deskside", "/signers/nobody"):
        told = browser.client.get(path, headers=browser.headers)
        assert (told.status_code, told.headers["content-type"]) == (404, MEDIA_TYPE)


def test_an_unexpected_error_is_a_page(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a secret of the service")

    monkeypatch.setattr("app.desk.routes.cases.count_open_cases", fail)
    page = browser.get("/desk")
    assert (page.status_code, BACK in page.text) == (500, True)
    assert "An unexpected error occurred" in page.text
    assert "secret" not in page.text
    told = browser.client.get("/desk", headers=browser.headers | {"Accept": "application/json"})
    assert (told.status_code, told.json()["code"]) == (500, "internal-error")


def test_a_page_that_cannot_be_rendered_leaves_the_problem(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_keep_cookies", lambda *_: 1 / 0)
    told = browser.get("/desk/nowhere")
    assert (told.status_code, told.json()["code"]) == (404, "not-found")


def test_what_the_key_does_not_permit(serve: Serve, commands: Commands) -> None:
    reader = Browser(serve(), key=commands.key("reader", "read"))
    page = reader.post("/desk/next")
    assert (page.status_code, BACK in page.text) == (403, True)
    assert "This key does not permit that" in page.text
    assert "reader" in page.text, "with the name of who has signed in"


def test_too_many_requests(serve: Serve, commands: Commands) -> None:
    browser = Browser(serve(rate_limit="2/minute"), key=commands.key("reader", "read"))
    page = [browser.get("/desk") for _ in range(3)][-1]
    assert (page.status_code, BACK in page.text) == (429, True)
    assert int(page.headers["retry-after"]) > 0


def test_in_german_and_behind_a_prefix(serve: Serve, commands: Commands) -> None:
    key = commands.key("reader", "read")
    browser = Browser(serve(root_path="/bank"), key=key)
    page = browser.get("/bank/desk/nirgends?lang=de")
    assert (page.status_code, "Diese Seite gibt es nicht." in page.text) == (404, True)
    assert re.findall(r'<a href="([^"]+)">Zurück zur Warteschlange', page.text) == ["/bank/desk"]


def test_the_answer_to_head_has_no_body(browser: Browser) -> None:
    told = browser.client.head("/desk/nowhere", headers=browser.headers)
    assert (told.status_code, told.content) == (404, b"")


def test_without_a_session_an_unknown_page_leads_to_the_sign_in_page(serve: Serve) -> None:
    client = serve()
    told = client.get("/desk/nowhere", headers={"Accept": "text/html"}, follow_redirects=False)
    assert (told.status_code, told.headers["location"]) == (303, "/desk/sign-in?next=%2Fdesk%2Fnowhere")
