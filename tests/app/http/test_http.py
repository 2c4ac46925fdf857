"""HTTP manners: bodies of every kind, ids in any script, keys in either header, other origins, a proxy's prefix."""

from __future__ import annotations

import base64
import socket
import threading
import unicodedata
from collections.abc import Callable
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from app.domain.api_keys import new_text
from app.domain.caller_ids import signer_id
from app.main import create_app
from app.settings import Settings
from tests.app.test_api import enrol, verify

Draw = Callable[..., bytes]
Serve = Callable[..., TestClient]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def refused(response: Any, *words: str) -> None:
    body = response.json()
    assert (response.status_code, body["code"]) == (400, "malformed-request"), body
    for word in words:
        assert word in body["detail"], body


# Bodies


def test_what_must_come_once_and_comes_twice_is_refused_by_name(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(1, 0))
    two = [("signature", draw(1, 1)), ("signature", draw(1, 2))]
    one = {"signature": draw(1, 1)}
    refused(client.post("/verify", data={"signer_id": "a"}, files=two), "'signature' came 2 times")
    refused(client.post("/verify", data={"signer_id": ["a", "b"]}, files=one), "'signer_id' came 2 times")
    refused(
        client.post("/verify", data={"signer_id": "a", "page": ["0", "0"]}, files=one), "'page' came 2 times"
    )
    refused(client.post("/compare", files=[("references", draw(1, 0)), *two]), "'signature' came 2 times")
    refused(client.post("/identify", data={"top_k": ["1", "2"]}, files=one), "'top_k' came 2 times")
    refused(
        client.post("/signers/a/references", data={"page": ["0", "1"]}, files={"files": draw(1, 3)}), "'page'"
    )
    several = client.post("/identify", data={"signer_ids": ["a", "a"]}, files=one)
    assert several.status_code == 200, "a field for several values may come several times"


@pytest.mark.parametrize(
    "send",
    [
        lambda c, image: c.post(
            "/verify", data={"signer_id": "a", "signature": f"data:image/png;base64,{b64(image)}"}
        ),
        lambda c, image: c.post(
            "/verify",
            files={"signer_id": (None, "a"), "signature": (None, f"data:image/png;base64,{b64(image)}")},
        ),
        lambda c, image: c.post("/verify", json={"signer_id": "a", "signature": b64(image)}),
        lambda c, image: c.post(
            "/verify", json={"signer_id": "a", "signature": f"data:image/png;base64,{b64(image)}", "page": 0}
        ),
    ],
    ids=["data URI in a URL-encoded form", "data URI in a multipart form", "JSON", "data URI in JSON"],
)
def test_every_body_gives_the_answer_of_a_file(
    client: TestClient, draw: Draw, send: Callable[[TestClient, bytes], Any]
) -> None:
    enrol(client, "a", draw(1, 0), draw(1, 1))
    told, expected = send(client, draw(1, 2)), verify(client, "a", draw(1, 2))
    assert told.status_code == expected.status_code == 200, told.text
    differing = {"verification_id", "created_at"}
    assert {k: v for k, v in told.json().items() if k not in differing} == {
        k: v for k, v in expected.json().items() if k not in differing
    }


