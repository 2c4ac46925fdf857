"""The log: one JSON object a line, the request's id on each, and nothing in it that must not be there."""

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
    """What was logged since the last call; every line must be an object of its own."""
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_every_request_is_a_line_with_the_id_of_its_answer_and_of_its_audit_entry(
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


def test_a_request_id_is_taken_over_when_it_is_sound_and_made_when_it_is_not(client: TestClient) -> None:
    assert client.get("/livez", headers={"X-Request-ID": "cheque-4711.a_b"}).headers["X-Request-ID"] == (
        "cheque-4711.a_b"
    )
    for bad in ("", "x" * 65, "a b", "a\tb", 'a"b', "a{b}", "ä".encode("latin-1").decode("latin-1"), "<b>"):
        made = client.get("/livez", headers={"X-Request-ID": bad.encode("latin-1")}).headers["X-Request-ID"]
        assert re.fullmatch(r"[0-9a-f]{32}", made), bad
    refused = client.get("/signers/nobody", headers={"X-Request-ID": "my-own"})
    assert refused.json()["request_id"] == "my-own"
    assert refused.json()["instance"] == "urn:request:my-own"


@pytest.mark.parametrize("form", ["json", "text"])
def test_nobody_writes_lines_of_their_own_into_the_log(
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
    assert "forged" in err, "it is told, but as a part of a line"
    for line in err.split("\n"):
        if form == "json":
            assert not line or json.loads(line)["message"] != "forged"
        else:
            assert not line.startswith("{")
            assert not re.search("[\r\u2028\x85]", line)


def test_no_key_no_image_no_template_and_no_name_is_logged_whatever_goes_wrong(
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
        raise RuntimeError(f"no luck with {text}")

    monkeypatch.setattr(InferenceQueue, "embed", fails)
    assert enrol(client, "b", images[3], headers=key).status_code == 500
    monkeypatch.undo()
    from sqlalchemy import insert  # noqa: PLC0415

    from app.store import references  # noqa: PLC0415
    from app.store.tables import ImageRow  # noqa: PLC0415

    def add(session: Any, *_: object) -> None:  # the database refuses, with the image among the values
        session.execute(insert(ImageRow).values(reference_id=None, data=images[3]))

    monkeypatch.setattr(references, "add", add)
    assert enrol(client, "b", images[3], headers=key).status_code >= 500
    client.delete("/signers/anna.karenina", headers=key)
    told = capfd.readouterr().err
    assert len(told.splitlines()) > 8
    assert text not in told
    assert text[3:20] not in told
    assert "cs_***" in told, "the failure that named it was told"
    assert "karenina" not in told
    for image in images:
        for part in (
            repr(image[100:130])[2:-1],
            image[100:130].hex(),
            base64.b64encode(image[99:129]).decode(),
        ):
            assert part not in told
    assert not re.search(r"(-?\d+\.\d+,\s*){8,}", told)
    assert not re.search(r"(\\\\x[0-9a-f]{2}){8,}", told)


def test_a_refused_key_is_told_to_the_operator_with_its_reason(
    serve: Serve, commands: Commands, capfd: Capture
) -> None:
    gone = commands.key("gone", "read")
    commands.run("keys", "revoke", "gone")
    configure_logging("warning", "json")
    client = serve(key_refresh_s=0.05)
    capfd.readouterr()
    client.get("/signers", headers=gone)
    client.get("/signers", headers={"X-API-Key": "cs_guess"})
    told = [line for line in lines(capfd) if line["message"] == "key refused"]
    assert [(line["reason"], line.get("key")) for line in told] == [("revoked", "gone"), ("unknown", None)]
    assert all(line["client"] == "127.0.0.1" and line["request_id"] for line in told)
