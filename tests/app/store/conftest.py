"""What the tests of the store share: rows and files as an intruder or an operator would see and change them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, make_url, text

from app.services.open_store import open_store
from app.settings import Settings
from app.store.store import Store
from tests.conftest import TEST_KEY, Database
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
    """``sql(statement, **values)``: run a statement behind the service's back; the rows it gives."""
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
    """All bytes that the database has on disk, its write-ahead log included."""

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
    """Open the store as the service does, with changes to the settings."""
    made: list[Store] = []

    def open_it(**changes: object) -> Store:
        made.append(open_store(settings.model_copy(update=changes)))
        return made[-1]

    yield open_it
    for store in made:
        store.close()


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    """The settings as a process of its own reads them."""
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
    """Start ``python -m app serve``, with changes to its environment."""
    made: list[Service] = []

    def service(**changes: str) -> Service:
        made.append(Service(environment | {f"COUNTERSIGN_{k.upper()}": v for k, v in changes.items()}))
        return made[-1]

    yield service
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
            one.finish()


@pytest.fixture
def command(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m app`` with some words, and with changes to its environment."""

    def run(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        more = {f"COUNTERSIGN_{k.upper()}": v for k, v in changes.items()}
        kept = {key: value for key, value in (environment | more).items() if value != "-"}
        return subprocess.run(
            [sys.executable, "-m", "app", *words],
            env={**os.environ, **kept},
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )

    return run


@pytest.fixture
def enrolled(client: TestClient, draw: Draw) -> TestClient:
    """A service with two signers of two references each."""
    for writer in (1, 2):
        assert enrol(client, f"writer-{writer}", *(draw(writer, n) for n in range(2))).status_code == 201
    return client
