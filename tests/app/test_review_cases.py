"""Cases: what is left to a person is decided once, by the one who claimed it, and is in the audit."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.domain.cases import is_drawn
from app.domain.ids import new_id
from app.domain.records import now
from tests.app.keyed import Commands, Draw, Serve
from tests.app.store.conftest import Sql
from tests.app.test_api import enrol, verify

REVIEW: dict[str, Any] = {"fixed_threshold": 1e-6, "review_far": 0.5}
"""Settings by which genuine signatures are left to a person."""
ACCEPT = {"decision": "accept", "reason": "matches"}
REJECT = {"decision": "reject", "reason": "differs"}


def fill(client: TestClient, draw: Draw, count: int, headers: dict[str, str] | None = None) -> list[str]:
    """Enrol a signer and leave some verifications to a person; return the ids of the cases, oldest first."""
    assert enrol(client, "anna", draw(1, 0), draw(1, 1), headers=headers).status_code == 201
    told = [verify(client, "anna", draw(1, 2 + n), headers=headers).json() for n in range(count)]
    assert {one["decision"] for one in told} == {"review"}
    return [one["verification_id"] for one in told]


def fill_with_amounts(client: TestClient, draw: Draw, *amounts: str | None) -> list[str]:
    """Leave a verification for each amount to a person; with None, one without a document."""
    assert enrol(client, "anna", draw(1, 0), draw(1, 1)).status_code == 201
    mandate = {
        "signatories": [{"signer_id": "anna"}],
        "bands": [{"rules": [{"signatures": 1}]}],
        "currency": "EUR",
    }
    assert client.put("/accounts/acme", json=mandate).status_code == 201
    found: list[str] = []
    for number, amount in enumerate(amounts):
        if amount is None:
            found.append(verify(client, "anna", draw(1, 2 + number)).json()["verification_id"])
            continue
        files = {"signatures": ("q.png", draw(1, 2 + number))}
        told = client.post("/accounts/acme/verify", data={"amount": amount}, files=files).json()
        found.append(told["signatures"][0]["verification"]["verification_id"])
    return found


def post(client: TestClient, path: str, clerk: str = "eva", **more: Any) -> Any:
    return client.post(f"/cases/{path}", json={"clerk": clerk} | more)


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def actions(client: TestClient) -> list[str]:
    entries = client.get("/audit").json()["entries"]
    return [entry["action"] for entry in reversed(entries) if entry["action"].startswith("case-")]


@pytest.mark.both_databases
def test_a_case_is_claimed_decided_and_taken_back(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    first, second = fill(client, draw, 2)
    listed = client.get("/cases").json()["cases"]
    assert [case["case_id"] for case in listed] == [first, second]
    assert not listed[0]["image_kept"]
    assert code(post(client, f"{first}/decision", **ACCEPT)) == (409, "case-not-claimed")
    claimed = post(client, "next").json()["case"]
    assert (claimed["case_id"], claimed["claimed_by"]) == (first, "eva")
    assert post(client, "next").json()["case"]["case_id"] == first, "after a reload, it is the same case"
    assert code(post(client, f"{first}/claim", clerk="bob")) == (409, "case-claimed")
    assert code(post(client, f"{first}/decision", clerk="bob", **ACCEPT)) == (409, "case-claimed")
    assert code(post(client, f"{first}/release", clerk="bob")) == (409, "case-claimed")
    assert post(client, "next", clerk="bob").json()["case"]["case_id"] == second
    decided = post(client, f"{first}/decision", note="seen", **ACCEPT).json()
    assert (decided["state"], decided["decision"], decided["reason"]) == ("decided", "accept", "matches")
    assert (decided["note"], decided["decided_by"]) == ("seen", "eva")
    again = post(client, f"{first}/decision", note="seen", **ACCEPT)
    assert again.json() == decided, "the answer was lost and the request repeated"
    assert code(post(client, f"{first}/decision", **REJECT)) == (409, "case-decided")
    assert code(post(client, f"{first}/claim", clerk="bob")) == (409, "case-decided")
    assert code(post(client, f"{first}/undo", clerk="bob")) == (409, "undo-expired")
    back = post(client, f"{first}/undo").json()
    assert (back["state"], back["claimed_by"], back["decision"]) == ("open", "eva", None)
    assert post(client, f"{first}/decision", **REJECT).json()["decision"] == "reject"
    assert post(client, f"{second}/release", clerk="bob").json()["claimed_by"] is None
    assert [case["case_id"] for case in client.get("/cases?state=decided").json()["cases"]] == [first]
    claim, release, decision, undo = (f"case-{word}" for word in ("claim", "release", "decision", "undo"))
    assert actions(client) == [claim, claim, decision, undo, decision, release]


def test_without_a_body_the_clerk_is_the_one_of_the_key(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    (case,) = fill(client, draw, 1)
    assert client.post("/cases/next").json()["case"]["claimed_by"] == "loopback"
    assert client.post(f"/cases/{case}/release").json()["claimed_by"] is None
    assert client.post(f"/cases/{case}/claim").json()["claimed_by"] == "loopback"
    decided = client.post(f"/cases/{case}/decision", json=ACCEPT).json()
    assert (decided["state"], decided["decided_by"]) == ("decided", "loopback")
    assert client.post(f"/cases/{case}/undo").json()["state"] == "open"


@pytest.mark.both_databases
def test_a_claim_expires_and_an_undo_does(serve: Serve, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    client = serve(**REVIEW, case_claim_s=600, case_undo_s=600)

    def go_on(hours: int) -> None:
        for module in ("app.services.cases", "app.api.case_schemas"):
            monkeypatch.setattr(f"{module}.now", lambda: now() + timedelta(hours=hours))

    (case,) = fill(client, draw, 1)
    post(client, f"{case}/claim")
    assert post(client, "next", clerk="bob").json()["case"] is None
    go_on(hours=1)
    assert client.get(f"/cases/{case}").json()["claimed_by"] is None
    assert post(client, "next", clerk="bob").json()["case"]["case_id"] == case
    assert code(post(client, f"{case}/decision", **ACCEPT)) == (409, "case-claimed")
    go_on(hours=2)
    decided = post(client, f"{case}/decision", clerk="bob", **ACCEPT)
    assert decided.status_code == 200, "nobody else has claimed it since"
    go_on(hours=3)
    assert code(post(client, f"{case}/undo", clerk="bob")) == (409, "undo-expired")


@pytest.mark.both_databases
def test_clerks_who_ask_at_once_get_different_cases(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    cases = fill(client, draw, 6)
    got: list[str] = []

    def work(clerk: str) -> None:
        after = None
        for _ in range(2):
            case = post(client, "next", clerk=clerk, after=after).json()["case"]
            got.append(case["case_id"])
            after = case["case_id"]

    clerks = [threading.Thread(target=work, args=(name,)) for name in ("eva", "bob", "kim")]
    for clerk in clerks:
        clerk.start()
    for clerk in clerks:
        clerk.join()
    assert sorted(got) == sorted(cases)


@pytest.mark.both_databases
def test_a_case_is_decided_once_by_two_requests_at_once(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    (case,) = fill(client, draw, 1)
    post(client, f"{case}/claim")
    answers: list[int] = []

    def decide(ruling: dict[str, str]) -> None:
        answers.append(post(client, f"{case}/decision", **ruling).status_code)

    both = [threading.Thread(target=decide, args=(ruling,)) for ruling in (ACCEPT, REJECT)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(answers) == [200, 409]
    assert actions(client).count("case-decision") == 1


@pytest.mark.both_databases
def test_the_queue_in_the_order_of_amounts(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    cases = fill_with_amounts(client, draw, "99.99", None, "100", "12345678901.5", "100")
    largest = [cases[number] for number in (3, 2, 4, 0, 1)]
    listed, cursor = [], None
    while True:
        query = {"order": "largest-amount", "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/cases", params=query).json()
        listed += page["cases"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert [case["case_id"] for case in listed] == largest
    assert [case["amount"] for case in listed] == ["12345678901.5", "100", "100", "99.99", None]
    assert [case["currency"] for case in listed] == ["EUR"] * 4 + [None]
    after, claimed = None, []
    for clerk in ("eva", "bob", "kim", "ben", "lea"):
        case = post(client, "next", clerk=clerk, order="largest-amount", after=after).json()["case"]
        after = case["case_id"]
        claimed.append(after)
    assert claimed == largest
    assert code(client.get("/cases", params={"order": "newest"})) == (400, "malformed-request")


@pytest.mark.both_databases
def test_quality_control_draws_automatic_decisions(serve: Serve, commands: Commands, draw: Draw) -> None:
    client = serve(quality_control_share=1)
    enrol(client, "anna", draw(1, 0), draw(1, 1))
    told = verify(client, "anna", draw(1, 0)).json()
    assert told["decision"] == "accept"
    (case,) = client.get("/cases").json()["cases"]
    assert (case["case_id"], case["kind"]) == (told["verification_id"], "quality-control")
    post(client, f"{case['case_id']}/claim")
    decided = post(client, f"{case['case_id']}/decision", seconds=3.5, **REJECT).json()
    assert decided["decision"] == "reject"
    assert decided["verification"]["decision"] == "accept", "the answer that was given stays"
    assert decided["verification"]["outcome"] is None, "an opinion is no outcome"
    (entry,) = client.get("/audit?action=case-decision").json()["entries"]
    assert (entry["details"]["decision"], entry["details"]["automatic_decision"]) == ("reject", "accept")
    assert commands.run("audit", "verify").exit_code == 0
    refused = post(client, f"{case['case_id']}/decision", seconds=-1, **REJECT)
    assert code(refused) == (400, "malformed-request")


def test_the_draw_has_the_share_that_was_set_and_depends_on_the_id_only() -> None:
    ids = [new_id() for _ in range(4000)]
    drawn = {one for one in ids if is_drawn(one, 0.1)}
    assert 300 < len(drawn) < 500
    assert drawn == {one for one in ids if is_drawn(one, 0.1)}
    assert drawn <= {one for one in ids if is_drawn(one, 0.2)}
    assert not any(is_drawn(one, 0.0) for one in ids)
    assert all(is_drawn(one, 1.0) for one in ids)


def test_an_outcome_closes_an_open_case(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    first, second = fill(client, draw, 2)
    for case, outcome in ((first, "forged"), (second, "undetermined")):
        client.put(f"/verifications/{case}/outcome", json={"outcome": outcome})
    assert [case["case_id"] for case in client.get("/cases").json()["cases"]] == [second]
    assert client.get(f"/cases/{first}").json()["state"] == "closed"
    assert code(post(client, f"{first}/claim")) == (409, "case-decided")


def test_only_what_is_left_to_a_person_is_a_case(client: TestClient, draw: Draw) -> None:
    enrol(client, "anna", draw(1, 0), draw(1, 1))
    told = verify(client, "anna", draw(1, 0)).json()
    assert told["decision"] == "accept"
    assert code(client.get(f"/cases/{told['verification_id']}")) == (404, "case-not-found")
    assert client.get("/cases").json() == {"cases": [], "next_cursor": None}


def test_two_keys_with_the_same_clerk_are_two_clerks(serve: Serve, commands: Commands, draw: Draw) -> None:
    admin, other = commands.key("admin", "admin"), commands.key("other", "verify")
    client = serve(**REVIEW)
    (case,) = fill(client, draw, 1, headers=admin)
    assert client.post(f"/cases/{case}/claim", json={"clerk": "eva"}, headers=admin).status_code == 200
    refused = client.post(f"/cases/{case}/claim", json={"clerk": "eva"}, headers=other)
    assert code(refused) == (409, "case-claimed")
    released = client.post(f"/cases/{case}/release", json={"clerk": "eva"}, headers=admin)
    assert released.json()["claimed_by"] is None
    assert client.post(f"/cases/{case}/claim", json={}, headers=other).json()["claimed_by"] == "other"


def test_a_reason_belongs_to_its_decision(serve: Serve, draw: Draw) -> None:
    client = serve(**REVIEW)
    (case,) = fill(client, draw, 1)
    post(client, f"{case}/claim")
    for wrong in (
        {"decision": "accept", "reason": "differs"},
        {"decision": "review", "reason": "other"},
        {"decision": "reject"},
        {"decision": "reject", "reason": "differs", "state": "open"},
        {"decision": "reject", "reason": "other"},
        {"decision": "reject", "reason": "other", "note": " "},
    ):
        assert code(post(client, f"{case}/decision", **wrong)) == (400, "malformed-request"), wrong


@pytest.mark.both_databases
def test_a_decision_that_was_changed_in_the_database_is_found(
    serve: Serve, commands: Commands, draw: Draw, sql: Sql
) -> None:
    client = serve(**REVIEW)
    first, second = fill(client, draw, 2)
    for case in (first, second):
        post(client, f"{case}/claim")
        post(client, f"{case}/decision", **ACCEPT)
    assert commands.run("audit", "verify").exit_code == 0
    sql(f"UPDATE cases SET decision = 'reject' WHERE verification_id = '{first}'")
    sql(f"DELETE FROM cases WHERE verification_id = '{second}'")
    told = commands.run("audit", "verify").output
    assert f"the decision on case {first} was changed" in told
    assert f"the decision on case {second} was deleted" in told
