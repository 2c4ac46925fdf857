"""Fixtures: a small model drawn from the synthetic writer, a service on it in-process, signatures, and real data."""

from __future__ import annotations

import base64
import io
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from pydantic import SecretStr

from app.main import create_app
from app.settings import ROOT, Settings
from app.store.engine import open_engine
from model.data.readers.folder import FolderDataset
from model.evaluation.calibration_fit import fit_calibration
from model.evaluation.features import InkCache, WeightsFeatures, gallery
from model.networks import build
from model.networks.weights import save
from model.synthetic.command import write_folder
from model.synthetic.writer import Writer
from tests.postgres import Postgres, clean_up

TEST_KEY = f"test:{base64.b64encode(bytes(range(32))).decode()}"
"""An encryption key for tests: everybody knows it."""
LOCAL = {"widths": [4, 6, 8, 10], "canvas": [64, 128], "cell": 2}
LAYOUT = {"widths": [4, 6, 8, 10], "grid": [4, 8], "cell": 4}
MEMORY = Path("/dev/shm")
Draw = Callable[..., bytes]


def make_model(folder: Path, name: str, seed: int, specimens: Path, *, local: bool) -> Path:
    """A small untrained network (random convolutions see shape, too) with a calibration fitted on its distances."""
    torch.manual_seed(seed)
    network, options = ("local", LOCAL) if local else ("layout", LAYOUT)
    card = save(
        folder,
        build(network, **options),
        {
            "name": name,
            "network": network,
            "network_options": options,
            "canvas": {"height": 64, "width": 128, "method": "moments", "fill": 0.8},
            "dimension": 257 if local else 128,
            "metric": "local" if local else "euclidean",
            "terms": "permissive",
        },
        f'name = "{name}"\n',
    )
    people = gallery(WeightsFeatures(folder, InkCache()), FolderDataset(specimens, "synthetic"))
    fit_calibration([people], card.sha256, card.metric, draws=2).save(folder)
    return folder


@pytest.fixture(scope="session")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of synthetic signatures: 8 writers, 12 genuine, 6 forged each."""
    folder = tmp_path_factory.mktemp("specimens") / "people"
    write_folder(folder, writers=8, genuine=12, forged=6, seed=11)
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, specimens: Path) -> Path:
    """A weights folder that loads in milliseconds."""
    return make_model(tmp_path_factory.mktemp("weights") / "tiny", "tiny", 0, specimens, local=True)


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory: pytest.TempPathFactory, specimens: Path) -> Path:
    """One of another architecture, whose templates must never be compared with those of the first."""
    return make_model(tmp_path_factory.mktemp("weights") / "other", "other", 1, specimens, local=False)


def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary files in memory where there is room: a commit that waits for a disk takes milliseconds.

    What is promised to survive is the death of a process, not of the machine.
    """
    if "PYTEST_DEBUG_TEMPROOT" in os.environ or config.option.basetemp or not MEMORY.is_dir():
        return
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 << 30:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


def pytest_unconfigure() -> None:
    """Remove what servers of PostgreSQL were copied from."""
    clean_up()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `both_databases` on SQLite and on PostgreSQL, the rest on SQLite."""
    if "database" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("both_databases") is not None
        metafunc.parametrize("database", ["sqlite", "postgresql"] if both else ["sqlite"], indirect=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of the tests' own; what needs it fails where there is none, and says why."""
    try:
        server = Postgres()
    except LookupError as error:
        pytest.fail(str(error), pytrace=False)
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """The name of a PostgreSQL database with all tables and nothing in them, to copy."""
    name = postgres.new_database()
    open_engine(postgres.url(name), 1).dispose()
    return name


@dataclass(frozen=True)
class Database:
    """An empty database of one test."""

    url: str
    name: str

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database: an SQLite file, or a database on the tests' own PostgreSQL server."""
    if request.param == "sqlite":
        yield Database(f"sqlite:///{tmp_path / 'store' / 'test.db'}", str(tmp_path / "store" / "test.db"))
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = server.new_database(request.getfixturevalue("migrated"))
    yield Database(server.url(name), name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(tmp_path: Path, model_folder: Path, database: Database) -> Settings:
    """Settings of a service with an empty store."""
    return Settings(
        _env_file=None,
        weights=model_folder,
        database_url=database.url,
        encryption_keys=SecretStr(TEST_KEY),
        erasure_log=tmp_path / "erasures",
        device="cpu",
        log_level="error",
        local_names="testserver",  # what the test client calls the host
    )


@pytest.fixture
def serve(settings: Settings) -> Iterator[Callable[..., TestClient]]:
    """Start services in-process, with changes to the settings; all are stopped at the end."""
    running: list[TestClient] = []

    def start(**changes: object) -> TestClient:
        app = create_app(settings.model_copy(update=changes))
        client = TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 50_000))
        client.__enter__()
        running.append(client)
        return client

    yield start
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve: Callable[..., TestClient]) -> TestClient:
    """A service with an empty store and no keys."""
    return serve()


def png(image: Image.Image) -> bytes:
    """An image as the bytes of a PNG file."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="session")
def draw() -> Draw:
    """``draw(writer, n)``: a genuine signature as PNG; ``draw(writer, n, forger=1)``: a forgery."""
    made: dict[tuple[int, int, int | None], bytes] = {}

    def make(writer: int, n: int, forger: int | None = None) -> bytes:
        key = (writer, n, forger)
        if key not in made:
            person = Writer(writer)
            image = person.genuine_image(n) if forger is None else person.forgery_image(forger, n)
            made[key] = png(Image.fromarray(image))
        return made[key]

    return make


@pytest.fixture(scope="session")
def signature_data() -> Path:
    """The folder of real data; a test that needs it is skipped, loudly, where there is none."""
    named = os.environ.get("SIGNATURE_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        message = f"NO REAL DATA: {folder} is no folder, set SIGNATURE_DATA; what needs it was not tested"
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    return folder
