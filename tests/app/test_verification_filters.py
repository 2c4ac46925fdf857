"""Listings of verifications by decision, outcome and time, through HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.app.test_api import accept_nearly_everything, enrol, verify

Draw = Callable[..., bytes]
Serve = Callable[..., TestClient]
RULES: dict[str, Any] = {
    "signatories": [{"signer_id": "anna"}, {"signer_id": "bert"}],
    "bands": [{"rules": [{"signatures": 1}]}],
}


@pytest.fixture
def decided(serve: Serve, draw: Draw) -> TestClient:
    """A service with three verifications of anna, all accepted, and two of bert, all rejected."""
    client = serve(review_far=None)
    for writer, name in enumerate(("anna", "bert"), 1):
        assert enrol(client, name, *(draw(writer, n) for n in range(2))).status_code == 201
    accept_nearly_everything(client, "anna")
    client.patch("/signers/bert", json={"fixed_threshold": 1e-6}).raise_for_status()
    for writer, name in enumerate(("anna", "bert", "anna", "bert", "anna")):
        verify(client, name, draw(1 + writer % 2, 5 + writer)).raise_for_status()
    return client


def listed(client: TestClient, path: str = "/verifications", **params: object) -> list[dict[str, Any]]:
    """Return the verifications of all pages."""
    found: list[dict[str, Any]] = []
    while True:
        answer = client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        found += answer.json()["verifications"]
        if (cursor := answer.json()["next_cursor"]) is None:
            return found
        params["cursor"] = cursor


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [one["verification_id"] for one in found]


@pytest.mark.both_databases
def test_verifications_are_listed_by_decision(decided: TestClient) -> None:
    everything = listed(decided)
    assert [one["decision"] for one in everything] == ["accept", "reject", "accept", "reject", "accept"]
    for decision in ("accept", "review", "reject"):
        same = [one for one in everything if one["decision"] == decision]
        for limit in (1, 2, 50):
            assert listed(decided, decision=decision, limit=limit) == same
    assert ids(listed(decided, decision="accept", signer_id="anna")) == ids(everything)[::2]
    assert listed(decided, decision="accept", signer_id="bert") == []


@pytest.mark.both_databases
def test_verifications_are_listed_by_their_outcome(decided: TestClient) -> None:
    newest_first = ids(listed(decided))
    for number, outcome in ((0, "genuine"), (1, "genuine"), (2, "forged"), (4, "undetermined")):
        path = f"/verifications/{newest_first[number]}/outcome"
        decided.put(path, json={"outcome": outcome}).raise_for_status()
    assert ids(listed(decided, outcome="genuine", limit=1)) == newest_first[:2]
    assert ids(listed(decided, outcome="forged", decision="accept")) == [newest_first[2]]
    assert ids(listed(decided, outcome="genuine", decision="reject")) == [newest_first[1]]
    assert ids(listed(decided, outcome="genuine", signer_id="anna")) == [newest_first[0]]
    assert ids(listed(decided, outcome="undetermined")) == [newest_first[4]]


@pytest.mark.both_databases
def test_the_first_time_of_an_interval_belongs_to_it_and_the_last_does_not(decided: TestClient) -> None:
    everything = listed(decided)
    newest_first = ids(everything)
    times = [one["created_at"] for one in everything]
    assert times == sorted(set(times), reverse=True)
    for number, time in enumerate(times):
        assert ids(listed(decided, created_from=time, limit=2)) == newest_first[: number + 1]
        assert ids(listed(decided, created_before=time, limit=2)) == newest_first[number + 1 :]
        assert listed(decided, created_from=time, created_before=time) == []
    inner = {"created_from": times[3], "created_before": times[0]}
    assert ids(listed(decided, **inner)) == newest_first[1:4]
    assert ids(listed(decided, **inner, decision="reject", limit=1)) == [newest_first[1], newest_first[3]]
    assert ids(listed(decided, **inner, signer_id="anna", decision="accept")) == [newest_first[2]]


@pytest.mark.both_databases
def test_a_time_may_have_any_time_zone(decided: TestClient) -> None:
    everything = listed(decided)
    time = datetime.fromisoformat(everything[2]["created_at"])
    for zone in (timezone(timedelta(hours=14)), timezone(-timedelta(hours=9, minutes=30))):
        same = time.astimezone(zone).isoformat(timespec="microseconds")
        assert listed(decided, created_from=same) == everything[:3]
    in_lower_case = time.strftime("%Y-%m-%dt%H:%M:%S.%fz")
    assert listed(decided, created_before=in_lower_case) == everything[3:]
    for far in ("0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z"):
        assert listed(decided, created_from=far) == everything
        assert listed(decided, created_before=far) == []
    for far in ("9999-12-31T23:59:59.999999999-23:59", "2999-01-01T00:00:00Z"):
        assert listed(decided, created_from=far) == []
        assert listed(decided, created_before=far) == everything


def test_a_cursor_belongs_to_the_parameters_of_its_page(decided: TestClient) -> None:
    first = {"decision": "accept", "created_from": "2020-01-01T00:00:00Z", "limit": 1}
    cursor = decided.get("/verifications", params=first).json()["next_cursor"]
    newest_first = ids(listed(decided, **first))
    same = {"created_from": "2020-01-01T01:00:00+01:00", "limit": 2}  # the same time
    assert ids(listed(decided, **first | same, cursor=cursor)) == newest_first[1:]
    for changed in ({"decision": "reject"}, {"signer_id": "anna"}, {"created_from": "2020-01-02T00:00:00Z"}):
        refused = decided.get("/verifications", params=first | changed | {"cursor": cursor})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid-cursor"), changed
        assert "belongs to another listing, or to other parameters" in refused.json()["detail"]


@pytest.mark.both_databases
def test_documents_of_an_account_are_listed_by_decision_outcome_and_time(
    decided: TestClient, draw: Draw
) -> None:
    decided.put("/accounts/acme", json=RULES).raise_for_status()
    largest = decided.get("/model").json()["calibration"]["largest_threshold"]
    for threshold in (largest, 1e-6, largest):
        decided.patch("/signers/anna", json={"fixed_threshold": threshold}).raise_for_status()
        files = {"signatures": ("q.png", draw(1, 9))}
        decided.post("/accounts/acme/verify", data={"amount": "1"}, files=files).raise_for_status()
    path = "/accounts/acme/verifications"
    everything = listed(decided, path)
    assert [one["decision"] for one in everything] == ["accept", "reject", "accept"]
    assert listed(decided, path, decision="accept", limit=1) == everything[::2]
    assert listed(decided, path, decision="review") == []
    time = everything[1]["created_at"]
    assert listed(decided, path, created_from=time, limit=1) == everything[:2]
    assert listed(decided, path, created_before=time) == everything[2:]
    assert listed(decided, path, created_from=time, decision="reject") == everything[1:2]
    outcome = f"{path}/{everything[0]['account_verification_id']}/outcome"
    recorded = decided.put(outcome, json={"outcome": "genuine"}).json()
    assert listed(decided, path, outcome="genuine") == [recorded]
    assert listed(decided, path, outcome="genuine", decision="reject") == []


@pytest.mark.parametrize("path", ["/verifications", "/accounts/acme/verifications"])
def test_faults_of_the_parameters_say_what_to_send(client: TestClient, path: str) -> None:
    def refused(query: str) -> str:
        answer = client.get(f"{path}?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed-request"), query
        return str(answer.json()["detail"])

    for decision in ("rejected", "REJECT", ""):
        assert refused(f"decision={decision}") == "decision: has to be 'accept', 'review' or 'reject'."
    assert refused("outcome=null") == "outcome: has to be 'genuine', 'forged' or 'undetermined'."
    assert "came 2 times" in refused("decision=accept&decision=review")
    for time in (
        "2026-01-15T09:30:00",
        "2026-01-15",
        "1768469400",
        "",
        "yesterday",
        "2026-02-30T00:00:00Z",
        "2026-01-15T09:30Z",
        "2026-01-15 09:30:00Z",
        "2026-01-15T10:30:00+01:00",  # a plus sign is a space in a query
        "2026-01-15T10:30:00%2B24:00",
    ):
        for name in ("created_from", "created_before"):
            detail = refused(f"{name}={time}")
            assert detail.startswith(f"{name}: "), time
            assert "send a time with its time zone" in detail, time
    reversed_interval = "created_from=2026-01-15T09:30:00Z&created_before=2026-01-15T10:29:59.999%2B01:00"
    assert "is later than `created_before`" in refused(reversed_interval)
    assert "no query parameter 'created_after'; it has created_before, created_from" in refused(
        "created_after=2026-01-15T09:30:00Z"
    )
