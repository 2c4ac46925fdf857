"""The OWASP API Security Top 10 of 2023, line by line; each test is named after its line.

Where a line cannot apply its test says why, and holds the service to the reason.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.domain.api_keys import new_text
from app.http.authentication import OPEN, OPEN_FOLDERS
from tests.app.http.test_problems import bomb
from tests.app.keyed import Commands, Draw, Serve
from tests.app.test_api import enrol, verify

SCOPE_OF = {
    ("POST", "/verify"): "verify",
    ("POST", "/compare"): "verify",
    ("POST", "/identify"): "verify",
    ("POST", "/extract"): "verify",
    ("POST", "/signers/{signer_id}/references"): "enrol",
    ("GET", "/signers"): "read",
    ("GET", "/signers/{signer_id}"): "read",
    ("PATCH", "/signers/{signer_id}"): "enrol",
    ("DELETE", "/signers/{signer_id}"): "enrol",
    ("GET", "/signers/{signer_id}/quality"): "read",
    ("GET", "/signers/{signer_id}/duplicates"): "read",
    ("GET", "/signers/{signer_id}/forgeries"): "read",
    ("GET", "/signers/{signer_id}/proposals"): "read",
    ("DELETE", "/signers/{signer_id}/proposals/{verification_id}"): "enrol",
    ("POST", "/verifications/{verification_id}/reference"): "enrol",
    ("DELETE", "/signers/{signer_id}/forgeries/{verification_id}"): "admin",
    ("GET", "/signers/{signer_id}/references"): "read",
    ("GET", "/signers/{signer_id}/references/{reference_id}"): "read",
    ("DELETE", "/signers/{signer_id}/references/{reference_id}"): "enrol",
    ("GET", "/signers/{signer_id}/references/{reference_id}/image"): "read",
    ("GET", "/verifications"): "read",
    ("GET", "/verifications/{verification_id}"): "read",
    ("GET", "/verifications/{verification_id}/image"): "read",
    ("GET", "/verifications/{verification_id}/differences"): "read",
    ("GET", "/verifications/{verification_id}/differences/{reference_id}"): "read",
    ("GET", "/verifications/{verification_id}/report"): "read",
    ("PUT", "/verifications/{verification_id}/outcome"): "verify",
    ("GET", "/cases"): "read",
    ("POST", "/cases/next"): "verify",
    ("GET", "/cases/{case_id}"): "read",
    ("GET", "/cases/{case_id}/pictures"): "read",
    ("POST", "/cases/{case_id}/claim"): "verify",
    ("POST", "/cases/{case_id}/release"): "verify",
    ("POST", "/cases/{case_id}/decision"): "verify",
    ("POST", "/cases/{case_id}/undo"): "verify",
    ("GET", "/accounts"): "read",
    ("GET", "/accounts/{account_id}"): "read",
    ("PUT", "/accounts/{account_id}"): "enrol",
    ("DELETE", "/accounts/{account_id}"): "enrol",
    ("GET", "/accounts/{account_id}/versions"): "read",
    ("GET", "/accounts/{account_id}/versions/{version}"): "read",
    ("POST", "/accounts/{account_id}/verify"): "verify",
    ("GET", "/accounts/{account_id}/verifications"): "read",
    ("GET", "/accounts/{account_id}/verifications/{account_verification_id}"): "read",
    ("PUT", "/accounts/{account_id}/verifications/{account_verification_id}/outcome"): "verify",
    ("GET", "/model"): "read",
    ("GET", "/audit"): "admin",
    ("GET", "/statistics"): "read",
    ("GET", "/metrics"): "read",
}
DESK_PAGES = {  # they need the session of a clerk: tests/app/desk
    "/desk",
    "/desk/sign-in",
    "/desk/sign-out",
    "/desk/next",
    "/desk/cases/{case_id}",
    "/desk/cases/{case_id}/page.png",
    "/desk/cases/{case_id}/record",
    "/desk/dashboard",
    "/desk/enrol",
    "/desk/enrol/page",
    "/desk/accounts",
    "/desk/accounts/{account_id}",
    "/desk/new-account",
    "/desk/signers",
    "/desk/signers/{signer_id}",
    "/desk/signers/{signer_id}/erase",
    "/desk/signers/{signer_id}/references/{reference_id}.png",
    "/desk/signers/{signer_id}/references/{reference_id}/erase",
    "/desk/signers/{signer_id}/forgeries/{verification_id}/withdraw",
    *(f"/desk/signers/{{signer_id}}/proposals/{{verification_id}}/{form}" for form in ("accept", "decline")),
    "/desk/verifications/{verification_id}.png",
    "/desk/cases/{case_id}/differences",
    "/desk/cases/{case_id}/report",
    *(f"/desk/cases/{{case_id}}/{form}" for form in ("claim", "skip", "decision", "undo")),
}
FREE = {("GET", path) for path in ("/livez", "/readyz", "/problems", "/problems/{code}")}


def body_of(method: str, path: str, draw: Draw) -> dict[str, Any]:
    """What makes a call well formed."""
    image = ("q.png", draw(1, 5))
    bodies: dict[str, dict[str, Any]] = {
        "POST /compare": {"files": [("references", ("r.png", draw(1, 0))), ("signature", image)]},
        "POST /verify": {"data": {"signer_id": "a"}, "files": {"signature": image}},
        "POST /identify": {"data": {"signer_ids": ["a"]}, "files": {"signature": image}},
        "POST /extract": {"files": {"document": image}},
        "POST /verifications/{verification_id}/reference": {},
        "POST /accounts/{account_id}/verify": {"data": {"amount": "1"}, "files": {"signatures": image}},
        "POST /cases/next": {"json": {}},
        "POST /cases/{case_id}/claim": {"json": {}},
        "POST /cases/{case_id}/release": {"json": {}},
        "POST /cases/{case_id}/decision": {"json": {"decision": "accept", "reason": "matches"}},
        "POST /cases/{case_id}/undo": {"json": {}},
        "PUT /accounts/{account_id}": {
            "json": {"signatories": [{"signer_id": "a"}], "bands": [{"rules": [{"signatures": 1}]}]}
        },
    }
    others: dict[str, dict[str, Any]] = {
        "POST": {"files": [("files", image)]},
        "PUT": {"json": {"outcome": "genuine"}},
        "PATCH": {"json": {"fixed_threshold": 0.5}},
    }
    return bodies.get(f"{method} {path}", others.get(method, {}))


def calls(client: TestClient) -> list[tuple[str, str]]:
    """Every call of the document, as (method, path)."""
    document = client.get("/openapi.json").json()
    return [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]


def address(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: {"version": "1", "signer_id": "a"}.get(name[1], "x"), path)


def test_api1_broken_object_level_authorization(serve: Serve, commands: Commands, draw: Draw) -> None:
    """Whoever knows another tenant's ids gets nowhere with them; `test_tenants` tries every call."""
    north, south = (commands.key("clerk", "admin", tenant=name) for name in ("north", "south"))
    client = serve()
    reference = enrol(client, "a", draw(1, 0), headers=north).json()["references"][0]["reference_id"]
    verification = verify(client, "a", draw(1, 1), headers=north).json()["verification_id"]
    paths = [
        "/signers/a",
        "/signers/a/references",
        f"/signers/a/references/{reference}",
        f"/signers/a/references/{reference}/image",
        f"/verifications/{verification}",
        f"/verifications/{verification}/image",
        f"/verifications/{verification}/differences",
        f"/verifications/{verification}/differences/{reference}",
        f"/verifications/{verification}/report",
        f"/cases/{verification}",
        f"/cases/{verification}/pictures",
    ]
    for path in paths:
        assert client.get(path, headers=south).status_code == 404, path
    client.delete("/signers/a", headers=south)
    assert client.get("/signers/a", headers=north).status_code == 200


