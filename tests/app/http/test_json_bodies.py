"""JSON bodies of all calls: what they take beside the text of forms, and what is refused in which words."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from app.domain.errors import MalformedRequest
from app.domain.exact_numbers import ExactNumber
from app.domain.mandate_form import amount
from app.http.json_bodies import JsonRoute, read_json
from app.main import ROUTERS
from tests.app.test_api import enrol
from tests.app.test_extraction import png, two_signatures
from tests.model.preprocessing.test_extraction import letter

Draw = Callable[..., bytes]
JSON = {"content-type": "application/json"}
FOREIGN = ("pydantic", "python", "discriminator", "recursion", "sys.", "Input should", "parsing the body")
"""Words of messages that are not ours."""


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def told(response: Any, status: int = 400) -> str:
    """The detail of a problem, which is in our words."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    detail: str = response.json()["detail"]
    assert not any(word in detail for word in FOREIGN), detail
    return detail


def test_every_json_body_is_read_by_our_reader() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    with_body = [route for route in routes if route.body_field is not None]
    assert len(with_body) > 10
    assert not [route.path for route in with_body if not isinstance(route, JsonRoute)]


def test_a_boolean_field_takes_true_and_false(client: TestClient) -> None:
    document = b64(png(letter(signed=True)))
    for crops in (True, False, "true", "false"):
        answer = client.post("/extract", json={"document": document, "crops": crops})
        assert answer.status_code == 200, answer.text
        has_images = [one["image"] is not None for one in answer.json()["signatures"]]
        assert has_images == [crops in {True, "true"}]
    for crops in ({}, [True], 1.5):
        told(client.post("/extract", json={"document": document, "crops": crops}))
    assert "true or false" in told(client.post("/extract", json={"document": document, "crops": {}}))


def test_a_boolean_is_refused_where_text_or_a_number_belongs(client: TestClient, draw: Draw) -> None:
    image = b64(draw(1, 0))
    for name in ("signer_id", "page", "amount", "region", "currency"):
        body = {"signer_id": "a", "signature": image} | {name: True}
        assert repr(name) in told(client.post("/verify", json=body))
    assert "'top_k'" in told(client.post("/identify", json={"signature": image, "top_k": True}))
    assert "'signer_ids'" in told(client.post("/identify", json={"signature": image, "signer_ids": [True]}))
    told(client.patch("/signers/a", json={"target_far": True}))
    decision = {"decision": "accept", "reason": "matches", "seconds": True}
    assert "seconds" in told(client.post("/cases/x/decision", json=decision))


def test_a_region_is_taken_as_it_is_returned(client: TestClient, draw: Draw) -> None:
    page = b64(two_signatures())
    found = client.post("/extract", json={"document": page}).json()["signatures"]
    boxes = [one["region"] for one in found]
    texts = [",".join(map(str, box)) for box in boxes]
    answer = client.post("/signers/b/references", json={"files": [page], "region": boxes})
    assert (answer.status_code, len(answer.json()["references"])) == (201, 2)
    enrol(client, "a", draw(4, 0), draw(4, 1))
    for box, text in zip(boxes, texts, strict=True):
        for region in (box, text, [float(side) for side in box]):
            answer = client.post("/verify", json={"signer_id": "a", "signature": page, "region": region})
            assert (answer.status_code, answer.json()["region"]) == (200, box)
    mandate = {"signatories": [{"signer_id": "a"}], "bands": [{"rules": [{"signatures": 1}]}]}
    client.put("/accounts/acme", json=mandate).raise_for_status()
    body = {"signatures": [page], "amount": 1, "region": boxes}
    assert client.post("/accounts/acme/verify", json=body).status_code == 200


@pytest.mark.parametrize(
    "region", [[1, 2, 3], [1, 2, 3, True], [1, 2, 3, "4"], [1, 2, 3, 4.5], [[1, 2, 3, 4]], {}]
)
def test_another_array_is_no_region(client: TestClient, draw: Draw, region: object) -> None:
    image = b64(draw(1, 0))
    detail = told(client.post("/verify", json={"signer_id": "a", "signature": image, "region": region}))
    assert "'region' has to be text, or an array of 4 whole numbers such as [1040, 520, 1410, 655]" in detail
    several = client.post("/signers/a/references", json={"files": [image], "region": [region]})
    assert "'region' has to be text, or an array of 4 whole numbers" in told(several)


