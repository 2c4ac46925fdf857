"""Enrol, signers, accounts, the record of a case and the dashboard, without a browser."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.desk.test_pages import SCRIPT, Browser
from tests.app.keyed import Commands, Draw, Serve
from tests.app.test_api import enrol, verify
from tests.app.test_review_cases import REVIEW, fill, fill_with_amounts

ROW = {"signer_id": "anna", "panel": "A", "role": "", "valid_from": "", "valid_to": "", "limit": ""}
RULES = '{"bands": [{"up_to": null, "rules": [{"panels": {"A": 1}}]}], "currency": "EUR"}'


def send_files(browser: Browser, files: list[tuple[str, bytes]], **form: Any) -> Any:
    """Send the form of the page with files, as a browser without a script does."""
    found = re.search(r'data-csrf="([^"]+)"', browser.page.text)
    browser.client.cookies.clear()
    response = browser.client.post(
        "/desk/enrol",
        data={"csrf": found[1] if found else ""} | form,
        files=[("files", file) for file in files],
        headers=browser.headers,
        follow_redirects=False,
    )
    if response.status_code == 303:
        return browser.get(response.headers["location"])
    return response


@pytest.fixture
def bank(serve: Serve, draw: Draw) -> TestClient:
    client = serve(keep_questioned_days=30)
    assert enrol(client, "anna", draw(1, 0), draw(1, 1), draw(1, 2)).status_code == 201
    return client


def test_enrolment_shows_the_quality_at_once_and_refuses_duplicates(bank: TestClient, draw: Draw) -> None:
    browser = Browser(bank)
    browser.get("/desk/enrol?signer=berta")
    assert 'value="berta"' in browser.page.text
    files = [(f"{n}.png", draw(2, n)) for n in range(3)]
    page = send_files(browser, files, signer_id="berta")
    assert "3 enrolled" in page.text
    assert "Enrol more, of different days" in page.text
    again = send_files(browser, files[:1] * 2, signer_id="berta")
    assert (again.status_code, "byte for byte the same" in again.text) == (409, True)
    assert bank.get("/signers/berta").json()["references"] == 3
    boxed = send_files(browser, [("page.png", draw(2, 3))], signer_id="berta", boxes=["0:whole"])
    assert "1 enrolled" in boxed.text
    browser.get("/desk/enrol")
    for wrong in (["1:auto"], ["0:9,9,1,1"], ["0:x"], ["auto"]):
        assert send_files(browser, files[:1], signer_id="berta", boxes=wrong).status_code == 400, wrong


def test_signers_are_searched_shown_and_erased(bank: TestClient, draw: Draw) -> None:
    enrol(bank, "100%", draw(2, 0))
    browser = Browser(bank)
    assert "100%" not in browser.get("/desk/signers?search=ANN").text
    assert "anna" not in browser.get("/desk/signers?search=%25").text
    page = browser.get("/desk/signers/anna").text
    pictures = re.findall(r'src="(/desk/signers/anna/references/[^"]+)"', page)
    assert len(pictures) == 3
    assert browser.get(pictures[0]).content.startswith(b"\x89PNG")
    assert bank.get("/audit?action=view-image").json()["entries"][0]["signer_id"] == "anna"
    browser.get("/desk/signers/anna")
    assert browser.post("/desk/signers/anna/erase", typed="ann").status_code == 400
    assert bank.get("/signers/anna").status_code == 200
    browser.get("/desk/signers/anna")
    browser.post("/desk/signers/anna/erase", typed="anna")
    assert browser.path == "/desk/signers"
    assert bank.get("/signers/anna").status_code == 404
    assert browser.get("/desk/signers/anna").status_code == 404


def test_an_id_with_every_character(bank: TestClient, draw: Draw) -> None:
    signer = f"a/b {SCRIPT} 50%2F?#"
    path = "".join(f"%{byte:02X}" for byte in signer.encode())
    assert enrol(bank, path, draw(2, 0)).status_code == 201
    browser = Browser(bank)
    page = browser.get("/desk/signers").text
    (link,) = [one for one in re.findall(r'href="(/desk/signers/[^"]+)"', page) if "anna" not in one]
    page = browser.get(link)
    assert page.status_code == 200
    assert SCRIPT not in page.text
    assert browser.get(re.findall(r'src="(/desk/signers/[^"]+)"', page.text)[0]).status_code == 200
    browser.get(link)
    browser.post(f"{link}/erase", typed=signer)
    assert bank.get(f"/signers/{path}").status_code == 404


def test_proposals_and_forgeries(bank: TestClient, draw: Draw) -> None:
    genuine, other, forged = (verify(bank, "anna", draw(1, n)).json()["verification_id"] for n in (4, 5, 6))
    for one, outcome in ((genuine, "genuine"), (other, "genuine"), (forged, "forged")):
        bank.put(f"/verifications/{one}/outcome", json={"outcome": outcome})
    browser = Browser(bank)
    page = browser.get("/desk/signers/anna").text
    assert page.count("Accept as a reference") == 2
    assert browser.get(f"/desk/verifications/{forged}.png").content.startswith(b"\x89PNG")
    browser.get("/desk/signers/anna")
    browser.post(f"/desk/signers/anna/proposals/{genuine}/accept")
    browser.post(f"/desk/signers/anna/proposals/{other}/decline")
    assert "Nothing is proposed" in browser.page.text
    assert bank.get("/signers/anna").json()["references"] == 4
    page = browser.post(f"/desk/signers/anna/forgeries/{forged}/withdraw").text
    assert "compare with it no longer" not in page
    assert bank.get("/signers/anna/forgeries").json()["forgeries"] == []


def test_an_account_is_made_and_changed(bank: TestClient) -> None:
    browser = Browser(bank)
    browser.get("/desk/new-account")
    form = ROW | {"always_refer": "", "rules": RULES}
    wrong = browser.post("/desk/new-account", account_id="acme", **form | {"panel": "B"})
    assert (wrong.status_code, "band 1 asks for 1 of panel A" in wrong.text) == (400, True)
    assert 'value="B"' in wrong.text, "what was typed is kept"
    for rules in ("{", "[]", '{"signatories": []}', '{"bands": [], "x": 1}'):
        assert (
            browser.post("/desk/new-account", account_id="acme", **form | {"rules": rules}).status_code == 400
        )
    assert browser.post("/desk/new-account", account_id=" ", **form).status_code == 400
    browser.post("/desk/new-account", account_id="acme", **form)
    assert browser.path == "/desk/accounts/acme"
    version = re.findall(r'name="version_id" value="([^"]+)"', browser.page.text)[0]
    page = browser.post("/desk/accounts/acme", version_id=version, **form | {"limit": "500"})
    assert "Version 2" in page.text
    late = browser.post("/desk/accounts/acme", version_id=version, **form | {"limit": "600"})
    assert (late.status_code, "nothing was changed" in late.text) == (400, True)
    told = bank.get("/accounts/acme").json()
    assert (told["version"], told["mandate"]["signatories"][0]["limit"]) == (2, "500")
    assert "acme" in browser.get("/desk/accounts").text


def test_the_documents_of_an_account_lead_to_their_cases(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    (case,) = fill_with_amounts(client, draw, "12.5")
    browser = Browser(client)
    page = browser.get("/desk/accounts/acme").text
    assert f"/desk/cases/{case}" in page
    assert "12.50 EUR" in page


def test_the_record_of_a_case(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    first, second = fill(client, draw, 2)
    browser = Browser(client)
    browser.get("/desk")
    browser.post("/desk/next")
    assert f"/desk/cases/{first}/record" in browser.page.text
    browser.post(f"/desk/cases/{first}/decision", ruling="reject:differs")
    page = browser.get(f"/desk/cases/{first}/record").text
    assert page.index("decided") < page.index("claimed") < page.index("verified")
    assert "reason: differs" in page
    told = client.get(f"/audit?record_id={second}").json()["entries"]
    assert {entry["record_id"] for entry in told} == {second}
    assert browser.get("/desk/cases/x/record").status_code == 404


def test_the_dashboard(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW, quality_control_share=0)
    first, second, third = fill(client, draw, 3)
    browser = Browser(client)
    assert "not known yet" in browser.get("/desk/dashboard").text
    browser.get("/desk")
    browser.post("/desk/next")
    browser.post(f"/desk/cases/{first}/decision", ruling="reject:differs", seconds="4")
    client.put(f"/verifications/{first}/outcome", json={"outcome": "forged"})
    for one in (second, third):
        client.put(f"/verifications/{one}/outcome", json={"outcome": "genuine"})
    told = client.get("/statistics?days=3").json()
    assert [day["review"] for day in told["days"]] == [0, 0, 3]
    assert told["review"] == {"count": 3, "of": 3, "share": 1.0, "low": 0.4385, "high": 1.0}
    assert (told["far"]["count"], told["far"]["of"], told["frr"]["count"], told["frr"]["of"]) == (0, 1, 2, 2)
    assert told["clerks"]["median_seconds"] == 4
    assert told["drift"]["verifications"] == 3
    assert told["drift"]["psi"] is None
    assert sum(told["drift"]["shares"]) == pytest.approx(1)
    page = browser.get("/desk/dashboard").text
    assert "0.0 % (0.0 to 79.3 %), 0 of 1" in page
    assert page.count("<rect") == 1 + 10
    assert "Entscheidungen je Tag" in browser.get("/desk/dashboard?lang=de").text
    assert client.get("/statistics?days=93").status_code == 400


def test_pages_of_a_key_that_may_only_read(serve: Serve, commands: Commands, draw: Draw) -> None:
    admin, reader = commands.key("admin", "admin"), commands.key("reader", "read")
    client = serve(**REVIEW)
    (case,) = fill(client, draw, 1, headers=admin)
    browser = Browser(client, key=reader)
    for path in ("signers", "signers/anna", "accounts", "dashboard", "enrol"):
        page = browser.get(f"/desk/{path}")
        assert page.status_code == 200, path
        assert 'class="danger"' not in page.text, path
    for path in ("new-account", f"cases/{case}/record"):
        assert browser.get(f"/desk/{path}").status_code == 403, path
    browser.get("/desk")
    form = ROW | {"always_refer": "", "rules": RULES, "account_id": "acme"}
    for path in (
        "signers/anna/erase",
        "signers/anna/references/x/erase",
        f"signers/anna/proposals/{case}/accept",
        f"signers/anna/proposals/{case}/decline",
        f"signers/anna/forgeries/{case}/withdraw",
        "new-account",
        "accounts/acme",
    ):
        assert browser.post(f"/desk/{path}", typed="anna", **form).status_code == 403, path
        browser.get("/desk")
    assert send_files(browser, [("a.png", draw(1, 7))], signer_id="anna").status_code == 403
    assert client.get("/signers/anna", headers=admin).json()["references"] == 2


def test_pages_of_another_tenant(serve: Serve, commands: Commands, draw: Draw) -> None:
    north, south = (commands.key("clerk", "admin", tenant=name) for name in ("north", "south"))
    client = serve(**REVIEW, keep_questioned_days=1)
    (case,) = fill(client, draw, 1, headers=north)
    reference = client.get("/signers/anna/references", headers=north).json()["references"][0]["reference_id"]
    browser = Browser(client, key=south)
    for path in (
        "signers/anna",
        f"signers/anna/references/{reference}.png",
        f"verifications/{case}.png",
        f"cases/{case}/record",
        "accounts/acme",
    ):
        assert browser.get(f"/desk/{path}").status_code == 404, path
    assert "anna" not in browser.get("/desk/signers").text
    browser.post("/desk/signers/anna/erase", typed="anna")
    assert client.get("/signers/anna", headers=north).status_code == 200
    assert client.get("/statistics", headers=south).json()["review"]["of"] == 0


def test_forms_need_the_token_of_the_session(bank: TestClient) -> None:
    browser = Browser(bank)
    form = ROW | {"always_refer": "", "rules": RULES, "account_id": "acme"}
    for path in ("signers/anna/erase", "new-account", "accounts/acme"):
        assert browser.send("POST", f"/desk/{path}", csrf="x", typed="anna", **form).status_code == 403
    assert bank.get("/signers/anna").status_code == 200
