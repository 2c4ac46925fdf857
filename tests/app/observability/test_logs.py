"""The log: one JSON object per line, with the id of the request and without confidential data."""

from __future__ import annotations

import base64
import json
import logging
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.inference.batching import InferenceQueue
from tests.app.keyed import Commands, Draw, Serve
from tests.app.logged import Log
from tests.app.test_api import enrol, verify


def test_log_line_of_a_request_has_the_id_of_its_answer_and_audit_entry(
    serve: Serve, commands: Commands, draw: Draw, log: Log
) -> None:
    key = commands.key("teller", "admin")
    log.configure("info", "json")
    client = serve()
    log.new_text()
    response = enrol(client, "anna", draw(1, 0), headers=key)
    (line,) = [line for line in log.new_lines() if line["logger"] == "countersign.access"]
    entry = client.get("/audit", headers=key, params={"action": "enrol"}).json()["entries"][0]
    assert line["request_id"] == response.headers["X-Request-ID"] == entry["request_id"]
    assert {k: line[k] for k in ("method", "route", "status", "key", "tenant", "client")} == {
        "method": "POST",
        "route": "/signers/{signer_id}/references",
        "status": 201,
        "key": "teller",
        "tenant": "default",
        "client": "127.0.0.1",
    }
    assert line["ms"] > 0


def test_valid_request_id_is_kept_and_invalid_one_is_replaced(client: TestClient) -> None:
    assert client.get("/livez", headers={"X-Request-ID": "cheque-4711.a_b"}).headers["X-Request-ID"] == (
        "cheque-4711.a_b"
    )
    for bad in ("", "x" * 65, "a b", "a\tb", 'a"b', "a{b}", "ä".encode("latin-1").decode("latin-1"), "<b>"):
        answered_id = client.get("/livez", headers={"X-Request-ID": bad.encode("latin-1")}).headers[
            "X-Request-ID"
        ]
        assert re.fullmatch(r"[0-9a-f]{32}", answered_id), bad
    refused = client.get("/signers/nobody", headers={"X-Request-ID": "my-own"})
    assert refused.json()["request_id"] == "my-own"
    assert refused.json()["instance"] == "urn:request:my-own"


@pytest.mark.parametrize("form", ["json", "text"])
def test_request_cannot_inject_lines_into_the_log(
    serve: Serve, draw: Draw, log: Log, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.configure("info", form)
    client = serve()
    log.new_text()
    forged = '{"time": "2026", "level": "info", "logger": "countersign.access", "message": "forged"}'

    async def fails(*_: object) -> None:
        raise RuntimeError(f"x\n{forged}\r\n{forged}\u2028{forged}\x1b[2J")

    monkeypatch.setattr(InferenceQueue, "embed", fails)
    name = f"scan\n{forged}\r.png"
    client.post("/compare", files=[("references", (name, b"none")), ("signature", (name, b"none"))])
    client.get("/signers/" + "a%0A" + forged.replace('"', "%22").replace(" ", "%20"))
    assert enrol(client, "a", draw(1, 0)).status_code == 500
    logging.getLogger("x").error("text %s", f"\n{forged}\x1b[2J\x85")
    err = log.new_text()
    assert "\x1b" not in err
    assert "forged" in err, "it is logged, but not as a separate line"
    for line in err.split("\n"):
        if form == "json":
            assert not line or json.loads(line)["message"] != "forged"
        else:
            assert not line.startswith("{")
            assert not re.search("[\r\u2028\x85]", line)


def test_keys_images_templates_and_signer_ids_are_never_logged(
    serve: Serve, commands: Commands, draw: Draw, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = commands.key("teller", "admin")
    text = key["X-API-Key"]
    log.configure("debug", "json")
    client = serve()
    log.new_text()
    images = [draw(1, n) for n in range(4)]
    assert enrol(client, "anna.karenina", *images[:2], headers=key).status_code == 201
    assert verify(client, "anna.karenina", images[2], headers=key).status_code == 200
    client.post("/identify", files={"signature": images[3]}, headers=key)
    client.get("/signers", headers={"X-API-Key": text[:-1]})
    client.get("/signers", headers={"X-API-Key": text + "x"})
    client.get(f"/signers?X-API-Key={text}", headers=key)
    client.get("/signers/anna.karenina", headers=key)

    async def fails(*_: object) -> None:
        raise RuntimeError(f"failure with {text}")

    monkeypatch.setattr(InferenceQueue, "embed", fails)
    assert enrol(client, "b", images[3], headers=key).status_code == 500
    monkeypatch.undo()
    from sqlalchemy import insert  # noqa: PLC0415

    from app.store import references  # noqa: PLC0415
    from app.store.tables import ImageRow  # noqa: PLC0415

    def add(session: Any, *_: object) -> None:  # the database error has the image among its values
        session.execute(insert(ImageRow).values(reference_id=None, data=images[3]))

    monkeypatch.setattr(references, "add", add)
    assert enrol(client, "b", images[3], headers=key).status_code >= 500
    client.delete("/signers/anna.karenina", headers=key)
    logged = log.new_text()
    assert len(logged.splitlines()) > 8
    assert text not in logged
    assert text[3:20] not in logged
    assert "cs_***" in logged, "the exception with the key was logged"
    assert "karenina" not in logged
    for image in images:
        for part in (
            repr(image[100:130])[2:-1],
            image[100:130].hex(),
            base64.b64encode(image[99:129]).decode(),
        ):
            assert part not in logged
    assert not re.search(r"(-?\d+\.\d+,\s*){8,}", logged)
    assert not re.search(r"(\\\\x[0-9a-f]{2}){8,}", logged)


def test_refused_key_is_logged_with_its_reason(serve: Serve, commands: Commands, log: Log) -> None:
    revoked = commands.key("former", "read")
    commands.run("keys", "revoke", "former")
    log.configure("warning", "json")
    client = serve(key_refresh_s=0.05)
    log.new_text()
    client.get("/signers", headers=revoked)
    client.get("/signers", headers={"X-API-Key": "cs_guess"})
    refusals = [line for line in log.new_lines() if line["message"] == "key refused"]
    assert [(line["reason"], line.get("key")) for line in refusals] == [
        ("revoked", "former"),
        ("unknown", None),
    ]
    assert all(line["client"] == "127.0.0.1" and line["request_id"] for line in refusals)
