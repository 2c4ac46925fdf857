"""API keys: made, shown once, kept hashed, asked for, limited, expired, revoked; and serving without any."""

from __future__ import annotations

import json
import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError
from sqlalchemy import create_engine, text

from app.domain.api_keys import Key, Keyring, new_text, sha256
from app.domain.errors import StartRefused
from app.domain.ids import new_id
from app.http.rate_limits import Limits
from app.main import create_app
from app.settings import Settings
from app.store.store import Store
from tests.app.keyed import Commands, Draw, Serve, until
from tests.app.test_api import enrol, verify

FAST = {"key_refresh_s": 0.05}


def code(response: Any) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


@pytest.mark.both_databases
def test_a_key_is_shown_once_and_kept_as_a_hash(commands: Commands, settings: Settings) -> None:
    made = commands.run("keys", "create", "teller", "--scope", "verify", "--expires", "90d")
    shown = made.stdout.strip()
    assert shown.startswith("cs_")
    assert shown not in made.stderr
    with create_engine(settings.database_url).connect() as connection:
        row = connection.execute(text("SELECT * FROM api_keys")).one()
        everything = str(connection.execute(text("SELECT * FROM audit")).all()) + str(row)
    assert row.sha256 == sha256(shown)
    assert shown not in everything
    listed = commands.run("keys", "list").stdout
    assert "teller" in listed
    assert shown not in listed
    assert row.sha256 not in listed


def test_spaces_around_a_key_are_no_part_of_it(serve: Serve, commands: Commands) -> None:
    text = commands.key("teller", "read")["X-API-Key"]
    client = serve(**FAST)
    for padded in (f" {text}", f"{text} \t"):
        assert client.get("/signers", headers={"X-API-Key": padded}).status_code == 200
    both = {"X-API-Key": f"{text} ", "Authorization": f"Bearer {text}"}
    assert client.get("/signers", headers=both).status_code == 200, "the same key in both headers"


def test_scopes_open_what_they_name_and_nothing_else(serve: Serve, commands: Commands, draw: Draw) -> None:
    enroller, verifier, reader, admin = (
        commands.key(scope, scope) for scope in ("enrol", "verify", "read", "admin")
    )
    client = serve(**FAST)
    assert enrol(client, "a", draw(1, 0), headers=enroller).status_code == 201
    assert code(enrol(client, "a", draw(1, 1), headers=verifier)) == (403, "forbidden")
    assert verify(client, "a", draw(1, 2), headers=verifier).status_code == 200
    assert code(verify(client, "a", draw(1, 2), headers=reader)) == (403, "forbidden")
    assert client.get("/signers", headers=reader).status_code == 200
    assert code(client.get("/signers", headers=enroller)) == (403, "forbidden")
    assert code(client.get("/audit", headers=reader)) == (403, "forbidden")
    for call in (client.get("/signers", headers=admin), client.get("/audit", headers=admin)):
        assert call.status_code == 200


def test_without_a_good_key_the_answer_is_401_and_tells_nothing(serve: Serve, commands: Commands) -> None:
    good = commands.key("teller", "read")
    client = serve(**FAST)
    details = set()
    for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": new_text()}, {"X-API-Key": good["X-API-Key"][:-1]}):
        response = client.get("/signers", headers=headers)
        assert code(response) == (401, "unauthenticated")
        assert "X-API-Key" in response.headers["WWW-Authenticate"]
        details.add(response.json()["detail"])
    assert len(details) == 2, "missing, or not valid; nothing in between"
    twice = client.get("/signers", headers=[("X-API-Key", good["X-API-Key"])] * 2)
    assert code(twice) == (401, "unauthenticated")
    assert client.get("/signers", headers=good).status_code == 200


