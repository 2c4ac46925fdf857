"""The same requests get the same answers: a conversation with the service, recorded and compared.

``RECORD=1 pytest tests/app/test_recorded.py`` writes it anew to ``recorded.json`` beside this file; do so only for a
change that callers are meant to see. Ids, times and prose are left out; numbers may differ in the third decimal.
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
PROSE = {"detail", "title", "instance"}
"""Fields of an error that are for people, and may be worded better."""
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


def conversation(client: TestClient, draw: Callable[..., bytes]) -> Iterator[tuple[str, Any]]:  # noqa: PLR0915 - one conversation
    """Send every request of the conversation; yield its name and the answer."""

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
    paper = blank.getvalue()
    yield "root", client.get("/", follow_redirects=False)
    yield "livez", client.get("/livez")
    yield "readyz", client.get("/readyz")
    yield "model", client.get("/model")
    first = enrol("anna", *(draw(1, n) for n in range(4)))
    yield "enrol four", first
    yield "enrol a fifth", enrol("anna", draw(1, 4))
    yield "enrol the same again", enrol("anna", draw(1, 4))
    yield "enrol another", enrol("bert", draw(2, 0), headers={"Idempotency-Key": "k1"})
    yield "enrol another, repeated", enrol("bert", draw(2, 0), headers={"Idempotency-Key": "k1"})
    yield "enrol otherwise under the key", enrol("bert", draw(2, 1), headers={"Idempotency-Key": "k1"})
    yield "enrol a blank page", enrol("anna", paper)
    yield "enrol what is no image", enrol("anna", b"no image")
    yield "enrol nothing", client.post("/signers/anna/references")
    yield "enrol under a bad id", enrol("an%00na", draw(1, 5))
    yield "genuine", verify("anna", draw(1, 6))
    yield "forged", verify("anna", draw(1, 0, 3))
    yield "another's", verify("anna", draw(3, 0))
    yield "a copy", verify("anna", draw(1, 0))
    yield "at another rate", verify("anna", draw(1, 6), {"target_far": "0.3"})
    yield "at a rate too small", verify("anna", draw(1, 6), {"target_far": "0.0000001"})
    yield "at no rate", verify("anna", draw(1, 6), {"target_far": "much"})
    kept = verify("anna", draw(1, 7), headers={"Idempotency-Key": "k2"})
    yield "kept", kept
    yield "kept, repeated", verify("anna", draw(1, 7), headers={"Idempotency-Key": "k2"})
    yield "of one reference", verify("bert", draw(2, 3))
    yield "of a stranger", verify("nobody", draw(2, 3))
    yield "without an image", client.post("/verify", data={"signer_id": "anna"})
    yield (
        "as JSON",
        client.post(
            "/verify", json={"signer_id": "anna", "signature": base64.b64encode(draw(1, 6)).decode()}
        ),
    )
    yield "broken JSON", client.post("/verify", content=b"{", headers={"Content-Type": "application/json"})
    yield "as text", client.post("/verify", content=b"x", headers={"Content-Type": "text/plain"})
    yield (
        "compare",
        client.post(
            "/compare",
            files=[("signature", file(draw(1, 6))), *(("references", file(draw(1, n))) for n in range(3))],
        ),
    )
    yield "identify", client.post("/identify", files={"signature": file(draw(2, 5))})
    yield "signers", client.get("/signers")
    yield "one signer", client.get("/signers/anna")
    yield "a page of one", client.get("/signers?limit=1")
    yield "a bad cursor", client.get("/signers?cursor=xyz")
    yield "policy", client.patch("/signers/anna", json={"target_far": 0.2})
    yield "a bad policy", client.patch("/signers/anna", json={"target_far": 2})
    yield "references", client.get("/signers/anna/references")
    reference = first.json()["references"][0]["reference_id"]
    yield "one reference", client.get(f"/signers/anna/references/{reference}")
    yield "its image", client.get(f"/signers/anna/references/{reference}/image")
    verification = kept.json()["verification_id"]
    yield "verifications", client.get("/verifications?signer_id=anna&limit=2")
    yield "one verification", client.get(f"/verifications/{verification}")
    yield "an image that is not kept", client.get(f"/verifications/{verification}/image")
    yield (
        "outcome",
        client.put(f"/verifications/{verification}/outcome", json={"outcome": "genuine", "note": "called"}),
    )
    yield "a bad outcome", client.put(f"/verifications/{verification}/outcome", json={"outcome": "perhaps"})
    yield "delete a reference", client.delete(f"/signers/anna/references/{reference}")
    yield "delete it again", client.delete(f"/signers/anna/references/{reference}")
    yield "erase", client.delete("/signers/anna")
    yield "erased", client.get("/signers/anna")
    yield "audit", client.get("/audit?limit=100")
    yield "no such path", client.get("/nothing")
    yield "no such method", client.put("/verify")
    yield "a wrong key", client.get("/model", headers={"X-API-Key": "wrong"})
    yield "openapi", client.get("/openapi.json")


def told(answer: Any) -> Answer:
    """What a caller can build on in an answer."""
    body: Any
    content = answer.headers.get("content-type", "").partition(";")[0]
    if content.endswith("json"):
        body = answer.json()
        if "openapi" in body:
            body = {path: sorted(methods) for path, methods in body["paths"].items()}
    elif content.startswith("image/"):
        body = len(answer.content)
    else:
        body = None
    headers = {name: answer.headers[name] for name in HEADERS if name in answer.headers}
    return {"status": answer.status_code, "headers": headers, "body": masked(body)}


def masked(value: Any, key: str = "") -> Any:
    """Ids, digests, times and prose left out, and what is listed by random ids put into another order."""
    if key in PROSE or (key in {"calibration", "id", "next_cursor"} and isinstance(value, str)):
        return "…"
    if isinstance(value, dict):
        return {name: masked(item, name) for name, item in value.items()}
    if key == "among_references":
        return sorted(distance for row in value for distance in row)
    if isinstance(value, list):
        items = [masked(item) for item in value]
        # References are listed by their ids, which are random within a millisecond.
        return sorted(items, key=json.dumps) if key.endswith("references") else items
    if isinstance(value, str):
        for pattern in (_ID, _TIME, _DIGEST):
            value = pattern.sub("…", value)
    return value


def record(client: TestClient, draw: Callable[..., bytes]) -> dict[str, Answer]:
    """The whole conversation."""
    return {name: told(answer) for name, answer in conversation(client, draw)}


def differences(was: Any, now: Any, at: str = "") -> list[str]:
    """Where two answers differ, one line each."""
    if isinstance(was, dict) and isinstance(now, dict):
        lines = [f"{at}: {key!r} is gone" for key in was.keys() - now.keys()]
        lines += [f"{at}: {key!r} is new" for key in now.keys() - was.keys()]
        return lines + [
            line for key in was.keys() & now.keys() for line in differences(was[key], now[key], f"{at}/{key}")
        ]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [
            line
            for i, pair in enumerate(zip(was, now, strict=True))
            for line in differences(*pair, f"{at}/{i}")
        ]
    if isinstance(was, float) and isinstance(now, int | float):
        return [] if now == pytest.approx(was, rel=2e-2, abs=2e-3) else [f"{at}: {was} is {now} now"]
    return [] if was == now else [f"{at}: {was!r} is {now!r} now"]


def test_the_same_requests_get_the_same_answers(client: TestClient, draw: Callable[..., bytes]) -> None:
    now = json.loads(json.dumps(record(client, draw)))
    if os.environ.get("RECORD"):
        RECORDED.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    was = json.loads(RECORDED.read_text(encoding="utf-8"))
    assert list(was) == list(now)
    assert differences(was, now) == []
