"""Accounts through HTTP: versions of mandates, decisions on documents, erasure of signatories."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.services import account_verification
from app.services.audit.verification import verify_store
from tests.app.test_api import enrol, verify

Draw = Callable[..., bytes]
Serve = Callable[..., TestClient]
Sql = Callable[..., list[Any]]
PEOPLE = {"anna": (1, 0.258), "bert": (2, 0.279), "carl": (3, 0.272)}
"""Synthetic writer and fixed threshold of each signer. The threshold separates the specimens below from others."""
GENUINE = {"anna": (1, 7), "anna again": (1, 8), "bert": (2, 8), "carl": (3, 6)}
MANDATE: dict[str, Any] = {
    "signatories": [
        {"signer_id": "anna", "panel": "A", "role": "director"},
        {"signer_id": "bert", "panel": "B"},
        {"signer_id": "carl", "panel": "B", "limit": 5000},
    ],
    "bands": [
        {"up_to": 10000, "rules": [{"signatures": 1}]},
        {"up_to": "50000.00", "rules": [{"panels": {"A": 1, "B": 1}}]},
    ],
    "currency": "EUR",
    "instruction": "Call the company before orders to a new payee.",
}


def put(client: TestClient, mandate: dict[str, Any] = MANDATE, account: str = "acme", **headers: str) -> Any:
    return client.put(f"/accounts/{account}", json=mandate, headers=headers)


def decide(client: TestClient, draw: Draw, amount: object, *names: str, **fields: Any) -> Any:
    headers = fields.pop("headers", None)
    files = [("signatures", (f"{name}.png", draw(*GENUINE.get(name, (9, 0))))) for name in names]
    data = {"amount": str(amount), **fields}
    return client.post("/accounts/acme/verify", data=data, files=files, headers=headers)


def count(sql: Sql, *tables: str) -> list[int]:
    return [sql(f"SELECT count(*) FROM {table}")[0][0] for table in tables]


def enrol_people(client: TestClient, draw: Draw) -> None:
    for name, (writer, threshold) in PEOPLE.items():
        assert enrol(client, name, *(draw(writer, n) for n in range(4))).status_code == 201
        assert client.patch(f"/signers/{name}", json={"fixed_threshold": threshold}).status_code == 200


@pytest.fixture
def bank(client: TestClient, draw: Draw) -> TestClient:
    """A service with three signers and one account."""
    enrol_people(client, draw)
    assert put(client).status_code == 201
    return client


def codes(answer: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in answer["reasons"]]


@pytest.mark.both_databases
def test_the_amount_chooses_the_rules_and_the_signatories_are_found(bank: TestClient, draw: Draw) -> None:
    small = decide(bank, draw, 10000, "bert").json()
    assert (small["decision"], small["band"]["number"]) == ("accept", 1)
    assert small["reason"] == "Rule 1 of band 1 (any 1) holds."
    assert small["signatures"][0]["signer_id"] == "bert"
    assert small["signatures"][0]["counts"]
    assert small["signatures"][0]["evidence"][0]["signer_id"] == "bert"
    assert len(small["signatures"][0]["evidence"]) == 3

    large = decide(bank, draw, "10000.01", "bert").json()
    assert (large["decision"], large["band"]["number"]) == ("reject", 2)
    assert large["reason"] == (
        "No rule of band 2 holds: rule 1 (1 of panel A and 1 of panel B) lacks 1 of panel A."
    )
    assert large["rules"][0]["outcome"] == "failed"
    assert {"panel": "A", "required": 1, "counted": 0, "possible": 0} in large["rules"][0]["requirements"]

    for order in (("bert", "anna"), ("anna", "bert")):
        both = decide(bank, draw, 10001, *order).json()
        assert (both["decision"], codes(both)) == ("accept", ["rule-held"])
        assert [item["signer_id"] for item in both["signatures"]] == list(order)
        assert [item["position"] for item in both["signatures"]] == [1, 2]
    assert both["instruction"] == MANDATE["instruction"]

    above = decide(bank, draw, 50001, "anna", "bert").json()
    assert (above["decision"], codes(above), above["band"]) == ("review", ["no-band"], None)


def test_an_amount_without_a_currency_is_in_that_of_the_account(bank: TestClient, draw: Draw) -> None:
    told = decide(bank, draw, 100, "bert").json()
    assert told["currency"] == "EUR"
    listed = bank.get("/accounts/acme/verifications").json()["verifications"]
    assert [one["currency"] for one in listed] == ["EUR"]


def test_nobody_counts_twice(bank: TestClient, draw: Draw) -> None:
    answer = decide(bank, draw, 20000, "anna", "anna again").json()
    assert answer["decision"] == "reject"
    assert sorted(item["status"] for item in answer["signatures"]) == ["accepted", "rejected"]
    by_one = decide(bank, draw, 100, "anna", "anna again").json()
    assert (by_one["decision"], codes(by_one)) == ("review", ["rule-held", "signature-rejected"])


def test_a_signature_of_nobody_sends_a_valid_document_to_review(bank: TestClient, draw: Draw) -> None:
    answer = decide(bank, draw, 20000, "anna", "stranger", "bert").json()
    assert answer["decision"] == "review"
    assert answer["reason"].endswith("holds; signature 2 was accepted for nobody.")
    four = decide(bank, draw, 20000, "anna", "stranger", "bert", "anna again").json()
    assert codes(four).count("signature-unassigned") == 1
    unassigned = next(item for item in four["signatures"] if item["status"] == "unassigned")
    assert (unassigned["signer_id"], unassigned["verification"]) == (None, None)


def test_limits_of_a_signatory_and_signatories_who_are_always_referred(bank: TestClient, draw: Draw) -> None:
    assert decide(bank, draw, 5000, "carl").json()["decision"] == "accept"
    over = decide(bank, draw, "5000.01", "carl").json()
    assert (over["decision"], codes(over)) == ("reject", ["rule-failed", "over-limit"])
    assert not over["signatures"][0]["counts"]
    tag = bank.get("/accounts/acme").headers["ETag"]
    signatories = [{**MANDATE["signatories"][0], "always_refer": True}, *MANDATE["signatories"][1:]]
    put(bank, MANDATE | {"signatories": signatories}, **{"If-Match": tag})
    referred = decide(bank, draw, 100, "anna").json()
    assert (referred["decision"], codes(referred)) == ("review", ["rule-held", "always-refer"])


def test_each_signature_is_verified_as_by_verify(bank: TestClient, draw: Draw) -> None:
    answer = decide(bank, draw, 20000, "anna", "stranger").json()
    for item, image in zip(answer["signatures"], (draw(1, 7), draw(9, 0)), strict=True):
        made = item["verification"]
        same = verify(bank, made["signer_id"], image).json()
        own = {"verification_id", "created_at", "amount", "currency"}
        assert {k: v for k, v in made.items() if k not in own} == {
            k: v for k, v in same.items() if k not in own
        }
        record = bank.get(f"/verifications/{made['verification_id']}").json()
        assert record["basis"]["account"] == {
            "account_verification_id": answer["account_verification_id"],
            "position": item["position"],
        }
        outcome = bank.put(f"/verifications/{made['verification_id']}/outcome", json={"outcome": "genuine"})
        assert outcome.status_code == 200


def test_the_threshold_depends_on_the_amount(client: TestClient, draw: Draw) -> None:
    enrol(client, "anna", *(draw(1, n) for n in range(4)))
    bands = [
        {"up_to": 100, "rules": [{}], "target_far": 0.5},
        {"up_to": 1000, "rules": [{}]},
        {"rules": [{}], "target_far": 0.03},
    ]
    assert put(client, {"signatories": [{"signer_id": "anna"}], "bands": bands}).status_code == 201
    found = [decide(client, draw, amount, "anna").json() for amount in (100, 1000, 1001)]
    thresholds = [answer["signatures"][0]["verification"]["threshold"] for answer in found]
    assert thresholds == sorted(thresholds, reverse=True)
    assert len(set(thresholds)) == 3
    assert thresholds[1] == verify(client, "anna", draw(1, 7)).json()["threshold"]
    assert [answer["band"]["target_far"] for answer in found] == [0.5, None, 0.03]
    assert [answer["signatures"][0]["evidence"][0]["target_far"] for answer in found] == [0.5, 0.1, 0.03]
    assert [answer["decision"] for answer in found] == ["accept", "review", "review"]
    client.patch("/signers/anna", json={"target_far": 0.05})
    stricter = [decide(client, draw, amount, "anna").json() for amount in (100, 1000, 1001)]
    rates = [answer["signatures"][0]["evidence"][0]["target_far"] for answer in stricter]
    assert rates == [0.05, 0.05, 0.03], "the lower of both"
    refused = put(
        client, {"signatories": [{"signer_id": "anna"}], "bands": [{"rules": [{}], "target_far": 1e-6}]}
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "unsupported-rate")


def test_a_signature_counts_on_the_days_on_which_its_signatory_could_sign(
    bank: TestClient, draw: Draw
) -> None:
    first = bank.get("/accounts/acme")
    signatories = [
        {**MANDATE["signatories"][0], "valid_to": "2026-03-31"},
        *MANDATE["signatories"][1:],
    ]
    changed = put(bank, MANDATE | {"signatories": signatories}, **{"If-Match": first.headers["ETag"]})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    before = decide(bank, draw, 20000, "anna", "bert", date="2026-03-31").json()
    after = decide(bank, draw, 20000, "anna", "bert", date="2026-04-01").json()
    assert (before["decision"], before["version"], before["date"]) == ("accept", 2, "2026-03-31")
    assert after["decision"] == "reject"
    assert {entry["signer_id"] for entry in after["signatories"]} == {"bert", "carl"}
    assert decide(bank, draw, 1, "bert").json()["date"] == str(datetime.now(UTC).date())


def test_a_version_applies_from_a_day_on(bank: TestClient, draw: Draw) -> None:
    tag = bank.get("/accounts/acme").headers["ETag"]
    stricter = MANDATE | {"bands": [{"rules": [{"signatures": 2}]}], "effective_from": "2026-07-01"}
    assert put(bank, stricter, **{"If-Match": tag}).status_code == 200
    found = [decide(bank, draw, 10, "anna", date=day).json() for day in ("2026-06-30", "2026-07-01")]
    assert [(answer["version"], answer["decision"]) for answer in found] == [(1, "accept"), (2, "reject")]
    put(bank, stricter, "new")
    body = {"data": {"amount": "1", "date": "2026-06-30"}, "files": [("signatures", draw(1, 7))]}
    early = bank.post("/accounts/new/verify", **body)
    assert (early.status_code, early.json()["code"]) == (409, "mandate-not-in-force")


@pytest.mark.both_databases
def test_no_change_is_lost(bank: TestClient) -> None:
    first = bank.get("/accounts/acme")
    tag, mandate = first.headers["ETag"], first.json()["mandate"]
    assert tag == f'"{first.json()["version_id"]}"'
    one, other = mandate | {"instruction": "one"}, mandate | {"instruction": "other"}
    blind = put(bank, one)
    assert (blind.status_code, blind.json()["code"]) == (428, "precondition-required")
    assert put(bank, one, **{"If-None-Match": "*"}).status_code == 412
    changed = put(bank, one, **{"If-Match": tag})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    assert put(bank, one, **{"If-Match": tag}).content == changed.content, "a repetition makes no version"
    late = put(bank, other, **{"If-Match": tag})
    assert (late.status_code, late.json()["code"]) == (412, "precondition-failed")
    assert bank.get("/accounts/acme").json()["mandate"]["instruction"] == "one"
    assert put(bank, other, **{"If-Match": "*"}).json()["version"] == 3
    assert put(bank, other, "none", **{"If-Match": tag}).status_code == 412
    assert bank.delete("/accounts/acme", headers={"If-Match": tag}).status_code == 412
    for text in ("*, x", "x", '"'):
        assert put(bank, other, **{"If-Match": text}).status_code == 400


@pytest.mark.both_databases
def test_of_changes_at_the_same_moment_one_is_made(bank: TestClient, serve: Serve) -> None:
    replicas = [bank, serve()]
    account = bank.get("/accounts/acme")

    def change(number: int) -> Any:
        mandate = account.json()["mandate"] | {"instruction": str(number)}
        return put(replicas[number % 2], mandate, **{"If-Match": account.headers["ETag"]}).status_code

    with ThreadPoolExecutor(6) as threads:
        assert sorted(threads.map(change, range(6))) == [200, *[412] * 5]
        created = threads.map(
            lambda n: put(replicas[n % 2], MANDATE | {"instruction": str(n)}, "new").status_code, range(6)
        )
        assert sorted(created) == [201, *[428] * 5]
    assert bank.get("/accounts/acme").json()["version"] == 2
    assert [item["version"] for item in bank.get("/accounts/acme/versions").json()["versions"]] == [2, 1]


def test_the_history_of_versions_is_kept(bank: TestClient) -> None:
    for number in range(2, 6):
        put(bank, MANDATE | {"instruction": str(number)}, **{"If-Match": "*"})
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = bank.get("/accounts/acme/versions", params=params).json()
        seen += page["versions"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [item["version"] for item in seen] == [5, 4, 3, 2, 1]
    assert bank.get("/accounts/acme/versions/1").json() == seen[-1]
    assert seen[-1]["mandate"]["instruction"] == MANDATE["instruction"]
    for path, code in (
        ("/accounts/acme/versions/6", "account-version-not-found"),
        ("/accounts/none/versions/1", "account-not-found"),
        ("/accounts/none/versions", "account-not-found"),
        ("/accounts/none", "account-not-found"),
    ):
        answer = bank.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, code)


def test_accounts_are_listed_by_id_in_pages(bank: TestClient) -> None:
    for name in ("zebra", "a/b", "Ünal"):
        assert put(bank, account=name.replace("/", "%2F")).status_code == 201
    seen, cursor = [], None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = bank.get("/accounts", params=params).json()
        seen += page["accounts"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [item["account_id"] for item in seen] == ["a/b", "acme", "zebra", "Ünal"]
    assert {item["signatories"] for item in seen} == {3}
    assert bank.get("/accounts/a%2Fb").json()["account_id"] == "a/b"
    assert bank.get("/accounts?cursor=%25").status_code == 400


@pytest.mark.both_databases
def test_requests_with_a_key_are_carried_out_once(bank: TestClient, draw: Draw, sql: Sql) -> None:
    key = {"Idempotency-Key": "change-1"}
    tag = bank.get("/accounts/acme").headers["ETag"]
    changed = put(bank, MANDATE | {"instruction": "new"}, **key, **{"If-Match": tag})
    put(bank, MANDATE | {"instruction": "newer"}, **{"If-Match": changed.headers["ETag"]})
    again = put(bank, MANDATE | {"instruction": "new"}, **key, **{"If-Match": tag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (
        200,
        changed.content,
        changed.headers["ETag"],
    )
    assert put(bank, MANDATE, **key, **{"If-Match": tag}).json()["code"] == "idempotency-conflict"

    key = {"Idempotency-Key": "order-1"}
    first = decide(bank, draw, 20000, "anna", "bert", headers=key)
    assert decide(bank, draw, "20000.00", "anna", "bert", headers=key).content == first.content
    assert decide(bank, draw, 20001, "anna", "bert", headers=key).json()["code"] == "idempotency-conflict"
    assert count(sql, "account_verifications", "verifications") == [1, 2]

    key = {"Idempotency-Key": "delete-1"}
    assert bank.delete("/accounts/acme", headers=key).status_code == 204
    assert put(bank).status_code == 201
    assert bank.delete("/accounts/acme", headers=key).status_code == 204
    assert bank.get("/accounts/acme").status_code == 200, "the repetition is not carried out"


def test_a_decision_is_on_record_and_outlives_its_account(bank: TestClient, draw: Draw) -> None:
    answers = [decide(bank, draw, amount, "anna", "bert", currency="EUR").json() for amount in (1, 20000)]
    path = "/accounts/acme/verifications"
    assert bank.get(f"{path}/{answers[0]['account_verification_id']}").json() == answers[0]
    assert bank.delete("/accounts/acme").status_code == 204
    assert bank.delete("/accounts/acme").status_code == 204
    assert bank.get("/accounts/acme").status_code == 404
    assert bank.get(path).json()["verifications"] == answers[::-1]
    page = bank.get(path, params={"limit": 1}).json()
    assert page["verifications"] == answers[1:]
    rest = bank.get(path, params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert (rest["verifications"], rest["next_cursor"]) == (answers[:1], None)
    gone = bank.get(f"/accounts/other/verifications/{answers[0]['account_verification_id']}")
    assert (gone.status_code, gone.json()["code"]) == (404, "verification-not-found")
    assert bank.get("/accounts/other/verifications").json()["verifications"] == []


def test_everything_is_in_the_audit_and_names_no_signer(bank: TestClient, draw: Draw) -> None:
    answer = decide(bank, draw, 20000, "anna", "bert").json()
    version_id = bank.get("/accounts/acme").json()["version_id"]
    put(bank, **{"If-Match": "*"})  # changes nothing
    bank.delete("/accounts/acme")
    entries = bank.get("/audit", params={"limit": 5}).json()["entries"]
    assert [entry["action"] for entry in entries] == [
        "account-delete",
        "account-verify",
        "verify",
        "verify",
        "account-change",
    ]
    assert entries[0]["record_id"] == entries[4]["record_id"] == version_id
    assert entries[1]["record_id"] == answer["account_verification_id"]
    assert entries[1]["details"]["decision"] == "accept"
    assert {entry["signer_id"] for entry in entries[2:4]} == {"anna", "bert"}
    assert all("anna" not in str(entry["details"]) for entry in entries)
    context = bank.app.state.context  # type: ignore[attr-defined]
    assert context.store.read_now(verify_store, context.trail.keys).faults == ()


def test_a_changed_record_is_found_by_the_verification_of_the_audit(
    bank: TestClient, draw: Draw, sql: Sql
) -> None:
    decide(bank, draw, 20000, "anna", "bert")
    context = bank.app.state.context  # type: ignore[attr-defined]
    sql("UPDATE account_verifications SET decision = 'reject'")
    sql("UPDATE account_versions SET mandate = replace(mandate, '10000', '90000')")
    words = [fault.what for fault in context.store.read_now(verify_store, context.trail.keys).faults]
    assert len(words) == 2
    assert "decision" in words[0]
    assert "mandate" in words[1]
    sql("DELETE FROM account_verifications")
    words = [fault.what for fault in context.store.read_now(verify_store, context.trail.keys).faults]
    assert "was deleted" in words[0]


@pytest.mark.both_databases
def test_of_an_erased_signatory_nothing_more_is_written(
    bank: TestClient, draw: Draw, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is compared is erased between the comparison and the write: the request stores nothing."""
    read = account_verification.read_questioned_signatures

    async def erased_meanwhile(*arguments: Any) -> Any:
        signatures = await read(*arguments)
        context = bank.app.state.context  # type: ignore[attr-defined]
        from app.services.records import erase_signer  # noqa: PLC0415

        assert await erase_signer(context, "default", "carl")
        return signatures

    monkeypatch.setattr(account_verification, "read_questioned_signatures", erased_meanwhile)
    tables = ("account_verifications", "verifications", "idempotency")
    before = count(sql, *tables)
    answer = decide(bank, draw, 20000, "anna", "bert", headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (409, "signer-erased")
    assert count(sql, *tables) == before
    monkeypatch.undo()

    later = decide(bank, draw, 20000, "anna", "bert", headers={"Idempotency-Key": "k"})
    assert later.json()["decision"] == "accept"
    assert later.json()["erased_signatories"] == 1
    assert "carl" not in later.text
    assert "carl" not in str(sql("SELECT basis FROM account_verifications"))
    assert bank.get("/accounts/acme").json()["erased"] == ["carl"]
    kept = put(bank, MANDATE | {"instruction": "new"}, **{"If-Match": "*"})
    assert (kept.status_code, kept.json()["code"]) == (404, "signer-not-found")


@pytest.mark.both_databases
def test_erasing_a_signatory_deletes_the_answers_that_tell_of_them(
    bank: TestClient, draw: Draw, sql: Sql
) -> None:
    decide(bank, draw, 100, "anna", headers={"Idempotency-Key": "order"})
    put(bank, MANDATE | {"instruction": "x"}, **{"If-Match": "*", "Idempotency-Key": "change"})
    assert sql("SELECT count(*) FROM idempotency WHERE sealed IS NOT NULL")[0][0] == 2
    assert bank.delete("/signers/bert").status_code == 204
    assert sql("SELECT count(*) FROM idempotency WHERE sealed IS NOT NULL")[0][0] == 0
    assert sql("SELECT count(*) FROM idempotency_signers WHERE signer_id = 'bert'")[0][0] == 0
    again = decide(bank, draw, 100, "anna", headers={"Idempotency-Key": "order"})
    assert (again.status_code, again.json()["code"]) == (409, "idempotency-conflict")


def test_whoever_is_enrolled_under_the_id_of_an_erased_signatory_is_none(
    bank: TestClient, draw: Draw
) -> None:
    bank.delete("/signers/bert")
    enrol(bank, "bert", *(draw(2, n) for n in range(4)))
    bank.patch("/signers/bert", json={"fixed_threshold": PEOPLE["bert"][1]})
    answer = decide(bank, draw, 100, "bert").json()
    assert (answer["decision"], answer["erased_signatories"]) == ("reject", 1)
    assert {item["signer_id"] for item in answer["signatures"][0]["evidence"]} == {"anna", "carl"}
    renewed = put(bank, MANDATE, **{"If-Match": "*"})
    assert (renewed.json()["version"], renewed.json()["erased"]) == (2, [])
    assert decide(bank, draw, 100, "bert").json()["decision"] == "accept"


def test_signatories_with_too_few_references_leave_the_decision_to_a_clerk(serve: Serve, draw: Draw) -> None:
    client = serve(min_references=2)
    enrol_people(client, draw)
    enrol(client, "dora", draw(4, 0))
    dora = {"signer_id": "dora", "panel": "A"}
    put(client, {"signatories": [dora, MANDATE["signatories"][1]], "bands": MANDATE["bands"]})
    answer = decide(client, draw, 20000, "bert", "stranger").json()
    assert (answer["decision"], answer["rules"][0]["outcome"]) == ("review", "open")
    assert codes(answer) == ["rule-open", "signature-unassigned", "not-compared"]
    assert {entry["signer_id"]: entry["compared"] for entry in answer["signatories"]} == {
        "dora": False,
        "bert": True,
    }
    assert decide(client, draw, 20000, "bert").json()["decision"] == "reject", "nobody else signed"


def test_images_of_questioned_signatures_are_kept_and_erased_with_their_signer(
    serve: Serve, draw: Draw
) -> None:
    client = serve(keep_questioned_days=30)
    enrol_people(client, draw)
    put(client)
    answer = decide(client, draw, 20000, "anna", "bert").json()
    anna, bert = (item["verification"]["verification_id"] for item in answer["signatures"])
    assert client.get(f"/verifications/{anna}/image").content == draw(1, 7)
    client.delete("/signers/anna")
    assert client.get(f"/verifications/{anna}/image").status_code == 404
    assert client.get(f"/verifications/{bert}/image").content == draw(2, 8)


def test_a_json_body_is_equal_to_a_form(bank: TestClient, draw: Draw) -> None:
    form = decide(bank, draw, "20000.5", "anna", "bert", date="2026-01-15", currency="EUR").json()
    images = [base64.b64encode(draw(*GENUINE[name])).decode() for name in ("anna", "bert")]
    body = {"signatures": images, "amount": 20000.5, "date": "2026-01-15", "currency": "EUR"}
    as_json = bank.post("/accounts/acme/verify", json=body).json()
    same = ("decision", "reason", "amount", "date", "currency", "rules", "band", "signatories")
    assert {key: as_json[key] for key in same} == {key: form[key] for key in same}
    assert form["amount"] == "20000.5"


def test_problems_have_stable_codes_and_nothing_is_stored(bank: TestClient, draw: Draw, sql: Sql) -> None:
    def code(response: Any) -> tuple[int, str]:
        return response.status_code, response.json()["code"]

    image = ("signatures", ("q.png", draw(1, 7)))

    def post(account: str = "acme", files: Any = (image,), **data: str) -> Any:
        return bank.post(f"/accounts/{account}/verify", data={"amount": "1"} | data, files=list(files))

    assert code(post("none")) == (404, "account-not-found")
    assert code(post(currency="USD")) == (409, "currency-mismatch")
    assert code(post(files=(image, image))) == (400, "duplicate-signature")
    assert code(post(files=[("signatures", ("q.png", b"text"))])) == (415, "not-an-image")
    for field in ({"amount": "-1"}, {"amount": "1e3"}, {"amount": "1.00001"}, {"currency": "eur"}):
        assert code(post(**field)) == (400, "malformed-request"), field
    for day in ("2026-02-30", "0", "20260101", "2026-1-1"):
        assert code(post(date=day)) == (400, "malformed-request"), day
    assert code(bank.post("/accounts/acme/verify", files=[image])) == (400, "malformed-request")
    stranger = MANDATE | {"signatories": [*MANDATE["signatories"], {"signer_id": "nobody"}]}
    assert code(put(bank, stranger, **{"If-Match": "*"})) == (404, "signer-not-found")
    faulty = put(bank, MANDATE | {"bands": [{"rules": [{"panels": {"C": 1}}]}]}, **{"If-Match": "*"})
    assert code(faulty) == (400, "malformed-request")
    assert "asks for 1 of panel C" in faulty.json()["detail"]
    assert code(put(bank, account=".%00")) == (400, "malformed-request")
    assert count(sql, "account_verifications", "verifications", "account_versions") == [0, 0, 1]