def test_json_enrols_compares_and_identifies(client: TestClient, draw: Draw) -> None:
    images = [b64(draw(1, n)) for n in range(4)]
    first = client.post("/signers/a/references", json={"files": images[:2]}, headers={"Idempotency-Key": "k"})
    again = client.post("/signers/a/references", json={"files": images[:2]}, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.json()) == (201, first.json())
    as_form = client.post(
        "/signers/a/references",
        files=[("files", draw(1, 0)), ("files", draw(1, 1))],
        headers={"Idempotency-Key": "k"},
    )
    assert as_form.json() == first.json(), "the same request in another form"
    compared = client.post("/compare", json={"references": images[:2], "signature": images[2]})
    assert (compared.status_code, len(compared.json()["references"])) == (200, 2)
    found = client.post("/identify", json={"signature": images[3], "top_k": 1, "signer_ids": ["a"]})
    assert [one["signer_id"] for one in found.json()["candidates"]] == ["a"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"signer_id": "a", "signature": "not base64!"}, ["'signature'", "base64"]),
        (
            {"signer_id": "a", "signature": "data:image/png,raw"},
            ["'signature'", "data:image/png;base64,", "--form-string"],
        ),
        ({"signer_id": "a", "signature": ["aGk="]}, ["'signature'", "single value"]),
        ({"signer_id": "a", "signature": 7}, ["'signature'", "base64"]),
        ({"signer_id": {"a": 1}, "signature": "aGk="}, ["'signer_id'", "string or a number"]),
        ({"signer_id": "a"}, ["signature", "missing"]),
        ([], ["JSON object"]),
    ],
)
def test_json_that_is_not_taken_says_why(client: TestClient, content: object, words: list[str]) -> None:
    refused(client.post("/verify", json=content), *words)


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("application/json", b"{", ["not JSON"]),
        ("application/json", b"[" * 100_000, ["nested too deeply"]),
        ("application/json", b'{"signer_id": "a", "amount": NaN}', ["not JSON", "NaN"]),
        ("application/json", b'{"signer_id": "a", "amount": -Infinity}', ["not JSON", "-Infinity"]),
        ("application/json", b'{"signer_id": "a", "signature": 1.5}', ["'signature'", "as a string"]),
        ("application/json", b'{"signer_id": "a", "signer_id": "b"}', ["'signer_id'", "several times"]),
        ("text/plain", b"x", ["text/plain", "multipart/form-data", "application/json"]),
        ("", b"x", ["no content type"]),
        ("multipart/form-data", b"x", ["boundary"]),
    ],
)
def test_a_body_of_another_kind_is_refused_with_what_to_send(
    client: TestClient, kind: str, body: bytes, words: list[str]
) -> None:
    refused(client.post("/verify", content=body, headers={"content-type": kind} if kind else {}), *words)


def test_a_number_in_json_has_the_digits_that_were_sent(client: TestClient, draw: Draw) -> None:
    enrol(client, "a", draw(1, 0))
    image = b64(draw(1, 1))

    def send(amount: str) -> Any:
        body = f'{{"signer_id": "a", "signature": "{image}", "amount": {amount}}}'
        return client.post("/verify", content=body, headers={"content-type": "application/json"})

    for amount in ("99999999999999.9999", "2500.5", "999999999999999"):
        assert send(amount).json()["amount"] == amount
    for amount in ("0.00001", "1e3", "1.23456789012345678901", "1000000000000000", "1e999999999999999999999"):
        refused(send(amount), "amount: send an amount such as")


def test_images_in_json_have_the_limits_of_files(serve: Serve, draw: Draw) -> None:
    client = serve(max_upload_bytes=1000)
    answer = client.post(
        "/verify", json={"signer_id": "a", "signature": b64(b"\x89PNG\r\n\x1a\n" + bytes(2000))}
    )
    enrolled = client.post("/signers/a/references", json={"files": [b64(b"\x89PNG\r\n\x1a\n" + bytes(2000))]})
    assert answer.status_code in {404, 413}
    assert (enrolled.status_code, enrolled.json()["code"]) == (413, "upload-too-large")


@pytest.mark.parametrize(
    "disposition",
    ['form-data; name="signature"', "form-data; name=\"signature\"; filename*=UTF-8''signature.png"],
    ids=["no file name", "only filename*"],
)
def test_a_file_part_without_a_file_name_is_told_what_to_send(
    client: TestClient, draw: Draw, disposition: str
) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="signer_id"\r\n\r\na\r\n--x\r\n'
        + f"Content-Disposition: {disposition}\r\nContent-Type: image/png\r\n\r\n".encode()
        + draw(1, 0)
        + b"\r\n--x--\r\n"
    )
    headers = {"content-type": "multipart/form-data; boundary=x"}
    refused(client.post("/verify", content=body, headers=headers), "'signature'", 'filename="signature.png"')


