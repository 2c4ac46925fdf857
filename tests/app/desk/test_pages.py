"""The pages of the desk, without a browser: who sees and does what, and what the pages contain."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.desk.pages import FOLDER, RELEASE
from app.desk.texts import CATALOGUE, Texts
from app.domain.cases import REASONS
from app.domain.records import ResultWarning
from app.http.sessions import COOKIE
from app.texts.catalogue import LANGUAGES
from tests.app.keyed import Commands, Draw, Serve, until
from tests.app.test_api import enrol, verify
from tests.app.test_review_cases import REVIEW, fill, fill_with_amounts

ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
"""What browsers send when they load a page."""
SCRIPT = "<script>alert(1)</script>"


class Browser:
    """A clerk without a script: follows redirects, keeps cookies, sends the forms of the page."""

    def __init__(self, client: TestClient, clerk: str = "eva", key: dict[str, str] | None = None) -> None:
        self.client = client
        self.cookies: dict[str, str] = {}
        self.page = self.send("POST", "/desk/sign-in", clerk=clerk, key=(key or {}).get("X-API-Key", ""))

    @property
    def headers(self) -> dict[str, str]:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {"Accept": ACCEPT, "Cookie": cookies}

    def send(self, method: str, path: str, **form: str) -> Any:
        self.client.cookies.clear()
        response = self.client.request(
            method, path, data=form or None, headers=self.headers, follow_redirects=False
        )
        self.cookies.update(response.cookies)
        if response.status_code == 303:
            return self.get(response.headers["location"])
        self.path, self.page = path, response
        return response

    def get(self, path: str) -> Any:
        return self.send("GET", path)

    def post(self, path: str, **form: str) -> Any:
        found = re.search(r'data-csrf="([^"]+)"', self.page.text)
        return self.send("POST", path, csrf=found[1] if found else "", **form)


@pytest.fixture
def desk(serve: Serve, draw: Draw) -> tuple[Browser, list[str]]:
    client = serve(**REVIEW, keep_questioned_days=1)
    return Browser(client), fill(client, draw, 2)


def test_a_clerk_works_through_the_queue(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, second) = desk
    assert "2 open cases" in browser.get("/desk").text
    page = browser.post("/desk/next")
    assert browser.path == f"/desk/cases/{first}"
    assert page.text.count("data:image/png;base64,") == 3, "the questioned signature and two references"
    assert page.text.index("Reference 1") < page.text.index("Reference 2")
    page = browser.post(f"/desk/cases/{first}/decision", ruling="accept:matches", note="seen")
    assert browser.path == f"/desk/cases/{second}?undo={first}"
    assert "accepted, agrees with the references" in page.text
    browser.post(f"/desk/cases/{first}/undo")
    assert browser.path == f"/desk/cases/{first}"
    assert 'value="reject:differs"' in browser.page.text
    browser.post(f"/desk/cases/{first}/decision", ruling="reject:differs")
    page = browser.post(f"/desk/cases/{second}/decision", ruling="reject:suspected-forgery")
    assert "0 open cases" in page.text
    assert "Undo" in page.text
    decided = browser.get("/desk?decided=true").text
    assert "does not agree with the references" in decided
    assert "eva" in decided


def test_largest_amount_first(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    small, none, large = fill_with_amounts(client, draw, "9.5", None, "1000")
    browser = Browser(client)
    page = browser.get("/desk").text
    assert page.index(small) < page.index(none) < page.index(large)
    page = browser.get("/desk?order=largest-amount").text
    assert page.index(large) < page.index(small) < page.index(none)
    assert "1,000.00 EUR" in page
    browser.post("/desk/next")
    for case in (large, small, none):
        assert browser.path.startswith(f"/desk/cases/{case}"), "the order is kept"
        browser.post(f"/desk/cases/{case}/decision", ruling="accept:matches")
    assert "1.000,00 EUR" in browser.get("/desk?decided=true&lang=de").text


def test_quality_control_is_stated_and_changes_nothing(serve: Serve, draw: Draw) -> None:
    client = serve(quality_control_share=1)
    enrol(client, "anna", draw(1, 0), draw(1, 1))
    case = verify(client, "anna", draw(1, 0)).json()["verification_id"]
    browser = Browser(client)
    assert "quality control" in browser.get("/desk").text
    page = browser.post("/desk/next")
    assert "the service has decided already (accepted)" in page.text
    browser.post(f"/desk/cases/{case}/decision", ruling="reject:differs", seconds="4.2")
    told = client.get(f"/cases/{case}").json()
    assert (told["decision"], told["verification"]["decision"]) == ("reject", "accept")


def test_a_case_is_left_for_later(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, second) = desk
    browser.get("/desk")
    browser.post("/desk/next")
    browser.post(f"/desk/cases/{first}/skip")
    assert browser.path == f"/desk/cases/{second}"
    browser.post(f"/desk/cases/{second}/decision", ruling="accept:confirmed")
    assert browser.path.startswith(f"/desk/cases/{first}")


def test_what_another_clerk_has_is_not_offered(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, second) = desk
    other = Browser(browser.client, "bob")
    browser.get("/desk")
    browser.post("/desk/next")
    other.get("/desk")
    other.post("/desk/next")
    assert other.path == f"/desk/cases/{second}"
    page = other.get(f"/desk/cases/{first}").text
    assert "eva works on this case" in page
    assert "accept:matches" not in page
    refused = other.post(f"/desk/cases/{first}/decision", ruling="accept:matches")
    assert (refused.status_code, "Another clerk" in refused.text) == (409, True)
    browser.get("/desk")
    browser.post("/desk/sign-out")
    other.get("/desk")
    other.post(f"/desk/cases/{first}/claim")
    assert 'value="accept:matches"' in other.page.text, "the claims of who signs out are released"


def test_without_a_kept_image_the_page_says_so(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    (case,) = fill(client, draw, 1)
    page = Browser(client).get(f"/desk/cases/{case}").text
    assert "is not kept" in page
    assert page.count("data:image/png;base64,") == 2, "the references"
    browser = Browser(client)
    assert browser.get(f"/desk/cases/{case}/page.png").status_code == 404
    browser.get("/desk")
    browser.post("/desk/next")
    assert 'value="accept:matches"' in browser.page.text


def test_the_case_of_an_erased_signer_can_be_decided(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, _) = desk
    browser.client.delete("/signers/anna")
    browser.get("/desk")
    page = browser.post("/desk/next").text
    assert "data:image" not in page
    assert "has been deleted" in page
    assert browser.post(f"/desk/cases/{first}/decision", ruling="reject:unusable-image").status_code == 200


def test_the_page_shows_where_the_signature_is(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, _) = desk
    picture = browser.get(f"/desk/cases/{first}/page.png")
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
    assert browser.get("/desk/cases/x/page.png").status_code == 404


def test_script_in_a_name_is_text(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    signer = f"{SCRIPT}{{{{7*7}}}}"
    enrol(client, signer.replace("/", "%2F").replace("<", "%3C").replace(">", "%3E"), draw(1, 0), draw(1, 1))
    case = verify(client, signer, draw(1, 2)).json()["verification_id"]
    browser = Browser(client, clerk=SCRIPT[:64])
    for path in ("/desk", f"/desk/cases/{case}", f"/desk/cases/{case}?undo={SCRIPT}"):
        page = browser.get(path)
        assert page.status_code == 200
        assert "alert(1)" in page.text
        assert SCRIPT not in page.text
        assert "49" not in re.findall(r"<h1>(.*?)</h1>", page.text)[0]
    browser.get("/desk")
    browser.post("/desk/next")
    note = browser.post(f"/desk/cases/{case}/decision", ruling="accept:other", note=SCRIPT)
    assert SCRIPT not in note.text
    assert SCRIPT not in browser.get("/desk?decided=true").text


def test_pages_run_no_script_but_their_own(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, _) = desk
    for path in ("/desk", f"/desk/cases/{first}", "/desk/sign-in"):
        page = browser.get(path)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["cache-control"] == "no-store"
        assert not re.search(r"\s(on\w+|style)=", page.text)
        assert re.findall(r"<script[^>]*>", page.text) == [
            f'<script src="/desk/static/desk.js?v={RELEASE}" type="module">'
        ]
        assert "http://" not in page.text.replace("http://testserver", "")
    for file in ("desk.js", "desk.css"):
        answer = browser.client.get(f"/desk/static/{file}?v={RELEASE}")
        assert (answer.status_code, "immutable" in answer.headers["cache-control"]) == (200, True)


def test_without_a_session_everything_leads_to_the_sign_in_page(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, _) = desk
    browser.client.cookies.clear()
    for method, path in [("GET", "/desk"), ("GET", f"/desk/cases/{first}"), ("POST", "/desk/next")]:
        for cookie in ("", f"{COOKIE}=x", f"{COOKIE}={browser.cookies[COOKIE][:-1]}"):
            answer = browser.client.request(method, path, headers={"Cookie": cookie}, follow_redirects=False)
            assert answer.status_code == 303, (method, path, cookie)
            assert answer.headers["location"].startswith("/desk/sign-in")
    elsewhere = browser.client.get("/desk/sign-in?next=https://elsewhere.example/").text
    browser.send("POST", "/desk/sign-in", clerk="eva", next="https://elsewhere.example/")
    assert browser.path == "/desk", "it leads nowhere else"
    assert "<form" in elsewhere


def test_the_cookie_is_for_the_desk_only(serve: Serve, commands: Commands, draw: Draw) -> None:
    key = commands.key("teller", "admin")
    client = serve(**REVIEW)
    answer = client.post(
        "/desk/sign-in", data={"clerk": "eva", "key": key["X-API-Key"]}, follow_redirects=False
    )
    cookie = answer.headers["set-cookie"]
    for word in ("HttpOnly", "SameSite=strict", "Path=/desk"):
        assert word in cookie
    assert key["X-API-Key"] not in cookie
    client.cookies.clear()
    session = {"Cookie": f"{COOKIE}={answer.cookies[COOKIE]}"}
    assert client.get("/desk", headers=session).status_code == 200
    client.cookies.clear()
    assert client.get("/cases", headers=session).status_code == 401, "the API takes keys only"
    refused = client.get("/desk", headers=key, follow_redirects=False)
    assert refused.status_code == 303, "and the desk sessions only"


def test_a_form_needs_the_token_of_the_session(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, _) = desk
    other = Browser(browser.client, "bob")
    token = re.search(r'data-csrf="([^"]+)"', other.get("/desk").text)
    assert token
    browser.get("/desk")
    for form in ({}, {"csrf": ""}, {"csrf": token[1]}, {"csrf": "ä"}):
        for path in (f"/desk/cases/{first}/claim", "/desk/next", "/desk/sign-out"):
            assert browser.send("POST", path, **form).status_code in {400, 403}, (path, form)
    assert browser.client.get(f"/cases/{first}").json()["claimed_by"] is None
    site = {"Sec-Fetch-Site": "cross-site"}
    assert browser.client.post("/desk/sign-in", data={"clerk": "eva"}, headers=site).status_code == 403


def test_a_session_ends(
    serve: Serve, commands: Commands, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = commands.key("teller", "admin")
    client = serve(**REVIEW, key_refresh_s=0.05)
    browser = Browser(client, key=key)
    kept = dict(browser.cookies)
    assert browser.get("/desk").status_code == 200
    browser.post("/desk/sign-out")
    browser.cookies = kept
    assert 'name="key"' in browser.get("/desk").text, (
        "a copy of the cookie is worth nothing after signing out"
    )
    browser = Browser(client, key=key)
    with monkeypatch.context() as later:
        later.setattr("itsdangerous.timed.time.time", lambda: 1e11)
        assert 'name="key"' in browser.get("/desk").text
    browser = Browser(client, key=key)
    commands.run("keys", "revoke", "teller")
    until(lambda: 'name="key"' in browser.get("/desk").text)


def test_a_wrong_key_is_refused_and_slowed(serve: Serve, commands: Commands) -> None:
    commands.key("teller", "admin")
    verifier = commands.key("verifier", "verify")
    client = serve(failed_key_limit="3/minute")
    answers = [Browser(client, key={"X-API-Key": "cs_wrong"}).page for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert "refused" in answers[0].text
    assert Browser(client, key=verifier).page.status_code == 403, "it could not look at a case"
    assert "API key" in client.get("/desk/sign-in").text


def test_a_key_that_may_only_read_decides_nothing(serve: Serve, commands: Commands, draw: Draw) -> None:
    admin, reader = commands.key("admin", "admin"), commands.key("reader", "read")
    client = serve(**REVIEW)
    (case,) = fill(client, draw, 1, headers=admin)
    browser = Browser(client, key=reader)
    assert "may only read" in browser.get("/desk").text
    page = browser.get(f"/desk/cases/{case}").text
    assert "may only read" in page
    assert "accept:matches" not in page
    for path in ("/desk/next", f"/desk/cases/{case}/claim", f"/desk/cases/{case}/undo"):
        assert browser.post(path).status_code == 403
        browser.get("/desk")
    assert browser.post(f"/desk/cases/{case}/decision", ruling="accept:matches").status_code == 403


def test_another_tenant_sees_nothing(serve: Serve, commands: Commands, draw: Draw) -> None:
    north, south = (commands.key("clerk", "admin", tenant=name) for name in ("north", "south"))
    client = serve(**REVIEW, keep_questioned_days=1)
    (case,) = fill(client, draw, 1, headers=north)
    browser = Browser(client, key=south)
    assert "0 open cases" in browser.get("/desk").text
    for path in (f"/desk/cases/{case}", f"/desk/cases/{case}/page.png"):
        assert browser.get(path).status_code == 404
    browser.get("/desk")
    assert browser.post(f"/desk/cases/{case}/claim").status_code == 404
    browser.get("/desk")
    browser.post("/desk/next")
    assert browser.path.startswith("/desk?")
    assert "anna" not in browser.get(f"/desk?undo={case}").text


def test_a_decision_of_the_form_is_checked(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, _) = desk
    browser.get("/desk")
    browser.post("/desk/next")
    for ruling in ("accept:differs", "review:other", "accept", ""):
        assert browser.post(f"/desk/cases/{first}/decision", ruling=ruling).status_code == 400, ruling
        browser.get(f"/desk/cases/{first}")


def test_looking_at_a_case_is_in_the_audit(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, _) = desk
    browser.get(f"/desk/cases/{first}")
    entry = browser.client.get("/audit?action=view-image").json()["entries"][0]
    assert entry["record_id"] == first
    assert entry["details"]["questioned"] is True
    assert len(entry["details"]["references"]) == 2


def test_pictures_over_the_api(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, _) = desk
    told = browser.client.get(f"/cases/{first}/pictures").json()
    assert told["case_id"] == first
    distances = [reference["distance"] for reference in told["references"]]
    assert distances == sorted(distances)
    for picture in (told["questioned"], *(reference["picture"] for reference in told["references"])):
        assert 0 < picture["centre"][0] < picture["width"]
        assert 0 < picture["centre"][1] < picture["height"]
        assert picture["image"].startswith("iVBOR")


def test_german(desk: tuple[Browser, list[str]]) -> None:
    browser, (first, _) = desk
    assert "offene Fälle" in browser.get("/desk?lang=de").text
    page = browser.get(f"/desk/cases/{first}").text
    assert '<html lang="de">' in page
    assert "Fragliche Unterschrift" in page
    by_header = browser.client.get("/desk/sign-in", headers={"Accept-Language": "fr, de;q=0.8"})
    assert "Anmelden" in by_header.text


def test_every_text_is_in_every_language_and_every_text_is_used() -> None:
    assert all(set(entry) == set(LANGUAGES) for entry in CATALOGUE.values())
    fields = re.compile(r"\{(\w+)\}")
    for key, entry in CATALOGUE.items():
        assert len({tuple(sorted(fields.findall(text))) for text in entry.values()}) == 1, key
    source = "".join(
        path.read_text(encoding="utf-8") for kind in ("**/*.py", "templates/*") for path in FOLDER.glob(kind)
    )
    named = set(re.findall(r"""["']([a-z][a-z-]*)["']""", source))
    families = (
        "reason-",
        "outcome-",
        "warning-",
        "error-",
        "support-",
        "order-",
        "quality-",
        "action-",
        "column-",
        "box-",
    )
    unused = {key for key in CATALOGUE if key not in named and not key.startswith(families)}
    assert unused <= {"accept", "accepted", "reject", "rejected"}, unused
    for decision, reasons in REASONS.items():
        assert {decision, f"{decision}ed", *(f"reason-{reason}" for reason in reasons)} <= set(CATALOGUE)


@pytest.mark.parametrize(
    ("log_ratio", "words"),
    [(0.2, "does not help"), (0.5, "3.2 times"), (1.5, "moderate support for genuine"), (-2.5, "320 times")],
)
def test_the_evidence_in_words(log_ratio: float, words: str) -> None:
    assert words in Texts("en")._evidence(log_ratio)


def test_a_warning_that_is_not_in_the_catalogue_keeps_its_words() -> None:
    assert Texts("de").warning(ResultWarning("new-kind", "It is new.")) == "It is new."
