"""Fixtures of the store tests: direct access to rows and files, the service as a process, and the commands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, make_url, text

from app.services.open_store import open_store
from app.settings import Settings
from app.store.store import Store
from tests import forked
from tests.fixtures import TEST_KEY, Database
from tests.postgres import Postgres
from tests.service import Service

Draw = Callable[..., bytes]
Sql = Callable[..., list[Any]]


def enrol(client: Any, signer: str, *images: bytes, **more: Any) -> Any:
    files = [("files", (f"{n}.png", image, "image/png")) for n, image in enumerate(images)]
    return client.post(f"/signers/{signer}/references", files=files, **more)


def verify(client: Any, signer: str, image: bytes, **more: Any) -> Any:
    return client.post("/verify", data={"signer_id": signer}, files={"signature": ("q.png", image)}, **more)


@pytest.fixture
def sql(database: Database) -> Iterator[Sql]:
    """``sql(statement, **values)``: execute a statement directly in the database and return the rows."""
    url = make_url(database.url)
    if not database.is_sqlite:
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)

    def run(statement: str, **values: Any) -> list[Any]:
        with engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    yield run
    engine.dispose()


@pytest.fixture
def files_of(database: Database, request: pytest.FixtureRequest) -> Callable[[], bytes]:
    """Return the contents of all database files, including the write-ahead log."""

    def sqlite() -> bytes:
        folder = Path(database.name).parent
        return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))

    def server() -> bytes:
        postgres: Postgres = request.getfixturevalue("postgres")
        postgres.execute("CHECKPOINT")
        ((oid,),) = postgres.execute(f"SELECT oid FROM pg_database WHERE datname = '{database.name}'")
        data = postgres.folder / "data"
        paths = [*(data / "base" / str(oid)).iterdir(), *(data / "pg_wal").glob("0*")]
        return b"".join(path.read_bytes() for path in sorted(paths))

    return sqlite if database.is_sqlite else server


@pytest.fixture
def opened(settings: Settings) -> Iterator[Callable[..., Store]]:
    """Open the store in the same way as the service, with changed settings."""
    stores: list[Store] = []

    def open_it(**changes: object) -> Store:
        stores.append(open_store(settings.model_copy(update=changes)))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    """The settings as environment variables, for a separate process."""
    return {
        "COUNTERSIGN_WEIGHTS": str(settings.weights),
        "COUNTERSIGN_DATABASE_URL": settings.database_url,
        "COUNTERSIGN_ENCRYPTION_KEYS": TEST_KEY,
        "COUNTERSIGN_ERASURE_LOG": str(tmp_path / "erasures"),
        "COUNTERSIGN_DEVICE": "cpu",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Callable[..., Service]]:
    """Start ``python -m app serve`` with changed settings."""
    services: list[Service] = []

    def start_service(**changes: str) -> Service:
        services.append(Service(environment | {f"COUNTERSIGN_{k.upper()}": v for k, v in changes.items()}))
        return services[-1]

    yield start_service
    for service in services:
        if service.process.poll() is None:
            service.process.kill()
            service.finish()


@pytest.fixture
def command(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m app`` with arguments and changed settings; the value ``-`` removes a setting."""

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        changed = {f"COUNTERSIGN_{k.upper()}": v for k, v in changes.items()}
        variables = {key: value for key, value in (environment | changed).items() if value != "-"}
        return forked.run("app", *arguments, environment=os.environ | variables)

    return run


@pytest.fixture
def enrolled(client: TestClient, draw: Draw) -> TestClient:
    """A service with two signers, each with two references."""
    for writer in (1, 2):
        assert enrol(client, f"writer-{writer}", *(draw(writer, n) for n in range(2))).status_code == 201
    return client