@pytest.mark.both_databases
def test_a_revoked_key_stops_working_within_seconds_on_every_running_replica(
    serve: Serve, commands: Commands
) -> None:
    key = commands.key("teller", "read")
    replicas = [serve(), serve()]  # with the refresh of the settings' default
    for replica in replicas:
        assert replica.get("/signers", headers=key).status_code == 200
    assert commands.run("keys", "revoke", "teller").exit_code == 0
    begin = time.monotonic()
    for replica in replicas:
        until(lambda replica=replica: replica.get("/signers", headers=key).status_code == 401)
    assert time.monotonic() - begin < 5
    assert "no key 'teller'" in commands.refused("keys", "revoke", "teller")
    again = commands.key("teller", "read")  # the name is free again, the key is another one
    assert again != key
    until(lambda: replicas[0].get("/signers", headers=again).status_code == 200)


def test_a_new_key_works_at_once(serve: Serve, commands: Commands) -> None:
    commands.key("first", "read")
    client = serve(key_refresh_s=60)
    time.sleep(0.25)  # the store is asked about unknown keys five times a second at most
    assert client.get("/signers", headers=commands.key("second", "read")).status_code == 200


def test_an_expired_key_opens_nothing(
    serve: Serve, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    expires = datetime.now(UTC) + timedelta(hours=1)
    key = commands.key("intern", "read", expires=expires.isoformat())
    client = serve(**FAST)
    assert client.get("/signers", headers=key).status_code == 200
    monkeypatch.setattr("app.http.authentication.now", lambda: expires - timedelta(seconds=1))
    assert client.get("/signers", headers=key).status_code == 200
    for module in ("app.http.authentication", "app.commands.keys"):
        monkeypatch.setattr(f"{module}.now", lambda: expires + timedelta(seconds=1))
    assert client.get("/signers", headers=key).status_code == 401
    assert "expired" in commands.run("keys", "list", "--all").stdout
    assert "intern" not in commands.run("keys", "list").stdout


@pytest.mark.both_databases
def test_the_last_use_of_a_key_is_noted(serve: Serve, commands: Commands) -> None:
    key = commands.key("teller", "read")
    commands.key("idle", "read")
    client = serve(**FAST)
    client.get("/signers", headers=key)

    def used() -> dict[str, str]:
        lines = commands.run("keys", "list", "--json").stdout.splitlines()
        return {row["name"]: row["last_used"] for row in map(json.loads, lines)}

    until(lambda: used()["teller"] != "-")
    assert used()["idle"] == "-"


def test_the_bootstrap_key_works_beside_those_of_the_store(serve: Serve, commands: Commands) -> None:
    text = commands.run("keys", "generate").stdout.strip()
    client = serve(bootstrap_key=SecretStr(text), operator_tenant="north", **FAST)
    bootstrap = {"X-API-Key": text}
    assert client.get("/audit", headers=bootstrap).status_code == 200
    stored = commands.key("teller", "read")
    for key in (bootstrap, stored):
        assert client.get("/signers", headers=key).status_code == 200
    assert code(client.get("/signers")) == (401, "unauthenticated")
    client.put("/accounts/joint", headers=bootstrap, json={})
    assert {entry["tenant_id"] for entry in client.get("/audit", headers=bootstrap).json()["entries"]} <= {
        "north"
    }


@pytest.mark.parametrize("text", ["teller", "cs_short", "cs_" + "x" * 42 + " "])
def test_a_bootstrap_key_must_be_the_text_of_a_key(text: str) -> None:
    with pytest.raises(ValueError, match="keys generate"):
        Settings(_env_file=None, bootstrap_key=text)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("x", "--scope", "fly"), "unknown scope fly"),
        (("x y", "--scope", "read"), "not a valid name"),
        (("x", "--scope", "read", "--tenant", "a/b"), "not a valid name"),
        (("x", "--scope", "read", "--expires", "soon"), "not a time of expiry"),
        (("x", "--scope", "read", "--expires", "2001-01-01"), "in the past"),
        (("x", "--scope", "read", "--rate-limit", "often"), "not a rate"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused_with_the_reason(
    commands: Commands, words: tuple[str, ...], reason: str
) -> None:
    assert reason in commands.refused("keys", "create", *words)


@pytest.mark.alone
def test_a_key_is_found_in_the_same_time_however_close_a_guess_is() -> None:
    def key(shown: str) -> Key:
        return Key(new_id(), "k", "default", sha256(shown), frozenset({"read"}))

    right = new_text()
    ring = Keyring([key(right), *(key(new_text()) for _ in range(2000))])
    assert ring.find(sha256(right)) is not None
    guesses = {"far": "cs_" + "x" * 43, "close": right[:-1] + ("A" if right[-1] != "A" else "B")}

    def seconds(guess: str) -> float:
        begin = time.perf_counter()
        for _ in range(200):
            assert ring.find(sha256(guess)) is None
        return time.perf_counter() - begin

    taken: dict[str, list[float]] = {name: [] for name in guesses}
    for _ in range(15):
        for name, guess in guesses.items():
            taken[name].append(seconds(guess))
    far, close = (statistics.median(times) for times in taken.values())
    assert 0.5 < far / close < 2
    # What is compared is compared to the end, and where it is looked up is blinded by a secret of the process.
    assert Keyring([key(right)])._keys.keys().isdisjoint(ring._keys.keys())


def test_each_key_has_a_limit_of_its_own(serve: Serve, commands: Commands) -> None:
    slow = commands.key("slow", "read", rate_limit="2/hour")
    usual = commands.key("usual", "read")
    client = serve(rate_limit="4/hour", **FAST)
    assert [client.get("/signers", headers=slow).status_code for _ in range(3)] == [200, 200, 429]
    answers = [client.get("/signers", headers=usual) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert code(answers[-1]) == (429, "too-many-requests")
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 7200
    assert answers[-1].headers["Retry-After"] in answers[-1].json()["detail"]
    assert client.get("/livez").status_code == 200


def test_a_limit_ends(serve: Serve, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    key = commands.key("teller", "read")  # before the start: a key that is not known yet has no limit
    client = serve(rate_limit="3/hour", **FAST)
    assert 429 in [client.get("/signers", headers=key).status_code for _ in range(8)]
    in_three_hours = time.time() + 3 * 3600  # the window slides over two
    monkeypatch.setattr("time.time", lambda: in_three_hours)
    assert client.get("/signers", headers=key).status_code == 200


def test_an_address_that_shows_bad_keys_is_told_to_wait_and_locks_nobody_out(
    serve: Serve, commands: Commands
) -> None:
    good = commands.key("teller", "read")
    client = serve(failed_key_limit="3/hour", **FAST)
    answers = [client.get("/signers", headers={"X-API-Key": f"cs_{n}"}) for n in range(5)]
    assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 2
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert client.get("/signers", headers=good).status_code == 200


def test_ipv6_neighbours_count_as_one_address() -> None:
    from app.domain.errors import TooManyRequests  # noqa: PLC0415

    limits = Limits("", "2/hour")
    limits.count_failure("2001:db8::1")
    limits.count_failure("2001:db8::2")
    with pytest.raises(TooManyRequests):
        limits.count_failure("2001:db8::3")
    limits.count_failure("2001:db8:0:1::3")
    limits.count_failure("::ffff:192.0.2.1")


def test_a_limit_that_is_none_is_refused_at_start() -> None:
    with pytest.raises(ValidationError, match="not a rate"):
        Settings(_env_file=None, rate_limit="often")


# Without keys


def test_without_keys_the_own_machine_is_served(client: TestClient) -> None:
    assert client.get("/signers").status_code == 200


@pytest.mark.parametrize(
    ("what", "headers"),
    [
        ("a proxy's header", {"X-Forwarded-For": "127.0.0.1"}),
        ("a proxy's header, by its standard", {"Forwarded": "for=127.0.0.1"}),
        ("a proxy's other header", {"X-Real-IP": "127.0.0.1"}),
        ("a stranger's name that points here", {"Host": "bank.attacker.example"}),
        ("a stranger's name that begins like ours", {"Host": "localhost.attacker.example"}),
        ("a stranger's address", {"Host": "203.0.113.5:8000"}),
        ("no host", {"Host": ""}),
        ("a page elsewhere", {"Sec-Fetch-Site": "cross-site"}),
        ("a page on another port", {"Sec-Fetch-Site": "same-site"}),
        ("a page of an old browser", {"Origin": "https://attacker.example"}),
        ("a page without origin", {"Origin": "null"}),
        ("a page on another port of an old browser", {"Origin": "http://testserver:9999"}),
    ],
)
def test_without_keys_what_only_looks_local_is_refused(
    client: TestClient, draw: Draw, what: str, headers: dict[str, str]
) -> None:
    assert code(client.get("/signers", headers=headers)) == (403, "forbidden"), what
    assert code(enrol(client, "a", draw(1, 0), headers=headers)) == (403, "forbidden"), what
    assert client.get("/signers/a").status_code == 404
    assert client.get("/livez", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.8.9.1"])
def test_without_keys_the_own_names_are_answered_also_to_the_docs_page(client: TestClient, host: str) -> None:
    page = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert client.get("/signers", headers=page).status_code == 200


def test_with_keys_a_proxy_and_any_name_are_welcome(serve: Serve, commands: Commands) -> None:
    key = commands.key("teller", "read")
    client = serve(**FAST)
    headers = key | {"Host": "signatures.bank.example", "X-Forwarded-For": "198.51.100.7"}
    assert client.get("/signers", headers=headers).status_code == 200


@pytest.mark.both_databases
def test_once_a_key_was_made_nobody_gets_in_without_one_any_more(serve: Serve, commands: Commands) -> None:
    client = serve(**FAST)
    assert client.get("/signers").status_code == 200
    commands.key("teller", "read")
    until(lambda: client.get("/signers").status_code == 401)
    commands.run("keys", "revoke", "teller")
    time.sleep(0.2)
    assert client.get("/signers").status_code == 401, "the last key's end must not open the door"
    assert serve(**FAST).get("/signers").status_code == 401


@pytest.mark.parametrize(
    "changes", [{"host": "0.0.0.0"}, {"host": "::"}, {"root_path": "/sign"}, {"trusted_proxies": "10.0.0.1"}]
)
def test_without_a_good_key_the_service_starts_on_loopback_only(
    settings: Settings, commands: Commands, changes: dict[str, str]
) -> None:
    def start() -> None:
        with TestClient(create_app(settings.model_copy(update=changes))):
            pass

    with pytest.raises(StartRefused, match="keys create"):
        start()
    commands.key("teller", "read")
    start()
    commands.run("keys", "revoke", "teller")
    with pytest.raises(StartRefused, match="no valid API key"):
        start()


@pytest.mark.both_databases
def test_while_the_store_is_gone_its_keys_do_not_open_anything_for_long(
    serve: Serve, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.services import api_keys  # noqa: PLC0415

    key = commands.key("teller", "read")
    client = serve(key_refresh_s=0.05)
    assert client.get("/model", headers=key).status_code == 200

    async def gone(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(api_keys, "STALE_S", 0.3)
    read = Store.read
    monkeypatch.setattr(Store, "read", gone)
    until(lambda: client.get("/model", headers=key).status_code == 503)
    monkeypatch.setattr(Store, "read", read)
    until(lambda: client.get("/model", headers=key).status_code == 200)


def test_the_docs_page_knows_where_the_key_goes(serve: Serve, commands: Commands) -> None:
    key = commands.key("teller", "read")
    client = serve(**FAST)
    assert client.get("/docs").status_code == 200
    document = client.get("/openapi.json").json()
    (name, scheme), (other, bearer) = document["components"]["securitySchemes"].items()
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    assert (bearer["type"], bearer["scheme"]) == ("http", "bearer")
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            open_to_all = path in {"/livez", "/readyz", "/problems", "/problems/{code}"}
            assert call.get("security", []) == ([] if open_to_all else [{name: []}, {other: []}]), (
                method,
                path,
            )
    # what Authorize makes the page send
    assert client.get("/signers", headers={scheme["name"]: key["X-API-Key"]}).status_code == 200
