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
from app.observability.logs import configure_logging
from tests.app.keyed import Commands, Draw, Serve
from tests.app.test_api import enrol, verify

pytestmark = pytest.mark.usefixtures("restored_logging")
Capture = pytest.CaptureFixture[str]


def lines(capfd: Capture) -> list[dict[str, Any]]:
    """Return the lines logged since the last call; each must be a JSON object."""
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_log_line_of_a_request_has_the_id_of_its_answer_and_audit_entry(
    serve: Serve, commands: Commands, draw: Draw, capfd: Capture
) -> None:
    key = commands.key("teller", "admin")
    configure_logging("info", "json")
    client = serve()
    capfd.readouterr()
    response = enrol(client, "anna", draw(1, 0), headers=key)
    (line,) = [line for line in lines(capfd) if line["logger"] == "countersign.access"]
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
    serve: Serve, draw: Draw, capfd: Capture, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging("info", form)
    client = serve()
    capfd.readouterr()
    forged = '{"time": "2026", "level": "info", "logger": "countersign.access", "message": "forged"}'

    async def fails(*_: object) -> None:
        raise RuntimeError(f"x\n{forged}\r\n{forged}\u2028{forged}\x1b[2J")

    monkeypatch.setattr(InferenceQueue, "embed", fails)
    name = f"scan\n{forged}\r.png"
    client.post("/compare", files=[("references", (name, b"none")), ("signature", (name, b"none"))])
    client.get("/signers/" + "a%0A" + forged.replace('"', "%22").replace(" ", "%20"))
    assert enrol(client, "a", draw(1, 0)).status_code == 500
    logging.getLogger("x").error("text %s", f"\n{forged}\x1b[2J\x85")
    err = capfd.readouterr().err
    assert "\x1b" not in err
    assert "forged" in err, "it is logged, but not as a separate line"
    for line in err.split("\n"):
        if form == "json":
            assert not line or json.loads(line)["message"] != "forged"
        else:
            assert not line.startswith("{")
            assert not re.search("[\r\u2028\x85]", line)


def test_keys_images_templates_and_signer_ids_are_never_logged(
    serve: Serve, commands: Commands, draw: Draw, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = commands.key("teller", "admin")
    text = key["X-API-Key"]
    configure_logging("debug", "json")
    client = serve()
    capfd.readouterr()
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
    log = capfd.readouterr().err
    assert len(log.splitlines()) > 8
    assert text not in log
    assert text[3:20] not in log
    assert "cs_***" in log, "the exception with the key was logged"
    assert "karenina" not in log
    for image in images:
        for part in (
            repr(image[100:130])[2:-1],
            image[100:130].hex(),
            base64.b64encode(image[99:129]).decode(),
        ):
            assert part not in log
    assert not re.search(r"(-?\d+\.\d+,\s*){8,}", log)
    assert not re.search(r"(\\\\x[0-9a-f]{2}){8,}", log)


def test_refused_key_is_logged_with_its_reason(serve: Serve, commands: Commands, capfd: Capture) -> None:
    revoked = commands.key("former", "read")
    commands.run("keys", "revoke", "former")
    configure_logging("warning", "json")
    client = serve(key_refresh_s=0.05)
    capfd.readouterr()
    client.get("/signers", headers=revoked)
    client.get("/signers", headers={"X-API-Key": "cs_guess"})
    refusals = [line for line in lines(capfd) if line["message"] == "key refused"]
    assert [(line["reason"], line.get("key")) for line in refusals] == [
        ("revoked", "former"),
        ("unknown", None),
    ]
    assert all(line["client"] == "127.0.0.1" and line["request_id"] for line in refusals)
