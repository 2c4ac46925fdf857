"""Tenants: nothing of another tenant can be seen, counted, guessed by its id or by timing, or deleted.

Two tenants live in one store. Each has its own key with every scope; both use the same names for their signers where
it can hurt. For every call of the API there is a trial with what belongs to the other one: the answer must be the
same, member by member, as for what does not exist anywhere.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.app.keyed import Commands, Draw, Serve
from tests.app.test_api import enrol, verify

pytestmark = pytest.mark.both_databases
NOWHERE = "01900000-0000-7000-8000-000000000000"


@dataclass
class Houses:
    """Two tenants in one store, and what the northern one owns."""

    client: TestClient
    north: dict[str, str]
    south: dict[str, str]
    reference_id: str
    verification_id: str
    account_verification_id: str


@pytest.fixture
def houses(serve: Serve, commands: Commands, draw: Draw) -> Houses:
    north = commands.key("clerk", "admin", tenant="north")
    south = commands.key("clerk", "admin", tenant="south")  # the name is south's to give, too
    client = serve(review_far=0.5)
    enrolled = enrol(client, "anna", draw(1, 0), draw(1, 1), headers=north)
    assert enrolled.status_code == 201
    assert enrol(client, "both", draw(2, 0), headers=north).status_code == 201
    assert enrol(client, "both", draw(3, 0), headers=south).status_code == 201
    # Nothing of hers is accepted, so that her verifications are cases.
    client.patch("/signers/anna", json={"fixed_threshold": 1e-6}, headers=north)
    told = verify(client, "anna", draw(1, 2), headers=north).json()
    assert told["decision"] == "review"
    reference = enrolled.json()["references"][0]["reference_id"]
    assert client.put("/accounts/acme", json=mandate_of("anna"), headers=north).status_code == 201
    decided = client.post(
        "/accounts/acme/verify", data={"amount": "1"}, files={"signatures": draw(1, 2)}, headers=north
    ).json()["account_verification_id"]
    return Houses(client, north, south, reference, told["verification_id"], decided)


def mandate_of(signer_id: str) -> dict[str, Any]:
    return {"signatories": [{"signer_id": signer_id}], "bands": [{"rules": [{"signatures": 1}]}]}


def shape(response: Any, *own: str) -> Any:
    """An answer without what differs between any two requests: its id, and the words that were asked with."""
    text = response.text
    for word in own:
        text = text.replace(word, "X")
    text = re.sub(r"[0-9a-f]{32}", "R", text)
    kept = {"content-type", "www-authenticate", "retry-after"}
    return response.status_code, text, {k: v for k, v in response.headers.items() if k in kept}


# Each call with what is north's and with what is nobody's, as (method, path or form) of a signer, a reference, a
# verification, an account, its verification. {s}, {r}, {v}, {a} and {d} stand for the ids.
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/signers/{s}", {}),
    ("PATCH", "/signers/{s}", {"json": {"fixed_threshold": 0.1}}),
    ("DELETE", "/signers/{s}", {}),
    ("GET", "/signers/{s}/quality", {}),
    ("GET", "/signers/{s}/duplicates", {}),
    ("GET", "/signers/{s}/forgeries", {}),
    ("GET", "/signers/{s}/proposals", {}),
    ("DELETE", "/signers/{s}/proposals/{v}", {}),
    ("DELETE", "/signers/both/proposals/{v}", {}),
    ("POST", "/verifications/{v}/reference", {}),
    ("DELETE", "/signers/{s}/forgeries/{v}", {}),
    ("DELETE", "/signers/both/forgeries/{v}", {}),
    ("GET", "/signers/{s}/references", {}),
    ("GET", "/signers/{s}/references/{r}", {}),
    ("GET", "/signers/{s}/references/{r}/image", {}),
    ("DELETE", "/signers/{s}/references/{r}", {}),
    ("GET", "/signers/both/references/{r}", {}),
    ("GET", "/signers/both/references/{r}/image", {}),
    ("DELETE", "/signers/both/references/{r}", {}),
    ("GET", "/verifications/{v}", {}),
    ("GET", "/verifications/{v}/image", {}),
    ("GET", "/verifications/{v}/differences", {}),
    ("GET", "/verifications/{v}/differences/{r}", {}),
    ("GET", "/verifications/{v}/report", {}),
    ("GET", "/verifications/{v}/report?format=pdf", {}),
    ("PUT", "/verifications/{v}/outcome", {"json": {"outcome": "forged"}}),
    ("GET", "/cases/{v}", {}),
    ("GET", "/cases/{v}/pictures", {}),
    ("POST", "/cases/{v}/claim", {"json": {}}),
    ("POST", "/cases/{v}/release", {"json": {}}),
    ("POST", "/cases/{v}/decision", {"json": {"decision": "accept", "reason": "matches"}}),
    ("POST", "/cases/{v}/undo", {"json": {}}),
    ("POST", "/cases/next", {"json": {"after": "{v}"}}),
    ("GET", "/verifications?signer_id={s}", {}),
    ("GET", "/verifications?signer_id={s}&decision=review", {}),
    ("GET", "/audit?signer_id={s}", {}),
    ("GET", "/audit?record_id={v}", {}),
    ("GET", "/signers?search={s}", {}),
    ("GET", "/accounts/{a}", {}),
    ("DELETE", "/accounts/{a}", {}),
    ("DELETE", "/accounts/{a}", {"headers": {"If-Match": "*"}}),
    ("PUT", "/accounts/{a}", {"json": mandate_of("{s}")}),
    ("PUT", "/accounts/{a}", {"json": mandate_of("both"), "headers": {"If-Match": "*"}}),
    ("GET", "/accounts/{a}/versions", {}),
    ("GET", "/accounts/{a}/versions/1", {}),
    ("POST", "/accounts/{a}/verify", {"data": {"amount": "1"}}),
    ("GET", "/accounts/{a}/verifications", {}),
    ("GET", "/accounts/{a}/verifications?decision=review&created_from=2026-01-15T00:00:00Z", {}),
    ("GET", "/accounts/{a}/verifications/{d}", {}),
    ("PUT", "/accounts/{a}/verifications/{d}/outcome", {"json": {"outcome": "forged"}}),
    ("POST", "/verify", {"data": {"signer_id": "{s}"}}),
    ("POST", "/identify", {"data": {"signer_ids": "{s}"}}),
    ("POST", "/identify", {"data": {"signer_ids": ["both", "{s}"]}}),
]
# Calls that name nothing, and cannot reach anything of another tenant by a name; below they are looked at in full.
NAMELESS = {
    ("GET", "/signers"),
    ("GET", "/model"),
    ("GET", "/metrics"),
    ("POST", "/compare"),
    ("POST", "/extract"),
    ("POST", "/signers/{signer_id}/references"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/problems"),
    ("GET", "/problems/{code}"),
    ("GET", "/verifications"),
    ("GET", "/cases"),
    ("GET", "/accounts"),
    ("GET", "/audit"),
    ("GET", "/statistics"),
}
NOBODYS = ("nemo", NOWHERE, NOWHERE, "none", NOWHERE)


def send(houses: Houses, call: tuple[str, str, dict[str, Any]], draw: Draw, *ids: str) -> Any:
    method, path, body = call
    names = dict(zip("srvad", ids, strict=True))
    fill = lambda text: text.format(**names)  # noqa: E731
    more: dict[str, Any] = {}
    if "json" in body:
        more["json"] = json.loads(
            json.dumps(body["json"]).replace("{s}", names["s"]).replace("{v}", names["v"])
        )
    if "data" in body:
        more["data"] = {
            key: [fill(one) for one in value] if isinstance(value, list) else fill(value)
            for key, value in body["data"].items()
        }
        field = "signatures" if "/accounts/" in path else "signature"
        more["files"] = {field: ("q.png", draw(1, 3))}
    headers = houses.south | body.get("headers", {})
    return houses.client.request(method, fill(path), headers=headers, **more)


def theirs(houses: Houses) -> tuple[str, ...]:
    return ("anna", houses.reference_id, houses.verification_id, "acme", houses.account_verification_id)


def test_what_is_another_s_is_answered_like_what_does_not_exist(houses: Houses, draw: Draw) -> None:
    northern = theirs(houses)
    before = everything_of(houses, houses.north)
    for call in CALLS:
        assert shape(send(houses, call, draw, *northern), *northern) == shape(
            send(houses, call, draw, *NOBODYS), *NOBODYS
        ), call
        assert everything_of(houses, houses.north) == before, f"{call} touched what is theirs"


def everything_of(houses: Houses, key: dict[str, str]) -> Any:
    """All that a tenant can see."""

    def get(path: str) -> Any:
        return houses.client.get(path, headers=key).json()

    signers = get("/signers")["signers"]
    return (
        signers,
        [get(f"/signers/{signer['signer_id']}/references") for signer in signers],
        get("/verifications"),
        get("/cases"),
        get("/accounts"),
        get("/accounts/acme"),
        get("/accounts/acme/versions"),
        get("/accounts/acme/verifications"),
        get("/audit"),
    )


def test_what_is_another_s_takes_the_same_steps_in_the_store_as_what_does_not_exist(
    houses: Houses, draw: Draw
) -> None:
    """Timing tells what the code does differently, so it must do the same: statement for statement."""

    def steps(call: tuple[str, str, dict[str, Any]], *ids: str) -> list[str]:
        seen: list[str] = []

        def note(_: Any, __: Any, statement: str, *___: Any) -> None:
            if not re.match("BEGIN|PRAGMA", statement) and "api_keys" not in statement:  # the service's own
                seen.append(statement)

        event.listen(Engine, "before_cursor_execute", note)
        try:
            send(houses, call, draw, *ids)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        return seen

    for call in CALLS:
        nobodys = steps(call, *NOBODYS)  # twice: whatever is read once is remembered then
        assert steps(call, *theirs(houses)) == steps(call, *NOBODYS), call
        assert nobodys, call


def test_every_call_of_the_api_is_tried(houses: Houses) -> None:
    document = houses.client.get("/openapi.json").json()
    names = {
        "{signer_id}": "{s}",
        "{reference_id}": "{r}",
        "{verification_id}": "{v}",
        "{case_id}": "{v}",
        "{account_id}": "{a}",
        "{account_verification_id}": "{d}",
        "{version}": "1",
    }
    tried = {(method, path.partition("?")[0]) for method, path, _ in CALLS} | NAMELESS
    for path, methods in document["paths"].items():
        short = path
        for long, mine in names.items():
            short = short.replace(long, mine)
        for method in methods:
            assert {(method.upper(), path), (method.upper(), short)} & tried, (method, path)


def test_listings_hold_only_one_s_own(houses: Houses, draw: Draw) -> None:
    client = houses.client
    verify(client, "both", draw(3, 1), headers=houses.south)

    def ids(key: dict[str, str]) -> tuple[set[str], int, int, int]:
        everything = client.get("/verifications", headers=key).json()["verifications"]
        since = {"created_from": everything[-1]["created_at"]}
        assert client.get("/verifications", params=since, headers=key).json()["verifications"] == everything
        return (
            {signer["signer_id"] for signer in client.get("/signers", headers=key).json()["signers"]},
            len(everything),
            len(client.get("/signers/both/references", headers=key).json()["references"]),
            len(client.get("/accounts", headers=key).json()["accounts"]),
        )

    assert ids(houses.north) == ({"anna", "both"}, 2, 1, 1)
    assert ids(houses.south) == ({"both"}, 1, 1, 0)
    north, south = (
        client.get("/signers/both/references", headers=key).json()["references"][0]["reference_id"]
        for key in (houses.north, houses.south)
    )
    assert north != south


def test_a_cursor_of_another_tenant_shows_nothing_of_theirs(houses: Houses) -> None:
    cursor = houses.client.get("/signers", params={"limit": 1}, headers=houses.north).json()["next_cursor"]
    assert cursor
    page = houses.client.get("/signers", params={"cursor": cursor}, headers=houses.south).json()
    assert {signer["signer_id"] for signer in page["signers"]} <= {"both"}


def test_identification_compares_with_one_s_own_signers_only(houses: Houses, draw: Draw) -> None:
    answer = houses.client.post("/identify", files={"signature": draw(1, 0)}, headers=houses.south).json()
    assert answer["compared"] == 1
    assert [c["signer_id"] for c in answer["candidates"]] == ["both"]
    assert not answer["accepted"], "though it is anna's own reference, byte for byte"


def test_the_same_signer_id_is_another_person_in_another_tenant(houses: Houses, draw: Draw) -> None:
    north, south = (
        verify(houses.client, "both", draw(2, 1), headers=key).json() for key in (houses.north, houses.south)
    )
    assert north["distance"] < south["distance"]


def test_the_same_image_is_no_duplicate_in_another_tenant(houses: Houses, draw: Draw) -> None:
    assert enrol(houses.client, "anna", draw(1, 0), headers=houses.south).status_code == 201
    assert len(everything_of(houses, houses.north)[1][0]["references"]) == 2


def test_an_idempotency_key_is_one_s_own(houses: Houses, draw: Draw) -> None:
    key = {"Idempotency-Key": "cheque-1"}
    first = verify(houses.client, "both", draw(2, 1), headers=houses.north | key)
    other = verify(houses.client, "both", draw(2, 2), headers=houses.south | key)
    assert (first.status_code, other.status_code) == (200, 200), "no conflict with a key one cannot know of"
    same = verify(houses.client, "both", draw(2, 1), headers=houses.south | {"Idempotency-Key": "cheque-2"})
    assert same.json()["verification_id"] != first.json()["verification_id"]
    card = {"Idempotency-Key": "card"}
    for tenant in (houses.north, houses.south):
        assert enrol(houses.client, "new", draw(4, 0), headers=tenant | card).status_code == 201


def test_erasing_a_signer_leaves_their_namesake_elsewhere_alone(houses: Houses, draw: Draw) -> None:
    before = everything_of(houses, houses.north)
    assert houses.client.delete("/signers/both", headers=houses.south).status_code == 204
    assert everything_of(houses, houses.north) == before
    assert verify(houses.client, "both", draw(2, 1), headers=houses.north).status_code == 200


def test_a_policy_is_one_s_own(houses: Houses, draw: Draw) -> None:
    houses.client.patch("/signers/both", json={"fixed_threshold": 0.001}, headers=houses.south)
    assert verify(houses.client, "both", draw(2, 1), headers=houses.north).json()["threshold"] > 0.001


def test_the_audit_shows_and_counts_one_s_own_entries_only(houses: Houses) -> None:
    entries = houses.client.get("/audit", headers=houses.south).json()["entries"]
    assert [entry["action"] for entry in entries] == ["enrol", "key-create"]
    assert [entry["sequence"] for entry in entries] == [2, 1], (
        "how busy others are does not show in the numbers"
    )


def test_what_counts_all_tenants_is_for_the_operator(houses: Houses, commands: Commands) -> None:
    for key in (houses.north, houses.south):
        response = houses.client.get("/metrics", headers=key)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    operator = commands.key("prometheus", "read")
    assert houses.client.get("/metrics", headers=operator).status_code == 200


def test_two_tenants_may_use_the_same_key_name_and_revoke_only_their_own(
    houses: Houses, commands: Commands
) -> None:
    assert commands.run("keys", "revoke", "clerk", "--tenant", "south").exit_code == 0
    listed = commands.run("keys", "list", "--tenant", "north").stdout
    assert "clerk" in listed
    assert "south" not in listed
    assert "default" in commands.refused("keys", "revoke", "clerk")


def test_ids_cannot_be_counted_up(houses: Houses, draw: Draw) -> None:
    made = [
        verify(houses.client, "both", draw(2, n), headers=houses.north).json()["verification_id"]
        for n in range(4)
    ]
    tails = {one.split("-", 3)[-1] for one in made}  # after time and version: 62 random bits
    assert len({tail[:6] for tail in tails}) == 4
    assert all(re.fullmatch(r"[89ab][0-9a-f]{3}-[0-9a-f]{12}", tail) for tail in tails)


def test_an_account_id_is_one_s_own(houses: Houses, draw: Draw) -> None:
    before = everything_of(houses, houses.north)
    account = houses.client.put("/accounts/acme", json=mandate_of("both"), headers=houses.south)
    assert (account.status_code, account.json()["version"]) == (201, 1)
    body: dict[str, Any] = {"data": {"amount": "1"}, "files": {"signatures": draw(1, 2)}}
    decided = houses.client.post("/accounts/acme/verify", **body, headers=houses.south).json()
    assert {item["signer_id"] for item in decided["signatories"]} == {"both"}
    assert houses.client.delete("/accounts/acme", headers=houses.south).status_code == 204
    assert everything_of(houses, houses.north) == before
