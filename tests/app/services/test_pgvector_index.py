"""The index of signers in PostgreSQL: same answers as in memory, transactional erasure, faults, and recall."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError
from sqlalchemy import make_url
from typer.testing import CliRunner

from app.__main__ import cli
from app.services.gallery import Gallery
from app.services.pgvector_index import PgvectorIndex
from app.settings import Settings
from app.store import candidate_vectors
from app.store.engine import open_engine
from tests.fixtures import TEST_KEY, Draw
from tests.postgres import Postgres

Serve = Callable[..., TestClient]
ROWS = "SELECT s.signer_id, v.vector::text FROM candidate_vectors v JOIN signers s ON s.key = v.signer_key"


@pytest.fixture
def url(postgres: Postgres, migrated: str) -> Iterator[str]:
    """URL of an empty database with pgvector."""
    found = postgres.execute("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
    if not found:
        pytest.fail(
            "NO PGVECTOR: the PostgreSQL of the tests is without it, so its index was NOT TESTED",
            pytrace=False,
        )
    name = postgres.new_database(migrated)
    yield postgres.url(name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def pgvector(url: str, serve: Serve) -> Serve:
    """Return a function that starts a service with the index in PostgreSQL."""
    return lambda **changes: serve(**{"database_url": url, "candidate_index": "pgvector"} | changes)


@pytest.fixture
def sql(postgres: Postgres, url: str) -> Callable[[str], list[tuple[Any, ...]]]:
    return lambda statement: postgres.execute(statement, str(make_url(url).database))


def enrol(client: TestClient, draw: Draw, writers: range, signatures: range = range(2)) -> None:
    for writer in writers:
        files = [("files", draw(writer, n)) for n in signatures]
        response = client.post(f"/signers/w{writer}/references", files=files)
        assert response.status_code == 201, response.text


def identify(client: TestClient, image: bytes, **fields: object) -> dict[str, Any]:
    response = client.post("/identify", files={"signature": image}, data={"top_k": 3, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def vector(text: object) -> np.ndarray[Any, Any]:
    return np.array(str(text).strip("[]").split(","), np.float32)


def test_both_indexes_give_the_same_answers(pgvector: Serve, draw: Draw) -> None:
    indexed = pgvector()
    enrol(indexed, draw, range(6))
    memory = pgvector(candidate_index="memory")
    assert isinstance(indexed.app.state.context.signer_index, PgvectorIndex)  # type: ignore[attr-defined]
    assert isinstance(memory.app.state.context.signer_index, Gallery)  # type: ignore[attr-defined]
    for writer in range(6):
        assert identify(indexed, draw(writer, 5)) == identify(memory, draw(writer, 5))
    named = {"signer_ids": ["w1", "w4"]}
    assert identify(indexed, draw(4, 5), **named) == identify(memory, draw(4, 5), **named)
    policy = {"fixed_threshold": 0.01}
    assert indexed.patch("/signers/w2", json=policy).status_code == 200
    assert identify(indexed, draw(2, 5)) == identify(memory, draw(2, 5))


def test_the_table_holds_the_mean_of_the_reduced_vectors(pgvector: Serve, draw: Draw, sql: Any) -> None:
    client = pgvector()
    enrol(client, draw, range(1))
    enrol(client, draw, range(1), range(2, 4))
    context = client.app.state.context  # type: ignore[attr-defined]
    from app.store import references  # noqa: PLC0415

    ((key,),) = sql("SELECT key FROM signers")
    (signer,) = context.store.read_now(references.for_index, "default", context.model_version, [key])
    expected = context.embedder.candidate_vectors(signer.templates).mean(axis=0)
    assert len(signer.templates) == 4
    ((_, stored),) = sql(ROWS)
    np.testing.assert_allclose(vector(stored), expected, atol=2e-3)


def test_an_erasure_removes_the_vectors_in_its_transaction(pgvector: Serve, draw: Draw, sql: Any) -> None:
    client = pgvector()
    enrol(client, draw, range(3), range(3))
    before = dict(sql(ROWS))
    assert client.delete("/signers/w1").status_code == 204
    assert set(dict(sql(ROWS))) == {"w0", "w2"}
    reference = client.get("/signers/w2/references").json()["references"][0]["reference_id"]
    assert client.delete(f"/signers/w2/references/{reference}").status_code == 204
    after = dict(sql(ROWS))
    assert after["w0"] == before["w0"]
    assert after["w2"] != before["w2"]
    assert identify(client, draw(2, 5))["compared"] == 2
    sql("DELETE FROM signers WHERE tenant_id = 'default'")  # a whole tenant
    assert sql(ROWS) == []
    assert sql("SELECT count(*) FROM candidate_vectors") == [(0,)]


def test_an_erasure_that_is_rolled_back_keeps_the_vectors(pgvector: Serve, draw: Draw, sql: Any) -> None:
    client = pgvector()
    enrol(client, draw, range(2))
    before = sql(ROWS)
    sql("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$")
    sql("CREATE TRIGGER refuse BEFORE INSERT ON tombstones FOR EACH ROW EXECUTE FUNCTION refuse()")
    assert client.delete("/signers/w1").status_code == 503
    assert sorted(sql(ROWS)) == sorted(before)


def test_no_erased_reference_is_left_in_a_vector_after_concurrent_erasures(
    pgvector: Serve, draw: Draw, sql: Any
) -> None:
    replicas = [pgvector(), pgvector()]
    enrol(replicas[0], draw, range(1), range(8))
    listed = replicas[0].get("/signers/w0/references").json()["references"]
    paths = [f"/signers/w0/references/{row['reference_id']}" for row in listed[:6]]
    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda n: replicas[n % 2].delete(paths[n]).status_code, range(6)))
    assert set(codes) == {204}
    ((_, stored),) = sql(ROWS)
    sql("DELETE FROM candidate_vectors")
    identify(replicas[0], draw(0, 9))
    ((_, computed),) = sql(ROWS)
    assert stored == computed


def test_what_a_process_without_the_index_changes_is_deleted_at_once_and_added_by_the_next_search(
    pgvector: Serve, draw: Draw, sql: Any
) -> None:
    memory = pgvector(candidate_index="memory")
    enrol(memory, draw, range(3))
    assert sql(ROWS) == [], "nothing in clear text without the setting"
    indexed = pgvector()
    assert identify(indexed, draw(1, 5))["compared"] == 3
    assert len(sql(ROWS)) == 3
    enrol(memory, draw, range(1, 2), range(2, 3))
    enrol(memory, draw, range(3, 4))
    assert set(dict(sql(ROWS))) == {"w0", "w2"}
    assert identify(indexed, draw(3, 5))["candidates"][0] == identify(memory, draw(3, 5))["candidates"][0]
    assert len(sql(ROWS)) == 4


def test_a_signer_without_a_template_of_the_model_is_skipped(pgvector: Serve, draw: Draw, sql: Any) -> None:
    client = pgvector()
    enrol(client, draw, range(3))
    sql(
        'DELETE FROM templates WHERE reference_id = (SELECT min(reference_id) FROM "references" r '
        "JOIN signers s ON s.key = r.signer_key WHERE s.signer_id = 'w1')"
    )
    assert set(dict(sql(ROWS))) == {"w0", "w2"}
    client.patch("/signers/w0", json={"target_far": 0.2})
    answer = identify(client, draw(1, 5))
    assert answer["compared"] == 2
    assert [warning["code"] for warning in answer["warnings"]] == ["skipped-signers"]


def test_a_large_tenant_gets_a_graph_and_other_tenants_do_not(
    pgvector: Serve, draw: Draw, sql: Any, url: str
) -> None:
    client = pgvector(exhaustive_signers=3)
    enrol(client, draw, range(5))
    sql("INSERT INTO signers (key, tenant_id, signer_id, created_at) VALUES ('k', 'o''ther:x', 'w', now());")
    sql(
        "INSERT INTO candidate_vectors SELECT 'k', model_version, 'o''ther:x', vector FROM candidate_vectors LIMIT 1"
    )
    context = client.app.state.context  # type: ignore[attr-defined]
    before = identify(client, draw(1, 5))
    assert context.signer_index.build_graphs(64) == ["default"]
    assert context.signer_index.build_graphs(64) == []
    name = candidate_vectors.graph_name("default", context.model_version)
    assert sql(f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{name}'::regclass") == [(True,)]
    assert identify(client, draw(1, 5)) == before
    enrol(client, draw, range(5, 6))
    assert client.delete("/signers/w0").status_code == 204
    found = identify(client, draw(5, 5), top_k=10)
    assert (found["candidates"][0]["signer_id"], found["compared"]) == ("w5", 5)
    assert "w0" not in str(found)
    vector_of_other = vector(sql("SELECT vector::text FROM candidate_vectors WHERE signer_key = 'k'")[0][0])
    keys = context.store.read_now(
        candidate_vectors.nearest, "o'ther:x", context.model_version, vector_of_other, 5
    )
    assert keys == ["k"], "another tenant's search finds its own signer only"
    sql("DELETE FROM signers")
    context.signer_index.build_graphs(64)
    assert sql(f"SELECT to_regclass('{name}')") == [(None,)]


def test_reembedding_keeps_the_vectors_of_both_models_until_the_old_one_is_dropped(
    pgvector: Serve, draw: Draw, sql: Any, other_model_folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = pgvector()
    enrol(client, draw, range(3))
    settings = client.app.state.context.settings  # type: ignore[attr-defined]
    configure(monkeypatch, settings)
    run("reembed", "--weights", str(other_model_folder))
    counted = "SELECT model_version, count(*) FROM candidate_vectors GROUP BY 1 ORDER BY 1"
    (other, three), (served, also_three) = sql(counted)
    assert (three, also_three) == (3, 3)
    assert (other.startswith("other@"), served.startswith("tiny@")) == (True, True)
    reference = client.get("/signers/w2/references").json()["references"][0]["reference_id"]
    assert client.delete(f"/signers/w2/references/{reference}").status_code == 204
    assert sql(counted) == [(other, 2), (served, 3)], "the erased reference is in no vector of either model"
    monkeypatch.setenv("COUNTERSIGN_WEIGHTS", str(other_model_folder))
    run("reembed", "--drop-old")
    assert sql(counted)[0][0] == other
    assert len(sql(counted)) == 1
    again = pgvector(weights=other_model_folder)
    assert identify(again, draw(1, 5))["compared"] == 3


def test_the_index_is_built_and_dropped_from_the_command_line(
    pgvector: Serve, draw: Draw, sql: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory = pgvector(candidate_index="memory", exhaustive_signers=2)
    enrol(memory, draw, range(4))
    settings = memory.app.state.context.settings  # type: ignore[attr-defined]
    configure(monkeypatch, settings)
    assert run("index", "build", status=1) == ""
    monkeypatch.setenv("COUNTERSIGN_CANDIDATE_INDEX", "pgvector")
    printed = run("index", "build")
    assert "4 vectors added" in printed
    assert "graphs of 1 tenants built" in printed
    assert "4 vectors in clear text" in run("doctor")
    run("erasures", "compact")
    monkeypatch.setenv("COUNTERSIGN_CANDIDATE_INDEX", "memory")
    assert "FAULT candidate index: the database holds 4 vectors" in run("doctor", status=1)
    with caplog.at_level("WARNING"):
        pgvector(candidate_index="memory")
    assert "holds 4 vectors of signers in clear text" in caplog.text
    assert "4 vectors deleted" in run("index", "drop")
    assert "candidate index: in memory" in run("doctor")
    assert sql("SELECT count(*) FROM candidate_vectors") == [(0,)]


def test_templates_of_candidates_are_streamed_in_the_binary_format(
    pgvector: Serve, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = pgvector()
    enrol(client, draw, range(2))
    streamed = []
    stream = psycopg.Cursor.stream

    def record(self: psycopg.Cursor[Any], query: str, *others: Any, **options: Any) -> Any:
        streamed.append(("JOIN templates" in query, options["binary"]))
        return stream(self, query, *others, **options)

    monkeypatch.setattr(psycopg.Cursor, "stream", record)
    assert len(identify(client, draw(1, 5))["candidates"]) == 2
    assert streamed == [(True, True)]


@pytest.fixture
def without_pgvector(monkeypatch: pytest.MonkeyPatch, postgres: Postgres) -> Iterator[str]:
    """URL of a database that was migrated where pgvector was not installed on the server."""
    name = postgres.new_database()
    with monkeypatch.context() as patch:
        patch.setattr(candidate_vectors, "_versions", lambda connection: ("", ""))
        open_engine(postgres.url(name), 1).dispose()
    yield postgres.url(name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_without_pgvector_the_index_in_memory_is_used_and_both_log_and_doctor_say_so(
    serve: Serve,
    draw: Draw,
    without_pgvector: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(candidate_vectors, "_versions", lambda connection: ("", ""))
        with caplog.at_level(logging.WARNING):
            client = serve(database_url=without_pgvector, candidate_index="pgvector")
        assert "pgvector cannot be used: pgvector is not installed on the database server" in caplog.text
        enrol(client, draw, range(2))
        assert identify(client, draw(1, 5))["compared"] == 2
        configure(monkeypatch, client.app.state.context.settings)  # type: ignore[attr-defined]
        assert "FAULT candidate index: the index in memory is used" in run("doctor", status=1)
        run("index", "build", status=1)
    # The server gets it later: the next start creates the table.
    again = serve(database_url=without_pgvector, candidate_index="pgvector")
    assert isinstance(again.app.state.context.signer_index, PgvectorIndex)  # type: ignore[attr-defined]
    assert identify(again, draw(1, 5))["compared"] == 2


@pytest.mark.parametrize(
    ("installed", "available", "why"),
    [
        ("0.7.4", "0.8.6", "ALTER EXTENSION vector UPDATE"),
        ("", "0.5.1", "too old"),
        ("", "", "not installed"),
    ],
)
def test_an_old_pgvector_is_refused_with_the_remedy(installed: str, available: str, why: str) -> None:
    with pytest.raises(candidate_vectors.PgvectorUnavailable, match=why):
        candidate_vectors.check_versions(installed, available)
    assert candidate_vectors.check_versions("0.8.0", "") == "0.8.0"


def test_a_user_who_may_not_install_pgvector_can_migrate(postgres: Postgres) -> None:
    name = postgres.new_database()
    postgres.execute(f"CREATE ROLE plain_{name} LOGIN")
    postgres.execute(f"ALTER DATABASE {name} OWNER TO plain_{name}")
    url = make_url(postgres.url(name)).set(username=f"plain_{name}")
    try:
        engine = open_engine(url.render_as_string(hide_password=False), 1)
        with pytest.raises(candidate_vectors.PgvectorUnavailable, match="superuser"):
            candidate_vectors.open_table(engine)
        postgres.execute("CREATE EXTENSION vector", name)
        assert candidate_vectors.open_table(engine) >= "0.8"
        engine.dispose()
    finally:
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
        postgres.execute(f"DROP ROLE plain_{name}")


def test_pgvector_needs_postgresql() -> None:
    with pytest.raises(ValidationError, match="needs a PostgreSQL database_url"):
        Settings(_env_file=None, candidate_index="pgvector")  # type: ignore[call-arg]


@pytest.mark.cluster
def test_a_small_tenant_beside_a_large_one_loses_no_recall(pgvector: Serve, sql: Any) -> None:
    """A tenant with 1 % of 20,000 rows has no graph: all of its signers are compared. The large one has a graph."""
    client = pgvector(exhaustive_signers=1000)
    context = client.app.state.context  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    vectors = {"large": rng.normal(size=(20_000, 64)), "small": rng.normal(size=(200, 64))}
    with context.store.engine.begin() as connection:
        cursor = connection.connection.driver_connection.cursor()
        for tenant, rows in vectors.items():
            with cursor.copy("COPY signers (key, tenant_id, signer_id, created_at) FROM STDIN") as copy:
                for n in range(len(rows)):
                    copy.write_row((f"{tenant}{n}", tenant, f"{n}", "2026-01-01T00:00:00Z"))
            with cursor.copy("COPY candidate_vectors FROM STDIN") as copy:
                for n, row in enumerate(rows):
                    copy.write_row((f"{tenant}{n}", context.model_version, tenant, str(row.tolist())))
    assert context.signer_index.build_graphs(64) == ["large"]
    sql("ANALYZE candidate_vectors")
    for tenant, rows in vectors.items():
        hits = []
        for n in range(0, len(rows), len(rows) // 100):
            near = rows[n] + 0.3 * rng.normal(size=64)
            keys = context.store.read_now(candidate_vectors.nearest, tenant, context.model_version, near, 100)
            assert len(keys) == 100
            hits.append(f"{tenant}{n}" in keys)
        assert np.mean(hits) >= (1.0 if tenant == "small" else 0.99)
    context.store.close()  # the sessions of the server write their statistics when they end
    name = candidate_vectors.graph_name("large", context.model_version)
    ((scans,),) = sql(f"SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = '{name}'")
    assert scans >= 100, "the planner uses the graph of the tenant"


def configure(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Let the commands use the settings of a service."""
    monkeypatch.setenv("COUNTERSIGN_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("COUNTERSIGN_WEIGHTS", str(settings.weights))
    monkeypatch.setenv("COUNTERSIGN_ENCRYPTION_KEYS", TEST_KEY)
    monkeypatch.setenv("COUNTERSIGN_ERASURE_LOG", str(settings.erasure_log))
    monkeypatch.setenv("COUNTERSIGN_DEVICE", "cpu")
    monkeypatch.setenv("COUNTERSIGN_CANDIDATE_INDEX", settings.candidate_index)
    monkeypatch.setenv("COUNTERSIGN_EXHAUSTIVE_SIGNERS", str(settings.exhaustive_signers))
    assert isinstance(settings.encryption_keys, SecretStr)


def run(*arguments: str, status: int = 0) -> str:
    """Run a command, and return what it printed."""
    result = CliRunner().invoke(cli, list(arguments))
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout
