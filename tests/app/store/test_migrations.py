"""The migrations create the schema of the code, and a store of the first release is migrated without loss."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, make_url, text

from app.domain.records import new_id
from app.settings import Settings
from app.store import idempotency, references
from app.store.engine import MIGRATIONS, open_engine
from app.store.tables import Base
from tests.app.store.conftest import Draw, Sql, verify
from tests.conftest import Database
from tests.postgres import Postgres

pytestmark = pytest.mark.both_databases


@pytest.fixture
def empty(database: Database, request: pytest.FixtureRequest) -> Database:
    """A database without tables."""
    if not database.is_sqlite:
        postgres: Postgres = request.getfixturevalue("postgres")
        postgres.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
        postgres.execute(f"CREATE DATABASE {database.name}")
    else:
        Path(database.name).parent.mkdir(parents=True, exist_ok=True)
    return database


def upgrade(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_migrations_create_the_schema_of_the_code(empty: Database) -> None:
    engine = open_engine(empty.url, 1)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_a_plaintext_store_of_the_first_release_is_encrypted_without_loss(
    empty: Database,
    serve: Callable[..., Any],
    settings: Settings,
    draw: Draw,
    files_of: Callable[[], bytes],
    sql: Sql,
) -> None:
    url = make_url(empty.url)
    engine = create_engine(url if empty.is_sqlite else url.set(drivername="postgresql+psycopg"))
    upgrade(engine, "0001")
    model = serve(database_url=f"sqlite:///{settings.erasure_log}.other").app.state.core.model_version
    images = [draw(1, n) for n in range(25)]
    vectors = np.random.default_rng(0).normal(size=(len(images), 257)).astype("<f4")
    ids = [new_id() for _ in images]
    at = "2026-01-01 00:00:00+00:00" if not empty.is_sqlite else "2026-01-01 00:00:00"
    answer = {"signer_id": "alice", "references": ["ALICES-ANSWER"]}
    with engine.begin() as connection:

        def put(statement: str, **values: Any) -> None:
            connection.execute(text(statement), values)

        put("INSERT INTO tenants VALUES ('default', 1)")
        put(
            "INSERT INTO signers (key, tenant_id, signer_id, created_at) VALUES ('k', 'default', 'alice', :at)",
            at=at,
        )
        put("INSERT INTO changes VALUES ('default', 'k', 1)")
        for one, image, vector in zip(ids, images, vectors, strict=True):
            put(
                "INSERT INTO \"references\" VALUES (:id, 'k', :at, :sha, 'image/png', :size, 0, :q, :w, :model)",
                id=one,
                at=at,
                sha=hashlib.sha256(image).hexdigest(),
                size=len(image),
                q="{}",
                w="[]",
                model=model,
            )
            put("INSERT INTO reference_images VALUES (:id, :data)", id=one, data=image)
            put(
                "INSERT INTO templates VALUES (:id, :model, :data)",
                id=one,
                model=model,
                data=vector.tobytes(),
            )
        put(
            "INSERT INTO idempotency VALUES ('default', 'old-key', :sha, :at, :answer)",
            sha=fingerprint("enrol", "alice", images[:1]),
            at="2099-01-01 00:00:00",
            answer=json.dumps(answer),
        )
    engine.dispose()
    assert images[3][40:200] in files_of()

    client = serve()
    for one, image in zip(ids, images, strict=True):
        assert client.get(f"/signers/alice/references/{one}/image").content == image
    core = client.app.state.core
    kept = core.store.read_now(references.specimens, "default", "alice", model)
    assert np.array_equal(kept.templates, vectors[[ids.index(i) for i in kept.reference_ids]])
    assert len(verify(client, "alice", draw(1, 30)).json()["references"]) == len(images)
    asked = fingerprint("enrol", "alice", images[:1])
    assert core.store.read_now(idempotency.find, "default", "old-key", asked) == answer
    for table in ("reference_images", "templates", "idempotency"):
        assert sql(f"SELECT 1 FROM {table} WHERE key_id IS NULL") == [], table
    assert sql("SELECT 1 FROM idempotency WHERE answer IS NOT NULL") == []
    if empty.is_sqlite:  # PostgreSQL's write-ahead log keeps plaintext pages until it is recycled
        bytes_on_disk = files_of()
        assert not any(image[40:200] in bytes_on_disk for image in images)
        assert not any(vector.tobytes()[:64] in bytes_on_disk for vector in vectors)
        assert b"ALICES-ANSWER" not in bytes_on_disk


def fingerprint(call: str, signer_id: str, images: list[bytes]) -> str:
    digest = hashlib.sha256()
    for word in (call, signer_id):
        digest.update(len(word.encode()).to_bytes(8, "big") + word.encode())
    for image in images:
        digest.update(hashlib.sha256(image).digest() + (0).to_bytes(8, "big", signed=True))
    return digest.hexdigest()