def test_the_document_describes_both_kinds_of_body(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path in ("/verify", "/compare", "/identify", "/signers/{signer_id}/references"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert set(content) == {"multipart/form-data", "application/json"}
    example = document["paths"]["/compare"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert client.post("/compare", json=example).status_code == 200


# Ids of signers

IDS = [
    "Änne Müller",
    "山田太郎",
    "c/o 17",
    "100% Müller",
    "a%2Fb",
    "नाम",
    "می‌خواهم",
    "a?b#c",
    "x" * 128,
    ". "[0] + "a",
]


@pytest.mark.both_databases
@pytest.mark.parametrize("name", IDS)
def test_an_id_of_any_printable_characters_works_everywhere(
    client: TestClient, draw: Draw, name: str
) -> None:
    address = f"/signers/{quote(name, safe='')}"
    made = client.post(f"{address}/references", files={"files": draw(1, 0)})
    assert made.status_code == 201, made.text
    reference = made.json()["references"][0]["reference_id"]
    assert client.get(address).json()["signer_id"] == unicodedata.normalize("NFC", name)
    assert client.get(f"{address}/references/{reference}").status_code == 200
    assert client.get(f"{address}/references/{reference}/image").content == draw(1, 0)
    assert client.patch(address, json={"target_far": 0.1}).status_code == 200
    verified = verify(client, name, draw(1, 1))
    assert verified.json()["signer_id"] == unicodedata.normalize("NFC", name)
    listed = client.get("/verifications", params={"signer_id": name}).json()["verifications"]
    assert [one["verification_id"] for one in listed] == [verified.json()["verification_id"]]
    assert len(client.get("/signers", params={"limit": 1}).json()["signers"]) == 1
    assert client.delete(f"{address}/references/{reference}").status_code == 204
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404


def test_the_same_name_in_two_normal_forms_is_one_signer(client: TestClient, draw: Draw) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    assert composed != decomposed
    enrol(client, quote(composed), draw(1, 0))
    assert client.get(f"/signers/{quote(decomposed)}").json()["signer_id"] == composed
    assert verify(client, decomposed, draw(1, 1)).status_code == 200


def test_a_listing_goes_on_after_an_id_that_joins_letters(client: TestClient, draw: Draw) -> None:
    for name in ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u0632"):
        assert enrol(client, quote(name), draw(1, 0)).status_code == 201
    first = client.get("/signers", params={"limit": 1}).json()
    rest = client.get("/signers", params={"limit": 1, "cursor": first["next_cursor"]})
    assert rest.status_code == 200, rest.text
    assert len({page["signers"][0]["signer_id"] for page in (first, rest.json())}) == 2


def test_a_form_has_the_framework_s_bound_on_fields(client: TestClient, draw: Draw) -> None:
    many = {"signer_ids": ["a"] * 1001}
    refused(client.post("/identify", data=many, files={"signature": draw(1, 0)}), "Too many fields")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a\x00b", "U+0000"),
        ("a\nb", "control character"),
        ("a\u00a0b", "U+00A0"),
        ("\u202eevil", "U+202E"),
        (" a", "space"),
        ("..", "URL"),
        ("x" * 129, "128"),
        ("\ue000", "private-use"),
        ("M\ufffdller", "another encoding"),
    ],
)
def test_an_id_that_is_refused_says_why(client: TestClient, draw: Draw, name: str, word: str) -> None:
    refused(verify(client, name, draw(1, 0)), "signer_id", word)


def test_paths_and_queries_that_are_not_utf8_are_refused(client: TestClient, draw: Draw) -> None:
    # As bytes of Latin-1, König and Känig would both be decoded to K\ufffdnig.
    refused(client.post("/signers/K%F6nig/references", files={"files": draw(1, 0)}), "UTF-8")
    assert enrol(client, "K%C3%B6nig", draw(1, 0)).status_code == 201
    refused(client.delete("/signers/K%E4nig"), "UTF-8")
    refused(client.get("/verifications?signer_id=K%F6nig"), "UTF-8")
    assert client.get("/signers/K%C3%B6nig").json()["signer_id"] == "König"


@pytest.mark.parametrize("as_json", [False, True])
def test_an_unknown_field_is_refused(client: TestClient, draw: Draw, as_json: bool) -> None:
    enrol(client, "a", draw(1, 0))
    fields = {"signer_id": "a", "regoin": "1,1,5,5"}
    answer = (
        client.post("/verify", json={**fields, "signature": b64(draw(1, 1))})
        if as_json
        else client.post("/verify", data=fields, files={"signature": draw(1, 1)})
    )
    refused(answer, "regoin", "region")


@given(st.text(max_size=140))
def test_an_accepted_id_stays_as_it_is(name: str) -> None:
    try:
        accepted = signer_id(name)
    except PydanticCustomError:
        return
    assert signer_id(accepted) == accepted
    assert 1 <= len(accepted) <= 128
    assert accepted == accepted.strip()


# Keys


@pytest.fixture
def key() -> str:
    return new_text()


def test_a_key_may_come_in_the_standard_header(serve: Serve, key: str) -> None:
    client = serve(bootstrap_key=SecretStr(key))
    own, bearer = {"X-API-Key": key}, {"Authorization": f"Bearer {key}"}
    for headers in (own, bearer, own | bearer, {"Authorization": f"bearer  {key}"}):
        assert client.get("/signers", headers=headers).status_code == 200
    for headers in (
        {},
        {"Authorization": f"Basic {key}"},
        {"Authorization": "Bearer wrong"},
        own | {"Authorization": "Bearer wrong"},
        {"X-API-Key": "wrong"} | bearer,
    ):
        answer = client.get("/signers", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    schemes = client.get("/openapi.json").json()["components"]["securitySchemes"].values()
    assert {scheme["type"] for scheme in schemes} == {"apiKey", "http"}


@pytest.mark.parametrize("headers", [{"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}])
def test_a_wrong_key_is_refused_while_there_is_none(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.get("/signers", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert client.get("/signers").status_code == 200


def test_http_1_0_is_served_on_this_machine(settings: Settings) -> None:
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]

    def ask(more: str) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(f"GET /signers HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{more}\r\n".encode())
            return connection.makefile("rb").readline()

    assert b" 200 " in ask("User-Agent: ab\r\n")
    assert b" 403 " in ask("Connection: close\r\n"), "as nginx sends it by default"
    server.should_exit = True
    thread.join(10)


# Other origins

PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
PAGE = "https://review.bank.example"


def test_pages_of_other_origins_are_kept_out_unless_they_are_named(serve: Serve, key: str) -> None:
    for closed in (serve(bootstrap_key=SecretStr(key)), serve()):
        for path in ("/verify", "/nowhere"):
            answer = closed.options(path, headers=PREFLIGHT | {"Origin": PAGE})
            assert "access-control-allow-origin" not in answer.headers
            assert answer.headers["content-type"] == "application/problem+json"
            assert (answer.status_code, answer.json()["code"]) == (403, "cors-refused")
            assert "CORS is off for this service" in answer.json()["detail"]
            assert "COUNTERSIGN_CORS_ORIGINS" in answer.json()["detail"]
        no_preflight = closed.options("/verify", headers={"Origin": PAGE})
        assert no_preflight.status_code in {401, 403, 405}
        assert no_preflight.json()["code"] != "cors-refused"

    client = serve(bootstrap_key=SecretStr(key), cors_origins=(PAGE,))
    preflight = client.options("/verify", headers=PREFLIGHT | {"Origin": PAGE})
    assert preflight.status_code == 200, "which bears no key"
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert "X-API-Key" in preflight.headers["access-control-allow-headers"]
    for headers, status in (({"X-API-Key": key}, 200), ({}, 401)):
        answer = client.get("/signers", headers=headers | {"Origin": PAGE})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, PAGE)
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
    other = client.options("/verify", headers=PREFLIGHT | {"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
    for headers, word in (
        ({"Origin": "https://other.example"}, "Pages of https://other.example may not call"),
        ({"Origin": PAGE, "Access-Control-Request-Method": "TRACE"}, "The method TRACE is not allowed"),
        ({"Origin": PAGE, "Access-Control-Request-Headers": "x-api-key, x-secret"}, "The header x-secret"),
    ):
        other = client.options("/verify", headers=PREFLIGHT | headers)
        assert other.headers["content-type"] == "application/problem+json"
        assert (other.status_code, other.json()["code"]) == (403, "cors-refused")
        assert word in other.json()["detail"]
        assert "Origin" in other.headers["vary"]
        assert other.headers.get("access-control-allow-origin") in {None, PAGE}


def test_without_keys_only_a_named_page_gets_in(serve: Serve) -> None:
    client = serve(cors_origins=(PAGE,))
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert client.options("/verify", headers=PREFLIGHT | cross | {"Origin": PAGE}).status_code == 200
    assert client.get("/signers", headers=cross | {"Origin": PAGE}).status_code == 200
    assert client.get("/signers", headers=cross | {"Origin": "https://other.example"}).status_code == 403


@pytest.mark.parametrize(
    "origins", ["review.bank.example", "https://bank.example/path", "ftp://bank.example"]
)
def test_what_is_no_origin_is_refused_at_start(origins: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        Settings(_env_file=None, cors_origins=origins)


# Behind a proxy


@pytest.mark.parametrize("stripped", [True, False], ids=["the proxy strips the prefix", "the proxy keeps it"])
def test_links_and_redirects_keep_the_prefix(serve: Serve, key: str, stripped: bool) -> None:
    client = serve(bootstrap_key=SecretStr(key), root_path="/sig")
    at = "" if stripped else "/sig"
    headers = {"X-API-Key": key}
    assert client.get(f"{at}/signers", headers=headers).status_code == 200
    missing = client.get(f"{at}/signers/nobody", headers=headers).json()
    assert missing["type"] == "/sig/problems#signer-not-found"
    assert client.get(f"{at}/problems").status_code == 200
    slash = client.get(f"{at}/signers/", headers=headers, follow_redirects=False)
    assert slash.status_code == 307
    assert slash.headers["location"].endswith("/sig/signers")
    start = client.get(f"{at}/", follow_redirects=False)
    assert (start.status_code, start.headers["location"]) == (307, "/sig/docs")
    page = client.get(f"{at}/docs").text
    assert "/sig/openapi.json" in page
    assert "/sig/static-offline-docs/" in page
    assert client.get(f"{at}/openapi.json").json()["servers"] == [{"url": "/sig"}]


def test_the_document_names_the_prefix_of_the_proxy_as_its_server(settings: Settings, key: str) -> None:
    """Also the one that the server gets, as by `uvicorn --root-path`, and not beyond the request that has it."""
    app = create_app(settings.model_copy(update={"bootstrap_key": SecretStr(key)}))
    plain = TestClient(app).get("/openapi.json").json()
    assert "servers" not in plain, "by OpenAPI 3.1 this is /, at the address of the document"
    for prefix in ("/sig", "/bank/sig"):
        client = TestClient(app, root_path=prefix)
        assert client.get(f"{prefix}/openapi.json").json() == plain | {"servers": [{"url": prefix}]}
    assert TestClient(app).get("/openapi.json").json() == plain
    with_slash = create_app(settings.model_copy(update={"root_path": "/sig/"}))
    assert TestClient(with_slash).get("/openapi.json").json() == plain | {"servers": [{"url": "/sig"}]}


def test_the_document_has_the_version_of_the_service(client: TestClient) -> None:
    info = client.get("/openapi.json").json()["info"]
    assert info["version"] == version("countersign")
    assert "](/" not in info["description"], "a link of the page must not leave the prefix of a proxy"


def test_the_root_leads_to_the_docs(client: TestClient) -> None:
    answer = client.get("/", follow_redirects=True)
    assert answer.status_code == 200
    assert "swagger-ui" in answer.text