def test_api2_broken_authentication(serve: Serve, commands: Commands, draw: Draw) -> None:
    """No call but the probes works without a key, with a wrong, a revoked or a misplaced one; guessing is slowed."""
    key = commands.key("teller", "admin")
    gone = commands.key("gone", "admin")
    commands.run("keys", "revoke", "gone")
    client = serve(failed_key_limit="", key_refresh_s=0.05)
    text = key["X-API-Key"]
    for method, path in calls(client):
        if (method, path) in FREE:
            continue
        for headers in (
            {},
            gone,
            {"X-API-Key": new_text()},
            {"X-API-Key": text.lower()},
            {"X-API-Key": f"{text} "[::-1]},
            {"Authorization": f"Basic {text}"},
            {"Authorization": f"Bearer {new_text()}"},
            {"Cookie": f"X-API-Key={text}"},
        ):
            response = client.request(
                method,
                address(path),
                headers=headers,
                params={"X-API-Key": text},
                **body_of(method, path, draw),
            )
            assert response.status_code == 401, (method, path, headers)
    slowed = serve(failed_key_limit="5/minute")
    answers = [slowed.get("/model", headers={"X-API-Key": new_text()}).status_code for _ in range(7)]
    assert answers == [401] * 5 + [429] * 2


def test_api3_broken_object_property_level_authorization(
    serve: Serve, commands: Commands, draw: Draw
) -> None:
    """What a caller may not set is refused, not ignored; what a caller may not see is in no answer."""
    key = commands.key("teller", "admin")
    client = serve()
    enrol(client, "a", draw(1, 0), headers=key)
    told = verify(client, "a", draw(1, 1), headers=key).json()
    for more in ({"tenant_id": "north"}, {"signer_id": "b"}, {"references": 9}, {"key": "x"}):
        response = client.patch("/signers/a", json={"fixed_threshold": 0.5} | more, headers=key)
        assert response.status_code == 400, more
    path = f"/verifications/{told['verification_id']}/outcome"
    for more in ({"decision": "accept"}, {"outcome_at": "2020-01-01T00:00:00Z"}):
        assert client.put(path, json={"outcome": "genuine"} | more, headers=key).status_code == 400, more
    assert client.get("/signers/a", headers=key).json()["fixed_threshold"] is None
    hidden = {"tenant_id", "vector", "template", "templates", "data", "sha256_key", "signer_key", "key"}

    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {name for one in value.values() for name in names(one)}
        return {name for one in value for name in names(one)} if isinstance(value, list) else set()

    mandate: dict[str, Any] = {"signatories": [{"signer_id": "a"}], "bands": [{"rules": [{"signatures": 1}]}]}
    for more in ({"tenant_id": "north"}, {"version": 9}, {"account_key": "x"}):
        assert client.put("/accounts/x", json=mandate | more, headers=key).status_code == 400, more
    assert client.put("/accounts/x", json=mandate, headers=key).status_code == 201
    document: dict[str, Any] = {"data": {"amount": "1"}, "files": {"signatures": draw(1, 1)}}
    assert client.post("/accounts/x/verify", headers=key, **document).status_code == 200
    hidden |= {"account_key", "signer_keys"}
    for where in (
        "/signers",
        "/signers/a",
        "/signers/a/references",
        "/verifications",
        "/cases",
        "/accounts",
        "/accounts/x",
        "/accounts/x/versions",
        "/accounts/x/verifications",
        "/audit",
    ):
        assert not names(client.get(where, headers=key).json()) & hidden, where