def test_the_document_describes_the_array(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    kinds = [one["type"] for one in schemas["PostVerifyIn"]["properties"]["region"]["anyOf"]]
    assert kinds == ["string", "array"]
    several = schemas["PostReferencesIn"]["properties"]["region"]["anyOf"][0]["items"]["anyOf"]
    assert [one["type"] for one in several] == ["string", "array"]


@pytest.mark.parametrize(
    ("region", "status", "words"),
    [
        ("0,0,100000,10000", 200, ""),  # clipped to the image
        ("100000,100000,200000,200000", 422, "outside the image, which has"),
        ("0,0,10,10", 422, "covers less than"),
        ("10,10,5,5", 422, "left must be less than right"),
        ("0,0,1000000000000,10", 400, "up to 9 digits"),
        ("-1,0,10,10", 400, "up to 9 digits"),
    ],
)
def test_a_region_that_is_refused_is_described_truly(
    client: TestClient, draw: Draw, region: str, status: int, words: str
) -> None:
    enrol(client, "a", draw(1, 0))
    answer = client.post(
        "/verify", data={"signer_id": "a", "region": region}, files={"signature": draw(1, 1)}
    )
    assert answer.status_code == status
    if status != 200:
        assert words in told(answer, status)
        assert "outside" not in answer.json()["title"]


BODIES = [
    ("PATCH", "/signers/a", b'{"target_far": 0.05, "target_far": 0.3}', "'target_far'"),
    (
        "PUT",
        "/accounts/x",
        b'{"signatories": [{"signer_id": "a"}], "signatories": [], "bands": [{"rules": [{}]}]}',
        "'signatories'",
    ),
    ("PUT", "/accounts/x", b'{"signatories": [{"signer_id": "a", "signer_id": "b"}]}', "'signer_id'"),
    ("POST", "/cases/next", b'{"clerk": "a", "clerk": "b"}', "'clerk'"),
    ("PUT", "/verifications/x/outcome", b'{"outcome": "genuine", "outcome": "forged"}', "'outcome'"),
    ("POST", "/cases/x/decision", b'{"decision": "accept", "decision": "reject"}', "'decision'"),
    (
        "PUT",
        "/accounts/x/verifications/y/outcome",
        b'{"outcome": "genuine", "outcome": "forged"}',
        "'outcome'",
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "name"), BODIES)
def test_a_member_that_comes_twice_is_refused(
    client: TestClient, method: str, path: str, body: bytes, name: str
) -> None:
    answer = client.request(method, path, content=body, headers=JSON)
    assert told(answer) == f"The member {name} came several times; send it once."


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", "/signers/a"), ("PUT", "/accounts/a"), ("POST", "/cases/next"), ("POST", "/verify")],
)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"target_far": ' + b"1" * 5000 + b"}", "has 5000 characters"),
        (b'{"target_far": 0.' + b"1" * 5000 + b"}", "has 5002 characters"),
        (b'{"target_far" 1}', "in line 1, column 15, a colon is expected"),
        (b'{"a": 1} 2', "something follows"),
        (b'{"a": tru}', "a value is expected"),
        (b'{"a": "\n"}', "control character"),
        (b'{"a": "\\x"}', "backslash"),
        (b'{"a": "\\u12"}', "four hexadecimal digits"),
        (b'{"a": "b', "closing quotation mark"),
        (b'{"a": 1,}', "expected"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": Infinity}', "Infinity is not a number of JSON"),
    ],
)
def test_a_body_that_is_not_json_is_described_in_our_words(
    client: TestClient, method: str, path: str, body: bytes, words: str
) -> None:
    assert words in told(client.request(method, path, content=body, headers=JSON))


def test_a_decision_without_its_kind_is_told_the_kinds(client: TestClient) -> None:
    assert told(client.post("/cases/x/decision", json={})) == (
        "body: send one of 'accept', 'reject' as 'decision'."
    )
    assert "send one of 'accept', 'reject'" in told(client.post("/cases/x/decision", json={"decision": "no"}))


