"""The HTTP API: enrolment, verification, comparison, identification, listings and erasure."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.api.schemas import VerificationRecord
from app.domain.ids import new_id
from app.domain.records import Finding, OperatingPoint, Verification, now

Draw = Callable[..., bytes]
pytestmark = pytest.mark.both_databases


def enrol(client: TestClient, signer: str, *images: bytes, **options: Any) -> Any:
    files = [("files", (f"{n}.png", image, "image/png")) for n, image in enumerate(images)]
    return client.post(f"/signers/{signer}/references", files=files, **options)


def verify(client: TestClient, signer: str, image: bytes, **options: Any) -> Any:
    return client.post(
        "/verify", data={"signer_id": signer}, files={"signature": ("q.png", image)}, **options
    )


def accept_nearly_everything(client: TestClient, signer: str) -> None:
    """Set the largest fixed threshold that the calibration supports."""
    largest = client.get("/model").json()["calibration"]["largest_threshold"]
    client.patch(f"/signers/{signer}", json={"fixed_threshold": largest}).raise_for_status()


@pytest.fixture
def enrolled(client: TestClient, draw: Draw) -> TestClient:
    for writer in (1, 2, 3):
        assert enrol(client, f"writer-{writer}", *(draw(writer, n) for n in range(3))).status_code == 201
    return client


def test_enrolled_signer_is_verified(enrolled: TestClient, draw: Draw) -> None:
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


def test_random_forgery_has_a_larger_distance_than_a_genuine_signature(
    enrolled: TestClient, draw: Draw
) -> None:
    genuine, forgery = (verify(enrolled, "writer-1", draw(writer, 8)).json() for writer in (1, 3))
    assert forgery["distance"] > genuine["distance"]
    assert forgery["log_likelihood_ratio"] <= genuine["log_likelihood_ratio"]
    assert forgery["decision"] == "reject"


def test_verification_with_one_reference_has_a_warning(client: TestClient, draw: Draw) -> None:
    enrol(client, "solo", draw(5, 0))
    body = verify(client, "solo", draw(5, 1)).json()
    assert "single-reference" in {w["code"] for w in body["warnings"]}


def test_copy_of_a_reference_has_warnings(enrolled: TestClient, draw: Draw) -> None:
    codes = {w["code"] for w in verify(enrolled, "writer-1", draw(1, 0)).json()["warnings"]}
    assert {"identical-image", "possible-copy"} <= codes


def test_verification_is_stored_with_the_basis_of_its_decision(enrolled: TestClient, draw: Draw) -> None:
    answer = verify(enrolled, "writer-1", draw(1, 7)).json()
    record = enrolled.get(f"/verifications/{answer['verification_id']}").json()
    assert {key: record[key] for key in answer} == answer
    assert record["questioned_sha256"] == hashlib.sha256(draw(1, 7)).hexdigest()
    assert record["basis"]["target_far"] > 0
    assert len(record["basis"]["among_references"]) == 3
    assert record["outcome"] is None


def test_outcome_is_stored_and_counted(enrolled: TestClient, draw: Draw) -> None:
    answer = verify(enrolled, "writer-2", draw(2, 5)).json()
    path = f"/verifications/{answer['verification_id']}/outcome"
    put = enrolled.put(path, json={"outcome": "forged", "note": "customer denies it"})
    assert put.status_code == 200
    assert put.json()["outcome"] == "forged"
    assert enrolled.put(path, json={"outcome": "genuine"}).json()["outcome"] == "genuine"
    assert 'countersign_outcomes_total{decision="' in enrolled.get("/metrics").text


def test_verifications_of_a_signer_are_paged_newest_first(enrolled: TestClient, draw: Draw) -> None:
    verified = [verify(enrolled, "writer-1", draw(1, n)).json()["verification_id"] for n in (4, 5, 6)]
    verify(enrolled, "writer-2", draw(2, 4))
    first = enrolled.get("/verifications", params={"signer_id": "writer-1", "limit": 2}).json()
    rest = enrolled.get(
        "/verifications", params={"signer_id": "writer-1", "limit": 2, "cursor": first["next_cursor"]}
    ).json()
    listed = [v["verification_id"] for v in first["verifications"] + rest["verifications"]]
    assert set(listed) == set(verified)
    assert listed == sorted(listed, reverse=True)
    assert rest["next_cursor"] is None


def test_compare_stores_nothing(client: TestClient, draw: Draw) -> None:
    files = [("references", draw(1, 0)), ("references", draw(1, 1)), ("signature", draw(1, 2))]
    body = client.post("/compare", files=files).json()
    assert [r["reference_id"] for r in body["references"]] == ["1", "2"]
    assert client.get("/signers").json() == {"signers": [], "next_cursor": None}
    assert client.get("/verifications").json()["verifications"] == []


def test_compare_and_verify_give_the_same_verdict(enrolled: TestClient, draw: Draw) -> None:
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


def test_identify_reflects_enrolment_and_erasure_immediately(client: TestClient, draw: Draw) -> None:
    def candidates() -> set[str]:
        response = client.post("/identify", files={"signature": draw(9, 9)})
        return {c["signer_id"] for c in response.json().get("candidates", [])}

    assert candidates() == set()
    enrol(client, "a", draw(1, 0))
    assert candidates() == {"a"}
    enrol(client, "b", draw(2, 0))
    assert candidates() == {"a", "b"}
    client.delete("/signers/a")
    assert candidates() == {"b"}


def test_two_services_share_one_store(serve: Callable[..., TestClient], draw: Draw) -> None:
    one, two = serve(), serve()
    enrol(one, "a", draw(1, 0))
    assert two.post("/identify", files={"signature": draw(1, 1)}).json()["candidates"][0]["signer_id"] == "a"
    assert verify(two, "a", draw(1, 2)).status_code == 200
    two.delete("/signers/a")
    assert one.post("/identify", files={"signature": draw(1, 1)}).json()["code"] == "nobody-enrolled"


def test_references_and_their_images_are_returned(enrolled: TestClient, draw: Draw) -> None:
    listed = enrolled.get("/signers/writer-1/references").json()["references"]
    assert len(listed) == 3
    one = enrolled.get(f"/signers/writer-1/references/{listed[0]['reference_id']}")
    assert one.json() == listed[0]
    image = enrolled.get(f"/signers/writer-1/references/{listed[0]['reference_id']}/image")
    assert image.content in {draw(1, n) for n in range(3)}
    assert image.headers["content-type"] == "image/png"
    assert image.headers["x-content-type-options"] == "nosniff"
    assert image.headers["cache-control"] == "no-store"


def test_erased_signer_is_not_found_and_verifications_remain(enrolled: TestClient, draw: Draw) -> None:
    verify(enrolled, "writer-1", draw(1, 7))
    assert enrolled.delete("/signers/writer-1").status_code == 204
    assert enrolled.delete("/signers/writer-1").status_code == 204  # idempotent
    assert enrolled.delete("/signers/never-enrolled").status_code == 204
    assert enrolled.get("/signers/writer-1").json()["code"] == "signer-not-found"
    assert verify(enrolled, "writer-1", draw(1, 7)).json()["code"] == "signer-not-found"
    assert len(enrolled.get("/verifications").json()["verifications"]) == 1


def test_erased_reference_is_not_compared(enrolled: TestClient, draw: Draw) -> None:
    first = enrolled.get("/signers/writer-1/references").json()["references"][0]["reference_id"]
    assert enrolled.delete(f"/signers/writer-1/references/{first}").status_code == 204
    assert len(verify(enrolled, "writer-1", draw(1, 7)).json()["references"]) == 2


def test_policy_of_a_signer_changes_the_threshold(enrolled: TestClient, draw: Draw) -> None:
    default = verify(enrolled, "writer-1", draw(1, 7)).json()
    low = enrolled.get("/model").json()["calibration"]["far_range"][0]
    patched = enrolled.patch("/signers/writer-1", json={"target_far": max(low, 0.03)})
    assert patched.status_code == 200
    assert verify(enrolled, "writer-1", draw(1, 7)).json()["threshold"] < default["threshold"]
    enrolled.patch("/signers/writer-1", json={"target_far": None, "fixed_threshold": 0.123})
    assert verify(enrolled, "writer-1", draw(1, 7)).json()["threshold"] == 0.123
    enrolled.patch("/signers/writer-1", json={"fixed_threshold": None})
    assert verify(enrolled, "writer-1", draw(1, 7)).json()["threshold"] == pytest.approx(default["threshold"])


def test_enrolment_is_atomic(client: TestClient, draw: Draw) -> None:
    refused = enrol(client, "a", draw(1, 0), b"\x89PNG\r\n\x1a\nbroken")
    assert refused.status_code == 400
    assert refused.json()["file"] == {"field": "files", "position": 2, "name": "1.png"}
    assert client.get("/signers/a").status_code == 404


def test_retry_with_the_same_idempotency_key_returns_the_first_answer(
    enrolled: TestClient, draw: Draw
) -> None:
    key = {"Idempotency-Key": "cheque-4711"}
    first = verify(enrolled, "writer-1", draw(1, 7), headers=key).json()
    assert verify(enrolled, "writer-1", draw(1, 7), headers=key).json() == first
    changed = verify(enrolled, "writer-1", draw(1, 8), headers=key)
    assert (changed.status_code, changed.json()["code"]) == (409, "idempotency-conflict")
    assert len(enrolled.get("/verifications").json()["verifications"]) == 1
    key = {"Idempotency-Key": "card-1"}
    created = enrol(enrolled, "new", draw(6, 0), headers=key)
    assert enrol(enrolled, "new", draw(6, 0), headers=key).json() == created.json()
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


def test_model_endpoint_describes_the_weights(client: TestClient) -> None:
    body = client.get("/model").json()
    assert body["device"] == "cpu"
    assert body["terms"] == "permissive"
    assert body["card"]["network"] == "local"
    assert {p["references"] for p in body["operating_points"]} == {1, 2, 3, 5, 10}
    assert body["calibration"]["fitted_on"]["writers"] == 8


def test_health_checks_metrics_and_documentation_are_served(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
    assert "countersign_requests_total" in client.get("/metrics").text
    page = client.get("/docs").text
    assert "swagger-ui" in page
    assert "//cdn" not in page
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200


def numbers(answer: Any) -> list[float]:
    """Return every float in a JSON answer."""
    parts = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list) else []
    return [answer] if isinstance(answer, float) else [number for part in parts for number in numbers(part)]


def test_numbers_in_answers_have_at_most_seven_digits(enrolled: TestClient, draw: Draw) -> None:
    answer = verify(enrolled, "writer-1", draw(1, 7)).json()
    answers = [
        answer,
        enrolled.get(f"/verifications/{answer['verification_id']}").json(),
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


def test_audit_and_stored_verification_have_the_numbers_of_the_answer(
    enrolled: TestClient, draw: Draw
) -> None:
    answer = verify(enrolled, "writer-1", draw(1, 7)).json()
    record = enrolled.get(f"/verifications/{answer['verification_id']}").json()
    (entry,) = [e for e in enrolled.get("/audit").json()["entries"] if e["action"] == "verify"]
    for name in ("distance", "threshold", "log_likelihood_ratio"):
        assert answer[name] == record[name] == entry["details"][name]


def test_stored_numbers_of_earlier_releases_are_not_rounded() -> None:
    """Rounded to five decimals, the distance would equal the threshold and contradict the decision."""
    point = OperatingPoint(0.05, 0.004, 0.21)
    finding = Finding("reject", 0.6400041, 0.6400039, None, 0.9, point, (), (), "m@0", now())
    record = VerificationRecord.of(Verification(new_id(), "a", finding, "0" * 64))
    assert (record.distance, record.threshold) == (0.6400041, 0.6400039)


def test_upload_is_hashed_once_and_not_on_the_event_loop(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashing a large upload takes tens of milliseconds, which would block the event loop."""
    sha256 = hashlib.sha256
    uploads = [draw(1, n) for n in range(3)]
    hashed: list[int] = []

    def record_hashing(data: bytes = b"", **options: Any) -> Any:
        if data in uploads:
            hashed.append(uploads.index(data))
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
        return sha256(data, **options)

    monkeypatch.setattr(hashlib, "sha256", record_hashing)
    headers = {"Idempotency-Key": "once"}
    assert enrol(client, "a", *uploads[:2], headers=headers).status_code == 201
    assert verify(client, "a", uploads[2], headers=headers | {"Idempotency-Key": "again"}).status_code == 200
    assert sorted(hashed) == [0, 1, 2]


def test_references_are_in_the_order_of_enrolment(client: TestClient, draw: Draw) -> None:
    images = [draw(1, n) for n in range(6)]
    enrolled = [
        reference["reference_id"]
        for part in (images[:4], images[4:])
        for reference in enrol(client, "a", *part).json()["references"]
    ]
    answer = verify(client, "a", draw(1, 9)).json()
    assert [one["reference_id"] for one in answer["references"]] == enrolled
    digests = [hashlib.sha256(image).hexdigest() for image in images]
    listed = client.get("/signers/a/references").json()["references"]
    assert [one["sha256"] for one in listed] == digests