def test_api4_unrestricted_resource_consumption(serve: Serve, commands: Commands, draw: Draw) -> None:
    """Everything that costs is bounded: rate, bytes, files, pixels, page sizes; refusals come before the work."""
    key = commands.key("teller", "admin", rate_limit="14/hour")
    client = serve(max_request_bytes=200_000, max_files=2, max_upload_bytes=150_000, key_refresh_s=0.05)
    big = b"x" * 300_000
    assert client.post("/verify", content=big, headers=key).status_code == 413
    assert enrol(client, "a", *(draw(1, n) for n in range(3)), headers=key).status_code == 400
    assert enrol(client, "a", b"\x89PNG\r\n\x1a\n" + b"x" * 160_000, headers=key).status_code == 413
    assert client.get("/signers", params={"limit": 501}, headers=key).status_code == 400
    assert client.get("/audit", params={"limit": 501}, headers=key).status_code == 400
    many = {"signer_ids": [f"s{n}" for n in range(1001)]}
    assert client.post("/identify", data=many, files={"signature": b"x"}, headers=key).status_code == 400
    top = {"top_k": "101"}
    assert client.post("/identify", data=top, files={"signature": b"x"}, headers=key).status_code == 400
    files = [("references", bomb()), ("signature", bomb())]
    assert client.post("/compare", files=files, headers=key).status_code == 413
    answers = [client.get("/signers", headers=key) for _ in range(8)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) > 0

    async def stranger() -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            raise AssertionError("a stranger's upload is refused, not taken in first")

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/verify",
            "query_string": b"",
            "headers": [
                (b"content-type", b"multipart/form-data; boundary=x"),
                (b"content-length", b"199999"),
            ],
            "client": ("203.0.113.9", 1),
            "http_version": "1.1",
        }
        await client.app(scope, receive, send)
        return sent

    assert asyncio.run(stranger())[0]["status"] == 401


