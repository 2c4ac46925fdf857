"""The migrations create the schema of the code, and a store of the first release is migrated without loss."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.store import candidate_vectors
from app.store.engine import open_engine
from app.store.tables import Base
from tests.fixtures import Database
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
        Path(database.name).unlink()
    return database


def test_migrations_create_the_schema_of_the_code(empty: Database) -> None:
    engine = open_engine(empty.url, 1)
    with engine.connect() as connection:
        # The table for the index of pgvector is not in the metadata: a database need not have it.
        options = {"include_name": lambda name, kind, _: kind != "table" or name != candidate_vectors.NAME}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
