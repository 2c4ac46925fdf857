"""Requests that are not accepted: the answer names what was wrong in plain words, and only what the call takes."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.domain.errors import StartRefused
from app.domain.validation import EXPECTED
from tests.app.keyed import Serve
from tests.app.test_api import enrol, verify
from tests.app.test_extraction import png, two_signatures
from tests.model.preprocessing.test_extraction import letter, signature

Draw = Callable[..., bytes]
MANDATE: dict[str, Any] = {"signatories": [{"signer_id": "a"}], "bands": [{"rules": [{"signatures": 1}]}]}


def two_pages(tmp_path: Any) -> bytes:
    """A TIFF with a blank page, then one with a signature."""
    blank, signed = Image.new("L", (400, 200), 255), Image.fromarray(signature(4))
    blank.save(tmp_path / "pages.tif", save_all=True, append_images=[signed])
    content: bytes = (tmp_path / "pages.tif").read_bytes()
    return content


def compare(client: TestClient, references: list[bytes], questioned: bytes, **data: str) -> Any:
    files = [("references", ("r.png", content)) for content in references]
    return client.post("/compare", files=[*files, ("signature", ("q.png", questioned))], data=data)


def test_comparison_takes_the_page_and_the_region_that_its_errors_recommend(
    client: TestClient, draw: Draw, tmp_path: Any
) -> None:
    references = [draw(4, 0), draw(4, 1)]
    refused = compare(client, references, two_pages(tmp_path))
    assert refused.json()["code"] == "blank-image"
    assert "set `page`" in refused.json()["detail"]
    assert compare(client, references, two_pages(tmp_path), page="1").status_code == 200
    several = compare(client, references, two_signatures()).json()
    assert "Set `region`" in several["detail"]
    region = ",".join(map(str, several["regions"][0]))
    assert compare(client, references, two_signatures(), region=region).status_code == 200


def test_errors_about_compared_references_recommend_no_field(
    client: TestClient, draw: Draw, tmp_path: Any
) -> None:
    for content in (two_pages(tmp_path), two_signatures(), png(letter(signed=False))):
        refused = compare(client, [content], draw(4, 0)).json()
        assert refused["file"]["field"] == "references"
        assert "`page`" not in refused["detail"]
        assert "`region`" not in refused["detail"]


def test_a_document_of_an_account_takes_the_regions_of_its_signatures(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(4, 0), draw(4, 1))
    client.put("/accounts/acme", json=MANDATE).raise_for_status()
    page = two_signatures()
    found = client.post("/extract", files={"document": ("p.png", page)}).json()["signatures"]
    regions = [",".join(map(str, one["region"])) for one in found]

    def decide(region: list[str]) -> Any:
        files = {"signatures": ("p.png", page)}
        return client.post(
            "/accounts/acme/verify", data={"amount": "1", "region": region}, files=files
        ).json()

    assert [one["verification"]["region"] for one in decide(regions[1:])["signatures"]] == [
        found[1]["region"]
    ]
    assert len(decide(regions)["signatures"]) == 2
    print_only = client.post(
        "/accounts/acme/verify", data={"amount": "1"}, files={"signatures": png(letter(signed=False))}
    )
    assert "set `region`" in print_only.json()["detail"]


def test_a_fixed_threshold_that_accepts_everything_is_refused(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(1, 0))
    largest = client.get("/model").json()["calibration"]["largest_threshold"]
    assert client.patch("/signers/a", json={"fixed_threshold": largest}).status_code == 200
    assert verify(client, "a", draw(1, 5)).json()["threshold"] == largest
    refused = client.patch("/signers/a", json={"fixed_threshold": largest + 0.001})
    assert (refused.status_code, refused.json()["code"]) == (409, "unsupported-rate")
    assert f"{largest:g}" in refused.json()["detail"]
    assert client.get("/signers/a").json()["fixed_threshold"] == largest


def test_a_service_whose_threshold_accepts_everything_does_not_start(serve: Serve) -> None:
    with pytest.raises(StartRefused, match="COUNTERSIGN_FIXED_THRESHOLD=50 would accept everything"):
        serve(fixed_threshold=50)


@pytest.mark.parametrize(
    ("field", "value"), [("amount", "2,500"), ("amount", "-1"), ("currency", "eur"), ("currency", "Euro")]
)
def test_amount_and_currency_are_explained_alike_in_forms_and_in_json(
    client: TestClient, draw: Draw, field: str, value: str
) -> None:
    data = {"signer_id": "a", "amount": "1"} | {field: value}
    image = base64.b64encode(draw(1, 0)).decode()
    mandate = (
        {"currency": value} if field == "currency" else {"signatories": [{"signer_id": "a", "limit": value}]}
    )
    answers = [
        client.post("/verify", data=data, files={"signature": draw(1, 0)}),
        client.post("/verify", json=data | {"signature": image}),
        client.post(
            "/accounts/acme/verify", data={"amount": "1"} | {field: value}, files={"signatures": b"x"}
        ),
        client.put("/accounts/acme", json=MANDATE | mandate),
    ]
    assert {answer.status_code for answer in answers} == {400}
    messages = {answer.json()["errors"][0]["message"] for answer in answers}
    assert len(messages) == 1
    assert messages.pop().startswith(f"send a{'n amount' if field == 'amount' else ' currency code'} ")


def test_no_message_has_a_regular_expression_or_the_name_of_an_exception(
    client: TestClient, draw: Draw
) -> None:
    enrol(client, "a", draw(1, 0))
    key, tag = {"Idempotency-Key": "a b"}, {"If-Match": "x"}
    answers = [
        client.post(
            "/verify", data={"signer_id": "a", "region": "x"}, files={"signature": b"x"}, headers=key
        ),
        client.put("/accounts/acme", json=MANDATE, headers=tag),
        client.put("/accounts/acme", json=MANDATE | {"signatories": [{"signer_id": "a", "panel": "?"}]}),
        client.put("/accounts/acme", json=MANDATE | {"effective_from": "2026-02-30"}),
        client.put("/accounts/acme", json=MANDATE | {"bands": [{"rules": [{"signatures": 2}]}]}),
        client.get("/signers?search=%00"),
        client.get("/audit?cursor=x"),
        client.get("/audit?record_id=%01"),
        client.get("/accounts/acme/versions?cursor=0"),
        client.post("/cases/next", json={"clerk": ""}),
    ]
    for answer in answers:
        assert answer.status_code == 400, answer.json()
        detail = answer.json()["detail"]
        assert "Value error" not in detail
        assert "pattern" not in detail
        assert not re.search(r"\[[^ \]]+\]|\\x|\^", detail), detail


def patterns(schema: Any) -> Iterator[str]:
    """Yield all regular expressions of an OpenAPI document."""
    if isinstance(schema, dict):
        if isinstance(pattern := schema.get("pattern"), str):
            yield pattern
        for member in schema.values():
            yield from patterns(member)
    elif isinstance(schema, list):
        for member in schema:
            yield from patterns(member)


def test_an_integer_of_the_query_has_digits_only(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    integers = [
        (path, parameter["name"])
        for path, methods in document["paths"].items()
        for parameter in methods.get("get", {}).get("parameters", ())
        if parameter["in"] == "query" and parameter["schema"].get("type") == "integer"
    ]
    assert {name for _, name in integers} == {"limit", "days"}
    assert len(integers) == 12
    for path, name in integers:
        address = re.sub(r"\{[^}]+\}", "1", path)
        for text in ("+5", " 5", "5 ", "5.0", "5e0", "05", "1_0", "\u0665", "", "--5", "x"):
            refused = client.get(address, params={name: text})
            assert (refused.status_code, refused.json()["code"]) == (400, "malformed-request"), (path, text)
            assert (
                refused.json()["detail"]
                == f"{name}: has to be a whole number, in digits only and without leading zeros."
            )
        too_small = client.get(address, params={name: "-5"})
        assert too_small.json()["detail"] == f"{name}: has to be a whole number of at least 1."


def test_every_regular_expression_of_the_api_has_a_message(client: TestClient) -> None:
    found = set(patterns(client.get("/openapi.json").json()))
    assert found
    assert found <= set(EXPECTED), found - set(EXPECTED)


def test_an_unknown_query_parameter_is_refused_by_every_endpoint(client: TestClient) -> None:
    refused = client.get("/signers?limt=10")
    assert (refused.status_code, refused.json()["code"]) == (400, "malformed-request")
    assert refused.json()["detail"] == (
        "The endpoint has no query parameter 'limt'; it has cursor, limit, search."
    )
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            assert "400" in call["responses"], (method, path)
            address = re.sub(r"\{[^}]+\}", "1", path)
            headers = {"Content-Type": "application/json"}
            answer = client.request(method, f"{address}?limt=10", content=json.dumps({}), headers=headers)
            if path.endswith(("/verify", "/compare", "/identify", "/extract", "/references")):
                assert answer.status_code == 400, (method, path)  # the form may be refused first
                continue
            assert "'limt'" in answer.json()["detail"], (method, path, answer.json())


def test_a_query_parameter_that_takes_one_value_comes_once(client: TestClient) -> None:
    refused = client.get("/signers?limit=10&limit=20")
    assert (refused.status_code, refused.json()["code"]) == (400, "malformed-request")
    assert refused.json()["detail"] == "The query parameter 'limit' came 2 times; send it once."


@pytest.mark.parametrize(
    ("method", "path", "body", "errors"),
    [
        (
            "PATCH",
            "/signers/a",
            {"target_fa": 0.1},
            {"target_fa": "is not known; the members are fixed_threshold,"},
        ),
        (
            "PUT",
            "/verifications/x/outcome",
            {"outcome": "forged", "x": 1},
            {"x": "is not known; the members are"},
        ),
        (
            "PUT",
            "/verifications/x/outcome",
            [],
            {"body": "send a JSON object with the content type application/json"},
        ),
        (
            "POST",
            "/cases/x/decision",
            {"decision": "maybe"},
            {"body": "send one of 'accept', 'reject' as 'decision'"},
        ),
        (
            "POST",
            "/cases/x/decision",
            {"decision": "accept", "reason": "matches", "x": 1},
            {"x": "is not known; the members are clerk, decision, note, reason, seconds"},
        ),
        (
            "POST",
            "/cases/x/decision",
            {"decision": "accept", "reason": "matches", "seconds": "long"},
            {"seconds": "has to be a number"},
        ),
        (
            "PUT",
            "/accounts/acme",
            MANDATE | {"signatories": [{"signer_id": "a", "x": 1}]},
            {"signatories.0.x": "is not known; the members are always_refer, limit, panel, role, signer_id,"},
        ),
        (
            "PUT",
            "/accounts/acme",
            MANDATE | {"bands": [{"rules": [{"signatures": 1.5}]}], "signatories": ["a"]},
            {"bands.0.rules.0.signatures": "has to be a whole number", "signatories.0": "send a JSON object"},
        ),
        ("PUT", "/accounts/acme", MANDATE | {"bands": {}}, {"bands": "has to be an array"}),
        ("PUT", "/accounts/acme", MANDATE | {"bands": []}, {"bands": "has too few items; the minimum is 1"}),
    ],
)
def test_faults_of_a_json_body_say_what_to_send(
    client: TestClient, method: str, path: str, body: object, errors: dict[str, str]
) -> None:
    refused = client.request(method, path, json=body)
    assert refused.status_code == 400
    told = {error["field"]: error["message"] for error in refused.json()["errors"]}
    assert told.keys() == errors.keys()
    for field, beginning in errors.items():
        assert told[field].startswith(beginning), told


def test_json_without_its_content_type_is_told_what_to_send(client: TestClient) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded"):
        refused = client.put(
            "/accounts/acme", content=json.dumps(MANDATE), headers={"content-type": content_type}
        )
        assert refused.status_code == 400
        assert refused.json()["detail"] == "body: send a JSON object with the content type application/json."


def test_a_body_that_is_not_json_is_named_as_the_body(client: TestClient) -> None:
    def told(content: bytes) -> str:
        refused = client.patch("/signers/a", content=content, headers={"content-type": "application/json"})
        assert refused.status_code == 400
        detail: str = refused.json()["detail"]
        return detail

    assert told(b"{") == (
        "The body is not JSON: in line 1, column 2, a name in double quotation marks is expected."
    )
    assert told(b'{"target_far": NaN}') == (
        "The body is not JSON: NaN is not a number of JSON; leave the member out."
    )
    assert told(b'{"target_far": 1e999}') == "target_far: has to be a finite number."


@pytest.mark.parametrize("path", ["/docs?x=1", "/openapi.json?x=1", "/desk?utm_source=mail"])
def test_pages_for_people_ignore_further_parameters(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 200


def test_the_band_states_the_target_far_that_was_applied(serve: Serve, draw: Draw) -> None:
    client = serve(target_far_bands="10000:0.2,above:0.1")
    enrol(client, "a", *(draw(1, n) for n in range(3)))

    def band() -> Any:
        files = {"signature": draw(1, 5)}
        told = client.post("/verify", data={"signer_id": "a", "amount": "10"}, files=files).json()
        assert client.get(f"/verifications/{told['verification_id']}").json()["band"] == told["band"]
        assert told["band"]["number"] == 1
        return told["band"]["target_far"]

    assert band() == 0.2
    client.patch("/signers/a", json={"target_far": 0.05})
    assert band() == 0.05
    client.patch("/signers/a", json={"target_far": 0.3})
    assert band() == 0.2
    client.patch("/signers/a", json={"fixed_threshold": 0.5})
    assert band() is None


def test_a_form_that_is_cut_off_is_refused_as_a_whole(client: TestClient, draw: Draw) -> None:
    files = [("files", (f"{n}.png", draw(1, n), "image/png")) for n in range(3)]
    whole = client.build_request("POST", "/signers/anna/references", files=files)
    body = whole.read()
    cuts = {
        "the last file": body[:-3000],
        "the closing boundary": body.rstrip()[: -len(body.rstrip().rpartition(b"\r\n")[2])],
        "the end of the closing boundary": body.rstrip()[:-2],
        "the first file": body[:200],
    }
    for what, content in cuts.items():
        refused = client.post(
            "/signers/anna/references",
            content=content,
            headers={"Content-Type": whole.headers["Content-Type"]},
        )
        assert (refused.status_code, refused.json()["code"]) == (400, "malformed-request"), what
        assert "closing boundary" in refused.json()["detail"], what
    assert client.get("/signers/anna").status_code == 404
    accepted = client.post(
        "/signers/anna/references",
        content=body.rstrip(),
        headers={"Content-Type": whole.headers["Content-Type"]},
    )
    assert accepted.status_code == 201, "a line end after the closing boundary is not needed"


def test_a_body_that_is_missing_is_said_to_have_these_members(client: TestClient) -> None:
    for method, path, members in (
        ("POST", "/cases/1/decision", "decision, reason"),
        ("PUT", "/verifications/1/outcome", "outcome"),
        ("PUT", "/accounts/acme/verifications/1/outcome", "outcome"),
        ("PUT", "/accounts/acme", "signatories, bands"),
        ("PATCH", "/signers/a", "one of target_far, fixed_threshold"),
    ):
        for body in ({}, {"content": b"", "headers": {"Content-Type": "application/json"}}):
            refused = client.request(method, path, **body)
            assert (refused.status_code, refused.json()["code"]) == (400, "malformed-request"), path
            assert refused.json()["detail"] == f"body: is missing; send a JSON object with {members}."


def test_no_body_is_the_same_as_an_empty_one_where_every_member_is_optional(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    calls = [
        (path, call["requestBody"])
        for path, methods in document["paths"].items()
        for method, call in methods.items()
        if method == "post" and "requestBody" in call
    ]
    optional = [path for path, body in calls if not body.get("required")]
    assert optional == [
        "/cases/next",
        "/cases/{case_id}/claim",
        "/cases/{case_id}/release",
        "/cases/{case_id}/undo",
    ]
    for path, body in calls:
        ((media_type, content),) = [*body["content"].items()][:1]
        if path not in optional:
            schema = schemas[content["schema"].get("$ref", "").rpartition("/")[2] or "AcceptIn"]
            assert schema.get("required"), (path, media_type)
            continue
        address = path.replace("{case_id}", "1")
        empty, none = client.post(address, json={}), client.post(address)
        assert (none.status_code, none.json().get("code")) == (empty.status_code, empty.json().get("code"))
        assert none.json().get("code") in {None, "case-not-found"}