def test_api5_broken_function_level_authorization(serve: Serve, commands: Commands, draw: Draw) -> None:
    """Each call asks for its scope, and a scope opens its own calls only; a call that is new must be listed here."""
    keys = {scope: commands.key(scope, scope) for scope in ("enrol", "verify", "read", "admin")}
    client = serve()
    enrol(client, "a", draw(1, 0), headers=keys["admin"])
    listed = calls(client)
    assert {*listed} == {*SCOPE_OF} | FREE
    for method, path in listed:
        if (method, path) in FREE:
            continue
        needed = SCOPE_OF[method, path]
        for scope, key in keys.items():
            response = client.request(
                method, address(path), headers=key, follow_redirects=False, **body_of(method, path, draw)
            )
            allowed = scope in {needed, "admin"}
            assert (response.status_code != 403) == allowed, (method, path, scope, response.text)
    for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"):
        for path in ("/signers", "/audit", "/model", "/verifications/v"):
            answer = client.request(method, path, headers=keys["read"])
            assert answer.status_code in {404, 405}, (method, path)


def test_api6_unrestricted_access_to_sensitive_business_flows(
    serve: Serve, commands: Commands, draw: Draw
) -> None:
    """Trying forgeries until one passes: the flow can be slowed for each key, and leaves a trace for each try."""
    teller = commands.key("teller", "verify", rate_limit="5/hour")
    admin = commands.key("auditor", "admin")
    client = serve()
    enrol(client, "a", draw(1, 0), headers=admin)
    answers = [verify(client, "a", draw(1, n, forger=2), headers=teller).status_code for n in range(1, 8)]
    assert answers == [200] * 5 + [429] * 2
    entries = client.get("/audit", headers=admin, params={"action": "verify"}).json()["entries"]
    assert len(entries) == 5
    assert {entry["actor"] for entry in entries} == {"teller"}
    assert all("distance" in entry["details"] for entry in entries)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Any]]:
    """Notes whoever the process tries to reach, by name or address."""
    reached: list[Any] = []
    connect = socket.socket.connect

    def noting(self: socket.socket, where: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            reached.append(where)
        connect(self, where)

    def resolving(host: Any, *more: Any, **words: Any) -> Any:
        reached.append(host)
        raise socket.gaierror

    monkeypatch.setattr(socket.socket, "connect", noting)
    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    return lambda: reached


def test_api7_server_side_request_forgery(
    client: TestClient, draw: Draw, no_network: Callable[[], list[Any]]
) -> None:
    """No call takes an address to fetch from: images come in the request. Files that hold addresses are not read."""
    document = client.get("/openapi.json").text
    assert '"format":"uri"' not in document
    lures = [
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://169.254.169.254/latest"/></svg>',
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "http://169.254.169.254/">]><a>&b;</a>',
        b"http://169.254.169.254/latest/meta-data",
        b"%!PS-Adobe-3.0 EPSF-3.0\n(http://169.254.169.254/) run",
        b"#EXTM3U\nhttp://169.254.169.254/",
    ]
    for lure in lures:
        assert enrol(client, "a", lure).status_code == 415
    assert enrol(client, "a", draw(1, 0)).status_code == 201
    assert verify(client, "a", draw(1, 1)).status_code == 200
    assert no_network() == []


