"""Every error code of the API, through HTTP, as problem+json (RFC 9457); and the document that describes them."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.domain.errors import Busy, CountersignError, StartRefused, StoreUnavailable
from app.http.problem_codes import PROBLEMS
from app.inference.batching import InferenceQueue
from app.settings import ROOT, Settings
from app.store import health
from app.store.store import Store
from model.errors import UnusableSignature
from tests.app.keyed import Commands
from tests.app.test_api import enrol, verify

# One process runs them all, in their order (GROUPS in tests/conftest.py): the last looks at what the others provoked.
Draw = Callable[..., bytes]
SEEN: set[str] = set()


def check(response: Any, code: str) -> dict[str, Any]:
    """The response is the problem of this code, complete and with something to act on."""
    body: dict[str, Any] = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert body["code"] == code, body
    assert response.status_code == body["status"] == PROBLEMS[code].status
    assert body["type"] == f"/problems#{code}"
    assert body["title"] == PROBLEMS[code].title
    assert len(body["detail"]) > 15
    assert body["request_id"] == response.headers["X-Request-ID"]
    SEEN.add(code)
    return body


def paper() -> Any:
    return np.full((400, 600), 255, np.uint8)


def picture(array: Any, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.asarray(array)).save(out, kind, **options)
    return out.getvalue()


def bomb() -> bytes:
    """A PNG whose header claims 60,000 x 60,000 pixels."""
    data = bytearray(picture(np.zeros((4, 4), np.uint8)))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    import zlib  # noqa: PLC0415

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def truncated() -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300)).astype(np.uint8)
    return picture(noise)[:4000]


REFUSALS: list[tuple[str, Callable[[], bytes], str]] = [
    ("blank page", lambda: picture(paper()), "blank-image"),
    ("speck", lambda: picture(cv2.circle(paper(), (300, 200), 4, 0, -1)), "too-little-ink"),
    ("lone ruled line", lambda: picture(cv2.line(paper(), (0, 200), (599, 200), 0, 3)), "only-a-line"),
    ("eight rows", lambda: picture(np.full((8, 200), 255, np.uint8)), "image-too-small"),
    ("truncated png", truncated, "damaged-image"),
    ("truncated jpeg", lambda: picture(paper(), "JPEG")[:900], "damaged-image"),
    ("decompression bomb", bomb, "too-many-pixels"),
    ("truncated pdf", lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", "damaged-image"),
    ("gif", lambda: picture(paper(), "GIF"), "unsupported-image"),
    ("svg", lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported-image"),
    ("script named png", lambda: b"#!/bin/sh\nrm -rf /\n", "not-an-image"),
    ("empty file", lambda: b"", "empty-upload"),
    ("too many bytes", lambda: b"\x89PNG\r\n\x1a\n" + b"0" * 3_000_000, "upload-too-large"),
]


@pytest.mark.parametrize(("what", "make", "code"), REFUSALS, ids=[r[0] for r in REFUSALS])
def test_each_refusal_of_an_image(
    serve: Callable[..., TestClient], draw: Draw, what: str, make: Callable[[], bytes], code: str
) -> None:
    client = serve(max_upload_bytes=2_000_000)
    enrol(client, "a", draw(1, 0))
    body = check(
        client.post("/verify", data={"signer_id": "a"}, files={"signature": ("scan.png", make())}), code
    )
    assert body["file"] == {"field": "signature", "position": 1, "name": "scan.png"}
    check(enrol(client, "b", draw(1, 1), make()), code)
    assert client.get("/signers/b").status_code == 404, "nothing may be kept of a refused request"


def test_a_dark_page_is_refused(client: TestClient, draw: Draw) -> None:
    stripes = np.where((np.arange(400) // 6 % 2)[:, None] > 0, 30, 240) * np.ones((1, 400))
    response = client.post(
        "/compare", files=[("references", draw(1, 0)), ("signature", picture(stripes.astype(np.uint8)))]
    )
    check(response, response.json()["code"])
    assert response.status_code == 422


def test_a_page_that_is_not_there(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(1, 0))
    response = client.post(
        "/verify", data={"signer_id": "a", "page": "3"}, files={"signature": ("q.png", draw(1, 1))}
    )
    check(response, "no-such-page")


def test_malformed_requests(client: TestClient, draw: Draw) -> None:
    body = check(client.post("/verify", data={"signer_id": "a"}), "malformed-request")
    assert body["errors"][0]["field"] == "signature"
    check(client.post("/verify", files={"signature": draw(1, 0)}), "malformed-request")
    check(verify(client, "..", draw(1, 0)), "malformed-request")
    check(client.get("/signers", params={"limit": 0}), "malformed-request")
    check(client.get("/signers", params={"cursor": "%%%"}), "invalid-cursor")
    check(
        client.post(
            "/verify", content=b"garbage", headers={"content-type": "multipart/form-data; boundary=x"}
        ),
        "malformed-request",
    )
    check(client.put("/verifications/x/outcome", json={"outcome": "maybe"}), "malformed-request")


def test_what_is_not_there(client: TestClient, draw: Draw) -> None:
    check(client.get("/nothing"), "not-found")
    check(client.put("/verify"), "method-not-allowed")
    check(client.get("/signers/nobody"), "signer-not-found")
    check(verify(client, "nobody", draw(1, 0)), "signer-not-found")
    check(client.get("/verifications/none"), "verification-not-found")
    check(client.put("/verifications/none/outcome", json={"outcome": "genuine"}), "verification-not-found")
    enrol(client, "a", draw(1, 0))
    check(client.get("/signers/a/references/none"), "reference-not-found")
    check(client.get("/signers/a/references/none/image"), "reference-not-found")


def test_conflicts(serve: Callable[..., TestClient], draw: Draw, other_model_folder: Any) -> None:
    client = serve(min_references=2, max_references=3, max_files=3)
    check(client.post("/identify", files={"signature": draw(1, 0)}), "nobody-enrolled")
    enrol(client, "a", draw(1, 0))
    check(verify(client, "a", draw(1, 1)), "too-few-references")
    check(enrol(client, "a", draw(1, 0)), "duplicate-reference")
    check(client.patch("/signers/a", json={"target_far": 1e-7}), "unsupported-rate")
    check(enrol(client, "a", draw(1, 5), draw(1, 5)), "duplicate-reference")
    check(enrol(client, "a", *(draw(1, n) for n in (2, 3, 4))), "too-many-references")
    check(enrol(client, "b", *(draw(1, n) for n in range(4))), "too-many-files")
    other = serve(weights=other_model_folder)
    check(verify(other, "a", draw(1, 1)), "model-version-mismatch")


def test_idempotency_conflict(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(1, 0), headers={"Idempotency-Key": "k"})
    check(enrol(client, "a", draw(1, 1), headers={"Idempotency-Key": "k"}), "idempotency-conflict")


def test_a_request_that_is_too_large(serve: Callable[..., TestClient], draw: Draw) -> None:
    client = serve(max_request_bytes=100_000)
    check(client.post("/verify", content=b"x" * 200_000), "request-too-large")


@pytest.mark.parametrize("coding", ["gzip", "br", "X-GZIP", "identity, deflate", "unknown"])
def test_a_compressed_body_is_refused(client: TestClient, coding: str) -> None:
    body = gzip.compress(b'{"target_far": 0.1}')
    for send in (client.post, client.put, client.patch):
        told = send("/signers/a", content=body, headers={"Content-Encoding": coding})
        assert "uncompressed" in check(told, "unsupported-encoding")["detail"]
        assert told.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", " Identity , identity", ""])
def test_identity_is_no_compression(client: TestClient, draw: Draw, coding: str) -> None:
    headers = {"Content-Encoding": coding}
    assert enrol(client, "a", draw(1, 0), headers=headers).status_code == 201
    assert client.get("/signers", headers={"Content-Encoding": "gzip"}).status_code == 200, "it has no body"


def test_keys_and_scopes(serve: Callable[..., TestClient], commands: Commands, draw: Draw) -> None:
    key = commands.key("teller", "verify")
    client = serve()
    response = client.get("/signers")
    check(response, "unauthenticated")
    assert "X-API-Key" in response.headers["WWW-Authenticate"]
    check(client.get("/signers", headers={"X-API-Key": "cs_wrong"}), "unauthenticated")
    check(client.get("/signers", headers=key), "forbidden")
    check(verify(client, "nobody", draw(1, 0), headers=key), "signer-not-found")
    assert client.get("/livez").status_code == 200


def test_too_many_requests(serve: Callable[..., TestClient], commands: Commands) -> None:
    key = commands.key("teller", "read")
    client = serve(rate_limit="2/hour")
    answers = [client.get("/signers", headers=key) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    check(answers[2], "too-many-requests")
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 7200


def test_without_keys_other_machines_are_kept_out(settings: Any) -> None:
    from app.main import create_app  # noqa: PLC0415

    with TestClient(create_app(settings), client=("203.0.113.9", 40_000)) as client:
        check(client.get("/signers"), "forbidden")


def test_a_full_queue_and_a_store_that_is_gone(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise Busy("256 signatures wait for the network already; try again in a moment.")

    monkeypatch.setattr(InferenceQueue, "embed", full)
    response = enrol(client, "a", draw(1, 0))
    check(response, "busy")
    assert int(response.headers["Retry-After"]) >= 1

    async def gone(*_: object, **__: object) -> None:
        raise StoreUnavailable("The store cannot be used at the moment; nothing was stored. Try again.")

    async def unreachable(_: object) -> list[str]:
        return ["the database cannot be reached"]

    monkeypatch.setattr(Store, "read", gone)
    monkeypatch.setattr(health, "faults", unreachable)
    check(client.get("/signers"), "store-unavailable")
    check(client.get("/readyz"), "store-unavailable")


def test_before_it_is_ready(settings: Any) -> None:
    from app.main import create_app  # noqa: PLC0415

    client = TestClient(create_app(settings), client=("127.0.0.1", 1))  # lifespan not begun
    check(client.get("/readyz"), "not-ready")
    assert client.get("/livez").status_code == 200


def test_problems_of_accounts(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(1, 0))
    mandate = {"signatories": [{"signer_id": "a"}], "bands": [{"rules": [{}]}], "currency": "EUR"}
    image = ("signatures", draw(1, 1))

    def post(*images: Any, account: str = "acme", **fields: str) -> Any:
        data = {"amount": "1", **fields}
        return client.post(f"/accounts/{account}/verify", data=data, files=list(images))

    check(client.get("/accounts/acme"), "account-not-found")
    later = mandate | {"effective_from": "2026-01-02"}
    assert client.put("/accounts/acme", json=later).status_code == 201
    check(client.get("/accounts/acme/versions/2"), "account-version-not-found")
    check(client.put("/accounts/acme", json=mandate), "precondition-required")
    check(client.put("/accounts/acme", json=mandate, headers={"If-Match": '"x"'}), "precondition-failed")
    check(post(image, date="2026-01-01"), "mandate-not-in-force")
    check(post(image, date="2026-01-02", currency="USD"), "currency-mismatch")
    check(post(image, image, date="2026-01-02"), "duplicate-signature")


def test_problems_of_cases(serve: Callable[..., TestClient], draw: Draw) -> None:
    client = serve(fixed_threshold=1e-6, review_far=0.5)
    enrol(client, "a", draw(1, 0), draw(1, 1))
    case = verify(client, "a", draw(1, 2)).json()["verification_id"]

    def post(call: str, clerk: str, **more: str) -> Any:
        return client.post(f"/cases/{case}/{call}", json={"clerk": clerk} | more)

    check(client.get("/cases/x"), "case-not-found")
    ruling = {"decision": "accept", "reason": "matches"}
    check(post("decision", "eva", **ruling), "case-not-claimed")
    assert post("claim", "eva").status_code == 200
    check(post("claim", "bob"), "case-claimed")
    check(post("undo", "eva"), "undo-expired")
    assert post("decision", "eva", **ruling).status_code == 200
    check(post("claim", "bob"), "case-decided")


def test_the_unforeseen_is_told_without_its_reason(
    client: TestClient, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("secret path /etc/shadow")

    monkeypatch.setattr(InferenceQueue, "embed", fails)
    body = check(enrol(client, "a", draw(1, 0)), "internal-error")
    assert "shadow" not in json.dumps(body)


def test_the_document_lists_every_endpoint_with_summary_example_and_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    paths = set(document["paths"])
    assert {
        "/verify",
        "/compare",
        "/identify",
        "/signers",
        "/signers/{signer_id}",
        "/model",
        "/readyz",
    } <= paths
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            assert call["summary"], (method, path)
            assert "curl" in call["description"], (method, path)
            for status, response in call["responses"].items():
                if status.startswith(("4", "5")):
                    assert "application/problem+json" in response["content"], (method, path, status)
                    for code in response["content"]["application/problem+json"]["examples"]:
                        assert str(PROBLEMS[code].status) == status
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert document["components"]["securitySchemes"]["APIKeyHeader"]["name"] == "X-API-Key"


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_the_page_of_problems_lists_every_code(client: TestClient) -> None:
    answer = client.get("/problems", headers=BROWSER)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    assert all(f'id="{code}"' in answer.text for code in PROBLEMS)
    assert "<code>GET /model</code>" in answer.text
    assert "`" not in answer.text


def test_the_list_of_problems_says_what_each_code_means(client: TestClient) -> None:
    answer = client.get("/problems")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept"
    listed = answer.json()["problems"]
    assert [one["code"] for one in listed] == list(PROBLEMS)
    assert [one["status"] for one in listed] == sorted(one["status"] for one in listed)
    for one in listed:
        assert set(one) == {"code", "status", "title", "explanation", "stored"}
        assert len(one["explanation"]) > 20, one
        assert one["explanation"].endswith("."), one
        assert client.get(f"/problems/{one['code']}").json() == one
    check(client.get("/problems/no-such-code"), "not-found")
    settings = re.findall(r"COUNTERSIGN_([A-Z_]+)", answer.text)
    assert settings
    assert {name.lower() for name in settings} <= set(Settings.model_fields)


def test_every_code_that_the_service_can_send_is_in_the_list(client: TestClient) -> None:
    """Codes of the exceptions, of responses that are built without one, and of the OpenAPI document."""

    def kinds(base: type[Any]) -> set[type[Any]]:
        return {base}.union(*(kinds(kind) for kind in base.__subclasses__()))

    raised = {
        kind.code
        for base in (CountersignError, UnusableSignature)
        for kind in kinds(base)
        if not issubclass(kind, StartRefused) and kind.__module__ in {"app.domain.errors", "model.errors"}
    }
    sources = [path.read_text() for path in (ROOT / "app").rglob("*.py")]
    built = {code for source in sources for code in re.findall(r"\bproblem\(\s*\"([a-z-]+)\"", source)}
    documented = {
        code
        for methods in client.get("/openapi.json").json()["paths"].values()
        for call in methods.values()
        for response in call["responses"].values()
        for code in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    assert {"signer-not-found", "bad-region", "internal-error"} <= raised
    assert {"internal-error", "malformed-request", "cors-refused"} <= built
    listed = {one["code"] for one in client.get("/problems").json()["problems"]}
    assert raised | built | documented <= listed
    assert listed - raised == {"cors-refused", "method-not-allowed"}


def test_every_code_of_the_table_was_provoked() -> None:
    """Runs last in this module: a code that no test provokes is a code that nobody knows to work."""
    bases = {"upload-refused", "conflict", "unusable-signature", "unavailable"}  # never raised themselves
    weather = {"too-much-ink", "deadline-passed", "upload-timeout"}  # in test_ink and test_load
    weather |= {"too-expensive"}  # in test_reader
    weather |= {"no-signature", "several-signatures", "bad-region"}  # in test_extraction
    weather |= {"answer-lost", "outcome-unknown", "signer-erased"}  # in test_interrupted_requests
    weather |= {
        "erasure-not-logged",
        "stored-data-damaged",
        "data-key-missing",
        "image-not-kept",
    }  # in tests/app/store
    weather |= {"not-confirmed"}  # in test_proposals
    weather |= {"cors-refused"}  # in test_http
    weather |= {"no-difference-map"}  # in test_differences
    assert set(PROBLEMS) - bases - weather - SEEN == set()


def test_every_405_names_the_methods_of_its_address(client: TestClient) -> None:
    for path, methods in {
        "/verify": {"POST"},
        "/livez": {"GET", "HEAD"},
        "/signers/anna": {"GET", "HEAD", "PATCH", "DELETE"},
        "/signers/anna/references": {"GET", "HEAD", "POST"},
        "/problems": {"GET", "HEAD"},
    }.items():
        refused = client.request("PUT", path)
        check(refused, "method-not-allowed")
        assert set(refused.headers["allow"].split(", ")) == methods, path


def test_head_answers_wherever_get_does_without_a_body(client: TestClient, draw: Draw) -> None:
    enrol(client, "anna", *(draw(1, n) for n in range(3)))
    document = client.get("/openapi.json").json()
    assert not [path for path, calls in document["paths"].items() if "head" in calls]
    addresses = [path for path, calls in document["paths"].items() if "get" in calls and "{" not in path]
    for path in (
        *addresses,
        "/signers/anna",
        "/signers/anna/references",
        "/signers/nobody",
        "/docs",
        "/problems",
    ):
        got, head = client.get(path), client.head(path)
        assert head.status_code == got.status_code, path
        assert head.content == b"", path
        assert head.headers["content-type"] == got.headers["content-type"], path
        if path != "/metrics":  # counts the request before it
            assert head.headers.get("content-length") == got.headers.get("content-length"), path
    check(client.get("/nowhere"), "not-found")
    assert client.head("/nowhere").status_code == 404
    assert client.head("/verify").status_code == 405