def test_half_of_a_surrogate_pair_is_refused_in_our_words(client: TestClient) -> None:
    answer = client.post("/cases/next", content=b'{"clerk": "\\ud800"}', headers=JSON)
    assert "surrogate" in told(answer)


def test_an_amount_is_exact_in_every_form(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(1, 0))
    image = b64(draw(1, 1))

    def mandate(limit: str) -> bytes:
        return (
            b'{"signatories": [{"signer_id": "a", "limit": %s}], "bands": [{"rules": [{}]}]}' % limit.encode()
        )

    for number, text in [("12.5", "12.5"), ('"12.50"', "12.5"), ("12", "12"), ("123456789012345.6789",) * 2]:
        body = b'{"signer_id": "a", "signature": "%s", "amount": %s}' % (image.encode(), number.encode())
        assert client.post("/verify", content=body, headers=JSON).json()["amount"] == text
        account = client.put(f"/accounts/{text}", content=mandate(number), headers=JSON)
        assert account.json()["mandate"]["signatories"][0]["limit"] == text
    for number in ("0.30000000000000004", "1e3", "-1", "1e999"):
        body = b'{"signer_id": "a", "signature": "%s", "amount": %s}' % (image.encode(), number.encode())
        for answer in (
            client.post("/verify", content=body, headers=JSON),
            client.put("/accounts/x", content=mandate(number), headers=JSON),
        ):
            assert "send an amount such as 2500 or 2500.50" in told(answer)


def test_a_number_keeps_its_digits() -> None:
    (number,) = read_json(b"[123456789012345.6789]")
    assert isinstance(number, ExactNumber)
    assert (amount(number), str(number)) == (Decimal("123456789012345.6789"), "123456789012345.6789")
    assert json.dumps(read_json(b"[0.1, 1e2]")) == "[0.1, 100.0]"
    with pytest.raises(ValueError, match="send an amount"):
        amount(0.5)
    with pytest.raises(MalformedRequest):
        read_json(b"")


def test_ids_of_the_service_are_taken_in_upper_case(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(1, 0), draw(1, 1))
    (reference, _) = client.get("/signers/a/references").json()["references"]
    mandate = {"signatories": [{"signer_id": "a"}], "bands": [{"rules": [{}]}]}
    version = client.put("/accounts/acme", json=mandate).json()["version_id"]
    done = client.post("/verify", data={"signer_id": "a"}, files={"signature": draw(1, 5)}).json()
    verification = done["verification_id"].upper()
    document = client.post(
        "/accounts/acme/verify", data={"amount": "1"}, files={"signatures": draw(1, 6)}
    ).json()["account_verification_id"]
    assert verification != done["verification_id"]
    paths = [
        f"/verifications/{verification}",
        f"/verifications/{verification}/report",
        f"/signers/a/references/{reference['reference_id'].upper()}",
        f"/signers/a/references/{reference['reference_id'].upper()}/image",
        f"/accounts/acme/verifications/{document.upper()}",
    ]
    assert [client.get(path).status_code for path in paths] == [200] * len(paths)
    assert client.get(f"/verifications/{verification}").json()["verification_id"] == done["verification_id"]
    entries = client.get("/audit", params={"record_id": verification}).json()["entries"]
    assert {entry["record_id"] for entry in entries} == {done["verification_id"]}
    changed = mandate | {"currency": "EUR"}
    answer = client.put("/accounts/acme", json=changed, headers={"If-Match": f'"{version.upper()}"'})
    assert answer.status_code == 200
    outcome = client.put(f"/verifications/{verification}/outcome", json={"outcome": "genuine"})
    assert outcome.status_code == 200
    client.delete(f"/signers/a/references/{reference['reference_id'].upper()}").raise_for_status()
    assert client.get("/signers/a").json()["references"] == 1, "it was found, not only answered 204"


def test_ids_of_the_caller_keep_their_case(client: TestClient, draw: Draw) -> None:
    signer = "019AB3C4-5D6E-7F80-9A1B-2C3D4E5F6071"
    enrol(client, signer, draw(1, 0))
    assert client.get(f"/signers/{signer}").json()["signer_id"] == signer
    assert client.get(f"/signers/{signer.lower()}").status_code == 404
