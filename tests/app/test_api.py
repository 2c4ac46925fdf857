"""The service through its front door: enrol, verify, compare, identify, look up, erase."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api.schemas import VerificationRecord
from app.domain.records import Finding, OperatingPoint, Verification, new_id, now

Draw = Callable[..., bytes]
pytestmark = pytest.mark.both_databases


def enrol(client: TestClient, signer: str, *images: bytes, **more: Any) -> Any:
    files = [("files", (f"{n}.png", image, "image/png")) for n, image in enumerate(images)]
    return client.post(f"/signers/{signer}/references", files=files, **more)


def verify(client: TestClient, signer: str, image: bytes, **more: Any) -> Any:
    return client.post("/verify", data={"signer_id": signer}, files={"signature": ("q.png", image)}, **more)


@pytest.fixture
def enrolled(client: TestClient, draw: Draw) -> TestClient:
    for writer in (1, 2, 3):
        assert enrol(client, f"writer-{writer}", *(draw(writer, n) for n in range(3))).status_code == 201
    return client


def test_a_signer_is_enrolled_and_verified(enrolled: TestClient, draw: Draw) -> None:
    response = verify(enrolled, "writer-1", draw(1, 7))
    assert response.status_code == 200
    body = response.json()
    assert body["signer_id"] == "writer-1"
    assert body["decision"] in {"accept", "review", "reject"}
    assert (body["decision"] == "accept") == (body["distance"] <= body["threshold"])
    assert body["threshold"] <= body["review_threshold"]
    assert len(body["references"]) == 3
    assert 0 < body["operating_point"]["far_skilled"] < 1
    assert min(r["distance"] for r in body["references"]) <= body["distance"] + 1e-9
    assert body["model_version"].startswith("tiny@")
    assert response.headers["X-Request-ID"]


def test_a_stranger_is_further_than_the_signer(enrolled: TestClient, draw: Draw) -> None:
    own, stranger = (verify(enrolled, "writer-1", draw(w, 8)).json() for w in (1, 3))
    assert stranger["distance"] > own["distance"]
    assert stranger["log_likelihood_ratio"] <= own["log_likelihood_ratio"]
    assert stranger["decision"] == "reject"


def test_one_reference_is_enough_and_said_to_be_little(client: TestClient, draw: Draw) -> None:
    enrol(client, "solo", draw(5, 0))
    body = verify(client, "solo", draw(5, 1)).json()
    assert "single-reference" in {w["code"] for w in body["warnings"]}


def test_a_copy_of_a_reference_is_called_a_copy(enrolled: TestClient, draw: Draw) -> None:
    codes = {w["code"] for w in verify(enrolled, "writer-1", draw(1, 0)).json()["warnings"]}
    assert {"identical-image", "possible-copy"} <= codes


def test_every_verification_is_on_record_and_can_be_explained(enrolled: TestClient, draw: Draw) -> None:
    told = verify(enrolled, "writer-1", draw(1, 7)).json()
    record = enrolled.get(f"/verifications/{told['verification_id']}").json()
    assert {key: record[key] for key in told} == told
    assert record["questioned_sha256"] == hashlib.sha256(draw(1, 7)).hexdigest()
    assert record["basis"]["target_far"] > 0
    assert len(record["basis"]["among_references"]) == 3
    assert record["outcome"] is None


def test_an_outcome_is_recorded_and_counted(enrolled: TestClient, draw: Draw) -> None:
    told = verify(enrolled, "writer-2", draw(2, 5)).json()
    path = f"/verifications/{told['verification_id']}/outcome"
    put = enrolled.put(path, json={"outcome": "forged", "note": "customer denies it"})
    assert put.status_code == 200
    assert put.json()["outcome"] == "forged"
    assert enrolled.put(path, json={"outcome": "genuine"}).json()["outcome"] == "genuine"
    assert 'countersign_outcomes_total{decision="' in enrolled.get("/metrics").text


def test_verifications_are_listed_newest_first_by_signer_and_page(enrolled: TestClient, draw: Draw) -> None:
    made = [verify(enrolled, "writer-1", draw(1, n)).json()["verification_id"] for n in (4, 5, 6)]
    verify(enrolled, "writer-2", draw(2, 4))
    first = enrolled.get("/verifications", params={"signer_id": "writer-1", "limit": 2}).json()
    rest = enrolled.get(
        "/verifications", params={"signer_id": "writer-1", "limit": 2, "cursor": first["next_cursor"]}
    ).json()
    listed = [v["verification_id"] for v in first["verifications"] + rest["verifications"]]
    assert set(listed) == set(made)
    assert listed == sorted(listed, reverse=True)
    assert rest["next_cursor"] is None


def test_compare_keeps_nothing(client: TestClient, draw: Draw) -> None:
    files = [("references", draw(1, 0)), ("references", draw(1, 1)), ("signature", draw(1, 2))]
    body = client.post("/compare", files=files).json()
    assert [r["reference_id"] for r in body["references"]] == ["1", "2"]
    assert client.get("/signers").json() == {"signers": [], "next_cursor": None}
    assert client.get("/verifications").json()["verifications"] == []


def test_compare_and_verify_agree(enrolled: TestClient, draw: Draw) -> None:
    files = [("references", draw(1, n)) for n in range(3)] + [("signature", draw(1, 9))]
    compared, verified = (
        enrolled.post("/compare", files=files).json(),
        verify(enrolled, "writer-1", draw(1, 9)).json(),
    )
    assert compared["distance"] == pytest.approx(verified["distance"], abs=1e-5)
    assert compared["threshold"] == pytest.approx(verified["threshold"], abs=1e-5)
    assert compared["decision"] == verified["decision"]


def test_identify_ranks_signers(enrolled: TestClient, draw: Draw) -> None:
    def identify(image: bytes, **fields: Any) -> Any:
        return enrolled.post("/identify", files={"signature": image}, data=fields)

    body = identify(draw(2, 0), top_k=2).json()
    assert next(c["signer_id"] for c in body["candidates"]) == "writer-2"
    assert len(body["candidates"]) == 2
    assert body["compared"] == 3
    assert body["accepted"] == (body["candidates"][0]["decision"] == "accept")
    limited = identify(draw(2, 0), signer_ids=["writer-1", "writer-3"]).json()
    assert {c["signer_id"] for c in limited["candidates"]} == {"writer-1", "writer-3"}


def test_identify_follows_enrolment_and_erasure_at_once(client: TestClient, draw: Draw) -> None:
    def found() -> set[str]:
        response = client.post("/identify", files={"signature": draw(9, 9)})
        return {c["signer_id"] for c in response.json().get("candidates", [])}

    assert found() == set()
    enrol(client, "a", draw(1, 0))
    assert found() == {"a"}
    enrol(client, "b", draw(2, 0))
    assert found() == {"a", "b"}
    client.delete("/signers/a")
    assert found() == {"b"}


def test_two_services_on_one_store_see_each_other(serve: Callable[..., TestClient], draw: Draw) -> None:
    one, two = serve(), serve()
    enrol(one, "a", draw(1, 0))
    assert two.post("/identify", files={"signature": draw(1, 1)}).json()["candidates"][0]["signer_id"] == "a"
    assert verify(two, "a", draw(1, 2)).status_code == 200
    two.delete("/signers/a")
    assert one.post("/identify", files={"signature": draw(1, 1)}).json()["code"] == "nobody-enrolled"


def test_references_are_listed_shown_and_fetched(enrolled: TestClient, draw: Draw) -> None:
    listed = enrolled.get("/signers/writer-1/references").json()["references"]
    assert len(listed) == 3
    one = enrolled.get(f"/signers/writer-1/references/{listed[0]['reference_id']}")
    assert one.json() == listed[0]
    image = enrolled.get(f"/signers/writer-1/references/{listed[0]['reference_id']}/image")
    assert image.content in {draw(1, n) for n in range(3)}
    assert image.headers["content-type"] == "image/png"
    assert image.headers["x-content-type-options"] == "nosniff"
    assert image.headers["cache-control"] == "no-store"


def test_an_erased_signer_is_unknown_and_the_record_stays(enrolled: TestClient, draw: Draw) -> None:
    verify(enrolled, "writer-1", draw(1, 7))
    assert enrolled.delete("/signers/writer-1").status_code == 204
    assert enrolled.delete("/signers/writer-1").status_code == 204  # again changes nothing
    assert enrolled.get("/signers/writer-1").json()["code"] == "signer-not-found"
    assert verify(enrolled, "writer-1", draw(1, 7)).json()["code"] == "signer-not-found"
    assert len(enrolled.get("/verifications").json()["verifications"]) == 1


def test_erasing_a_reference_takes_it_out_of_the_comparison(enrolled: TestClient, draw: Draw) -> None:
    first = enrolled.get("/signers/writer-1/references").json()["references"][0]["reference_id"]
    assert enrolled.delete(f"/signers/writer-1/references/{first}").status_code == 204
    assert len(verify(enrolled, "writer-1", draw(1, 7)).json()["references"]) == 2


def test_a_signer_s_own_policy_moves_the_threshold(enrolled: TestClient, draw: Draw) -> None:
    usual = verify(enrolled, "writer-1", draw(1, 7)).json()
    low = enrolled.get("/model").json()["calibration"]["far_range"][0]
    patched = enrolled.patch("/signers/writer-1", json={"target_far": max(low, 0.03)})
    assert patched.status_code == 200
    assert verify(enrolled, "writer-1", draw(1, 7)).json()["threshold"] < usual["threshold"]
    enrolled.patch("/signers/writer-1", json={"target_far": None, "fixed_threshold": 0.123})
    assert verify(enrolled, "writer-1", draw(1, 7)).json()["threshold"] == 0.123
    enrolled.patch("/signers/writer-1", json={"fixed_threshold": None})
    assert verify(enrolled, "writer-1", draw(1, 7)).json()["threshold"] == pytest.approx(usual["threshold"])


def test_enrolment_is_all_or_nothing(client: TestClient, draw: Draw) -> None:
    refused = enrol(client, "a", draw(1, 0), b"\x89PNG\r\n\x1a\nbroken")
    assert refused.status_code == 400
    assert refused.json()["file"] == {"field": "files", "position": 2, "name": "1.png"}
    assert client.get("/signers/a").status_code == 404


def test_a_repeated_request_gets_the_first_answer(enrolled: TestClient, draw: Draw) -> None:
    key = {"Idempotency-Key": "cheque-4711"}
    first = verify(enrolled, "writer-1", draw(1, 7), headers=key).json()
    assert verify(enrolled, "writer-1", draw(1, 7), headers=key).json() == first
    changed = verify(enrolled, "writer-1", draw(1, 8), headers=key)
    assert (changed.status_code, changed.json()["code"]) == (409, "idempotency-conflict")
    assert len(enrolled.get("/verifications").json()["verifications"]) == 1
    again = {"Idempotency-Key": "card-1"}
    created = enrol(enrolled, "new", draw(6, 0), headers=again)
    assert enrol(enrolled, "new", draw(6, 0), headers=again).json() == created.json()
    assert enrolled.get("/signers/new").json()["references"] == 1


def test_signers_are_paged(client: TestClient, draw: Draw) -> None:
    for n in range(5):
        enrol(client, f"s{n}", draw(1, n))
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/signers", params=params).json()
        seen += [s["signer_id"] for s in page["signers"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"s{n}" for n in range(5)]


def test_the_model_says_what_it_is(client: TestClient) -> None:
    body = client.get("/model").json()
    assert body["device"] == "cpu"
    assert body["terms"] == "permissive"
    assert body["card"]["network"] == "local"
    assert {p["references"] for p in body["operating_points"]} == {1, 2, 3, 5, 10}
    assert body["calibration"]["fitted_on"]["writers"] == 8


def test_health_metrics_and_docs_answer(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert "countersign_requests_total" in client.get("/metrics").text
    page = client.get("/docs").text
    assert "swagger-ui" in page
    assert "//cdn" not in page
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def numbers(answer: Any) -> list[float]:
    """Every float within a JSON answer."""
    parts = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list) else []
    return [answer] if isinstance(answer, float) else [number for part in parts for number in numbers(part)]


def test_no_answer_has_a_number_longer_than_it_is_worth(enrolled: TestClient, draw: Draw) -> None:
    told = verify(enrolled, "writer-1", draw(1, 7)).json()
    answers = [
        told,
        enrolled.get(f"/verifications/{told['verification_id']}").json(),
        enrolled.post("/identify", files={"signature": draw(2, 7)}).json(),
        enrolled.post("/compare", files=[("references", draw(1, 0)), ("signature", draw(1, 5))]).json(),
        enrolled.get("/signers/writer-1/references").json(),
        enrolled.get("/model").json(),
    ]
    for answer in answers:
        assert numbers(answer)
        for number in numbers(answer):
            assert len(f"{number!r}".lower().partition("e")[0].replace(".", "").strip("-0")) <= 7, number
    low, high = answers[-1]["calibration"]["far_range"]
    for target in (low, high):
        assert enrolled.patch("/signers/writer-1", json={"target_far": target}).status_code == 200


def test_the_audit_and_the_record_have_the_numbers_of_the_answer(enrolled: TestClient, draw: Draw) -> None:
    told = verify(enrolled, "writer-1", draw(1, 7)).json()
    record = enrolled.get(f"/verifications/{told['verification_id']}").json()
    (entry,) = [e for e in enrolled.get("/audit").json()["entries"] if e["action"] == "verify"]
    for name in ("distance", "threshold", "log_likelihood_ratio"):
        assert told[name] == record[name] == entry["details"][name]


def test_a_record_of_an_earlier_release_keeps_the_numbers_that_its_decision_rests_on() -> None:
    """Rounded to five digits its distance would be at the threshold, and the decision wrong."""
    point = OperatingPoint(0.05, 0.004, 0.21)
    found = Finding("reject", 0.6400041, 0.6400039, None, 0.9, point, (), (), "m@0", now())
    record = VerificationRecord.of(Verification(new_id(), "a", found, "0" * 64))
    assert (record.distance, record.threshold) == (0.6400041, 0.6400039)


def test_an_upload_is_hashed_once_and_never_on_the_event_loop(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large one takes tens of milliseconds, in which the loop would answer nobody."""
    sha256 = hashlib.sha256
    uploads = [draw(1, n) for n in range(3)]
    hashed: list[int] = []

    def counting(data: bytes = b"", **more: Any) -> Any:
        if data in uploads:
            hashed.append(uploads.index(data))
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
        return sha256(data, **more)

    monkeypatch.setattr(hashlib, "sha256", counting)
    headers = {"Idempotency-Key": "once"}
    assert enrol(client, "a", *uploads[:2], headers=headers).status_code == 201
    assert verify(client, "a", uploads[2], headers=headers | {"Idempotency-Key": "again"}).status_code == 200
    assert sorted(hashed) == [0, 1, 2]
