"""Regression test of the API: a sequence of requests must get the answers that were recorded in ``recorded.json``.

``RECORD=1 pytest tests/app/test_recorded.py`` records the answers anew. Do so only for an intended change of the API.
Ids, times and prose are not compared. Numbers may differ by 2 % or 0.002.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

RECORDED = Path(__file__).with_name("recorded.json")
PROSE = {"detail", "title", "explanation", "instance"}
"""Fields of problem details that are for readers and may be reworded."""
HEADERS = (
    "content-type",
    "www-authenticate",
    "retry-after",
    "allow",
    "idempotency-replayed",
    "cache-control",
)
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_DIGEST = re.compile(r"[0-9a-f]{32,}")

Answer = dict[str, Any]


def send_requests(client: TestClient, draw: Callable[..., bytes]) -> Iterator[tuple[str, Any]]:  # noqa: PLR0915 - one sequence
    """Send every request of the sequence, and yield its name and the response."""

    def file(content: bytes, name: str = "s.png", kind: str = "image/png") -> tuple[str, bytes, str]:
        return (name, content, kind)

    def enrol(signer: str, *contents: bytes, **options: Any) -> Any:
        files = [("files", file(content)) for content in contents]
        return client.post(f"/signers/{signer}/references", files=files, **options)

    def verify(signer: str, content: bytes, data: dict[str, str] | None = None, **options: Any) -> Any:
        return client.post(
            "/verify",
            data={"signer_id": signer} | (data or {}),
            files={"signature": file(content)},
            **options,
        )

    blank = io.BytesIO()
    Image.fromarray(np.full((120, 300), 255, dtype=np.uint8)).save(blank, "PNG")
    blank_page = blank.getvalue()
    yield "root", client.get("/", follow_redirects=False)
    yield "livez", client.get("/livez")
    yield "readyz", client.get("/readyz")
    yield "model", client.get("/model")
    first = enrol("anna", *(draw(1, n) for n in range(4)))
    yield "enrol four", first
    yield "enrol fifth", enrol("anna", draw(1, 4))
    yield "enrol duplicate", enrol("anna", draw(1, 4))
    yield "enrol with key", enrol("bert", draw(2, 0), headers={"Idempotency-Key": "k1"})
    yield "enrol with key, retry", enrol("bert", draw(2, 0), headers={"Idempotency-Key": "k1"})
    yield "enrol with key, conflict", enrol("bert", draw(2, 1), headers={"Idempotency-Key": "k1"})
    yield "enrol blank page", enrol("anna", blank_page)
    yield "enrol text file", enrol("anna", b"no image")
    yield "enrol without files", client.post("/signers/anna/references")
    yield "enrol invalid signer id", enrol("an%00na", draw(1, 5))
    yield "verify genuine", verify("anna", draw(1, 6))
    yield "verify skilled forgery", verify("anna", draw(1, 0, 3))
    yield "verify random forgery", verify("anna", draw(3, 0))
    yield "verify copy of reference", verify("anna", draw(1, 0))
    yield "verify with unknown field", verify("anna", draw(1, 6), {"target_far": "0.3"})
    yield "verify with unknown field, small", verify("anna", draw(1, 6), {"target_far": "0.0000001"})
    yield "verify with unknown field, text", verify("anna", draw(1, 6), {"target_far": "much"})
    verified = verify("anna", draw(1, 7), headers={"Idempotency-Key": "k2"})
    yield "verify with key", verified
    yield "verify with key, retry", verify("anna", draw(1, 7), headers={"Idempotency-Key": "k2"})
    yield "verify with one reference", verify("bert", draw(2, 3))
    yield "verify unknown signer", verify("nobody", draw(2, 3))
    yield "verify without image", client.post("/verify", data={"signer_id": "anna"})
    yield (
        "verify as JSON",
        client.post(
            "/verify", json={"signer_id": "anna", "signature": base64.b64encode(draw(1, 6)).decode()}
        ),
    )
    yield (
        "verify invalid JSON",
        client.post("/verify", content=b"{", headers={"Content-Type": "application/json"}),
    )
    yield "verify text body", client.post("/verify", content=b"x", headers={"Content-Type": "text/plain"})
    yield (
        "compare",
        client.post(
            "/compare",
            files=[("signature", file(draw(1, 6))), *(("references", file(draw(1, n))) for n in range(3))],
        ),
    )
    yield "identify", client.post("/identify", files={"signature": file(draw(2, 5))})
    yield "list signers", client.get("/signers")
    yield "show signer", client.get("/signers/anna")
    yield "list signers, one per page", client.get("/signers?limit=1")
    yield "list signers, invalid cursor", client.get("/signers?cursor=xyz")
    yield "set policy", client.patch("/signers/anna", json={"target_far": 0.2})
    yield "set invalid policy", client.patch("/signers/anna", json={"target_far": 2})
    yield "list references", client.get("/signers/anna/references")
    reference = first.json()["references"][0]["reference_id"]
    yield "show reference", client.get(f"/signers/anna/references/{reference}")
    yield "fetch reference image", client.get(f"/signers/anna/references/{reference}/image")
    verification = verified.json()["verification_id"]
    yield "list verifications", client.get("/verifications?signer_id=anna&limit=2")
    yield "list rejected verifications", client.get("/verifications?decision=reject&limit=1")
    created_at = verified.json()["created_at"]
    yield (
        "list verifications since",
        client.get("/verifications", params={"created_from": created_at, "limit": 1}),
    )
    until = {"created_before": created_at, "signer_id": "anna", "limit": 1}
    yield "list verifications until", client.get("/verifications", params=until)
    yield "list verifications, wrong decision", client.get("/verifications?decision=rejected")
    yield "list verifications, no time zone", client.get("/verifications?created_from=2026-01-15T09:30:00")
    interval = {"created_from": "2026-01-16T00:00:00Z", "created_before": "2026-01-15T00:00:00Z"}
    yield "list verifications, reversed", client.get("/verifications", params=interval)
    yield "show verification", client.get(f"/verifications/{verification}")
    yield "fetch questioned image, not kept", client.get(f"/verifications/{verification}/image")
    yield "differences, not kept", client.get(f"/verifications/{verification}/differences")
    yield "report", client.get(f"/verifications/{verification}/report")
    yield "report as PDF", client.get(f"/verifications/{verification}/report?format=pdf")
    yield (
        "record outcome",
        client.put(f"/verifications/{verification}/outcome", json={"outcome": "genuine", "note": "called"}),
    )
    yield "list genuine verifications", client.get("/verifications?outcome=genuine")
    yield (
        "record invalid outcome",
        client.put(f"/verifications/{verification}/outcome", json={"outcome": "perhaps"}),
    )
    mandate = {
        "signatories": [{"signer_id": "anna", "panel": "A"}, {"signer_id": "bert", "panel": "B"}],
        "bands": [
            {"up_to": 1000, "rules": [{"signatures": 1}], "target_far": 0.3},
            {"rules": [{"panels": {"A": 1, "B": 1}}], "target_far": 0.05},
        ],
    }

    def verify_document(amount: str, *contents: bytes, **options: Any) -> Any:
        files = [("signatures", file(content)) for content in contents]
        data = {"amount": amount, "date": "2026-01-15"}
        return client.post("/accounts/acme/verify", data=data, files=files, **options)

    created = client.put("/accounts/acme", json=mandate)
    yield "create account", created
    yield "change account blindly", client.put("/accounts/acme", json=mandate | {"currency": "EUR"})
    tag = {"If-Match": created.headers["ETag"]}
    yield "change account", client.put("/accounts/acme", json=mandate | {"currency": "EUR"}, headers=tag)
    yield "change account, stale", client.put("/accounts/acme", json=mandate, headers=tag)
    yield "create invalid account", client.put("/accounts/other", json=mandate | {"bands": []})
    yield "list accounts", client.get("/accounts")
    yield "show account", client.get("/accounts/acme")
    yield "list versions", client.get("/accounts/acme/versions")
    yield "show version", client.get("/accounts/acme/versions/1")
    decided = verify_document("100", draw(1, 7), headers={"Idempotency-Key": "k3"})
    yield "verify account", decided
    yield "verify account, retry", verify_document("100", draw(1, 7), headers={"Idempotency-Key": "k3"})
    yield "verify account, two signatures", verify_document("1000.01", draw(2, 3), draw(1, 7))
    yield (
        "verify unknown account",
        client.post("/accounts/none/verify", data={"amount": "1"}, files={"signatures": file(draw(1, 7))}),
    )
    yield "list account verifications", client.get("/accounts/acme/verifications?limit=1")
    yield (
        "list account verifications, rejected",
        client.get("/accounts/acme/verifications?decision=reject&created_from=2026-01-15T00:00:00Z"),
    )
    path = f"/accounts/acme/verifications/{decided.json()['account_verification_id']}"
    yield "show account verification", client.get(path)
    yield "delete account", client.delete("/accounts/acme")
    yield "show deleted account", client.get("/accounts/acme")
    yield "erase reference", client.delete(f"/signers/anna/references/{reference}")
    yield "erase reference, retry", client.delete(f"/signers/anna/references/{reference}")
    yield "erase signer", client.delete("/signers/anna")
    yield "show erased signer", client.get("/signers/anna")
    yield "audit", client.get("/audit?limit=100")
    yield "list problem codes", client.get("/problems")
    yield "list problem codes for a browser", client.get("/problems", headers={"Accept": "text/html"})
    yield "show problem code", client.get("/problems/signer-not-found")
    yield "show unknown problem code", client.get("/problems/no-such-code")
    yield "unknown path", client.get("/nothing")
    yield "unsupported method", client.put("/verify")
    yield "invalid key", client.get("/model", headers={"X-API-Key": "wrong"})
    yield "openapi", client.get("/openapi.json")


def comparable(response: Any) -> Answer:
    """Return the parts of a response that must not change."""
    body: Any
    content = response.headers.get("content-type", "").partition(";")[0]
    if content.endswith("json"):
        body = response.json()
        if "openapi" in body:
            body = {path: sorted(methods) for path, methods in body["paths"].items()}
    elif content.startswith("image/"):
        body = len(response.content)
    else:
        body = None
    headers = {name: response.headers[name] for name in HEADERS if name in response.headers}
    return {"status": response.status_code, "headers": headers, "body": masked(body)}


def masked(value: Any, key: str = "") -> Any:
    """Mask ids, digests, times and prose, and sort lists that are ordered by random ids."""
    if key == "sequence":  # of the audit: it counts all requests before
        return "…"
    if key in PROSE or (key in {"calibration", "id", "next_cursor"} and isinstance(value, str)):
        return "…"
    if isinstance(value, dict):
        return {name: masked(item, name) for name, item in value.items()}
    if key == "among_references":
        return sorted(distance for row in value for distance in row)
    if isinstance(value, list):
        items = [masked(item) for item in value]
        # References are ordered by their ids, which are random within a millisecond.
        return sorted(items, key=json.dumps) if key.endswith("references") else items
    if isinstance(value, str):
        for pattern in (_ID, _TIME, _DIGEST):
            value = pattern.sub("…", value)
    return value


def record(client: TestClient, draw: Callable[..., bytes]) -> dict[str, Answer]:
    """Send all requests, and return the comparable parts of the answers by the names of the requests."""
    return {name: comparable(response) for name, response in send_requests(client, draw)}


def differences(recorded: Any, actual: Any, path: str = "") -> list[str]:
    """Return the differences of two answers, one line each."""
    if isinstance(recorded, dict) and isinstance(actual, dict):
        lines = [f"{path}: {key!r} is missing" for key in recorded.keys() - actual.keys()]
        lines += [f"{path}: {key!r} is new" for key in actual.keys() - recorded.keys()]
        return lines + [
            line
            for key in recorded.keys() & actual.keys()
            for line in differences(recorded[key], actual[key], f"{path}/{key}")
        ]
    if isinstance(recorded, list) and isinstance(actual, list) and len(recorded) == len(actual):
        return [
            line
            for i, pair in enumerate(zip(recorded, actual, strict=True))
            for line in differences(*pair, f"{path}/{i}")
        ]
    if isinstance(recorded, float) and isinstance(actual, int | float):
        equal = actual == pytest.approx(recorded, rel=2e-2, abs=2e-3)
    else:
        equal = actual == recorded
    return [] if equal else [f"{path}: recorded {recorded!r}, now {actual!r}"]


def test_answers_equal_the_recorded_ones(client: TestClient, draw: Callable[..., bytes]) -> None:
    actual = json.loads(json.dumps(record(client, draw)))
    if os.environ.get("RECORD"):
        RECORDED.write_text(json.dumps(actual, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert list(recorded) == list(actual)
    assert differences(recorded, actual) == []