def test_api8_security_misconfiguration(
    serve: Serve, commands: Commands, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors tell nothing of the inside, headers keep browsers in bounds, no origin is trusted, methods are few."""
    key = commands.key("teller", "admin")
    client = serve()
    page = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for response in (
        client.get("/signers", headers=key | page),
        client.options("/verify", headers=page),
        client.get("/livez", headers=page),
    ):
        assert not [name for name in response.headers if name.startswith("access-control-")]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "server" not in response.headers
        assert "set-cookie" not in response.headers
    for method in ("TRACE", "CONNECT", "PROPFIND"):
        assert client.request(method, "/signers", headers=key).status_code in {404, 405}
    enrol(client, "a", draw(1, 0), headers=key)
    listed = client.get("/signers/a/references", headers=key).json()["references"][0]["reference_id"]
    image = client.get(f"/signers/a/references/{listed}/image", headers=key)
    assert "sandbox" in image.headers["Content-Security-Policy"]
    assert image.headers["Content-Disposition"] == "attachment"

    from app.inference.batching import InferenceQueue  # noqa: PLC0415

    async def fails(*_: object) -> None:
        raise RuntimeError("postgresql://user:password@db.internal/app in /srv/countersign/app.py")

    monkeypatch.setattr(InferenceQueue, "embed", fails)
    told = verify(client, "a", draw(1, 1), headers=key)
    assert told.status_code == 500
    for word in ("password", "internal/", "/srv", "Traceback", "RuntimeError", ".py"):
        assert word not in told.text


def test_api9_improper_inventory_management(client: TestClient) -> None:
    """Every route is in the document or is one of the pages that explain it; nothing is served beside."""
    document = client.get("/openapi.json").json()
    pages = OPEN | {"/docs/oauth2-redirect", *DESK_PAGES}

    def paths(routes: Any, prefix: str = "") -> list[str]:
        found: list[str] = []
        for route in routes:
            if hasattr(route, "path") and not (inner := getattr(route, "routes", None)):
                found.append(prefix + route.path)
            elif inner := getattr(route, "routes", None):
                found += paths(inner, prefix + getattr(route, "path", ""))
        return found

    served = set(paths(client.app.routes))  # type: ignore[attr-defined]
    undocumented = {
        path
        for path in served - set(document["paths"]) - pages
        if not path.startswith(tuple(folder.rstrip("/") for folder in OPEN_FOLDERS))
    }
    assert undocumented == set()
    assert document["info"]["version"]
    for stale in (
        "/v1/verify",
        "/api/verify",
        "/debug",
        "/redoc",
        "/admin",
        "/.env",
        "/static-offline-docs/../app",
    ):
        assert client.get(stale).status_code == 404


def test_api10_unsafe_consumption_of_apis(
    serve: Serve, draw: Draw, no_network: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service asks no other service for anything: it starts and works without a network.

    Its database is its own. Weights are a local file, checked by hash, in a format without code (`safetensors`).
    """
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    client = serve()
    enrol(client, "a", draw(1, 0))
    assert verify(client, "a", draw(1, 1)).status_code == 200
    assert client.post("/identify", files={"signature": draw(1, 2)}).status_code == 200
    assert "http" not in client.get("/docs").text.replace("http://www.w3.org", "").replace(
        "https://fastapi", ""
    )
    assert no_network() == []
